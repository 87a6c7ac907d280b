/**
 * Makes trustlog's tables, and tells whether they are there. `sql/<dialect>.sql` is what it runs.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { v4 } from "uuid"
import { DatabaseError } from "./TrustlogError.ts"
import { dialectOf } from "./internal/dialects/dialectOf.ts"
import * as tables from "./internal/tables.ts"

/** What the tables are called, and where they are. */
export type Options = tables.Naming

/** A database whose tables are there, and of this program's version. */
export interface Checked {
  /** The UUID of this database, which every envelope carries. */
  readonly stream: string
}

/**
 * Makes the tables that are missing and upgrades older ones: processes that start at once wait for each other, and one
 * that is killed leaves nothing half done, or what the next one completes. Does nothing, and needs no permission to write, where they are up to date.
 *
 * Fails with `newer` on the tables of a newer trustlog, with `foreign` where another program's table is in the way.
 */
export const run = (options: Options = {}): Effect.Effect<void, DatabaseError, SqlClient.SqlClient> =>
  Effect.gen(function*() {
    const schema = yield* make(options)
    const isUpToDate = (state: State) => state.version === schema.latest && state.stream !== undefined
    if (isUpToDate(yield* schema.state)) return
    yield* schema.migrate(Effect.gen(function*() {
      const state = yield* schema.state
      if (isUpToDate(state)) return
      yield* schema.createSchema
      for (const statement of schema.statementsAfter(state.version)) yield* schema.sql.unsafe(statement).unprepared
      if (state.stream === undefined) {
        yield* schema.sql`INSERT INTO ${schema.cursor} (name, value, updated_at)
          VALUES ('stream', ${v4()}, ${yield* schema.dialect.time(0)})`
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

const make = (options: Options) =>
  Effect.gen(function*() {
    yield* tables.check(options)
    const { prefix = "", schema } = options
    const client = yield* SqlClient.SqlClient
    const sql = client.withoutTransforms()
    const dialect = yield* dialectOf(client)
    if (schema !== undefined && dialect.createSchema === undefined) {
      return yield* new DatabaseError({
        reason: "unknown",
        problem: "this kind of database has no schemas: leave the schema unset, and use a table prefix"
      })
    }
    const latest = dialect.migrations.length
    const { cursor } = tables.make(sql, dialect.quote, options)
    const failure = (error: SqlError) =>
      error.cause instanceof DatabaseError ? error.cause : new DatabaseError({
        reason: dialect.classify(error),
        problem: `preparing the tables: ${dialect.describe(error)}`,
        cause: error
      })
    const typed = <A, E>(effect: Effect.Effect<A, E>) =>
      Effect.catchIf(
        effect,
        (error): error is Extract<E, SqlError> => error instanceof SqlError,
        (error) => Effect.fail(failure(error))
      )

    const state: Effect.Effect<State, DatabaseError> = typed(Effect.gen(function*() {
      const names = { operation: `${prefix}operation`, cursor: `${prefix}trustlog_cursor` }
      const found = new Set(
        (yield* dialect.named(schema, [names.operation, names.cursor])).map(({ name }) => name.toLowerCase())
      )
      if (!found.has(names.cursor.toLowerCase())) {
        if (!found.has(names.operation.toLowerCase())) return { version: 0, stream: undefined }
        return yield* new DatabaseError({
          reason: "foreign",
          problem: `the database has a table ${prefix}operation that trustlog did not make: ` +
            "choose another database, schema or table prefix"
        })
      }
      const rows = yield* sql<
        { readonly name: string; readonly value: string | null }
      >`SELECT name, value FROM ${cursor} WHERE name IN ('schema', 'stream')`.pipe(
        Effect.asSome,
        // Another program's table has other columns.
        Effect.catchIf((error) => dialect.classify(error) === "unknown", () => Effect.succeedNone)
      )
      // Somebody was interrupted between the first table and the last.
      if (dialect.canBeHalfMade && Option.isSome(rows) && rows.value.length === 0) {
        return { version: 0, stream: undefined }
      }
      const valueOf = (name: string) =>
        Option.getOrElse(rows, () => []).find((row) => row.name === name)?.value ?? undefined
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
      dialect,
      cursor,
      latest,
      state,
      /** Makes the schema, where one was chosen that is not there. */
      createSchema: schema === undefined || dialect.createSchema === undefined
        ? Effect.void
        : sql.unsafe(dialect.createSchema(schema)).unprepared,
      migrate: <A, E>(effect: Effect.Effect<A, E>) =>
        typed(dialect.migrating(`trustlog ${schema ?? ""}.${prefix}`, (error) => error)(effect)),
      statementsAfter: (version: number) =>
        dialect.migrations.slice(version).flatMap((migration) =>
          migration.statements.map((statement) =>
            statement.replaceAll("{prefix}", prefix).replaceAll("{schema}", tables.qualifier(dialect.quote, schema))
          )
        )
    }
  })
