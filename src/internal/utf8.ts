/**
 * UTF-8 on every runtime. There is a text for every record: a piece of a large buffer costs less than an allocation for
 * each, and edge runtimes may have no `Buffer`.
 */
const buffer: typeof Buffer | undefined = globalThis.Buffer
const encoder = new TextEncoder()

/** So many bytes are shared by texts that follow each other, and stay as long as one of them does. */
const sharedBytes = 256 * 1024

/** A larger text has a buffer of its own. */
const longestShared = sharedBytes / 16

/** A UTF-16 code unit takes so many bytes at most. */
const most = 3

const shared = (host: typeof Buffer): (text: string) => Uint8Array => {
  let pool = host.alloc(0)
  let used = 0
  return (text) => {
    const room = text.length * most
    if (room > longestShared) return host.from(text, "utf8")
    if (room > pool.length - used) {
      pool = host.allocUnsafeSlow(sharedBytes)
      used = 0
    }
    const start = used
    used += pool.write(text, start)
    return pool.subarray(start, used)
  }
}

/** How many bytes a text has. */
export const length: (text: string) => number = buffer === undefined
  ? (text) => encoder.encode(text).length
  : (text) => buffer.byteLength(text, "utf8")

/** The bytes of a text. */
export const encode: (text: string) => Uint8Array = buffer === undefined
  ? (text) => encoder.encode(text)
  : shared(buffer)
