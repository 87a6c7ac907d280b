/**
 * The SQLite of a Cloudflare Durable Object as a `SqlClient`.
 *
 * One connection, one transaction or statement on it at a time. An object's SQLite refuses `BEGIN` and `SAVEPOINT`: what
 * they say is done by `storage.transaction`, so that a transaction here is one like on any other database, savepoints
 * included.
 */
import * as Reactivity from "@effect/experimental/Reactivity"
import * as SqlClient from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import * as Statement from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scheduler from "effect/Scheduler"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { DatabaseError } from "../TrustlogError.ts"
import { type Limits, traitsKey } from "../internal/dialects/sqlite.ts"
import { classify, messageOf } from "../internal/dialects/sqliteErrors.ts"
import { bind, type Row } from "../internal/drivers/Driver.ts"
import * as objectTurn from "../internal/objectTurn.ts"
import * as transaction from "../internal/transaction.ts"

/** What an object's SQLite gives and takes. */
export type Value = ArrayBuffer | string | number | null

/** The rows of a statement: the part of `SqlStorageCursor` that is used here. */
export interface Cursor {
  readonly columnNames: ReadonlyArray<string>
  raw(): Iterable<ReadonlyArray<Value>>
}

/** The transaction that `storage.transaction` has begun: the part of `DurableObjectTransaction` that is used here. */
export interface Transaction {
  rollback(): void
}

/** `ctx.storage` of an object whose class is one of `new_sqlite_classes`: the part of it that is used here. */
export interface Storage {
  readonly sql: {
    exec(query: string, ...bindings: Array<string | number | null | Uint8Array>): Cursor
  }
  transaction<A>(closure: (transaction: Transaction) => Promise<A>): Promise<A>
}

export interface Options {
  /** `ctx.storage`. */
  readonly storage: Storage
}

/** `SQLITE_LIMIT_VARIABLE_NUMBER` and `SQLITE_LIMIT_COMPOUND_SELECT`, as they are set there. */
const limits: Limits = { parameters: 100, selects: 5 }

/**
 * A client of the object's SQLite.
 *
 * Statements fail with an `SqlError` whose `cause` is a `DatabaseError`. A COMMIT that fails is such an error too, not a
 * defect, and the platform restarts the object after it. A `Date` is bound as ISO text, a boolean as 0 or 1, `undefined` as NULL, a bigint beyond 2^53 as the text that
 * a column of integers takes for it; bytes are `Uint8Array`. The object's SQLite reads every number as a double, which an
 * integer beyond 2^53 does not fit: it is an error here, also with `SqlClient.SafeIntegers`, which gives bigints.
 *
 * While a transaction is open the object is given no other events, as by `blockConcurrencyWhile`: what it waits for must
 * have been begun inside it, and it has 30 seconds.
 */
export const make = (
  { storage }: Options
): Effect.Effect<SqlClient.SqlClient, never, Reactivity.Reactivity | Scope.Scope> =>
  Effect.gen(function*() {
    const turns = objectTurn.of(storage)
    const run: Run = (sql, params, read) =>
      Effect.flatMap(SqlClient.SafeIntegers, (bigIntegers) =>
        Effect.try({
          try: () => read(storage.sql.exec(sql, ...params.map(parameter)), bigIntegers),
          catch: sqlError
        }))
    const outside = connection((sql, params, read) =>
      Effect.suspend(() =>
        turns.isTaken()
          ? Effect.scoped(Effect.zipRight(turns.take, run(sql, params, read)))
          : run(sql, params, read)
      )
    )

    const reserve = Effect.gen(function*() {
      yield* turns.take
      // What waits in the default one may go on only at a timer of outside, which does not fire while a transaction is open.
      yield* Effect.locallyScoped(FiberRef.currentScheduler, new Scheduler.MixedScheduler(2_048))
      const levels = yield* Effect.acquireRelease(
        Effect.sync(() => makeLevels(storage)),
        // Whoever has reserved the connection may have left a transaction open.
        (levels) => Effect.catchAll(levels.rollBack, (error) => Effect.logDebug("not needed any more", error))
      )
      return connection((sql, params, read) =>
        Option.match(levels.said(sql), {
          onNone: () => run(sql, params, read),
          onSome: (change) => Effect.zipRight(change, run("SELECT 1 WHERE 0", [], read))
        })
      )
    })

    const begin = "BEGIN"
    const client = Object.assign(
      yield* SqlClient.make({
        acquirer: Effect.succeed(outside),
        transactionAcquirer: reserve,
        beginTransaction: begin,
        compiler: Statement.makeCompilerSqlite(),
        spanAttributes: [["db.system.name", "sqlite"]]
      }),
      { [traitsKey]: { limits } }
    )
    return transaction.withOwn(client, begin)
  })

/** `make`, as a layer. */
export const layer = (options: Options): Layer.Layer<SqlClient.SqlClient> =>
  Layer.provide(Layer.scoped(SqlClient.SqlClient, make(options)), Reactivity.layer)

// internal

type Run = <A>(
  sql: string,
  params: ReadonlyArray<unknown>,
  read: (cursor: Cursor, bigIntegers: boolean) => A
) => Effect.Effect<A, SqlError>

const connection = (run: Run): Connection => {
  const execute: Connection["execute"] = (sql, params, transformRows) =>
    transformRows === undefined ? run(sql, params, rows) : Effect.map(run(sql, params, rows), transformRows)
  return {
    execute,
    executeUnprepared: execute,
    executeRaw: (sql, params) => run(sql, params, rows),
    executeValues: (sql, params) => run(sql, params, values),
    // A cursor shows what is written after it was opened, so that what is streamed is read at once.
    executeStream: (sql, params, transformRows) =>
      Stream.unwrap(Effect.map(execute(sql, params, transformRows), Stream.fromIterable))
  }
}

