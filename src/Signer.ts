/**
 * Puts a signature on envelopes before they are sent.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { contentType, type Encoded } from "./Envelope.ts"
import * as Signature from "./Signature.ts"
import { KeyError } from "./TrustlogError.ts"
import * as ed25519 from "./internal/ed25519.ts"

/**
 * What signs. Content hashes and receipts are over the unsigned bytes, so keys can change without breaking a proof. The
 * embedded ledger and `Verify` read what is unsigned, or signed in the form of `Signature`.
 */
export interface Service {
  /** The media type of what it makes. */
  readonly contentType: string
  /** The bytes to send for each envelope, in the same order. */
  readonly sign: (envelopes: ReadonlyArray<Encoded>) => Effect.Effect<ReadonlyArray<Uint8Array>>
}

/** Sends envelopes as they are. */
export const none: Service = {
  contentType,
  sign: (envelopes) => Effect.succeed(envelopes.map((envelope) => envelope.bytes))
}

/** The signer of this process; by default it signs nothing. */
export class Signer extends Context.Reference<Signer>()("effect-trustlog/Signer", { defaultValue: () => none }) {}

/** Says explicitly that nothing is signed. */
export const layerNone: Layer.Layer<never> = Layer.succeed(Signer, none)

/** Which key signs. */
export interface Options {
  /** An Ed25519 key: a PKCS #8 text in PEM, or a key of WebCrypto that may sign. */
  readonly key: Redacted.Redacted<string> | ed25519.Key
  /**
   * What signatures name the key by; by default `Signature.publicKey(key).id`. A key that does not let its public half
   * out needs one.
   */
  readonly id?: string | undefined
}

const signerOf = (key: ed25519.Key, id: string): Service => {
  const sign = async ({ bytes }: Encoded): Promise<Uint8Array> => {
    const signature = await crypto.subtle.sign(
      ed25519.algorithm,
      key,
      Signature.preAuthentication(Signature.payloadType, bytes)
    )
    return Signature.encode({ payload: bytes, signatures: [{ keyId: id, signature: new Uint8Array(signature) }] })
  }
  return {
    contentType: Signature.contentType,
    sign: (envelopes) => Effect.promise(() => Promise.all(envelopes.map(sign)))
  }
}

const keyOf = (key: Options["key"]) =>
  Redacted.isRedacted(key)
    ? Effect.map(
      ed25519.privateOfPem(Redacted.value(key)),
      ({ key, publicKey }) => ({ key, id: ed25519.keyId(publicKey) })
    )
    : Effect.map(ed25519.publicHalf(key), (half) => ({ key, id: half && ed25519.keyId(half) }))

/**
 * Makes a signer that cannot fail: the key is tried once, here.
 */
export const makeEd25519 = (options: Options): Effect.Effect<Service, KeyError> =>
  Effect.gen(function*() {
    const { id, key } = yield* keyOf(options.key)
    if (key.algorithm.name !== ed25519.algorithm) {
      return yield* new KeyError({ reason: "algorithm", problem: "is no Ed25519 key" })
    }
    yield* Effect.tryPromise({
      try: () => crypto.subtle.sign(ed25519.algorithm, key, new Uint8Array()),
      catch: (cause) => new KeyError({ reason: "usage", problem: "is a key that may not sign", cause })
    })
    const name = options.id ?? id
    if (name === undefined) {
      return yield* new KeyError({ reason: "id", problem: "does not let its public half out: say which id it has" })
    }
    return signerOf(key, yield* Signature.checkKeyId(name))
  })

/** Signs with an Ed25519 key, in the form of `Signature`. To change the key, trust both where envelopes are read. */
export const layerEd25519 = (options: Options): Layer.Layer<never, KeyError> =>
  Layer.effect(Signer, makeEd25519(options))
