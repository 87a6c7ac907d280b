/**
 * The Ed25519 key that signs checkpoints: a PKCS #8 file in PEM, for its owner's eyes only.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import * as Effect from "effect/Effect"
import * as crypto from "node:crypto"
import { v4 } from "uuid"
import { LedgerError } from "../../TrustlogError.ts"
import { failure } from "./folder.ts"

/** A private key, and its public half in 32 bytes. */
export interface Key {
  readonly privateKey: crypto.KeyObject
  readonly publicKey: Uint8Array
}

const publicBytes = (publicKey: crypto.KeyObject): Uint8Array => {
  const { x = "" } = publicKey.export({ format: "jwk" })
  return new Uint8Array(Buffer.from(x, "base64url"))
}

const keyOf = (privateKey: crypto.KeyObject): Key => ({
  privateKey,
  publicKey: publicBytes(crypto.createPublicKey(privateKey))
})

/** Makes a new key that is nowhere but in memory. */
export const generate: Effect.Effect<Key> = Effect.sync(() => keyOf(crypto.generateKeyPairSync("ed25519").privateKey))

/** Whether there is a file for a key. */
export const exists = (file: string): Effect.Effect<boolean, LedgerError, FileSystem.FileSystem> =>
  Effect.flatMap(FileSystem.FileSystem, (fs) => Effect.mapError(fs.exists(file), failure(file)))

/** Writes a key to a file that is not there yet. A crash leaves all of it or nothing. */
export const store = (
  file: string,
  key: crypto.KeyObject
): Effect.Effect<void, LedgerError, FileSystem.FileSystem | Path.Path> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const folder = path.dirname(file)
    const temporary = `${file}.${v4()}`
    const pem = key.export({ format: "pem", type: "pkcs8" })
    const write = Effect.scoped(Effect.gen(function*() {
      const handle = yield* fs.open(temporary, { flag: "wx", mode: 0o600 })
      yield* handle.writeAll(typeof pem === "string" ? new TextEncoder().encode(pem) : pem)
      yield* handle.sync
      // A link fails where the name is taken; a rename would take it.
      yield* fs.link(temporary, file)
    }))
    yield* Effect.mapError(
      Effect.gen(function*() {
        yield* fs.makeDirectory(folder, { recursive: true })
        yield* Effect.ensuring(
          write,
          Effect.catchAll(
            fs.remove(temporary, { force: true }),
            (error) => Effect.logWarning(`${temporary} could not be removed; it holds a signing key`, error)
          )
        )
        yield* Effect.scoped(Effect.flatMap(fs.open(folder, { flag: "r" }), (handle) => handle.sync))
      }),
      failure(file)
    )
  })

/** Reads a key, and warns when others may read it too. */
export const load = (file: string): Effect.Effect<Key, LedgerError, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const bytes = yield* Effect.mapError(fs.readFile(file), failure(file))
    const { mode } = yield* Effect.mapError(fs.stat(file), failure(file))
    if ((mode & 0o077) !== 0) {
      yield* Effect.logWarning(`${file}: others than its owner may read or change this signing key; run chmod 600`)
    }
    const key = yield* Effect.try({
      try: () => crypto.createPrivateKey({ key: Buffer.from(bytes), format: "pem" }),
      catch: () => new LedgerError({ reason: "corrupt", path: file, problem: "is no private key in PEM, or is cut" })
    })
    if (key.asymmetricKeyType === "ed25519") return keyOf(key)
    return yield* new LedgerError({ reason: "foreign", path: file, problem: "is no Ed25519 key" })
  })

/** Reads the public half of a key, in 32 bytes, from its file or from one that holds no more than that half. */
export const loadPublic = (file: string): Effect.Effect<Uint8Array, LedgerError, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const bytes = yield* Effect.mapError(fs.readFile(file), failure(file))
    const key = yield* Effect.try({
      try: () => crypto.createPublicKey({ key: Buffer.from(bytes), format: "pem" }),
      catch: () => new LedgerError({ reason: "corrupt", path: file, problem: "is no key in PEM, or is cut" })
    })
    if (key.asymmetricKeyType === "ed25519") return publicBytes(key)
    return yield* new LedgerError({ reason: "foreign", path: file, problem: "is no Ed25519 key" })
  })
