/**
 * What every part of the SQL repository shares: tables, transactions, the lanes' rows, and the typing of failures.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import type { Fragment } from "@effect/sql/Statement"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Breaker, Lease } from "../../Repository.ts"
import { DatabaseError, LeaseLost } from "../../TrustlogError.ts"
import type { Columns, Dialect } from "../dialects/Dialect.ts"
import * as fragments from "../dialects/fragments.ts"
import * as directStatement from "../directStatement.ts"
import { storedColumns } from "../rows.ts"
import * as tables from "../tables.ts"
import { isTraced } from "../tracing.ts"
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
  /** When it was read. */
  readonly now_at: string
}

/**
 * The size of a row of `operation o`. Plain SQL may have left it out, and a size that was tampered with must not make a
 * sum overflow.
 */
export const bytesOfRow = `CASE WHEN o.content_hash IS NULL THEN COALESCE(LENGTH(o.payload), 0)
  WHEN o.payload_bytes BETWEEN 0 AND 1000000000 THEN o.payload_bytes ELSE 1000000000 END`

/** The columns of `operation o` that make a stored row, and others. */
export const row = (others: Columns = {}): Columns => ({ ...storedColumns, ...others })

/** An error's text may come from anywhere: what is kept of it fits every database's column, and its characters. */
export const errorText = (text: string): string => text.slice(0, 4_000).replaceAll(/[\0\p{Surrogate}]/gu, "\uFFFD")

/** A value of a row, or an expression that gives it. */
export type Value = string | number | null | Fragment

/** Whether there is an ambient transaction. */
const isInTransaction = Effect.map(Effect.serviceOption(SqlClient.TransactionConnection), Option.isSome)

/** How often a transaction may collide with others. */
const maxCollisions = 10

/**
 * The row of `trustlog_cursor` that tells in `paused` what new lanes begin with, and in `epoch` how often lanes were paused
 * or resumed.
 */
export const pauseName = "pause"

/** What every part is built from. */
export type Context = ReturnType<typeof make>

