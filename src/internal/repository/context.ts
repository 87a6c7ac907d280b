/**
 * What every part of the SQL repository shares: tables, transactions, the lanes' rows, and the typing of failures.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import type { Fragment } from "@effect/sql/Statement"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Breaker, Lease } from "../../Repository.ts"
import { DatabaseError, LeaseLost } from "../../TrustlogError.ts"
import type { Dialect } from "../dialects/Dialect.ts"
import { operationColumns } from "../rows.ts"
import * as transaction from "../transaction.ts"

/** A lane's row of `trustlog_cursor`. */
export interface LaneRow {
  /** The hash of the lane's newest receipt. */
  readonly value: string | null
  readonly position: number
  readonly epoch: number
  readonly owner: string | null
  readonly breaker: Breaker
  readonly paused: number
  readonly in_flight: number | null
  readonly losses: number
}

/**
 * The size of a row of `operation o`. Plain SQL may have left it out, and a size that was tampered with must not make a
 * sum overflow.
 */
export const bytesOfRow = `CASE WHEN o.content_hash IS NULL THEN COALESCE(LENGTH(o.payload), 0)
  WHEN o.payload_bytes BETWEEN 0 AND 1000000000 THEN o.payload_bytes ELSE 1000000000 END`

/** What every part is built from. */
export type Context = ReturnType<typeof make>

export const make = (
  client: SqlClient,
  dialect: Dialect,
  options: { readonly prefix: string; readonly stream: string }
) => {
  const sql = client.withoutTransforms()
  const table = (name: string) => sql(`${options.prefix}${name}`)
  const cursor = table("trustlog_cursor")
  const now = dialect.time(0)

  const failure = (doing: string) => (error: SqlError): DatabaseError =>
    new DatabaseError({
      reason: error.cause instanceof DatabaseError ? error.cause.reason : dialect.classify(error.cause),
      problem: `${doing}: ${error.cause instanceof Error ? error.cause.message : error.message}`,
      cause: error
    })

  const typed = (doing: string) => <A, E, R>(self: Effect.Effect<A, E, R>) =>
    Effect.catchIf(
      self,
      (error): error is Extract<E, SqlError> => error instanceof SqlError,
      (error) => Effect.fail(failure(doing)(error))
    )

  /** Polling would fill every trace. */
  const silent = Effect.withTracerEnabled(false)

  /** A verb of one statement, or of several that need no transaction. */
  const query = <A, E, R>(doing: string, effect: Effect.Effect<A, E, R>) => silent(typed(doing)(effect))

  /** A worker's verb, in a transaction of its own. */
  const transact = <A, E, R>(doing: string, effect: Effect.Effect<A, E, R>) =>
    silent(typed(doing)(transaction.own(sql, dialect.beginWorker, failure(doing))(effect)))

  /** A host's verb, in the host's transaction if there is one. */
  const join = <A, E, R>(doing: string, effect: Effect.Effect<A, E, R>) =>
    typed(doing)(transaction.joining(sql, dialect.begin, failure(doing))(effect))

  const laneName = (lane: string) => `lane/${lane}`

  const laneRow = (lane: string) =>
    sql<LaneRow>`SELECT value, position, epoch, owner, breaker, paused, in_flight, losses FROM ${cursor}
      WHERE name = ${laneName(lane)}`.pipe(Effect.map((found) => found[0]))

  return {
    stream: options.stream,
    dialect,
    sql,
    operation: table("operation"),
    pending: table("trustlog_pending"),
    cursor,
    retry: table("trustlog_retry"),
    receipt: table("trustlog_receipt"),
    promotion: table("trustlog_promotion"),
    /** The columns of `operation o` that make a row, and others, as one value that `rows.exactly` reads. */
    row: (others: Readonly<Record<string, string>> = {}) =>
      sql`${
        dialect.exactly({ ...Object.fromEntries(operationColumns.map((name) => [name, `o.${name}`])), ...others })
      } AS exact`,
    bytes: sql.literal(bytesOfRow),
    now,
    later: (duration: Duration.Duration) => dialect.time(Duration.toMillis(duration)),
    query,
    transact,
    join,
    hostTransaction: transaction.joining(client, dialect.begin, failure("running the transaction")),
    /** Sees one state of the database: the host's transaction, if there is one, sees one already. */
    snapshot: transaction.joining(sql, dialect.beginSnapshot, failure("reading a snapshot")),
    laneName,
    laneRow,

    /** Makes a lane's row where there is none. */
    ensureLane: (lane: string) =>
      Effect.flatMap(now, (at) =>
        sql`INSERT INTO ${cursor} ${
          sql.insert({
            name: laneName(lane),
            position: 0,
            epoch: 0,
            delivered: 0,
            late: 0,
            breaker: "closed",
            breaker_since: at,
            paused: 0,
            losses: 0,
            updated_at: at
          })
        } ON CONFLICT (name) DO NOTHING`),

    /** Fails unless the lease still holds: the first statement of every transaction of a lease holder. */
    fence: (lease: Lease) =>
      Effect.flatMap(
        laneRow(lease.lane),
        (row) =>
          row !== undefined && Number(row.epoch) === lease.epoch && row.owner === lease.owner
            ? Effect.succeed(row)
            : new LeaseLost({ lane: lease.lane, epoch: lease.epoch })
      ),

    /** Changes a lane's row, if the lease still holds. */
    fencedUpdate: (lease: Lease, set: Fragment) =>
      Effect.gen(function*() {
        const changed = yield* sql`UPDATE ${cursor} SET ${set}, updated_at = ${yield* now}
          WHERE name = ${laneName(lease.lane)} AND epoch = ${lease.epoch} AND owner = ${lease.owner} RETURNING name`
        if (changed.length === 0) return yield* new LeaseLost({ lane: lease.lane, epoch: lease.epoch })
      })
  }
}
