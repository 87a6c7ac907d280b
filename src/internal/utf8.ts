/**
 * UTF-8 on every runtime. There is a text for every record: the host's own pool of bytes costs less than an allocation
 * outside the heap for each, and edge runtimes may have none.
 */
const buffer: typeof Buffer | undefined = globalThis.Buffer
const encoder = new TextEncoder()

/** The bytes of a text. */
export const encode: (text: string) => Uint8Array = buffer === undefined
  ? (text) => encoder.encode(text)
  : (text) => buffer.from(text, "utf8")
