/**
 * The proof of a delivery: one receipt for every settled batch, chained within its lane. It names each record, the hash
 * of what was sent, and what the log calls it.
 */
import { bytesToHex } from "@noble/hashes/utils.js"
import * as Either from "effect/Either"
import * as merkle from "./internal/merkle.ts"
import * as sha256 from "./internal/sha256.ts"

/** One delivered record. */
export interface Leaf {
  readonly position: number
  readonly id: string
  /** SHA-256 of the envelope's unsigned bytes, in hex. */
  readonly contentHash: string
  /** Whether the row carried that hash itself when it was delivered. */
  readonly isHashed: boolean
  /** The log's name for the record, 1 to 255 bytes. */
  readonly messageId: Uint8Array
}

/** A row of `trustlog_receipt`. */
export interface Receipt {
  readonly lane: string
  /** 1, 2, 3 … within the lane. */
  readonly sequence: number
  /** The hash of the lane's previous receipt; 64 zeros for the first. */
  readonly previous: string
  readonly firstPosition: number
  readonly lastPosition: number
  readonly count: number
  readonly topic: string
  /** RFC 6962 root over the encoded leaves, in hex. */
  readonly root: string
  readonly leaves: Uint8Array
  /** The signed state of the ledger that includes the batch; `null` where the log has none. */
  readonly ledger: { readonly size: number; readonly root: string } | null
  readonly deliveredAt: string
  readonly purgedAt: string | null
  readonly purgeSignature: string | null
}

/** What the first receipt of a lane names as its previous one. */
export const genesis = "0".repeat(64)

// A leaf is: flags (1 byte, bit 0: the row carried its hash), id (16), content hash (32), the position's offset from the
// receipt's first (LEB128), length of the message id (1), message id. About 60 bytes for a ledger, 66 for Pulsar.

/** A leaf without its offset and its message id, and the most bytes that an offset takes. */
const fixedBytes = 50
const longestOffset = 8

/** What a character is worth as a hex digit, by its code; 255 for what is none. */
const digits = Uint8Array.from({ length: 128 }, (_, code) => {
  const digit = Number.parseInt(String.fromCharCode(code), 16)
  return Number.isNaN(digit) ? 255 : digit
})

const hyphen = 45

/** Writes hex digits as bytes, leaving out the hyphens of a UUID, and returns where they end. */
const writeHex = (hex: string, into: Uint8Array, start: number): number => {
  let at = start
  for (let i = 0; i < hex.length;) {
    const code = hex.charCodeAt(i)
    if (code === hyphen) {
      i++
      continue
    }
    const high = digits[code] ?? 255
    const low = digits[hex.charCodeAt(i + 1)] ?? 255
    if ((high | low) > 15) throw new RangeError(`a leaf holds ids and hashes in hex, which ${hex} is not`)
    into[at++] = high << 4 | low
    i += 2
  }
  return at
}

/** Writes a leaf, and returns where it ends. */
const writeLeaf = (leaf: Leaf, firstPosition: number, into: Uint8Array, start: number): number => {
  // A longer one would be written as another and found as tampering much later.
  if (leaf.messageId.length > 255) throw new RangeError("a message id holds at most 255 bytes")
  into[start] = leaf.isHashed ? 1 : 0
  let at = writeHex(leaf.contentHash, into, writeHex(leaf.id, into, start + 1))
  if (at !== start + 49) throw new RangeError(`${leaf.id} and ${leaf.contentHash} are no id and no hash`)
  let rest = leaf.position - firstPosition
  while (rest >= 0x80) {
    into[at++] = (rest % 0x80) | 0x80
    rest = Math.floor(rest / 0x80)
  }
  into[at++] = rest
  into[at++] = leaf.messageId.length
  into.set(leaf.messageId, at)
  return at + leaf.messageId.length
}

const uuidOf = (hex: string): string =>
  `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`

