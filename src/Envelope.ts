/**
 * The bytes that are sent: one line of RFC 8785 canonical JSON, and their SHA-256, the content hash.
 */
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import {
  IpAddress,
  Kind,
  maxEnvelopeBytes,
  type Operation,
  OperationId,
  Sha256,
  Text,
  Timestamp,
  Traceparent
} from "./Operation.ts"
import { InvalidOperation } from "./TrustlogError.ts"
import * as json from "./internal/json.ts"
import * as sha256 from "./internal/sha256.ts"

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

/** The bytes to send, and their hash. */
export interface Encoded {
  readonly id: OperationId
  readonly bytes: Uint8Array
  readonly contentHash: string
  readonly traceparent: string | null
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

const member = (key: string, value: string | null): string => value === null ? "" : `,"${key}":${JSON.stringify(value)}`

/**
 * The canonical text. Keys stand in RFC 8785's order (by UTF-16 code unit) and `JSON.stringify` writes a well-formed
 * string as the RFC does, so that a payload that is canonical already need not be parsed again.
 */
const text = (
  stream: string,
  entry: Recorded,
  options: { readonly isStored: boolean; readonly contentHash: string | null }
): string =>
  `{"action":${JSON.stringify(entry.action)},"actor":${JSON.stringify(entry.actor)}` +
  member("clientIp", entry.clientIp) +
  member("contentHash", options.contentHash) +
  `,"id":"${entry.id}","kind":"${entry.kind}","occurredAt":"${entry.occurredAt}"` +
  (entry.payload === null ? "" : `,"payload":${entry.payload}`) +
  member("requestHash", entry.requestHash) +
  member("responseHash", entry.responseHash) +
  member("serverIp", entry.serverIp) +
  member("source", entry.source) +
  (options.isStored ? "" : `,"stored":false`) +
  `,"stream":${JSON.stringify(stream)},"target":${JSON.stringify(entry.target)}` +
  member("traceparent", entry.traceparent) +
  `,"v":${version}}`

const encoder = new TextEncoder()

/**
 * Encodes an entry of a stream. `isStored` is false for entries that have no row (strategy TrustlogOnly), and says so in
 * the envelope.
 */
export const encode = (
  stream: string,
  entry: Recorded,
  options: { readonly isStored: boolean } = { isStored: true }
): Encoded => {
  const line = text(stream, entry, { ...options, contentHash: null })
  return {
    id: entry.id,
    bytes: encoder.encode(line),
    contentHash: sha256.hexOfText(line),
    traceparent: entry.traceparent
  }
}

/** The content hash alone. */
export const contentHash = (stream: string, entry: Recorded): string =>
  sha256.hexOfText(text(stream, entry, { isStored: true, contentHash: null }))

/** Encodes an operation that has just been stated; refused when its envelope exceeds 4 MiB. */
export const seal = (
  stream: string,
  operation: Operation,
  now: Timestamp,
  options: { readonly isStored: boolean } = { isStored: true }
): Either.Either<{ readonly entry: Recorded; readonly encoded: Encoded }, InvalidOperation> => {
  const entry = recorded(operation, now)
  const encoded = encode(stream, entry, options)
  return encoded.bytes.length > maxEnvelopeBytes
    ? Either.left(
      new InvalidOperation({
        field: "payload",
        reason: "tooLarge",
        cure: `makes an envelope of ${encoded.bytes.length} bytes; at most ${maxEnvelopeBytes} are kept, ` +
          "store it elsewhere and record its hash"
      })
    )
    : Either.right({ entry, encoded })
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

const absent = <A, I>(schema: Schema.Schema<A, I>) =>
  Schema.optionalWith(Schema.NullOr(schema), { default: () => null })

const Wire = Schema.Struct({
  v: Schema.Literal(version),
  stream: Schema.String,
  id: OperationId,
  kind: Kind,
  occurredAt: Timestamp,
  actor: Text,
  action: Text,
  target: Text,
  source: absent(Text),
  payload: Schema.optionalWith(Schema.Unknown, { default: () => null }),
  requestHash: absent(Sha256),
  responseHash: absent(Sha256),
  clientIp: absent(IpAddress),
  serverIp: absent(IpAddress),
  traceparent: absent(Traceparent),
  stored: Schema.optionalWith(Schema.Boolean, { default: () => true }),
  contentHash: absent(Sha256)
})

const decodeWire = Schema.decodeUnknownEither(Wire, { onExcessProperty: "error" })

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

/**
 * Reads an envelope, in full or digest form. Only the canonical bytes are accepted: one entry has one form, or its hash
 * would prove nothing.
 */
export const decode = (bytes: Uint8Array): Either.Either<Envelope, string> => {
  let value: unknown
  let line: string
  try {
    line = utf8.decode(bytes)
    value = JSON.parse(line)
  } catch {
    return Either.left("is not JSON in UTF-8")
  }
  const wire = decodeWire(value)
  if (Either.isLeft(wire)) return Either.left(`is not an envelope: ${wire.left.message}`)
  const { contentHash: digest, payload, stored: isStored, stream, v: _, ...fields } = wire.right
  const entry: Recorded = { ...fields, payload: payload === null ? null : json.canonical(payload) }
  if (text(stream, entry, { isStored, contentHash: digest }) !== line) return Either.left("is not in canonical form")
  return Either.right({
    ...entry,
    stream,
    isStored,
    contentHash: digest ?? sha256.hexOfText(line),
    isDigest: digest !== null
  })
}

/**
 * The canonical digest form: the same identifying fields and the content hash, without the payload. It always fits
 * 65,535 bytes, since every other field has a maximum.
 */
export const digestForm = (envelope: Envelope): Uint8Array =>
  encoder.encode(
    text(envelope.stream, { ...envelope, payload: null }, {
      isStored: envelope.isStored,
      contentHash: envelope.contentHash
    })
  )
