import * as SqlClient from "@effect/sql/SqlClient"
import * as Statement from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Sqlite from "../../src/Database/Sqlite.ts"
import { maxCounted, Repository } from "../../src/Repository.ts"
import { target } from "../serverDatabase.ts"
import { onEach } from "../servers/Server.ts"
import * as sqlite from "../sqliteDatabase.ts"
import { type Meter, suite } from "../suites/StatsTest.ts"

/** In a transaction as it is stats' own, and so on one connection, whose counters are read before and after. */
const counted = (read: Effect.Effect<number, unknown, SqlClient.SqlClient>): Meter["measured"] => (effect) =>
  Effect.flatMap(Repository, (repository) =>
    repository.evidence.snapshot(Effect.gen(function*() {
      const before = yield* read
      yield* effect
      return (yield* read) - before
    })))

/** Entries of indexes and rows of tables that are gone through, dead ones included. */
const postgresql: Meter = {
  measured: counted(Effect.flatMap(SqlClient.SqlClient, (sql) =>
    Effect.map(
      sql<{ readonly total: string }>`SELECT sum(pg_stat_get_xact_tuples_returned(oid)) AS total FROM pg_class
        WHERE relname LIKE 'trustlog%' OR relname LIKE 'operation%'`,
      ([row]) => Number(row?.total)
    ))),
  most: maxCounted * 1.5,
  rows: 1_000_000
}

/** Rows that the server asked its tables for, those of the queries' own results included. */
const mysql: Meter = {
  measured: counted(Effect.flatMap(SqlClient.SqlClient, (sql) =>
    Effect.map(
      sql<{ readonly Value: string }>`SHOW SESSION STATUS LIKE 'Handler\\_read%'`,
      (found) => found.reduce((sum, { Value }) => sum + Number(Value), 0)
    ))),
  most: maxCounted * 3.5,
  rows: 400_000
}

/** Steps of SQLite's machine. */
const steps: Meter = {
  measured: (effect) =>
    Effect.gen(function*() {
      const said: Array<readonly [string, ReadonlyArray<unknown>]> = []
      yield* Statement.withTransformer(effect, (statement) => {
        said.push(statement.compile())
        return Effect.succeed(statement)
      })
      const sql = yield* SqlClient.SqlClient
      const [database] = yield* sql<
        { readonly file: string }
      >`SELECT file FROM pragma_database_list WHERE name = 'main'`
      // The one driver that counts them.
      const { default: Database } = yield* Effect.promise(() => import("libsql"))
      return yield* Effect.acquireUseRelease(
        Effect.sync(() => new Database(database?.file ?? "")),
        (client) =>
          Effect.sync(() => {
            const before = new Set<unknown>()
            const reader = client.prepare("SELECT sql, nstep FROM sqlite_stmt WHERE sql = ?")
            return said.reduce((sum, [text, parameters]) => {
              const statement = client.prepare(text)
              statement.all(...parameters)
              before.add(statement)
              const rows: ReadonlyArray<unknown> = reader.all(text)
              return sum +
                rows.reduce<number>(
                  (most, row) =>
                    typeof row === "object" && row !== null && "nstep" in row
                      ? Math.max(most, Number(row.nstep))
                      : most,
                  0
                )
            }, 0)
          }),
        (client) => Effect.sync(() => client.close())
      )
    }),
  most: maxCounted * 20,
  rows: 1_000_000
}

suite("the embedded SQLite layer", sqlite.target((filename) => Sqlite.layer({ filename })), steps)

onEach((server) => suite(server.name, target(server), server.dialect === "pg" ? postgresql : mysql))
