import { assert, describe, it } from "@effect/vitest"
import { hexToBytes } from "@noble/hashes/utils.js"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as Layer from "effect/Layer"
import * as crypto from "node:crypto"
import * as Envelope from "../src/Envelope.ts"
import { maxEnvelopeBytes } from "../src/Operation.ts"
import * as Signature from "../src/Signature.ts"
import * as base64 from "../src/internal/base64.ts"
import { first, fresh, second, signed, signedBy, type TestKey } from "./keys.ts"
import { idOf, message, messages } from "./messages.ts"

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text)
const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

const plain = message(1, { payload: { text: "ä\u2028\u{1f600}" } })
const once = signed(plain, first)
const line = textOf(once.bytes)

const { payload: payloadText = "", signature: signatureText = "" } =
  /^\{"payload":"(?<payload>[^"]+)".*"sig":"(?<signature>[^"]+)"/.exec(line)?.groups ?? {}

/** Why something is not opened. */
const refusal = (bytes: Uint8Array | string): string =>
  Either.match(Signature.open(typeof bytes === "string" ? bytesOf(bytes) : bytes), {
    onLeft: (problem) => problem,
    onRight: () => assert.fail(`was opened: ${String(bytes).slice(0, 200)}`)
  })

const opened = (bytes: Uint8Array): Signature.Opened =>
  Either.getOrThrowWith(Signature.open(bytes), (problem) => problem)

const trusting = (...keys: ReadonlyArray<TestKey>) => Signature.layerTrustedKeys(keys.map(({ publicPem }) => publicPem))

/** Reads a batch, and tells for each the key or the doubt. */
const verdicts = (...batch: ReadonlyArray<Uint8Array>) =>
  Effect.map(
    Signature.read(batch),
    (all) => all.map(Either.match({ onLeft: ({ reason }) => reason, onRight: ({ keyId }) => keyId }))
  )

const one = (signatures: string): string =>
  `{"payload":"${payloadText}","payloadType":"${Signature.payloadType}","signatures":[${signatures}]}`

const by = (id: string): string => `{"keyid":"${id}","sig":"${signatureText}"}`

describe("the bytes that are signed", () => {
  it("are those of DSSE's own example, and count bytes, not characters", () => {
    assert.strictEqual(
      textOf(Signature.preAuthentication("http://example.com/HelloWorld", bytesOf("hello world"))),
      "DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert.strictEqual(textOf(Signature.preAuthentication("é", bytesOf("ä€"))), "DSSEv1 2 é 5 ä€")
    assert.strictEqual(textOf(Signature.preAuthentication("", bytesOf(""))), "DSSEv1 0  0 ")
  })

  it("are the envelope's own, whatever bytes they are", () => {
    FastCheck.assert(FastCheck.property(FastCheck.uint8Array(), (payload) => {
      const head = `DSSEv1 ${Signature.payloadType.length} ${Signature.payloadType} ${payload.length} `
      assert.deepStrictEqual(
        Buffer.from(Signature.preAuthentication(Signature.payloadType, payload)),
        Buffer.concat([Buffer.from(head), payload])
      )
    }))
  })
})

describe("a signed envelope", () => {
  it("is this line, in this version for ever", () => {
    const payload = bytesOf("{\"action\":1}")
    assert.strictEqual(
      textOf(signedBy([first, second], payload)),
      "{\"payload\":\"eyJhY3Rpb24iOjF9\",\"payloadType\":\"application/vnd.trustlog.envelope+json\",\"signatures\":[" +
        "{\"keyid\":\"21fe31dfa154a261626bf854046fd227\",\"sig\":\"" +
        "ojm1BNf8gC5O/7uL5QUy1+docBVAHLlaaUgXM6opcLXsTe+e792bevRzaVAW8tNRdJU5UZ4xsMngNp2MKvGqCg==\"}," +
        "{\"keyid\":\"39f713d0a644253f04529421b9f51b9b\",\"sig\":\"" +
        "7vuUnbympKlZ4AG330HyGi3EHSEWMK/fnfXhrtgv+QyoRvxio1huG6+1JFQAIpqgC6tKL3LqYUCR95rhL0fiBw==\"}]}"
    )
  })

  it("gives back what was put into it, for every payload and every set of keys", () => {
    const signature = FastCheck.uint8Array({ minLength: 64, maxLength: 64 }).map((bytes) => new Uint8Array(bytes))
    const keyId = FastCheck.stringMatching(/^[!#-[\]-~]{1,40}$/)
    FastCheck.assert(FastCheck.property(
      FastCheck.uint8Array({ maxLength: 300 }),
      FastCheck.uniqueArray(FastCheck.record({ keyId, signature }), {
        minLength: 1,
        maxLength: Signature.maxSignatures,
        selector: ({ keyId }) => keyId
      }),
      (payload, signatures) => {
        const bytes = Signature.encode({ payload, signatures })
        assert.deepStrictEqual(opened(bytes), { payload: new Uint8Array(payload), signatures })
        assert.deepStrictEqual(JSON.parse(textOf(bytes)), {
          payload: Buffer.from(payload).toString("base64"),
          payloadType: Signature.payloadType,
          signatures: signatures.map(({ keyId, signature }) => ({
            keyid: keyId,
            sig: Buffer.from(signature).toString("base64")
          }))
        })
      }
    ))
  })

  it("may be as large as an envelope can be, with as many signatures as there can be, and no larger", () => {
    const payload = new Uint8Array(maxEnvelopeBytes).fill(0x61)
    const signatures = Array.from({ length: Signature.maxSignatures }, (_, i) => ({
      keyId: String(i).padEnd(Signature.maxKeyId, "k"),
      signature: new Uint8Array(64)
    }))
    const bytes = Signature.encode({ payload, signatures })
    assert.isAtMost(bytes.length, Signature.maxBytes)
    assert.strictEqual(opened(bytes).payload.length, maxEnvelopeBytes)
    assert.match(
      refusal(Signature.encode({ payload: new Uint8Array(maxEnvelopeBytes + 10_000), signatures })),
      /larger/
    )
  })

  it("is told apart from an unsigned one, which is opened as it is", () => {
    assert.deepStrictEqual(opened(plain.bytes), { payload: plain.bytes, signatures: [] })
    assert.deepStrictEqual(opened(once.bytes).payload, plain.bytes)
  })
})

describe("what is not opened", () => {
  it("is what is no envelope at all", () => {
    for (
      const text of ["", "{}", "null", "\"x\"", "[]", "\ufeff" + line, " " + line, "payload", "{\"type\":\"birth\"}"]
    ) {
      assert.match(refusal(text), /neither/)
    }
    assert.match(refusal(Uint8Array.of(0xff, 0xfe)), /neither/)
    assert.match(refusal("{\"payload\":"), /not JSON/)
    assert.match(refusal(line.slice(0, -1)), /not JSON/)
    assert.match(refusal(Buffer.concat([bytesOf("{\"payload\":\""), Uint8Array.of(0xff), bytesOf("\"}")])), /not JSON/)
    assert.match(refusal("{\"payload\":" + "[".repeat(1_000_000)), /not JSON/)
    assert.match(refusal("{\"payload\":" + "[".repeat(5_000) + "]".repeat(5_000) + "}"), /something else/)
  })

  it("is what is not in the one form: other white space, order, escapes, keys, and keys that are there twice", () => {
    const value = JSON.parse(line)
    for (
      const text of [
        `${line}\n`,
        line.replace("\"payloadType\":", "\"payloadType\": "),
        JSON.stringify({ payload: value.payload, signatures: value.signatures, payloadType: value.payloadType }),
        line.replace("vnd.trustlog", "vnd\\u002etrustlog"),
        line.replace("application/", "application\\/"),
        line.replace(/\}$/, ",\"x\":1}"),
        line.replace("\"payloadType\"", "\"__proto__\":{\"x\":1},\"payloadType\""),
        line.replace("\"payloadType\"", "\"payload\":\"\",\"payloadType\""),
        line.replace("\"payload\":\"", "\"payload\":\"\",\"payload\":\""),
        line.replace("{\"keyid\"", "{\"__proto__\":null,\"keyid\""),
        line.replace("{\"keyid\"", "{\"alg\":\"none\",\"keyid\""),
        line.replace("{\"keyid\"", "{\"keyid\":\"x\",\"keyid\""),
        one(`{"sig":"${signatureText}","keyid":"a"}`),
        line.replace(`"payload":"${payloadText}"`, "\"payload\":[1]"),
        line.replace(`"payload":"${payloadText}"`, "\"payload\":null")
      ]
    ) {
      assert.strictEqual(refusal(text), "is not in canonical form", text)
    }
    assert.notProperty({}, "x")
  })

  it("is what is signed as something else, or by nobody", () => {
    assert.match(refusal(line.replace(Signature.payloadType, "application/vnd.in-toto+json")), /something else/)
    assert.match(refusal(line.replace(Signature.payloadType, "")), /something else/)
    assert.match(refusal(line.replace(Signature.payloadType, Signature.payloadType.toUpperCase())), /something else/)
    assert.match(refusal(`{"payload":"${payloadText}"}`), /something else/)
    assert.match(refusal(one("")), /no signature/)
    for (const signatures of ["null", "{}", "\"x\"", "{\"length\":1}"]) {
      assert.match(refusal(one("").replace("[]", signatures)), /no signature/)
    }
  })

  it("is what has signatures without a key's name, too many of them, or one by the same key twice", () => {
    for (
      const signature of [
        "null",
        "1",
        "[]",
        "{}",
        `{"sig":"${signatureText}"}`,
        `{"keyid":"a"}`,
        `{"keyid":1,"sig":"${signatureText}"}`,
        `{"keyid":"a","sig":1}`,
        by(""),
        by("a b"),
        by("ü"),
        by("\\u0000"),
        by("a\\\"b"),
        by("k".repeat(Signature.maxKeyId + 1))
      ]
    ) {
      assert.match(refusal(one(signature)), /names no key, or is none/, signature)
    }
    const many = Array.from({ length: Signature.maxSignatures + 1 }, (_, i) => by(`k${i}`))
    assert.match(refusal(one(many.join(","))), /more than 16/)
    assert.strictEqual(opened(bytesOf(one(many.slice(1).join(",")))).signatures.length, 16)
    assert.match(refusal(one(`${by("a")},${by("b")},${by("a")}`)), /one key twice/)
  })

  it("is base64 that is not in its one form", () => {
    const forms = [
      (text: string) => text.replace(/=*$/, ""),
      (text: string) => `${text}=`,
      (text: string) => `${text.slice(0, 4)}\\n${text.slice(4)}`,
      (text: string) => `${text.slice(0, 4)} ${text.slice(4)}`,
      (text: string) => text.replace(/[A-Za-z0-9](?==+$)/, (last) => String.fromCharCode(last.charCodeAt(0) + 1)),
      (text: string) => text.replaceAll("+", "-").replaceAll("/", "_"),
      (text: string) => `${text.slice(0, -4)}!${text.slice(-3)}`
    ]
    const payload = Uint8Array.of(0xfb, 0xff, 0xbe, 0x3e)
    const text = textOf(signedBy([first], payload))
    const { 1: inside = "", 2: signature = "" } = /"payload":"([^"]+)".*"sig":"([^"]+)"/.exec(text) ?? []
    for (const form of forms) {
      const other = text.replace(inside, form(inside))
      if (other !== text) assert.match(refusal(other), /base64|canonical/, other)
      const otherSignature = text.replace(signature, form(signature))
      if (otherSignature !== text) assert.match(refusal(otherSignature), /base64|canonical/, otherSignature)
    }
    for (const length of [0, 63, 65]) {
      const bytes = Signature.encode({ payload, signatures: [{ keyId: "a", signature: new Uint8Array(length) }] })
      assert.match(refusal(bytes), /not 64 bytes/)
    }
  })

  it("is whatever a changed byte makes of a message, unless the signature then fails", async () => {
    const keys = await Effect.runPromise(
      Effect.flatMap(Effect.forEach([first.publicPem], (pem) => Signature.publicKey(pem)), Signature.trust)
    )
    for (let at = 0; at < once.bytes.length; at++) {
      const changed = once.bytes.slice()
      changed[at] = (changed[at] ?? 0) ^ 1
      const result = Signature.open(changed)
      if (Either.isLeft(result)) continue
      const [checked] = await Effect.runPromise(Signature.verify([result.right], keys))
      assert.isTrue(checked !== undefined && Either.isLeft(checked), `byte ${at}`)
    }
  })
})

describe("reading", () => {
  it.effect("tells who has signed, whom nobody knows, who has not, and what nobody has", () =>
    Effect.gen(function*() {
      const stranger = fresh()
      const stolen = Signature.encode({
        payload: message(2).bytes,
        signatures: opened(once.bytes).signatures
      })
      assert.deepStrictEqual(
        yield* verdicts(
          once.bytes,
          plain.bytes,
          signedBy([stranger], plain.bytes),
          stolen,
          bytesOf(`${line} `),
          signedBy([first], bytesOf("{\"action\":1}"))
        ),
        [first.id, "unsigned", "unknownKey", "badSignature", "malformed", "malformed"]
      )
    }).pipe(Effect.provide(trusting(first))))

  it.effect("says in words what is wrong", () =>
    Effect.gen(function*() {
      const [unsigned, unknown, unknowns, bad] = yield* Signature.read([
        plain.bytes,
        bytesOf(one(by("ann"))),
        bytesOf(one(`${by("ann")},${by("bob")}`)),
        bytesOf(one(by(second.id)))
      ])
      const errorOf = (read: Either.Either<unknown, Signature.Doubt> | undefined) =>
        read !== undefined && Either.isLeft(read) ? read.left.error : ""
      assert.strictEqual(errorOf(unsigned), "is not signed")
      assert.strictEqual(errorOf(unknown), "is signed by ann, and by no key that is trusted")
      assert.strictEqual(errorOf(unknowns), "is signed by ann and 1 more, and by no key that is trusted")
      assert.strictEqual(errorOf(bad), `has a signature that the key ${second.id} has not made`)
    }).pipe(Effect.provide(trusting(second))))

  it.effect("gives the envelope, its content hash and the key", () =>
    Effect.gen(function*() {
      const [read] = yield* Signature.read([once.bytes])
      assert.deepStrictEqual(
        read,
        Either.right({
          envelope: Either.getOrThrow(Envelope.decode(plain.bytes)),
          keyId: first.id,
          isSigned: true
        })
      )
      assert.strictEqual(Either.getOrThrow(Envelope.decode(plain.bytes)).contentHash, plain.contentHash)
    }).pipe(Effect.provide(trusting(first, second))))

  it.effect("takes everything that is an envelope, unchecked, where no keys are trusted", () =>
    Effect.gen(function*() {
      const stranger = signedBy([fresh()], plain.bytes)
      assert.deepStrictEqual(yield* verdicts(plain.bytes, once.bytes, stranger), [undefined, undefined, undefined])
      const reads = yield* Signature.read([plain.bytes, once.bytes])
      assert.deepStrictEqual(reads.map((read) => Either.isRight(read) && read.right.isSigned), [false, true])
      assert.deepStrictEqual(yield* verdicts(bytesOf(one("")), bytesOf("x")), ["malformed", "malformed"])
    }))

  it.effect("trusts the old key and the new one while they change, and counts one valid signature", () =>
    Effect.gen(function*() {
      const batch = [
        signedBy([first], plain.bytes),
        signedBy([second], plain.bytes),
        signedBy([fresh(), second], plain.bytes)
      ]
      assert.deepStrictEqual(
        yield* Effect.provide(verdicts(...batch), trusting(first, second)),
        [first.id, second.id, second.id]
      )
      assert.deepStrictEqual(
        yield* Effect.provide(verdicts(...batch), trusting(second)),
        ["unknownKey", second.id, second.id]
      )
      // A signature that fails beside one that holds takes nothing away from it.
      const [, good] = opened(signedBy([first, second], plain.bytes)).signatures
      const [bad] = opened(signedBy([first, second], message(2).bytes)).signatures
      const mixed = Signature.encode({
        payload: plain.bytes,
        signatures: [bad, good].filter((one) => one !== undefined)
      })
      assert.deepStrictEqual(yield* Effect.provide(verdicts(mixed), trusting(first, second)), [second.id])
      assert.deepStrictEqual(yield* Effect.provide(verdicts(mixed), trusting(first)), ["badSignature"])
    }))

  it.effect("believes no id: a trusted one over another key's signature is found", () =>
    Effect.gen(function*() {
      const [signature] = opened(signedBy([second], plain.bytes)).signatures
      assert.isDefined(signature)
      const borrowed = Signature.encode({
        payload: plain.bytes,
        signatures: signature === undefined ? [] : [{ ...signature, keyId: first.id }]
      })
      assert.deepStrictEqual(yield* verdicts(borrowed), ["badSignature"])
    }).pipe(Effect.provide(trusting(first, second))))

  it.effect("believes no signature over the same bytes as something else", () =>
    Effect.gen(function*() {
      for (
        const other of [
          Signature.preAuthentication("application/vnd.in-toto+json", plain.bytes),
          plain.bytes
        ]
      ) {
        const signature = new Uint8Array(crypto.sign(null, other, first.pem))
        const bytes = Signature.encode({ payload: plain.bytes, signatures: [{ keyId: first.id, signature }] })
        assert.deepStrictEqual(yield* verdicts(bytes), ["badSignature"])
      }
    }).pipe(Effect.provide(trusting(first))))

  it.effect("keeps the order of a large batch, and takes an empty one", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* Signature.read([]), [])
      const reads = yield* Signature.read(messages(0, 500).map(({ bytes }) => signedBy([first], bytes)))
      assert.deepStrictEqual(
        reads.map((read) => Either.isRight(read) ? String(read.right.envelope.id) : undefined),
        Array.from({ length: 500 }, (_, i) => idOf(i))
      )
    }).pipe(Effect.provide(trusting(first))))
})

describe("trusted keys", () => {
  it.effect("are given in PEM, public or private, or as 32 bytes, under their own ids or others", () =>
    Effect.gen(function*() {
      for (const key of [first.publicPem, first.pem, first.publicKey, `made by ann\n${first.publicPem}\nfor bob\n`]) {
        assert.deepStrictEqual(yield* Effect.provide(verdicts(once.bytes), Signature.layerTrustedKeys([key])), [
          first.id
        ])
        const { bytes, id, pem } = yield* Signature.publicKey(key)
        assert.deepStrictEqual([id, pem, Buffer.from(bytes)], [first.id, first.publicPem, Buffer.from(first.publicKey)])
      }
      const named = signedBy([{ ...first, id: "arn:aws:kms:eu-central-1:1:key/a" }], plain.bytes)
      const layer = Signature.layerTrustedKeys([
        { key: first.publicPem, id: "arn:aws:kms:eu-central-1:1:key/a" },
        first.pem
      ])
      assert.deepStrictEqual(yield* Effect.provide(verdicts(named, once.bytes), layer), [
        "arn:aws:kms:eu-central-1:1:key/a",
        first.id
      ])
    }))

  const problem = (...keys: Parameters<typeof Signature.layerTrustedKeys>[0]) =>
    Effect.map(
      Effect.flip(Effect.scoped(Layer.build(Signature.layerTrustedKeys(keys)))),
      ({ message, reason }) => `${reason}: ${message}`
    )

  it.effect("are refused with what is wrong with them", () =>
    Effect.gen(function*() {
      const rsa = crypto.generateKeyPairSync("rsa", { modulusLength: 2048 })
      // Written out: not every runtime can make one.
      const ed448 = "-----BEGIN PUBLIC KEY-----\n" +
        "MEMwBQYDK2VxAzoAaMgOKqTOaSmKyTW+awT45s/IiC5WVExppAcTMPsKaTn8RCDQ\nTbX9Vx5IqtRwDVEi4NfitPHDPlyA\n" +
        "-----END PUBLIC KEY-----\n"
      const spki = { format: "pem", type: "spki" } as const
      assert.match(yield* problem(), /^missing: there is no key to trust/)
      assert.match(yield* problem(""), /^malformed: is no key in PEM/)
      assert.match(yield* problem(first.publicPem.slice(0, -10)), /^malformed: is no key in PEM, or is cut/)
      assert.match(yield* problem(first.publicPem.replace("MCow", "MC*w")), /^malformed: is PEM that is cut or damaged/)
      assert.match(yield* problem(first.publicPem.replace("MCow", "MCox")), /^malformed: /)
      assert.match(yield* problem(first.publicPem + second.publicPem), /^malformed: holds 2 keys/)
      assert.match(yield* problem(rsa.publicKey.export(spki).toString()), /^algorithm: is no Ed25519 key/)
      assert.match(yield* problem(ed448), /^algorithm: is no Ed25519 key/)
      assert.match(
        yield* problem(rsa.privateKey.export({ format: "pem", type: "pkcs1" }).toString()),
        /^malformed: is a RSA PRIVATE KEY/
      )
      assert.match(
        yield* problem(
          crypto.createPrivateKey(first.pem)
            .export({ format: "pem", type: "pkcs8", cipher: "aes-256-cbc", passphrase: "x" }).toString()
        ),
        /^malformed: is encrypted/
      )
      assert.match(yield* problem(new Uint8Array(31)), /^malformed: has 31 bytes/)
      for (const id of ["", "a b", "ü", "a\"", "k".repeat(257)]) {
        assert.match(yield* problem({ key: first.publicPem, id }), /^id: .* cannot be the id of a key/)
      }
      assert.match(
        yield* problem({ key: first.pem, id: "a" }, { key: second.pem, id: "a" }),
        /^id: two different keys have the id a/
      )
    }))

  it.effect("may be given twice", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* verdicts(once.bytes), [first.id])
    }).pipe(Effect.provide(Signature.layerTrustedKeys([first.publicPem, first.publicKey]))))
})

