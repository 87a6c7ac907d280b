/**
 * Signed envelopes: DSSE (https://github.com/secure-systems-lab/dsse) with Ed25519, in one form. Content hashes are of
 * the envelope inside, so that keys can change without breaking a proof. Runs wherever WebCrypto does.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Envelope from "./Envelope.ts"
import { maxEnvelopeBytes } from "./Operation.ts"
import { KeyError } from "./TrustlogError.ts"
import * as base64 from "./internal/base64.ts"
import * as ed25519 from "./internal/ed25519.ts"

/** The media type of a signed envelope. */
export const contentType = "application/vnd.dsse.envelope.v1+json"

/** The media type of what is signed: an envelope as `Envelope.encode` writes it. */
export const payloadType = Envelope.contentType

/** So many signatures may be on one envelope, each by another key. */
export const maxSignatures = 16

/** So many characters has the id of a key at most. */
export const maxKeyId = 256

/** The name and the address of a key, without what JSON would escape. */
const keyIdForm = /^[!#-[\]-~]+$/

const isKeyId = (text: string): boolean => text.length <= maxKeyId && keyIdForm.test(text)

/** One signature, and the id of the key that is said to have made it. */
export interface Signature {
  readonly keyId: string
  /** 64 bytes. */
  readonly signature: Uint8Array<ArrayBuffer>
}

/** What was sent, opened. Nothing about it is checked. */
export interface Opened {
  /** The bytes of the envelope, which its content hash is over. */
  readonly payload: Uint8Array
  /** None on an envelope that was not signed. */
  readonly signatures: ReadonlyArray<Signature>
}

const encoder = new TextEncoder()
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

/**
 * What a signature is over (pre-authentication encoding): `DSSEv1`, the length and the text of the type, the length and
 * the bytes of the payload, with a space between them.
 */
export const preAuthentication = (type: string, payload: Uint8Array): Uint8Array<ArrayBuffer> => {
  const typeBytes = encoder.encode(type)
  const head = encoder.encode(`DSSEv1 ${typeBytes.length} ${type} ${payload.length} `)
  const bytes = new Uint8Array(head.length + payload.length)
  bytes.set(head)
  bytes.set(payload, head.length)
  return bytes
}

interface Line {
  readonly keyid: string
  readonly sig: string
}

/** In RFC 8785's order of keys; nothing in it needs to be escaped. */
const text = (payload: string, lines: ReadonlyArray<Line>): string => {
  const signatures = lines.map(({ keyid, sig }) => `{"keyid":"${keyid}","sig":"${sig}"}`)
  return `{"payload":"${payload}","payloadType":"${payloadType}","signatures":[${signatures.join(",")}]}`
}

/** The bytes to send of an envelope and its signatures, one at least. */
export const encode = ({ payload, signatures }: Opened): Uint8Array =>
  encoder.encode(text(
    base64.encode(payload),
    signatures.map(({ keyId, signature }) => ({ keyid: keyId, sig: base64.encode(signature) }))
  ))

const base64Length = (bytes: number): number => Math.ceil(bytes / 3) * 4

/** What the largest envelope with the most signatures takes. */
export const maxBytes = text("", []).length + base64Length(maxEnvelopeBytes) +
  maxSignatures * (`{"keyid":"","sig":""},`.length + maxKeyId + base64Length(ed25519.signatureBytes))

const begins = (start: string) => {
  const expected = encoder.encode(start)
  return (bytes: Uint8Array): boolean => expected.every((byte, i) => bytes[i] === byte)
}

// The keys of both are sorted, so the first one tells which it is.
const isSigned = begins(`{"payload":`)
const isUnsigned = begins(`{"action":`)

const isLine = (value: unknown): value is Line =>
  typeof value === "object" && value !== null && "keyid" in value && "sig" in value &&
  typeof value.keyid === "string" && isKeyId(value.keyid) && typeof value.sig === "string"

const openSigned = (bytes: Uint8Array): Either.Either<Opened, string> => {
  if (bytes.length > maxBytes) return Either.left(`is larger than ${maxBytes} bytes`)
  let line: string
  let value: unknown
  try {
    line = utf8.decode(bytes)
    value = JSON.parse(line)
  } catch {
    return Either.left("is not JSON in UTF-8")
  }
  if (typeof value !== "object" || value === null || !("payloadType" in value) || value.payloadType !== payloadType) {
    return Either.left(`is signed as something else than ${payloadType}`)
  }
  if (!("signatures" in value) || !Array.isArray(value.signatures) || value.signatures.length === 0) {
    return Either.left("has the form of a signed envelope, and no signature")
  }
  if (value.signatures.length > maxSignatures) return Either.left(`has more than ${maxSignatures} signatures`)
  const lines: ReadonlyArray<unknown> = value.signatures
  if (!lines.every(isLine)) return Either.left("has a signature that names no key, or is none")
  if (new Set(lines.map(({ keyid }) => keyid)).size < lines.length) return Either.left("is signed by one key twice")
  // Comparing with what would have been sent also finds other keys, keys that are there twice, and white space.
  if (!("payload" in value) || typeof value.payload !== "string" || text(value.payload, lines) !== line) {
    return Either.left("is not in canonical form")
  }
  const payload = base64.decode(value.payload)
  if (payload === undefined) return Either.left("has a payload that is not in standard base64 with padding")
  const signatures: Array<Signature> = []
  for (const { keyid, sig } of lines) {
    const signature = base64.decode(sig)
    if (signature?.length !== ed25519.signatureBytes) {
      return Either.left(`has a signature by ${keyid} that is not ${ed25519.signatureBytes} bytes in standard base64`)
    }
    signatures.push({ keyId: keyid, signature })
  }
  return Either.right({ payload, signatures })
}

/**
 * Opens what was sent, signed or not, and checks neither signatures nor the envelope. Only canonical bytes are accepted:
 * one line of RFC 8785 JSON, with standard, padded base64. `Left` tells what is wrong with others.
 */
export const open = (bytes: Uint8Array): Either.Either<Opened, string> =>
  isSigned(bytes)
    ? openSigned(bytes)
    : isUnsigned(bytes)
    ? Either.right({ payload: bytes, signatures: [] })
    : Either.left("is neither an envelope nor a signed one")

/** The keys that signatures are checked with, by their ids. */
export type Keys = ReadonlyMap<string, ed25519.Key>

/**
 * The keys whose signatures count. Where there are some, every envelope must carry a valid signature by one of them;
 * where there are none, which is the default, nobody asks who has signed what.
 */
export class TrustedKeys extends Context.Reference<TrustedKeys>()("effect-trustlog/Signature/TrustedKeys", {
  defaultValue: (): Keys => new Map()
}) {}

/** A public key that was read. */
export interface PublicKey {
  /** What signatures name it by. */
  readonly id: string
  /** Its 32 bytes. */
  readonly bytes: Uint8Array
  /** The same as SubjectPublicKeyInfo in PEM. */
  readonly pem: string
  /** The same, to verify with. */
  readonly key: ed25519.Key
}

/** Fails where the id of a key is in no accepted form. */
export const checkKeyId = (id: string): Effect.Effect<string, KeyError> =>
  isKeyId(id) ? Effect.succeed(id) : new KeyError({
    reason: "id",
    problem:
      `${
        JSON.stringify(id.slice(0, 100))
      } cannot be the id of a key: write 1 to ${maxKeyId} ASCII characters without ` +
      "spaces, quotes and backslashes"
  })

/**
 * Reads a public key: 32 bytes, or a text in PEM, which may also be that of the private key. Its id is the first 32 hex
 * digits of the SHA-256 of its bytes, unless another is given.
 */
export const publicKey = (key: string | Uint8Array, id?: string): Effect.Effect<PublicKey, KeyError> =>
  Effect.gen(function*() {
    const bytes = typeof key === "string" ? yield* ed25519.publicOfPem(key) : key
    const imported = yield* ed25519.publicOfBytes(bytes)
    return { id: yield* checkKeyId(id ?? ed25519.keyId(bytes)), bytes, pem: ed25519.publicPem(bytes), key: imported }
  })

/** The set of some keys. No key at all is an error: nothing would be checked. */
export const trust = (keys: ReadonlyArray<PublicKey>): Either.Either<Keys, KeyError> => {
  if (keys.length === 0) return Either.left(new KeyError({ reason: "missing", problem: "there is no key to trust" }))
  const byId = new Map(keys.map((key) => [key.id, key]))
  const double = keys.find(({ id, pem }) => byId.get(id)?.pem !== pem)
  return double === undefined
    ? Either.right(new Map(keys.map(({ id, key }) => [id, key])))
    : Either.left(new KeyError({ reason: "id", problem: `two different keys have the id ${double.id}` }))
}

/** Trusts some keys, each as `publicKey` reads it. */
export const layerTrustedKeys = (
  keys: ReadonlyArray<string | Uint8Array | { readonly key: string | Uint8Array; readonly id: string }>
): Layer.Layer<never, KeyError> =>
  Layer.effect(
    TrustedKeys,
    Effect.flatMap(
      Effect.forEach(keys, (key) =>
        typeof key === "string" || key instanceof Uint8Array ? publicKey(key) : publicKey(key.key, key.id)),
      trust
    )
  )

/**
 * Why an envelope must not be believed.
 *
 * - `malformed`: it is not in the form in which envelopes are sent
 * - `unsigned`: it carries no signature, and should
 * - `unknownKey`: it is signed, by nobody who is trusted
 * - `badSignature`: it names a trusted key, which has not signed this
 */
export interface Doubt {
  readonly reason: "malformed" | "unsigned" | "unknownKey" | "badSignature"
  /** The same in words, to be read after what the envelope is called. */
  readonly error: string
}

const check = async ({ payload, signatures }: Opened, keys: Keys): Promise<Either.Either<string, Doubt>> => {
  if (signatures.length === 0) return Either.left({ reason: "unsigned", error: "is not signed" })
  const message = preAuthentication(payloadType, payload)
  let suspect: string | undefined
  for (const { keyId, signature } of signatures) {
    const key = keys.get(keyId)
    if (key === undefined) continue
    if (await crypto.subtle.verify(ed25519.algorithm, key, signature, message)) return Either.right(keyId)
    suspect = keyId
  }
  if (suspect !== undefined) {
    return Either.left({ reason: "badSignature", error: `has a signature that the key ${suspect} has not made` })
  }
  const [first, ...others] = signatures
  const signers = others.length === 0 ? first?.keyId : `${first?.keyId} and ${others.length} more`
  return Either.left({ reason: "unknownKey", error: `is signed by ${signers}, and by no key that is trusted` })
}

/**
 * Checks the signatures of a batch against some keys. Each is answered by the id of a key that has signed it, the first
 * that is trusted and does verify; ids only choose the key, and prove nothing themselves.
 */
export const verify = (
  batch: ReadonlyArray<Opened>,
  keys: Keys
): Effect.Effect<ReadonlyArray<Either.Either<string, Doubt>>> =>
  Effect.promise(() => Promise.all(batch.map((opened) => check(opened, keys))))

/** An envelope that was sent, and who answers for it. */
export interface Read {
  readonly envelope: Envelope.Envelope
  /** The trusted key that has signed it; `undefined` where no keys are trusted, and so nothing was checked. */
  readonly keyId: string | undefined
  /** Whether it came signed, checked or not. */
  readonly isSigned: boolean
}

const decoded = ({ payload, signatures }: Opened, keyId: string | undefined): Either.Either<Read, Doubt> =>
  Either.mapBoth(Envelope.decode(payload), {
    onLeft: (error): Doubt => ({ reason: "malformed", error }),
    onRight: (envelope) => ({ envelope, keyId, isSigned: signatures.length > 0 })
  })

/**
 * Reads a batch of messages as they were sent, signed or not, and checks them by `TrustedKeys`: where there are some, only
 * what one of them has signed is read.
 */
export const read = (
  batch: ReadonlyArray<Uint8Array>
): Effect.Effect<ReadonlyArray<Either.Either<Read, Doubt>>> =>
  Effect.gen(function*() {
    const keys = yield* TrustedKeys
    const opened = batch.map((bytes) => Either.mapLeft(open(bytes), (error): Doubt => ({ reason: "malformed", error })))
    if (keys.size === 0) return opened.map(Either.flatMap((message) => decoded(message, undefined)))
    return yield* Effect.promise(() =>
      Promise.all(opened.map(async (message) =>
        Either.isLeft(message)
          ? Either.left(message.left)
          : Either.flatMap(await check(message.right, keys), (keyId) => decoded(message.right, keyId))
      ))
    )
  })
