/**
 * Base64 (RFC 4648 section 4), by the host's own code where it has some: that is ten times as fast.
 */
import * as Encoding from "effect/Encoding"

const { Buffer } = globalThis

/** With padding. */
export const encode: (bytes: Uint8Array) => string = Buffer === undefined
  ? Encoding.encodeBase64
  : (bytes) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64")