export const make = (
  client: SqlClient.SqlClient,
  dialect: Dialect,
  options: tables.Naming & { readonly stream: string }
) => {
  const sql = directStatement.client(client.withoutTransforms())
  const names = tables.make(sql, dialect.quote, options)
  const { cursor } = names
  const now = dialect.time(0)

  const failure = (doing: string) => (error: SqlError): DatabaseError =>
    new DatabaseError({
      reason: dialect.classify(error),
      problem: `${doing}: ${dialect.describe(error)}`,
      cause: error
    })

  const typed = (doing: string) => <A, E, R>(self: Effect.Effect<A, E, R>) =>
    Effect.catchIf(
      self,
      (error): error is Extract<E, SqlError> => error instanceof SqlError,
      (error) => Effect.fail(failure(doing)(error))
    )

  /** Polling would fill every trace. */
  const silent = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.withFiberRuntime((fiber) => isTraced(fiber) ? Effect.withTracerEnabled(effect, false) : effect)

  /** A verb of one statement, or of several that need no transaction. */
  const query = <A, E, R>(doing: string, effect: Effect.Effect<A, E, R>) => silent(typed(doing)(effect))

  /** A transaction of our own that has collided with another's is run again; a host's is not ours to run. */
  const again = <A, E, R>(transaction: Effect.Effect<A, E, R>) =>
    Effect.retry(transaction, {
      while: (error) => error instanceof DatabaseError && dialect.isCollision(error.cause),
      times: maxCollisions
    })

  /** A worker's verb, in a transaction of its own. */
  const transact = <A, E, R>(doing: string, effect: Effect.Effect<A, E, R>, bracket = dialect.worker) =>
    silent(again(typed(doing)(transaction.own(sql, bracket, failure(doing))(effect))))

  /** A worker's verb that reads a page. */
  const page = <A, E, R>(doing: string, effect: Effect.Effect<A, E, R>) =>
    dialect.paging === undefined
      ? query(doing, effect)
      : silent(typed(doing)(transaction.own(sql, dialect.paging, failure(doing))(effect)))

  /** A host's verb, in the host's transaction if there is one. */
  const join = <A, E, R>(doing: string, effect: Effect.Effect<A, E, R>) => {
    const joined = typed(doing)(transaction.joining(sql, dialect.host, failure(doing))(effect))
    return Effect.flatMap(isInTransaction, (isHosts) => isHosts ? joined : again(joined))
  }

  const laneName = (lane: string) => `lane/${lane}`

  const laneColumns = ["value", "position", "epoch", "owner", "breaker", "paused", "in_flight", "losses", "now_at"]
  const laneShown: Columns = Object.fromEntries(laneColumns.map((name) => [name, `l.${name}`]))

  const readLane = (lane: string, lock: Fragment) =>
    Effect.flatMap(now, (at) =>
      dialect.select<LaneRow>(
        laneShown,
        sql`FROM (SELECT value, position, epoch, owner, breaker, paused, in_flight, losses, ${at} AS now_at
          FROM ${cursor} WHERE name = ${laneName(lane)} ${lock}) l`
      )).pipe(Effect.map((found) => found[0]))

  const holds = (lease: Lease, row: LaneRow | undefined): Effect.Effect<LaneRow, LeaseLost> =>
    row !== undefined && Number(row.epoch) === lease.epoch && row.owner === lease.owner
      ? Effect.succeed(row)
      : new LeaseLost({ lane: lease.lane, epoch: lease.epoch })

  /** Locks the lane's row; fails unless the lease still holds: the first statement of every transaction of a lease holder. */
  const fence = (lease: Lease) => Effect.flatMap(readLane(lease.lane, dialect.forUpdate), (row) => holds(lease, row))

  /**
   * Whether new lanes begin paused, which nobody changes until the transaction ends. Whoever locks it and lanes' rows locks
   * it first.
   */
  const lockPause = Effect.gen(function*() {
    yield* sql`INSERT INTO ${cursor} (name, epoch, paused, updated_at) VALUES (${pauseName}, 0, 0, ${yield* now})
      ${dialect.onRepeatedName()}`
    const [row] = yield* sql<{ readonly paused: number }>`SELECT paused FROM ${cursor} WHERE name = ${pauseName}
      ${dialect.forUpdate}`
    return Number(row?.paused ?? 0)
  })

  /** `INSERT` of a few rows of the same columns; with a condition, of one. */
  const insertion = (
    table: Fragment,
    rows: ReadonlyArray<Readonly<Record<string, Value>>>,
    where?: Fragment
  ) => {
    const columns = Object.keys(rows[0] ?? {})
    const values = rows.map((row) => sql.csv(columns.map((column) => sql`${row[column] ?? null}`)))
    return sql`INSERT INTO ${table} (${sql.literal(columns.join(", "))}) ${
      where === undefined
        ? sql`VALUES ${sql.csv(values.map((row) => sql`(${row})`))}`
        : sql`SELECT ${values[0] ?? sql.literal("")} WHERE ${where}`
    }`
  }

  return {
    ...names,
    stream: options.stream,
    dialect,
    sql,
    bytes: sql.literal(bytesOfRow),
    now,
    later: (duration: Duration.Duration) => dialect.time(Duration.toMillis(duration)),
    /** So many rows at most. A number here is no parameter to every driver. */
    limit: (rows: number) => sql.literal(`LIMIT ${Math.max(0, Math.floor(rows))}`),
    typed,
    query,
    page,
    transact,
    join,
    isInTransaction,
    hostTransaction: transaction.joining(client, dialect.host, failure("running the transaction")),
    /** Sees one state of the database: the host's transaction, if there is one, sees one already. */
    snapshot: transaction.joining(sql, dialect.snapshot, failure("reading a snapshot")),
    laneName,
    /** A lane's row, as it is now. */
    laneRow: (lane: string) => readLane(lane, sql.literal("")),
    /** A lane's row, locked until the transaction ends. */
    lockLane: (lane: string) => readLane(lane, dialect.forUpdate),

    insertion,
    /** Inserts rows of the same columns. */
    insert: (table: Fragment, rows: ReadonlyArray<Readonly<Record<string, Value>>>) =>
      Effect.forEach(
        fragments.chunks(rows, (left) => dialect.insertSize(left, Object.keys(rows[0] ?? {}).length)),
        (chunk) => sql`${insertion(table, chunk)}`,
        { discard: true }
      ),

    pauseName,
    lockPause,

    /** Makes a lane's row where there is none, in the caller's transaction. */
    ensureLane: (lane: string) =>
      Effect.gen(function*() {
        const paused = yield* lockPause
        const at = yield* now
        yield* sql`INSERT INTO ${cursor}
            (name, position, epoch, delivered, late, breaker, breaker_since, paused, losses, updated_at)
          VALUES (${laneName(lane)}, 0, 0, 0, 0, 'closed', ${at}, ${paused}, 0, ${at}) ${dialect.onRepeatedName()}`
      }),

    /** Fails unless the lease still holds now. */
    check: (lease: Lease) => Effect.flatMap(readLane(lease.lane, sql.literal("")), (row) => holds(lease, row)),
    fence,

    /** Changes a lane's row, in a transaction of its own, if the lease still holds. */
    fencedUpdate: (doing: string, lease: Lease, set: Fragment, bracket = dialect.worker) =>
      transact(
        doing,
        Effect.gen(function*() {
          yield* fence(lease)
          yield* sql`UPDATE ${cursor} SET ${set}, updated_at = ${yield* now} WHERE name = ${laneName(lease.lane)}`
        }),
        bracket
      )
  }
}
