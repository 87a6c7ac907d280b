/**
 * Whether a row of `operation` is what was recorded, by its own word and by a receipt's.
 */
import * as Either from "effect/Either"
import * as Envelope from "../../Envelope.ts"
import { kindOfLane } from "../../Operation.ts"
import type { Leaf, Receipt } from "../../Receipt.ts"
import type { Accounted, Size, StoredRow } from "../../Repository.ts"

/** So many rows, and about so many bytes of payloads, are in memory at once. */
const maxRead = { rows: 500, bytes: 8 * 1024 * 1024 } as const

/** The positions of rows, in chunks that can be read at once. */
export const chunks = (sizes: ReadonlyArray<Size>): ReadonlyArray<ReadonlyArray<number>> => {
  const all: Array<Array<number>> = []
  let chunk: Array<number> = []
  let bytes = 0
  for (const size of sizes) {
    bytes += size.bytes
    if (chunk.length === 0 || chunk.length === maxRead.rows || !(bytes <= maxRead.bytes)) {
      chunk = []
      all.push(chunk)
      bytes = size.bytes
    }
    chunk.push(size.position)
  }
  return all
}

/** Nothing, on a row that carries no content hash of its own; otherwise what is wrong with the row. */
export const problem = (stream: string, row: StoredRow): string | undefined => {
  const texts: ReadonlyArray<unknown> = [
    row.id,
    row.kind,
    row.lane,
    row.occurredAt,
    row.actor,
    row.action,
    row.target,
    row.source,
    row.payload,
    row.requestHash,
    row.responseHash,
    row.clientIp,
    row.serverIp,
    row.traceparent,
    row.contentHash
  ]
  // Bytes in place of text would be taken for the text that they spell.
  if (texts.some((text) => text !== null && typeof text !== "string")) return "holds bytes where text was recorded"
  if (!Number.isSafeInteger(row.position)) return "stands at a position that the database never gave"
  // Plain SQL wrote it, and may have done so with little care; what is sent is checked at delivery.
  if (row.contentHash === null) return undefined
  if (Envelope.contentHash(stream, row) !== row.contentHash) return "no longer matches its content hash"
  if (Buffer.byteLength(row.payload ?? "") !== row.payloadBytes) return "says another size than its payload has"
  return kindOfLane(row.lane) === row.kind ? undefined : "is in a lane of the other kind"
}

/** The hash of what is sent for a row, or why nothing can be. */
const sentHash = (stream: string, row: StoredRow): Either.Either<string, string> =>
  Either.mapBoth(Envelope.ofRow(stream, row), {
    onLeft: (unfit) => unfit.error,
    onRight: (encoded) => encoded.contentHash
  })

/** How a delivered row differs from what its receipt says. */
export const contradiction = (stream: string, row: StoredRow, leaf: Leaf, receipt: Receipt): string | undefined => {
  if (row.id !== leaf.id) return `its row, at position ${row.position}, now says that it is ${row.id}`
  if (row.lane !== receipt.lane) return `was delivered in lane ${receipt.lane}, and its row says ${row.lane}`
  const own = problem(stream, row)
  if (own !== undefined) return own
  if (row.contentHash === null) {
    if (leaf.isHashed) return "has lost its content hash"
    const sent = sentHash(stream, row)
    if (Either.isLeft(sent)) return `is not what was delivered: ${sent.left}`
    return sent.right === leaf.contentHash ? undefined : "is not what was delivered, by its receipt"
  }
  return row.contentHash === leaf.contentHash ? undefined : "is not what was delivered, by its receipt"
}

/** How a row differs from an entry of the ledger that no receipt names. */
export const differs = (stream: string, row: StoredRow, contentHash: string): boolean => {
  const sent = sentHash(stream, row)
  return Either.isLeft(sent) || sent.right !== contentHash
}

/** Where a row waits, as the tables say it. */
export const waits = (row: Accounted): ReadonlyArray<"pending" | "retrying" | "dead"> => [
  ...row.isPending ? ["pending" as const] : [],
  ...row.retryState === null ? [] : [row.retryState === "dead" ? "dead" as const : "retrying" as const]
]

/** What is wrong with the retry of a row. */
export const retryProblem = (row: Accounted): string | undefined => {
  const state: string | null = row.retryState
  if (state === null) return undefined
  if (state !== "waiting" && state !== "dead") return `has a retry in a state that does not exist, ${state}`
  return row.retryLane === row.lane ? undefined : `is retried in lane ${row.retryLane}, and its row says ${row.lane}`
}

/** Whether a row is to be delivered at all. */
export const isForLog = (row: Accounted): boolean => row.strategy !== "DbOnly" || row.isPromoted
