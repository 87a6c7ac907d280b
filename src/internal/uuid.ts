/**
 * UUIDv7: ids that sort by time. Random bytes are drawn for many of them at once, because a draw costs ten times as much as the
 * rest of an id.
 */
import { v7 } from "uuid"

const bytesPerId = 16
const pool = new Uint8Array(256 * bytesPerId)
let used = pool.length

/** Bytes that no other id has. */
const random = (): Uint8Array => {
  if (used === pool.length) {
    crypto.getRandomValues(pool)
    used = 0
  }
  return pool.subarray(used, used += bytesPerId)
}

let msecs = -Infinity
let seq = 0

/** The next one. Within a millisecond, and while the clock stands back, they are counted from a random number (RFC 9562, 6.2). */
export const next = (): string => {
  const bytes = random()
  const now = Date.now()
  if (now > msecs) {
    msecs = now
    // Half of the numbers are left to count to.
    seq = new DataView(bytes.buffer, bytes.byteOffset).getUint32(6) >>> 1
  } else {
    seq = (seq + 1) >>> 0
    if (seq === 0) msecs++
  }
  return v7({ random: bytes, msecs, seq })
}
