/**
 * Makes trustlog's tables, and tells whether they are there. `sql/<dialect>.sql` is what it runs.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { v4 } from "uuid"
import { timestampOf } from "./Operation.ts"
import { DatabaseError } from "./TrustlogError.ts"
import type { Dialect } from "./internal/dialects/Dialect.ts"
import * as sqlite from "./internal/dialects/sqlite.ts"
import * as migrations from "./internal/migrations.generated.ts"
import * as transaction from "./internal/transaction.ts"

export interface Options {
  /** What every table's name begins with: a letter or underscore, then letters, digits, underscores. Nothing by default. */
  readonly prefix?: string | undefined
}

/** A database whose tables are there, and of this program's version. */
export interface Checked {
  /** The UUID of this database, which every envelope carries. */
  readonly stream: string
}

/**
 * Makes the tables that are missing and upgrades older ones, in one transaction: processes that start at once wait for
 * each other. Does nothing, and needs no permission to write, where they are up to date.
 *
 * Fails with `newer` on the tables of a newer trustlog, with `foreign` where another program's table is in the way.
 */
export const run = (options: Options = {}): Effect.Effect<void, DatabaseError, SqlClient.SqlClient> =>
  Effect.gen(function*() {
    const schema = yield* make(options)
    const isUpToDate = (state: State) => state.version === schema.latest && state.stream !== undefined
    if (isUpToDate(yield* schema.state)) return
    yield* schema.transact(Effect.gen(function*() {
      const state = yield* schema.state
      if (isUpToDate(state)) return
      for (const statement of schema.statementsAfter(state.version)) yield* schema.sql.unsafe(statement).unprepared
      if (state.stream === undefined) {
        const row = { name: "stream", value: v4(), updated_at: timestampOf(yield* Clock.currentTimeMillis) }
        yield* schema.sql`INSERT INTO ${schema.cursor} ${schema.sql.insert(row)}`
      }
    }))
  }).pipe(Effect.withSpan("Migrations.run"))

/**
 * Reads the stream of a database whose tables are of this program's version. Fails with `missing` when `run` has to be
 * run first, and with `newer` or `foreign` as `run` does.
 */
export const check = (options: Options = {}): Effect.Effect<Checked, DatabaseError, SqlClient.SqlClient> =>
  Effect.gen(function*() {
    const schema = yield* make(options)
    const { stream, version } = yield* schema.state
    if (version === schema.latest && stream !== undefined) return { stream }
    return yield* new DatabaseError({
      reason: "missing",
      problem: version === 0
        ? "the database has no trustlog tables: run `trustlog init`"
        : `the database's trustlog tables are not complete (schema ${version}, this program needs ${schema.latest}): ` +
          "run `trustlog init`"
    })
  }).pipe(Effect.withSpan("Migrations.check"))

/** `run`, before the layers that are given this one. */
export const layer = (options: Options = {}): Layer.Layer<never, DatabaseError, SqlClient.SqlClient> =>
  Layer.effectDiscard(run(options))

// internal

interface State {
  /** How far the tables have been made; 0 = there are none. */
  readonly version: number
  readonly stream: string | undefined
}

interface Kind {
  readonly dialect: Dialect
  readonly migrations: ReadonlyArray<migrations.Migration>
  /** Which of some names, in lower case, are those of tables or views. */
  readonly named: (names: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<{ readonly name: string }>, SqlError>
}

const kindOf = (sql: SqlClient.SqlClient): Effect.Effect<Kind, DatabaseError> =>
  sql.onDialectOrElse({
    sqlite: () =>
      Effect.succeed({
        dialect: sqlite.make(sql),
        migrations: migrations.sqlite,
        named: (names: ReadonlyArray<string>) =>
          sql<{ readonly name: string }>`SELECT lower(name) AS name FROM sqlite_master
            WHERE type IN ('table', 'view') AND lower(name) IN ${sql.in(names)}`
      }),
    orElse: () =>
      new DatabaseError({ reason: "foreign", problem: "this kind of database is not supported: use SQLite" })
  })

const make = (options: Options) =>
  Effect.gen(function*() {
    const prefix = options.prefix ?? ""
    if (!/^([A-Za-z_][A-Za-z0-9_]*)?$/.test(prefix)) {
      return yield* new DatabaseError({
        reason: "unknown",
        problem: `the table prefix ${JSON.stringify(prefix)} is not accepted: ` +
          "write a letter or underscore, then letters, digits and underscores"
      })
    }
    const sql = (yield* SqlClient.SqlClient).withoutTransforms()
    const kind = yield* kindOf(sql)
    const latest = kind.migrations.length
    const cursor = sql(`${prefix}trustlog_cursor`)
    const failure = (error: SqlError) =>
      error.cause instanceof DatabaseError ? error.cause : new DatabaseError({
        reason: kind.dialect.classify(error.cause),
        problem: `preparing the tables: ${error.cause instanceof Error ? error.cause.message : error.message}`,
        cause: error
      })
    const typed = <A, E>(effect: Effect.Effect<A, E>) =>
      Effect.catchIf(
        effect,
        (error): error is Extract<E, SqlError> => error instanceof SqlError,
        (error) => Effect.fail(failure(error))
      )

    const state: Effect.Effect<State, DatabaseError> = typed(Effect.gen(function*() {
      const names = { operation: `${prefix}operation`.toLowerCase(), cursor: `${prefix}trustlog_cursor`.toLowerCase() }
      const found = new Set((yield* kind.named([names.operation, names.cursor])).map((row) => row.name))
      if (!found.has(names.cursor)) {
        if (!found.has(names.operation)) return { version: 0, stream: undefined }
        return yield* new DatabaseError({
          reason: "foreign",
          problem: `the database has a table ${prefix}operation that trustlog did not make: ` +
            "choose another database or a table prefix"
        })
      }
      const rows = yield* sql<
        { readonly name: string; readonly value: string | null }
      >`SELECT name, value FROM ${cursor}
        WHERE name IN ('schema', 'stream')`.pipe(
        // Another program's table has other columns.
        Effect.catchIf((error) => kind.dialect.classify(error) === "unknown", () => Effect.succeed([]))
      )
      const valueOf = (name: string) => rows.find((row) => row.name === name)?.value ?? undefined
      const version = valueOf("schema") ?? ""
      if (!/^[1-9]\d{0,8}$/.test(version)) {
        return yield* new DatabaseError({
          reason: "foreign",
          problem: `the table ${prefix}trustlog_cursor has no valid row \`schema\`: it is not trustlog's, or is damaged`
        })
      }
      if (Number(version) > latest) {
        return yield* new DatabaseError({
          reason: "newer",
          problem: `made by a newer trustlog (schema ${version}, this program knows ${latest}): upgrade trustlog`
        })
      }
      return { version: Number(version), stream: valueOf("stream") }
    }))

    return {
      sql,
      cursor,
      latest,
      state,
      transact: <A, E>(effect: Effect.Effect<A, E>) =>
        typed(transaction.joining(sql, kind.dialect.beginWorker, failure)(effect)),
      statementsAfter: (version: number) =>
        kind.migrations.slice(version).flatMap((migration) =>
          migration.statements.map((statement) => statement.replaceAll("{prefix}", prefix))
        )
    }
  })
