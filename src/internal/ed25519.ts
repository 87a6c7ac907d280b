/**
 * Ed25519 keys in WebCrypto, from PEM and back; the same on servers and at the edge.
 */
import { bytesToHex } from "@noble/hashes/utils.js"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Encoding from "effect/Encoding"
import { KeyError } from "../TrustlogError.ts"
import * as base64 from "./base64.ts"
import * as sha256 from "./sha256.ts"

type Bytes = Uint8Array<ArrayBuffer>

/**
 * WebCrypto's `CryptoKey`, as the types of the program say that it is: a browser's, Node's or an edge's. Not all of them know
 * that name.
 */
export type Key = typeof globalThis extends { readonly CryptoKey: { readonly prototype: infer Known } } ? Known : {
  readonly algorithm: { readonly name: string }
  readonly extractable: boolean
  readonly type: string
  readonly usages: ReadonlyArray<string>
}

/** What WebCrypto calls the algorithm. */
export const algorithm = "Ed25519"

/** The length of a signature, and of a public key. */
export const signatureBytes = 64
export const publicKeyBytes = 32

/** The id of a key that nobody gave another: half of its SHA-256, in hex. */
export const keyId = (publicKey: Uint8Array): string => sha256.hexOfBytes(publicKey).slice(0, 32)

/** What stands before the key in its SubjectPublicKeyInfo (RFC 8410). */
const publicPrefix = Uint8Array.of(0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00)

/** A public key in PEM. */
export const publicPem = (publicKey: Uint8Array): string => {
  const der = new Uint8Array(publicPrefix.length + publicKey.length)
  der.set(publicPrefix)
  der.set(publicKey, publicPrefix.length)
  return `-----BEGIN PUBLIC KEY-----\n${base64.encode(der)}\n-----END PUBLIC KEY-----\n`
}

/** A key that was read from PEM, not imported yet. */
interface Encoded {
  readonly format: "pkcs8" | "spki"
  readonly der: Bytes
}

const malformed = (problem: string) => new KeyError({ reason: "malformed", problem })

/** How the algorithm's name, 1.3.101.112, stands at the beginning of both formats. */
const objectIdentifier = "06032b6570"

const block = /-----BEGIN ([A-Z0-9 ]+)-----([^-]*)-----END \1-----/g

/** Reads PEM with one key in it; text around it is a comment. */
const ofPem = (pem: string): Either.Either<Encoded, KeyError> => {
  const [first, ...others] = Array.from(pem.matchAll(block))
  if (first === undefined) return Either.left(malformed("is no key in PEM, or is cut"))
  if (others.length > 0)
    return Either.left(malformed(`holds ${others.length + 1} keys: give each in a text of its own`))
  const [, label, text = ""] = first
  if (label === "ENCRYPTED PRIVATE KEY") {
    return Either.left(malformed("is encrypted: decrypt it with `openssl pkey`, and protect its file instead"))
  }
  if (label !== "PUBLIC KEY" && label !== "PRIVATE KEY") {
    return Either.left(malformed(`is a ${label} in PEM; write a PRIVATE KEY (PKCS #8) or PUBLIC KEY`))
  }
  const der = base64.decode(text.replace(/\s/g, ""))
  if (der === undefined) return Either.left(malformed("is PEM that is cut or damaged"))
  // Asked here: not every runtime looks at the algorithm of what it imports, nor at the form of a public key, which has one.
  const hex = bytesToHex(der)
  if (!hex.slice(0, 48).includes(objectIdentifier)) {
    return Either.left(new KeyError({ reason: "algorithm", problem: "is no Ed25519 key" }))
  }
  if (label === "PRIVATE KEY") return Either.right({ format: "pkcs8", der })
  return hex.startsWith(bytesToHex(publicPrefix)) && der.length === publicPrefix.length + publicKeyBytes
    ? Either.right({ format: "spki", der })
    : Either.left(malformed(damaged))
}

const damaged = "is an Ed25519 key that is cut or damaged, or in a form that this runtime does not read"

const refusal = (cause: unknown): KeyError =>
  cause instanceof Error && cause.name === "NotSupportedError"
    ? new KeyError({
      reason: "unsupported",
      problem: "cannot be used: this runtime's WebCrypto knows no Ed25519",
      cause
    })
    : new KeyError({ reason: "malformed", problem: damaged, cause })

const imported = (format: "pkcs8" | "spki" | "raw", der: Bytes, isExtractable: boolean) =>
  Effect.tryPromise({
    try: () => crypto.subtle.importKey(format, der, algorithm, isExtractable, [format === "pkcs8" ? "sign" : "verify"]),
    catch: refusal
  })

/** The public half of a key; `undefined` where the key does not let it out. */
export const publicHalf = (key: Key): Effect.Effect<Bytes | undefined, KeyError> =>
  key.extractable
    ? Effect.tryPromise({
      try: async () => {
        const { x = "" } = await crypto.subtle.exportKey("jwk", key)
        const bytes = Either.getOrUndefined(Encoding.decodeBase64Url(x))
        return bytes === undefined ? undefined : new Uint8Array(bytes)
      },
      catch: (cause) => new KeyError({ reason: "usage", problem: "has a public half that cannot be read", cause })
    })
    : Effect.succeed(undefined)

const halfOf = (key: Key): Effect.Effect<Bytes, KeyError> =>
  Effect.flatMap(
    publicHalf(key),
    (half) => half?.length === publicKeyBytes ? Effect.succeed(half) : malformed("has no public half")
  )

/** The private key in a text, and its public half. Nobody can take it out of WebCrypto again. */
export const privateOfPem = (
  pem: string
): Effect.Effect<{ readonly key: Key; readonly publicKey: Bytes }, KeyError> =>
  Effect.gen(function*() {
    const { der, format } = yield* ofPem(pem)
    if (format === "spki") {
      return yield* new KeyError({
        reason: "usage",
        problem: "is a public key, which cannot sign: give the private one"
      })
    }
    const publicKey = yield* Effect.flatMap(imported(format, der, true), halfOf)
    return { key: yield* imported(format, der, false), publicKey }
  })

/** The public key in a text, or the public half of the private one that it holds. */
export const publicOfPem = (pem: string): Effect.Effect<Bytes, KeyError> =>
  Effect.flatMap(
    ofPem(pem),
    ({ der, format }) => Effect.flatMap(imported(format, der, true), halfOf)
  )

/** A public key of 32 bytes, to verify with. */
export const publicOfBytes = (publicKey: Uint8Array): Effect.Effect<Key, KeyError> =>
  publicKey.length === publicKeyBytes
    ? imported("raw", new Uint8Array(publicKey), true)
    : malformed(`has ${publicKey.length} bytes; an Ed25519 public key has ${publicKeyBytes}`)
