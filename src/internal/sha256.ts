/**
 * SHA-256, synchronous on every runtime: a promise per record (WebCrypto) would cost more than the hash.
 * The host's own implementation is five times as fast as JavaScript; edge runtimes without one use the latter.
 * It is asked for at run time and not imported, because edge entry points import no Node module.
 */
import { sha256 } from "@noble/hashes/sha2.js"
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js"

const crypto = globalThis.process?.getBuiltinModule?.("node:crypto")

/** The digest of some bytes. Asked for as a buffer, each would be an allocation outside the heap, and half as fast. */
export const digest: (bytes: Uint8Array) => Uint8Array = crypto?.hash === undefined
  ? sha256
  : (bytes) => Buffer.from(crypto.hash("sha256", bytes, "binary"), "binary")

/** The digest of a text's UTF-8 bytes as 64 lower-case hex digits. */
export const hexOfText: (text: string) => string = crypto?.hash === undefined
  ? (text) => bytesToHex(sha256(utf8ToBytes(text)))
  : (text) => crypto.hash("sha256", text, "hex")

/** The digest of some bytes as 64 lower-case hex digits. */
export const hexOfBytes: (bytes: Uint8Array) => string = crypto?.hash === undefined
  ? (bytes) => bytesToHex(sha256(bytes))
  : (bytes) => crypto.hash("sha256", bytes, "hex")
