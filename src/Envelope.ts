/**
 * The bytes that are sent: one line of RFC 8785 canonical JSON, and their SHA-256, the content hash.
 */
import * as Either from "effect/Either"
import {
  fromUnknown,
  type Kind,
  maxEnvelopeBytes,
  maxTextLength,
  type Operation,
  type OperationId,
  type Timestamp
} from "./Operation.ts"
import { InvalidOperation } from "./TrustlogError.ts"
import * as json from "./internal/json.ts"
import * as sha256 from "./internal/sha256.ts"
import * as utf8 from "./internal/utf8.ts"

/** The version of the form that is written here. */
export const version = 1

/** An operation as it is recorded: nothing left to decide, the payload as canonical JSON text (`null`: none). */
export interface Recorded {
  readonly id: OperationId
  readonly kind: Kind
  readonly occurredAt: Timestamp
  readonly actor: string
  readonly action: string
  readonly target: string
  readonly source: string | null
  readonly payload: string | null
  readonly requestHash: string | null
  readonly responseHash: string | null
  readonly clientIp: string | null
  readonly serverIp: string | null
  readonly traceparent: string | null
}

/** The media type of an envelope's bytes; signatures are made over it as well. */
export const contentType = "application/vnd.trustlog.envelope+json"

/** The bytes to send, and their hash. */
export interface Encoded {
  readonly id: OperationId
  /** What the bytes say. */
  readonly entry: Recorded
  readonly bytes: Uint8Array
  readonly contentHash: string
}

/** Fixes what an operation left open: the time, where it gave none, and the payload's text. */
export const recorded = (operation: Operation, now: Timestamp): Recorded => ({
  id: operation.id,
  kind: operation.kind,
  occurredAt: operation.occurredAt ?? now,
  actor: operation.actor,
  action: operation.action,
  target: operation.target,
  source: operation.source,
  payload: operation.payload === null ? null : json.canonical(operation.payload),
  requestHash: operation.requestHash,
  responseHash: operation.responseHash,
  clientIp: operation.clientIp,
  serverIp: operation.serverIp,
  traceparent: operation.traceparent
})

/** Whether what stands in a payload's place is one. */
type IsPayload = (text: string) => boolean

/** It has just been written, or read, by ourselves. */
const isOwn: IsPayload = () => true