const parameter = (given: unknown, index: number): string | number | null | Uint8Array => {
  const value = bind(given, index)
  if (typeof value !== "bigint") return value
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : String(value)
}

const result = (value: Value, bigIntegers: boolean): unknown => {
  if (typeof value !== "number") return value instanceof ArrayBuffer ? new Uint8Array(value) : value
  if (!Number.isInteger(value)) return value
  if (!Number.isSafeInteger(value)) {
    throw new RangeError(
      `the number ${value} may be another one in the database: keep integers beyond 2^53 as text, or read them by CAST(… AS TEXT)`
    )
  }
  return bigIntegers ? BigInt(value) : value
}

const values = (cursor: Cursor, bigIntegers: boolean): ReadonlyArray<ReadonlyArray<unknown>> =>
  Array.from(cursor.raw(), (row) => row.map((value) => result(value, bigIntegers)))

const rows = (cursor: Cursor, bigIntegers: boolean): ReadonlyArray<Row> => {
  const names = cursor.columnNames
  return values(cursor, bigIntegers).map((row) => Object.fromEntries(names.map((name, i) => [name, row[i]])))
}

/** The object is about to be restarted, or has too much to do: another try is made by another one, or later. */
const isPassing = (cause: unknown): boolean =>
  typeof cause === "object" && cause !== null &&
  ["durableObjectReset", "overloaded", "retryable"].some((name) => Reflect.get(cause, name) === true)

const sqlError = (cause: unknown): SqlError => {
  const reason = isPassing(cause) ? "unavailable" : classify(cause)
  const error = new DatabaseError({ reason, problem: `the object's SQLite: ${messageOf(cause)}`, cause })
  return new SqlError({ cause: error, message: error.problem })
}

/** A transaction or savepoint that is open. */
interface Level {
  /** The savepoint's name. */
  readonly name: string | undefined
  readonly close: (outcome: "commit" | "rollback") => Effect.Effect<void, SqlError>
}

const open = (storage: Storage, name: string | undefined): Effect.Effect<Level, SqlError> =>
  Effect.uninterruptible(Effect.async<Level, SqlError>((resume) => {
    // It lasts for as long as the promise inside does.
    const ended: Promise<void> = storage.transaction((transaction) =>
      new Promise<void>((end) =>
        resume(Effect.succeed({
          name,
          close: (outcome) =>
            Effect.uninterruptible(Effect.tryPromise({
              try: () => {
                if (outcome === "rollback") transaction.rollback()
                end()
                return ended
              },
              catch: sqlError
            }))
        }))
      )
    )
    ended.catch((cause) => resume(Effect.fail(sqlError(cause))))
  }))

const statements = {
  begin: /^\s*BEGIN\b/i,
  commit: /^\s*(?:COMMIT|END)\b/i,
  savepoint: /^\s*SAVEPOINT\s+(\S+?)\s*;?\s*$/i,
  release: /^\s*RELEASE\s+(?:SAVEPOINT\s+)?(\S+?)\s*;?\s*$/i,
  rollbackTo: /^\s*ROLLBACK\s+(?:TRANSACTION\s+)?TO\s+(?:SAVEPOINT\s+)?(\S+?)\s*;?\s*$/i,
  rollback: /^\s*ROLLBACK\b/i
}

/** Transactions within each other, and what statements say about them. */
const makeLevels = (storage: Storage) => {
  const levels: Array<Level> = []

  const begin = (name?: string) =>
    Effect.map(open(storage, name), (level) => {
      levels.push(level)
    })

  /** Closes levels from the innermost on, down to one. A level that fails to is closed all the same. */
  const close = (outcome: "commit" | "rollback", depth: number): Effect.Effect<void, SqlError> =>
    Effect.suspend(() => {
      if (levels.length <= depth) return Effect.void
      const level = levels.pop()
      return level === undefined ? Effect.void : Effect.zipRight(level.close(outcome), close(outcome, depth))
    })

  const depthOf = (name: string) => levels.findLastIndex((level) => level.name === name)

  const refused = (problem: string) => Effect.fail(sqlError(new Error(problem)))

  const all = (outcome: "commit" | "rollback") =>
    Effect.suspend(() => levels.length === 0 ? refused("no transaction is open") : close(outcome, 0))

  const to = (name: string, outcome: "commit" | "rollback") =>
    Effect.suspend(() => {
      const depth = depthOf(name)
      return depth < 0 ? refused(`no such savepoint: ${name}`) : close(outcome, depth)
    })

  return {
    rollBack: close("rollback", 0),
    /** What a statement changes, if it is about transactions. */
    said: (sql: string): Option.Option<Effect.Effect<void, SqlError>> => {
      if (statements.begin.test(sql)) {
        return Option.some(
          Effect.suspend(() => levels.length === 0 ? begin() : refused("a transaction is open already"))
        )
      }
      if (statements.commit.test(sql)) return Option.some(all("commit"))
      const [, savepoint] = statements.savepoint.exec(sql) ?? []
      if (savepoint !== undefined) {
        return Option.some(
          Effect.suspend(() => levels.length === 0 ? refused("no transaction is open") : begin(savepoint))
        )
      }
      const [, released] = statements.release.exec(sql) ?? []
      if (released !== undefined) return Option.some(to(released, "commit"))
      const [, restored] = statements.rollbackTo.exec(sql) ?? []
      // The savepoint stays.
      if (restored !== undefined) return Option.some(Effect.zipRight(to(restored, "rollback"), begin(restored)))
      return statements.rollback.test(sql) ? Option.some(all("rollback")) : Option.none()
    }
  }
}
