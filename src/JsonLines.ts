/**
 * Reads operations from JSON Lines, however large the file: a line that is refused is told by its number and its reason,
 * and reading goes on after it.
 */
import * as Chunk from "effect/Chunk"
import * as Either from "effect/Either"
import * as Stream from "effect/Stream"
import { fromJson, maxEnvelopeBytes, type Operation } from "./Operation.ts"
import { InvalidOperation } from "./TrustlogError.ts"

/**
 * A longer line is refused without being kept. Writers that escape all that is not ASCII need up to three bytes for one
 * of UTF-8, so that this refuses no line whose envelope would be small enough.
 */
export const maxLineBytes = 3 * maxEnvelopeBytes

/** A line that is not blank. */
export interface Line {
  /** Counted from 1 over all lines, blank ones included, as an editor does. */
  readonly line: number
  readonly result: Either.Either<Operation, InvalidOperation>
}

const lineFeed = 0x0a

const tooLong = Either.left(
  new InvalidOperation({
    field: "",
    reason: "tooLarge",
    cure: `the line is longer than ${maxLineBytes} bytes; store the payload elsewhere and record its hash`
  })
)

const notUtf8 = Either.left(
  new InvalidOperation({ field: "", reason: "encoding", cure: "the line is not UTF-8; write the file in UTF-8" })
)

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

/** `undefined` for a blank line. */
const parse = (line: number, bytes: Uint8Array): Line["result"] | undefined => {
  if (bytes.length > maxLineBytes) return tooLong
  let text: string
  try {
    text = utf8.decode(bytes)
  } catch {
    return notUtf8
  }
  // Some editors begin a file with a byte order mark. A CR at the end is white space to JSON.
  if (line === 1 && text.startsWith("\ufeff")) text = text.slice(1)
  return text.trim() === "" ? undefined : fromJson(text)
}

const nothing = new Uint8Array(0)

/** Reads bytes in pieces of any size; the state between them is the line that has not ended yet. */
const makeReader = () => {
  let line = 1
  let buffer = nothing
  let length = 0
  let isTooLong = false

  const keep = (bytes: Uint8Array): void => {
    isTooLong ||= length + bytes.length > maxLineBytes
    if (isTooLong) {
      buffer = nothing
      length = 0
      return
    }
    if (length + bytes.length > buffer.length) {
      const larger = new Uint8Array(Math.max(2 * buffer.length, length + bytes.length))
      larger.set(buffer.subarray(0, length))
      buffer = larger
    }
    buffer.set(bytes, length)
    length += bytes.length
  }

  const end = (rest: Uint8Array, lines: Array<Line>): Array<Line> => {
    let bytes = rest
    if (length > 0 || isTooLong) {
      keep(rest)
      bytes = buffer.subarray(0, length)
    }
    const result = isTooLong ? tooLong : parse(line, bytes)
    if (result !== undefined) lines.push({ line, result })
    line++
    length = 0
    isTooLong = false
    return lines
  }

  return {
    read: (bytes: Uint8Array): Array<Line> => {
      const lines: Array<Line> = []
      let start = 0
      for (let next = bytes.indexOf(lineFeed); next !== -1; next = bytes.indexOf(lineFeed, start)) {
        end(bytes.subarray(start, next), lines)
        start = next + 1
      }
      // Copied, since whoever owns the bytes may write the next ones over them.
      keep(bytes.subarray(start))
      return lines
    },
    end: (): Array<Line> => end(nothing, [])
  }
}

/**
 * The operations of a file or of standard input, in chunks of what each piece of it completes. Lines end at LF only (a
 * CR before it is dropped), and the last one need not; blank lines are skipped; a byte order mark at the beginning is
 * dropped. One piece and one line are kept in memory.
 */
export const fromBytes = <E, R>(bytes: Stream.Stream<Uint8Array, E, R>): Stream.Stream<Line, E, R> =>
  Stream.suspend(() => {
    const reader = makeReader()
    return bytes.pipe(
      Stream.map(reader.read),
      Stream.concat(Stream.sync(reader.end)),
      Stream.map(Chunk.unsafeFromArray),
      Stream.flattenChunks
    )
  })
