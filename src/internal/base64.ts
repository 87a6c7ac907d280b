/**
 * Base64 (RFC 4648, the standard alphabet, with padding) on every runtime. The host's own is a hundred times as fast for
 * large envelopes as JavaScript, and edge runtimes may have none.
 */
import * as Either from "effect/Either"
import * as Encoding from "effect/Encoding"

type Bytes = Uint8Array<ArrayBuffer>

interface Codec {
  readonly encode: (bytes: Uint8Array) => string
  /** Of what is no base64, whatever comes of it. */
  readonly decode: (text: string) => Bytes | undefined
}

/** So many bytes become arguments of one call. */
const chunk = 8192

/** What works where there is no `Buffer`. */
export const portable: Codec = {
  encode: (bytes) => {
    let binary = ""
    for (let at = 0; at < bytes.length; at += chunk) {
      binary += String.fromCharCode(...bytes.subarray(at, at + chunk))
    }
    return btoa(binary)
  },
  decode: (text) =>
    Either.match(Encoding.decodeBase64(text), { onLeft: () => undefined, onRight: (bytes) => new Uint8Array(bytes) })
}

const buffer: typeof Buffer | undefined = globalThis.Buffer

const codec: Codec = buffer === undefined ? portable : {
  encode: (bytes) =>
    (bytes instanceof buffer ? bytes : buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)).toString("base64"),
  decode: (text) => new Uint8Array(buffer.from(text, "base64"))
}

export const encode = codec.encode

/** The bytes of a text whose writer need not be held to one form, at half the price. */
export const decodeAny = codec.decode

/** The bytes of a text; `undefined` where it is not the one form that they have. */
export const decode = (text: string): Bytes | undefined => {
  const bytes = codec.decode(text)
  return bytes !== undefined && encode(bytes) === text ? bytes : undefined
}