describe("Ed25519 by WebCrypto", () => {
  const vectors = [
    {
      key: first,
      publicKey: "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
      text: "",
      signature: "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b" +
        "d25bf5f0595bbe24655141438e7a100b"
    },
    {
      key: second,
      publicKey: "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
      text: "72",
      signature: "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c" +
        "387b2eaeb4302aeeb00d291612bb0c00"
    }
  ]

  it.effect("signs and verifies what RFC 8032 does", () =>
    Effect.gen(function*() {
      for (const { key, publicKey, signature, text } of vectors) {
        assert.strictEqual(Buffer.from((yield* Signature.publicKey(key.pem)).bytes).toString("hex"), publicKey)
        const keys = yield* Effect.flatMap(Signature.publicKey(hexToBytes(publicKey), "k"), (key) =>
          Signature.trust([key]))
        const trusted = keys.get("k")
        assert.isDefined(trusted)
        const data = new Uint8Array(hexToBytes(text))
        const bytes = new Uint8Array(hexToBytes(signature))
        const subtle = globalThis.crypto.subtle
        if (trusted === undefined)
          continue
        assert.isTrue(
          yield* Effect.promise(() =>
            subtle.verify("Ed25519", trusted, bytes, data)
          )
        )
        bytes[0] = (bytes[0] ?? 0) ^ 1
        assert.isFalse(yield* Effect.promise(() => subtle.verify("Ed25519", trusted, bytes, data)))
      }
    }))
})

describe("base64", () => {
  it("is the same with and without what the host has", () => {
    FastCheck.assert(FastCheck.property(FastCheck.uint8Array({ maxLength: 100 }), (bytes) => {
      const text = base64.portable.encode(bytes)
      assert.strictEqual(text, base64.encode(bytes))
      assert.deepStrictEqual(base64.portable.decode(text), new Uint8Array(bytes))
      assert.deepStrictEqual(base64.decode(text), new Uint8Array(bytes))
    }))
    const large = crypto.randomBytes(100_000)
    assert.strictEqual(base64.portable.encode(large), base64.encode(large))
    assert.isUndefined(base64.portable.decode("a"))
    for (const text of ["a", "YQ", "YR==", "YQ==\n", "Y-8=", "Y Q=="]) assert.isUndefined(base64.decode(text), text)
  })
})