/** That it is canonical as well shows in the hash of what it becomes part of. */
const isJson: IsPayload = (text) => {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/**
 * The same of a text that is known by its hash, if it ends where it did then: reading each payload would cost as much as
 * hashing it. The members behind it are strings, or `false`: so what has taken in some of them ends like those, and as no object
 * or array does.
 */
const isWhole: IsPayload = (text) => {
  const last = text.charCodeAt(text.length - 1)
  switch (text.charCodeAt(0)) {
    case 0x7b:
      return last === 0x7d
    case 0x5b:
      return last === 0x5d
    default:
      return isJson(text)
  }
}

const member = (key: string, value: string | null): string => value === null ? "" : `,"${key}":${json.quoted(value)}`

/**
 * The canonical text. Keys stand in RFC 8785's order (by UTF-16 code unit); a payload that is canonical already is not
 * written again.
 *
 * Different entries have different texts, whatever their rows were changed to: a payload that is no JSON, and so might
 * carry a neighbouring field in its text, gets a place that no canonical text has.
 */
const text = (
  stream: string,
  entry: Recorded,
  isStored: boolean,
  digest: string | null,
  isPayload: IsPayload
): string =>
  `{"action":${json.quoted(entry.action)},"actor":${json.quoted(entry.actor)}` +
  member("clientIp", entry.clientIp) +
  member("contentHash", digest) +
  member("id", entry.id) +
  member("kind", entry.kind) +
  member("occurredAt", entry.occurredAt) +
  (entry.payload === null
    ? ""
    : isPayload(entry.payload)
    ? `,"payload":${entry.payload}`
    : `, "payload":${JSON.stringify(entry.payload)}`) +
  member("requestHash", entry.requestHash) +
  member("responseHash", entry.responseHash) +
  member("serverIp", entry.serverIp) +
  member("source", entry.source) +
  (isStored ? "" : `,"stored":false`) +
  member("stream", stream) +
  member("target", entry.target) +
  member("traceparent", entry.traceparent) +
  `,"v":${version}}`

const encodeText = (entry: Recorded, line: string): Encoded => {
  const bytes = utf8.encode(line)
  return { id: entry.id, entry, bytes, contentHash: sha256.hexOfBytes(bytes) }
}

/**
 * Encodes an entry of a stream. `isStored` is false for entries that have no row (strategy TrustlogOnly), and says so in
 * the envelope.
 */
export const encode = (
  stream: string,
  entry: Recorded,
  options: { readonly isStored: boolean } = { isStored: true }
): Encoded => encodeText(entry, text(stream, entry, options.isStored, null, isJson))

/** The content hash alone. */
export const contentHash = (stream: string, entry: Recorded): string =>
  sha256.hexOfText(text(stream, entry, true, null, isJson))

const tooLarge = (bytes: number): Either.Either<never, InvalidOperation> =>
  Either.left(
    new InvalidOperation({
      field: "payload",
      reason: "tooLarge",
      cure: `makes an envelope of ${bytes} bytes; at most ${maxEnvelopeBytes} are kept, ` +
        "store it elsewhere and record its hash"
    })
  )

/** Encodes an operation that has just been stated; refused when its envelope exceeds 4 MiB. */
export const seal = (
  stream: string,
  operation: Operation,
  now: Timestamp,
  options: { readonly isStored: boolean } = { isStored: true }
): Either.Either<Encoded, InvalidOperation> => {
  const entry = recorded(operation, now)
  const encoded = encodeText(entry, text(stream, entry, options.isStored, null, isOwn))
  return encoded.bytes.length > maxEnvelopeBytes ? tooLarge(encoded.bytes.length) : Either.right(encoded)
}

/** What a row keeps of an envelope. */
export interface Kept {
  readonly entry: Recorded
  readonly contentHash: string
  /** How many bytes the envelope has. */
  readonly bytes: number
}

/** The same as `seal` of what is stored, without the bytes, which are made again when they are sent. */
export const keep = (stream: string, operation: Operation, now: Timestamp): Either.Either<Kept, InvalidOperation> => {
  const entry = recorded(operation, now)
  const line = text(stream, entry, true, null, isOwn)
  const bytes = utf8.length(line)
  return bytes > maxEnvelopeBytes
    ? tooLarge(bytes)
    : Either.right({ entry, contentHash: sha256.hexOfText(line), bytes })
}

/** An envelope that was read: from a log, a ledger or a message. */
export interface Envelope extends Recorded {
  readonly stream: string
  /** False where the sender kept no row of it. */
  readonly isStored: boolean
  /** SHA-256 of the full form's bytes. */
  readonly contentHash: string
  /** Whether this is the digest form, which carries the content hash in place of the payload. */
  readonly isDigest: boolean
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const sha256Hex = /^[0-9a-f]{64}$/

/**
 * Reads an envelope, in full or digest form. Only the canonical bytes are accepted: one entry has one form, or its hash
 * would prove nothing.
 */
export const decode = (bytes: Uint8Array): Either.Either<Envelope, string> => {
  if (bytes.length > maxEnvelopeBytes) return Either.left(`is larger than ${maxEnvelopeBytes} bytes`)
  let value: unknown
  let line: string
  try {
    line = decoder.decode(bytes)
    value = JSON.parse(line)
  } catch {
    return Either.left("is not JSON in UTF-8")
  }
  if (!isObject(value)) return Either.left("is not an object")
  const { contentHash: digest = null, stored, stream, v, ...fields } = value
  if (v !== version) return Either.left(`is not an envelope of version ${version}`)
  if (typeof stream !== "string" || stream === "" || stream.length > maxTextLength || json.textProblem(stream)) {
    return Either.left("names no stream")
  }
  if (digest !== null && (typeof digest !== "string" || !sha256Hex.test(digest) || "payload" in fields)) {
    return Either.left("is neither a full nor a digest form")
  }
  const operation = fromUnknown(fields)
  if (Either.isLeft(operation)) return Either.left(operation.left.message)
  const { occurredAt } = operation.right
  if (occurredAt === undefined) return Either.left("has no time")
  const entry = recorded(operation.right, occurredAt)
  // Comparing with what would have been sent also finds missing ids, duplicate keys and numbers that were not kept.
  const isStored = stored !== false
  if (text(stream, entry, isStored, digest, isOwn) !== line) return Either.left("is not in canonical form")
  return Either.right({
    ...entry,
    stream,
    isStored,
    contentHash: digest ?? sha256.hexOfBytes(bytes),
    isDigest: digest !== null
  })
}

/**
 * The canonical form of a row that plain SQL wrote, whose fields nobody has checked; refused as an operation would be.
 */
export const restate = (row: Recorded): Either.Either<Recorded, InvalidOperation> =>
  Either.gen(function*() {
    const operation = yield* fromUnknown({
      id: row.id,
      kind: row.kind,
      occurredAt: row.occurredAt,
      actor: row.actor,
      action: row.action,
      target: row.target,
      source: row.source,
      // Plain SQL may have put bytes there, which are refused as no JSON value.
      payload: typeof row.payload === "string" ? yield* json.parse(row.payload, ["payload"]) : row.payload,
      requestHash: row.requestHash,
      responseHash: row.responseHash,
      clientIp: row.clientIp,
      serverIp: row.serverIp,
      traceparent: row.traceparent
    })
    return recorded(operation, row.occurredAt)
  })

/** Why a row's envelope must not be sent. */
export interface Unfit {
  readonly reason: "altered" | "schema" | "tooLarge"
  readonly error: string
}

/**
 * The envelope of a row. A row that carries a content hash must still match it; one without, which plain SQL wrote, is
 * sent in the form that `restate` gives it.
 */
export const ofRow = (
  stream: string,
  row: Recorded & { readonly contentHash: string | null }
): Either.Either<Encoded, Unfit> => {
  if (row.contentHash !== null) {
    const encoded = encodeText(row, text(stream, row, true, null, isWhole))
    return encoded.contentHash === row.contentHash
      ? Either.right(encoded)
      : Either.left({ reason: "altered", error: "the row no longer matches its content hash" })
  }
  const entry = restate(row)
  if (Either.isLeft(entry)) return Either.left({ reason: "schema", error: entry.left.message })
  const encoded = encode(stream, entry.right)
  return encoded.bytes.length > maxEnvelopeBytes
    ? Either.left({ reason: "tooLarge", error: `makes an envelope of more than ${maxEnvelopeBytes} bytes` })
    : Either.right(encoded)
}

/**
 * The canonical digest form: the same identifying fields and the content hash, without the payload. It always fits
 * 65,535 bytes, since every other field has a maximum.
 */
export const digestForm = (envelope: Envelope): Uint8Array =>
  utf8.encode(text(envelope.stream, { ...envelope, payload: null }, envelope.isStored, envelope.contentHash, isOwn))
