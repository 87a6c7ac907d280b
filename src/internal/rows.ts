/**
 * Rows of the tables as the drivers give them, and what they mean. Numbers may come as text or big integers, depending
 * on the driver. Written by hand because decoding a row through Schema costs more than reading it.
 */
import * as Brand from "effect/Brand"
import type { Kept, Recorded } from "../Envelope.ts"
import type { Kind, Lane, OperationId, Timestamp } from "../Operation.ts"
import type * as Publisher from "../Publisher.ts"
import type { Receipt } from "../Receipt.ts"
import type { Accounted, DeadLetter, Retry, Row, Size, StoredRow } from "../Repository.ts"
import * as utf8 from "./utf8.ts"

type Numeric = number | string | bigint

/** The columns that an INSERT gives, in its order; the others are the database's to give. */
export const newColumns = [
  "id",
  "kind",
  "lane",
  "strategy",
  "occurred_at",
  "actor",
  "action",
  "target",
  "source",
  "payload",
  "payload_bytes",
  "request_hash",
  "response_hash",
  "client_ip",
  "server_ip",
  "traceparent",
  "content_hash"
] as const

/** The columns of `operation` that make a row, in the order of the table. */
export const operationColumns = ["position", ...newColumns] as const

/** What delivery does not ask for, or asks for in its own way: each column costs as much as hashing a short text. */
const notDelivered: ReadonlyArray<string> = ["lane", "strategy", "payload", "payload_bytes"]

/** Columns of a table as they are selected. */
const selected = (names: ReadonlyArray<string>) => Object.fromEntries(names.map((name) => [name, `o.${name}`]))

/** The columns of `operation o` that make a stored row. */
export const storedColumns = selected(operationColumns)

/** What a page of `operation o` and `trustlog_pending p` is read by, but for the payload. */
export const pageColumns = {
  ...selected(operationColumns.filter((name) => !notDelivered.includes(name))),
  other_lane: "NULLIF(o.lane, p.lane)"
}

interface DeliveredRow {
  readonly position: Numeric
  readonly id: string
  readonly kind: Kind
  readonly occurred_at: string
  readonly actor: string
  readonly action: string
  readonly target: string
  readonly source: string | null
  readonly payload: string | null
  readonly request_hash: string | null
  readonly response_hash: string | null
  readonly client_ip: string | null
  readonly server_ip: string | null
  readonly traceparent: string | null
  readonly content_hash: string | null
}

export interface PageRow extends DeliveredRow {
  /** The lane that the row names, where it is not the one that it is pending in. */
  readonly other_lane: string | null
}

export interface OperationRow extends DeliveredRow {
  readonly lane: string
  readonly strategy: "DbOnly" | "DbAndTrustlog"
  readonly payload_bytes: Numeric
}

// A row is taken as it stands, whatever it holds: whether it is what was recorded is decided by its hash.
export const lane = Brand.nominal<Lane>()
const operationId = Brand.nominal<OperationId>()
const timestamp = Brand.nominal<Timestamp>()

const recorded = (r: DeliveredRow): Recorded & Pick<Row, "position" | "contentHash"> => ({
  position: Number(r.position),
  id: operationId(r.id),
  kind: r.kind,
  occurredAt: timestamp(r.occurred_at),
  actor: r.actor,
  action: r.action,
  target: r.target,
  source: r.source,
  payload: r.payload,
  requestHash: r.request_hash,
  responseHash: r.response_hash,
  clientIp: r.client_ip,
  serverIp: r.server_ip,
  traceparent: r.traceparent,
  contentHash: r.content_hash
})

/** A row that is pending in a lane. */
export const pending = (r: PageRow, of: Lane): Row => ({
  ...recorded(r),
  lane: r.other_lane === null ? of : lane(r.other_lane)
})

export const row = (r: OperationRow): StoredRow => ({
  ...recorded(r),
  lane: lane(r.lane),
  strategy: r.strategy,
  payloadBytes: Number(r.payload_bytes)
})

const decoder = new TextDecoder()

/** Reads the values of a row, of which a dialect has made one of JSON. */
export const parsed = (json: unknown): ReadonlyArray<unknown> =>
  JSON.parse(json instanceof Uint8Array ? decoder.decode(json) : String(json))

