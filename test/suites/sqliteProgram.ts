/**
 * What the SQLite suite runs as a process of its own: `<verb> <driver> <file>`. It prints a line when something is done.
 */
import * as Reactivity from "@effect/experimental/Reactivity"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Sqlite from "../../src/Database/Sqlite.ts"

const print = (line: string) => Effect.sync(() => process.stdout.write(`${line}\n`))

const verbs: Record<string, (sql: SqlClient.SqlClient) => Effect.Effect<unknown, unknown>> = {
  /** Reads a number and writes the next, in one transaction, many times. */
  increment: (sql) =>
    Effect.repeatN(
      sql.withTransaction(Effect.gen(function*() {
        const [row] = yield* sql<{ readonly n: number }>`SELECT n FROM counter`
        yield* sql`UPDATE counter SET n = ${(row?.n ?? 0) + 1}`
      })),
      199
    ),
  /** Writes in a transaction, says so, and never ends it. */
  hold: (sql) =>
    sql.withTransaction(
      sql`UPDATE counter SET n = n + 1`.pipe(Effect.zipRight(print("held")), Effect.zipRight(Effect.never))
    ),
  /** Commits rows for ever, and prints each number when it is committed. */
  commit: (sql) =>
    Effect.forever(Effect.flatMap(
      sql<{ readonly id: number }>`INSERT INTO log (text) VALUES (${"x".repeat(2000)}) RETURNING id`,
      ([row]) => print(String(row?.id))
    )),
  /** Makes a table if it is not there, as a program does that starts. */
  start: (sql) => sql.withTransaction(sql`CREATE TABLE IF NOT EXISTS started (id INTEGER PRIMARY KEY)`),
  /** Makes a database that is not in WAL mode. */
  old: (sql) =>
    Effect.gen(function*() {
      yield* sql`CREATE TABLE counter (n INTEGER)`
      yield* sql`INSERT INTO counter (n) VALUES (0)`
      yield* sql`CREATE TABLE log (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT)`
      yield* sql`PRAGMA journal_mode = DELETE`
    }),
  /** Reads, then writes. */
  write: (sql) =>
    Effect.gen(function*() {
      yield* Effect.flatMap(sql`SELECT n FROM counter`, (rows) => print(`read ${rows.length}`))
      yield* sql.withTransaction(sql`INSERT INTO log (text) VALUES (${"x".repeat(1_000_000)})`)
    })
}

const [verb = "", driver, filename = ""] = process.argv.slice(2)

Sqlite.make({ filename, driver: driver === "libsql" ? "libsql" : "node:sqlite" }).pipe(
  Effect.flatMap((sql) => verbs[verb]?.(sql) ?? Effect.dieMessage(`no verb ${verb}`)),
  Effect.matchEffect({
    onSuccess: () => print("done"),
    onFailure: (error) => print(`failed ${JSON.stringify(error)}`)
  }),
  Effect.scoped,
  Effect.provide(Reactivity.layer),
  NodeRuntime.runMain
)
