/**
 * Pulsar's names for what it holds: the first four fields of its protobuf message `MessageIdData`, which its clients read.
 * A fifth and more say how a message was read; with them two names of one message would differ.
 */
import * as base64 from "../base64.ts"

/** `partition` is -1 on a topic without partitions, `batch` is -1 for a message that was stored by itself. */
export interface MessageId {
  readonly ledger: bigint
  readonly entry: bigint
  readonly partition: number
  readonly batch: number
}

const varint = (value: bigint, into: Array<number>): void => {
  let rest = BigInt.asUintN(64, value)
  while (rest > 127n) {
    into.push(Number(rest & 127n) | 128)
    rest >>= 7n
  }
  into.push(Number(rest))
}

/** As bytes: 4 to 40. */
export const pack = ({ batch, entry, ledger, partition }: MessageId): Uint8Array => {
  const bytes: Array<number> = [1 << 3]
  varint(ledger, bytes)
  bytes.push(2 << 3)
  varint(entry, bytes)
  if (partition >= 0) {
    bytes.push(3 << 3)
    varint(BigInt(partition), bytes)
  }
  if (batch >= 0) {
    bytes.push(4 << 3)
    varint(BigInt(batch), bytes)
  }
  return Uint8Array.from(bytes)
}

/** Reads bytes of any length; `undefined` where they are none of Pulsar's. */
export const unpack = (bytes: Uint8Array): MessageId | undefined => {
  const fields = new Map<number, bigint>()
  let at = 0
  const next = (): bigint | undefined => {
    let value = 0n
    for (let shift = 0n; at < bytes.length && shift < 70n; shift += 7n) {
      const byte = bytes[at++] ?? 0
      value |= BigInt(byte & 127) << shift
      if (byte < 128) return BigInt.asUintN(64, value)
    }
    return undefined
  }
  while (at < bytes.length) {
    const tag = next()
    if (tag === undefined) return undefined
    const value = next()
    if (value === undefined) return undefined
    const kind = Number(tag & 7n)
    // Of fields that hold bytes none matters here.
    if (kind === 2) at += Number(value)
    else if (kind === 0) fields.set(Number(tag >> 3n), value)
    else return undefined
  }
  const [ledger, entry] = [fields.get(1), fields.get(2)]
  if (ledger === undefined || entry === undefined || at !== bytes.length) return undefined
  const small = (field: number): number => Number(BigInt.asIntN(32, fields.get(field) ?? -1n))
  return { ledger: BigInt.asIntN(64, ledger), entry: BigInt.asIntN(64, entry), partition: small(3), batch: small(4) }
}

/** From what the WebSocket interface gives. */
export const ofBase64 = (text: string): MessageId | undefined => {
  const bytes = base64.decodeAny(text)
  return bytes === undefined ? undefined : unpack(bytes)
}

/** Where the varint ends that begins at some place; `undefined` unless it is written at its shortest, in so many bytes at most. */
const endOfShort = (bytes: Uint8Array, start: number, longest: number): number | undefined => {
  for (let at = start; at < start + longest; at++) {
    const byte = bytes[at]
    if (byte === undefined) return undefined
    if (byte < 128) return byte === 0 && at > start ? undefined : at + 1
  }
  return undefined
}

/** How much of some bytes is what `pack` makes of them; `undefined` where that takes reading them. */
const packedPart = (bytes: Uint8Array): number | undefined => {
  let packed = 0
  let before = 0
  for (let at = 0; at < bytes.length;) {
    const tag = bytes[at] ?? 0
    const field = tag >> 3
    // The fields that count stand in order, ledger and entry always; seven bytes hold no negative number, four hold an index.
    if ((tag & 0x87) !== 0 || field <= before || (before < 2 && field !== before + 1)) return undefined
    const end = endOfShort(bytes, at + 1, field <= 2 ? 7 : 4)
    if (end === undefined) return undefined
    if (field <= 4) packed = end
    before = field
    at = end
  }
  return before < 2 ? undefined : packed
}

/**
 * The same as reading what the WebSocket interface gives and packing it, and `undefined` for what was dropped; there is one
 * for every record, and almost all are as `pack` writes them.
 */
export const packedOfBase64 = (text: string): Uint8Array | undefined => {
  const bytes = base64.decodeAny(text)
  if (bytes === undefined) return undefined
  const part = packedPart(bytes)
  if (part !== undefined) return bytes.slice(0, part)
  const id = unpack(bytes)
  return id === undefined || isDropped(id) ? undefined : pack(id)
}

/** From what the native client prints: `(ledger,entry,partition,batch)`; of a message in chunks, its last one's. */
export const ofText = (text: string): MessageId | undefined => {
  const [, ledger, entry, partition, batch] = /\((-?\d+),(-?\d+),(-?\d+),(-?\d+)\)$/.exec(text) ?? []
  return ledger === undefined || entry === undefined
    ? undefined
    : { ledger: BigInt(ledger), entry: BigInt(entry), partition: Number(partition), batch: Number(batch) }
}

/** For people. */
export const format = ({ batch, entry, ledger, partition }: MessageId): string =>
  [ledger, entry, ...partition < 0 && batch < 0 ? [] : [partition], ...batch < 0 ? [] : [batch]].join(":")

/** Whether a broker has dropped a message as one that it has already: with producers that have no name it never does. */
export const isDropped = ({ entry, ledger }: MessageId): boolean => ledger < 0n || entry < 0n