/** Names the values of a row. It must be fast, and what makes objects of entries is not. */
export const named = <A extends object>(names: ReadonlyArray<string>, values: ReadonlyArray<unknown>): A => {
  const row = Object.create(Object.prototype)
  for (const [i, name] of names.entries()) row[name] = values[i]
  return row
}

/** A row to be inserted. */
export interface NewRow extends Record<typeof newColumns[number], string | number | null> {
  readonly id: OperationId
  readonly lane: Lane
  readonly strategy: "DbOnly" | "DbAndTrustlog"
  readonly occurred_at: Timestamp
  /** Whether the id was made for this row, so that nobody else can have it. */
  readonly isIdNew: boolean
}

export const toRow = (
  { contentHash, entry }: Kept,
  more: {
    readonly lane: Lane
    readonly strategy: "DbOnly" | "DbAndTrustlog"
    readonly isIdNew: boolean
  }
): NewRow => ({
  id: entry.id,
  kind: entry.kind,
  lane: more.lane,
  strategy: more.strategy,
  occurred_at: entry.occurredAt,
  actor: entry.actor,
  action: entry.action,
  target: entry.target,
  source: entry.source,
  payload: entry.payload,
  payload_bytes: entry.payload === null ? 0 : utf8.length(entry.payload),
  request_hash: entry.requestHash,
  response_hash: entry.responseHash,
  client_ip: entry.clientIp,
  server_ip: entry.serverIp,
  traceparent: entry.traceparent,
  content_hash: contentHash,
  isIdNew: more.isIdNew
})

export interface RetryRow extends OperationRow {
  readonly attempts: Numeric
  readonly reason: Publisher.Reason
  readonly is_lapsed: Numeric
}

export const retry = (r: RetryRow): Retry => ({
  ...row(r),
  attempts: Number(r.attempts),
  reason: r.reason,
  isLapsed: Number(r.is_lapsed) === 1
})

export interface DeadLetterRow extends OperationRow {
  readonly attempts: Numeric
  readonly reason: Publisher.Reason
  readonly error: string
  readonly first_failed_at: string
  readonly last_failed_at: string
}

export const deadLetter = (r: DeadLetterRow): DeadLetter => ({
  ...row(r),
  attempts: Number(r.attempts),
  reason: r.reason,
  error: r.error,
  firstFailedAt: r.first_failed_at,
  lastFailedAt: r.last_failed_at
})

export interface AccountedRow extends OperationRow {
  readonly is_pending: Numeric
  readonly retry_state: "waiting" | "dead" | null
  readonly retry_lane: string | null
  readonly is_promoted: Numeric
}

export const accounted = (r: AccountedRow): Accounted => ({
  ...row(r),
  isPending: Number(r.is_pending) === 1,
  retryState: r.retry_state,
  retryLane: r.retry_lane,
  isPromoted: Number(r.is_promoted) === 1
})

export interface SizeRow {
  readonly position: Numeric
  readonly bytes: Numeric
}

export const size = (r: SizeRow): Size => ({
  position: Number(r.position),
  bytes: Number(r.bytes)
})

export interface ReceiptRow {
  readonly lane: string
  readonly sequence: Numeric
  readonly previous: string
  readonly first_position: Numeric
  readonly last_position: Numeric
  readonly count: Numeric
  readonly topic: string
  readonly root: string
  readonly leaves: Uint8Array
  readonly ledger_size: Numeric | null
  readonly ledger_root: string | null
  readonly delivered_at: string
  readonly purged_at: string | null
  readonly purge_signature: string | null
}

export const receipt = (r: ReceiptRow): Receipt => ({
  lane: r.lane,
  sequence: Number(r.sequence),
  previous: r.previous,
  firstPosition: Number(r.first_position),
  lastPosition: Number(r.last_position),
  count: Number(r.count),
  topic: r.topic,
  root: r.root,
  // Where it was tampered with, it may be anything.
  leaves: r.leaves instanceof Uint8Array ? new Uint8Array(r.leaves) : new Uint8Array(),
  ledger: r.ledger_size === null || r.ledger_root === null
    ? null
    : { size: Number(r.ledger_size), root: r.ledger_root },
  deliveredAt: r.delivered_at,
  purgedAt: r.purged_at,
  purgeSignature: r.purge_signature
})