/** What a batch's receipt holds of its leaves: they are sorted by position, and at least one. */
export const seal = (
  delivered: ReadonlyArray<Leaf>
): Pick<Receipt, "firstPosition" | "lastPosition" | "count" | "root" | "leaves"> => {
  const leaves = [...delivered].sort((a, b) => a.position - b.position)
  const firstPosition = leaves[0]?.position ?? 0
  // One allocation for all: there is a leaf for every record.
  const blob = new Uint8Array(
    leaves.reduce((sum, { messageId }) => sum + fixedBytes + longestOffset + messageId.length, 0)
  )
  const hashes: Array<Uint8Array> = []
  let at = 0
  for (const leaf of leaves) {
    const end = writeLeaf(leaf, firstPosition, blob, at)
    hashes.push(merkle.leafHash(blob.subarray(at, end)))
    at = end
  }
  return {
    firstPosition,
    lastPosition: leaves.at(-1)?.position ?? 0,
    count: leaves.length,
    root: bytesToHex(merkle.root(hashes)),
    leaves: blob.slice(0, at)
  }
}

/** Reads a receipt's leaves and checks them against its count, positions and root; says what does not agree. */
export const open = (receipt: Receipt): Either.Either<ReadonlyArray<Leaf>, string> => {
  const bytes = receipt.leaves
  const leaves: Array<Leaf> = []
  const hashes: Array<Uint8Array> = []
  let at = 0
  while (at < bytes.length) {
    const start = at
    let offset = 0
    let unit = 1
    at += 49
    while ((bytes[at] ?? 0) >= 0x80) {
      offset += ((bytes[at] ?? 0) & 0x7f) * unit
      unit *= 0x80
      at++
    }
    offset += (bytes[at] ?? 0) * unit
    const end = at + 2 + (bytes[at + 1] ?? 0)
    if (end > bytes.length) return Either.left("its leaves are cut")
    const flags = bytes[start] ?? 0
    if (flags > 1) return Either.left("its leaves are of an unknown form")
    leaves.push({
      position: receipt.firstPosition + offset,
      id: uuidOf(bytesToHex(bytes.subarray(start + 1, start + 17))),
      contentHash: bytesToHex(bytes.subarray(start + 17, start + 49)),
      isHashed: flags === 1,
      messageId: bytes.slice(at + 2, end)
    })
    hashes.push(merkle.leafHash(bytes.subarray(start, end)))
    at = end
  }
  if (leaves.length === 0 || leaves.length !== receipt.count) return Either.left("its leaves do not match its count")
  if (leaves.at(-1)?.position !== receipt.lastPosition) return Either.left("its leaves do not match its positions")
  if (bytesToHex(merkle.root(hashes)) !== receipt.root) return Either.left("its leaves do not match its root")
  return Either.right(leaves)
}

/**
 * The hash that the lane's next receipt, and the lane's row for its newest, carry. It leaves out what a purge adds later.
 */
export const hash = (receipt: Receipt): string =>
  // The keys are sorted, which makes this RFC 8785; a library that writes it would throw on what a tampered row may hold.
  sha256.hexOfText(JSON.stringify({
    count: receipt.count,
    deliveredAt: receipt.deliveredAt,
    firstPosition: receipt.firstPosition,
    lane: receipt.lane,
    lastPosition: receipt.lastPosition,
    ledger: receipt.ledger === null ? null : { root: receipt.ledger.root, size: receipt.ledger.size },
    previous: receipt.previous,
    root: receipt.root,
    sequence: receipt.sequence,
    topic: receipt.topic
  }))

/** What a receipt shows whose columns may hold anything by now. */
export interface Inspected {
  /** `undefined` where it cannot be worked out. */
  readonly hash: string | undefined
  readonly leaves: Either.Either<ReadonlyArray<Leaf>, string>
}

/** Works the hash out and reads the leaves of a receipt that nobody vouches for. */
export const inspect = (receipt: Receipt): Inspected => {
  try {
    return { hash: hash(receipt), leaves: open(receipt) }
  } catch {
    return { hash: undefined, leaves: Either.left("holds what no receipt does") }
  }
}

/** How commands and findings name a receipt. */
export const nameOf = (lane: string, sequence: number): string => `receipt/${lane}/${sequence}`
