/**
 * C2SP signed notes, and the checkpoints (tlog-checkpoint) that they carry, with Ed25519 keys.
 */
import { bytesToHex } from "@noble/hashes/utils.js"
import * as Either from "effect/Either"
import * as Encoding from "effect/Encoding"
import * as crypto from "node:crypto"
import * as sha256 from "./sha256.ts"

/** Who signs: the key's name, and the Ed25519 public key in 32 bytes. */
export interface Verifier {
  readonly name: string
  readonly publicKey: Uint8Array
}

/** The state of a log: how many entries it has, and the root of their tree. */
export interface Checkpoint {
  readonly origin: string
  readonly size: number
  readonly root: Uint8Array
}

const ed25519 = 1

const encoder = new TextEncoder()
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

/** One value has one form, so what does not encode back to itself is refused. */
const base64 = (text: string): Uint8Array | undefined => {
  const bytes = Encoding.decodeBase64(text)
  return Either.isRight(bytes) && Encoding.encodeBase64(bytes.right) === text ? bytes.right : undefined
}

const concat = (...parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}

const isEqual = (a: Uint8Array, b: Uint8Array): boolean => bytesToHex(a) === bytesToHex(b)

/** The first 4 bytes of SHA-256(name, newline, 0x01, public key). */
export const keyId = (verifier: Verifier): Uint8Array =>
  sha256.digest(concat(encoder.encode(`${verifier.name}\n`), Uint8Array.of(ed25519), verifier.publicKey)).slice(0, 4)

/** The form in which verifier keys are exchanged: `<name>+<key id>+<base64(0x01 || public key)>`. */
export const formatVerifier = (verifier: Verifier): string =>
  `${verifier.name}+${bytesToHex(keyId(verifier))}+` +
  Encoding.encodeBase64(concat(Uint8Array.of(ed25519), verifier.publicKey))

const verifierForm = /^([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)$/u

/** Reads a verifier key. */
export const parseVerifier = (text: string): Either.Either<Verifier, string> => {
  const [, name, id, key] = verifierForm.exec(text) ?? []
  if (name === undefined || id === undefined || key === undefined) {
    return Either.left("is no verifier key (<name>+<key id>+<base64>)")
  }
  const bytes = base64(key)
  if (bytes?.length !== 33 || bytes[0] !== ed25519) return Either.left("is no Ed25519 verifier key")
  const verifier = { name, publicKey: bytes.slice(1) }
  return bytesToHex(keyId(verifier)) === id ? Either.right(verifier) : Either.left("has a key id that is not its key's")
}

/** The text that is signed. */
export const format = (checkpoint: Checkpoint): string =>
  `${checkpoint.origin}\n${checkpoint.size}\n${Encoding.encodeBase64(checkpoint.root)}\n`

/** The signature of a text as notes carry it: base64 of the key's id and what the key signed. */
export const signatureOf = (text: string, verifier: Verifier, privateKey: crypto.KeyObject): string =>
  Encoding.encodeBase64(concat(keyId(verifier), crypto.sign(null, encoder.encode(text), privateKey)))

/** A signed note of a text, which ends with a newline. */
export const sign = (text: string, verifier: Verifier, privateKey: crypto.KeyObject): string =>
  `${text}\n— ${verifier.name} ${signatureOf(text, verifier, privateKey)}\n`

/** A note that was read: its text and its signatures, none of them checked. */
export interface Note {
  readonly text: string
  readonly signatures: ReadonlyArray<{ readonly name: string; readonly id: Uint8Array; readonly signature: Uint8Array }>
}

const signatureForm = /^— ([^\s+]+) ([A-Za-z0-9+/=]+)$/u

/** No note needs more; what is larger is not read. */
const maxNoteBytes = 1_000_000

/** Reads a note without checking its signatures. */
export const parseNote = (bytes: Uint8Array): Either.Either<Note, string> => {
  if (bytes.length === 0) return Either.left("is empty")
  if (bytes.length > maxNoteBytes) return Either.left("is too large for a note")
  let note: string
  try {
    note = utf8.decode(bytes)
  } catch {
    return Either.left("is not UTF-8")
  }
  const end = note.lastIndexOf("\n\n")
  if (end < 0 || !note.endsWith("\n")) return Either.left("is no signed note, or is cut")
  const signatures: Array<Note["signatures"][number]> = []
  for (const line of note.slice(end + 2, -1).split("\n")) {
    const [, name, encoded = ""] = signatureForm.exec(line) ?? []
    const signature = base64(encoded)
    if (name === undefined || signature === undefined || signature.length < 5) {
      return Either.left("has a signature line of another form, or is cut")
    }
    signatures.push({ name, id: signature.slice(0, 4), signature: signature.slice(4) })
  }
  return Either.right({ text: note.slice(0, end + 1), signatures })
}

/** Reads the text of a checkpoint. Lines after the root are extensions, which may be there. */
export const parseCheckpoint = (text: string): Either.Either<Checkpoint, string> => {
  const [origin = "", size = "", hash = "", ...extensions] = text.split("\n")
  const root = base64(hash)
  if (origin === "" || extensions.at(-1) !== "" || extensions.slice(0, -1).includes("")) {
    return Either.left("is no checkpoint (origin, size and root, a line each)")
  }
  if (!/^(0|[1-9]\d{0,15})$/.test(size) || !Number.isSafeInteger(Number(size))) {
    return Either.left("has no size in its second line")
  }
  if (root?.length !== 32) return Either.left("has no SHA-256 root in its third line")
  return Either.right({ origin, size: Number(size), root })
}

const publicKeys = new WeakMap<Verifier, crypto.KeyObject>()

const publicKeyOf = (verifier: Verifier): crypto.KeyObject => {
  const known = publicKeys.get(verifier)
  if (known !== undefined) return known
  const key = crypto.createPublicKey({
    key: { kty: "OKP", crv: "Ed25519", x: Buffer.from(verifier.publicKey).toString("base64url") },
    format: "jwk"
  })
  publicKeys.set(verifier, key)
  return key
}

/** What is wrong with the signature of a text, as `signatureOf` gives it; `undefined` when it is the verifier's. */
export const signatureProblem = (text: string, verifier: Verifier, encoded: string): string | undefined => {
  const bytes = base64(encoded)
  if (bytes?.length !== 68) return "is no signature"
  if (!isEqual(bytes.subarray(0, 4), keyId(verifier))) return "is of another key"
  return crypto.verify(null, encoder.encode(text), publicKeyOf(verifier), bytes.subarray(4))
    ? undefined
    : "does not verify"
}

/**
 * Reads a checkpoint and checks its signature. As notes ask for it, signatures of unknown keys are ignored, and one of
 * the known key that fails spoils the whole note.
 */
export const openCheckpoint = (bytes: Uint8Array, verifier: Verifier): Either.Either<Checkpoint, string> =>
  Either.gen(function*() {
    const note = yield* parseNote(bytes)
    const checkpoint = yield* parseCheckpoint(note.text)
    const id = keyId(verifier)
    const known = note.signatures.filter((line) => line.name === verifier.name && isEqual(line.id, id))
    if (known.length === 0) return yield* Either.left("is not signed by the ledger's key")
    const text = encoder.encode(note.text)
    if (!known.every((line) => crypto.verify(null, text, publicKeyOf(verifier), line.signature))) {
      return yield* Either.left("has a signature that does not verify")
    }
    if (checkpoint.origin !== verifier.name) return yield* Either.left("is of another ledger")
    return checkpoint
  })
