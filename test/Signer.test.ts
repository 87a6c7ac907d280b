import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as crypto from "node:crypto"
import * as Drain from "../src/Drain.ts"
import * as Memory from "../src/Publisher/Memory.ts"
import * as Signature from "../src/Signature.ts"
import * as Signer from "../src/Signer.ts"
import * as Trustlog from "../src/Trustlog.ts"
import { first, fresh, second, signedBy } from "./keys.ts"
import { messages } from "./messages.ts"
import { layer, uuid } from "./workers.ts"

const service = (options: Signer.Options) =>
  Effect.map(
    Effect.scoped(Layer.build(Signer.layerEd25519(options))),
    (context) => Context.get(context, Signer.Signer)
  )

const withKey = (key: string, id?: string) => service({ key: Redacted.make(key), id })

const imported = (pem: string, isExtractable: boolean): Effect.Effect<CryptoKey> =>
  Effect.promise(() =>
    globalThis.crypto.subtle.importKey(
      "pkcs8",
      new Uint8Array(crypto.createPrivateKey(pem).export({ format: "der", type: "pkcs8" })),
      "Ed25519",
      isExtractable,
      ["sign"]
    )
  )

/** A large batch, and what another library sends of it. */
const batch = messages(0, 300)

describe("a signer with an Ed25519 key", () => {
  it.effect("sends what another library would, each envelope in its place", () =>
    Effect.gen(function*() {
      const { sign } = yield* withKey(first.pem)
      assert.deepStrictEqual(
        yield* sign(batch),
        batch.map(({ bytes }) => signedBy([first], bytes))
      )
      assert.deepStrictEqual(yield* sign([]), [])
    }))

  it.effect("is read by who trusts its key, under the id that it has or was given", () =>
    Effect.gen(function*() {
      const named = yield* withKey(first.pem, "ann's")
      const own = yield* withKey(first.pem)
      const reads = yield* Signature.read([...(yield* named.sign(batch)), ...(yield* own.sign(batch))])
      assert.deepStrictEqual(
        reads.map((read) => Either.isRight(read) ? read.right.keyId : read.left.error),
        [...batch.map(() => "ann's"), ...batch.map(() => first.id)]
      )
    }).pipe(Effect.provide(Signature.layerTrustedKeys([first.publicPem, { key: first.publicPem, id: "ann's" }]))))

  it.effect("takes a key of WebCrypto, and asks for its id where it keeps its bytes to itself", () =>
    Effect.gen(function*() {
      const open = yield* service({ key: yield* imported(first.pem, true) })
      const closed = yield* service({ key: yield* imported(first.pem, false), id: first.id })
      assert.deepStrictEqual(yield* open.sign(batch), yield* closed.sign(batch))
      const error = yield* Effect.flip(service({ key: yield* imported(first.pem, false) }))
      assert.strictEqual(error.reason, "id")
      assert.match(error.message, /say which id it has/)
    }))

  it.effect("cannot be made of what does not sign, and says why", () =>
    Effect.gen(function*() {
      const problem = (options: Signer.Options) =>
        Effect.map(Effect.flip(service(options)), ({ message, reason }) => `${reason}: ${message}`)
      const pem = (text: string) => problem({ key: Redacted.make(text) })
      const rsa = crypto.generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey
      assert.match(yield* pem(first.publicPem), /^usage: is a public key, which cannot sign/)
      assert.match(yield* pem("secret"), /^malformed: is no key in PEM/)
      assert.match(
        yield* pem(first.pem.replace(/.{8}\n-----END/, "\n-----END")),
        /^malformed: is an Ed25519 key that is cut/
      )
      assert.match(yield* pem(rsa.export({ format: "pem", type: "pkcs8" }).toString()), /^algorithm: /)
      assert.match(yield* problem({ key: Redacted.make(first.pem), id: "a b" }), /^id: "a b" cannot be the id/)
      const { privateKey, publicKey } = yield* Effect.promise(() =>
        globalThis.crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, ["sign", "verify"])
      )
      assert.match(yield* problem({ key: privateKey, id: "a" }), /^algorithm: is no Ed25519 key/)
      assert.match(yield* problem({ key: publicKey, id: "a" }), /^algorithm: is no Ed25519 key/)
      const half = yield* Effect.promise(() =>
        globalThis.crypto.subtle.importKey("raw", new Uint8Array(first.publicKey), "Ed25519", true, ["verify"])
      )
      assert.match(yield* problem({ key: half }), /^usage: is a key that may not sign/)
    }))

  it.effect("keeps the key out of what it says", () =>
    Effect.gen(function*() {
      const cut = first.pem.replace(/.{8}\n-----END/, "\n-----END")
      const error = yield* Effect.flip(withKey(cut))
      const secret = /\n(.{20})/.exec(first.pem)?.[1] ?? ""
      assert.notInclude(`${JSON.stringify(error)}${error.stack}${String(error.cause)}`, secret)
    }))
})

describe("what is delivered", () => {
  it.effect("is signed where there is a signer, by the workers and when it is sent at once, and is the same inside", () =>
    Effect.gen(function*() {
      const trustlog = yield* Trustlog.Trustlog
      const control = yield* Memory.Control
      const input = { actor: "alice", action: "read", target: "file/1" }
      yield* trustlog.append({ ...input, id: uuid(1) })
      yield* trustlog.append({ ...input, id: uuid(2) }, { strategy: "TrustlogOnly" })
      yield* Drain.drainOnce()
      const held = yield* control.held
      assert.deepStrictEqual(held.map(({ message }) => message.id), [uuid(2), uuid(1)])
      assert.deepStrictEqual(held.map(({ message }) => message.contentType), [
        "application/vnd.dsse.envelope.v1+json",
        "application/vnd.dsse.envelope.v1+json"
      ])
      const reads = yield* Effect.provide(
        Signature.read(held.map(({ message }) => message.bytes)),
        Signature.layerTrustedKeys([second.publicPem])
      )
      assert.deepStrictEqual(
        reads.map((read) => Either.map(read, ({ envelope, keyId }) => [envelope.id, envelope.contentHash, keyId])),
        held.map(({ message }) => Either.right([message.id, message.contentHash, second.id]))
      )
    }).pipe(
      Effect.provide(Layer.provideMerge(Trustlog.layer, layer)),
      Effect.provide(Signer.layerEd25519({ key: Redacted.make(second.pem) }))
    ))
})

it.effect("two signers have two keys: nobody signs for another", () =>
  Effect.gen(function*() {
    const { sign } = yield* withKey(fresh().pem, first.id)
    const reads = yield* Effect.provide(
      Effect.flatMap(sign(batch.slice(0, 2)), Signature.read),
      Signature.layerTrustedKeys([first.publicPem])
    )
    assert.deepStrictEqual(reads.map((read) => Either.isLeft(read) && read.left.reason), [
      "badSignature",
      "badSignature"
    ])
  }))
