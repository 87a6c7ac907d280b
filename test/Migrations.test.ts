import type * as SqlClient from "@effect/sql/SqlClient"
import { SqlClient as Client } from "@effect/sql/SqlClient"
import { assert, beforeAll, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { execFile, spawn } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import * as Sqlite from "../src/Database/Sqlite.ts"
import * as Migrations from "../src/Migrations.ts"
import type { DatabaseError } from "../src/TrustlogError.ts"
import { bundle } from "./Program.ts"
import * as runtime from "./runtime.ts"

const root = fileURLToPath(new URL("..", import.meta.url))

const folder = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "trustlog-migrations-"))),
  (directory) => Effect.sync(() => fs.rmSync(directory, { recursive: true, force: true }))
)

const empty = Layer.unwrapScoped(
  Effect.map(folder, (directory) => Sqlite.layer({ filename: path.join(directory, "test.db") }))
)

const tables = Effect.flatMap(Client, (sql) =>
  Effect.map(
    sql<{ readonly name: string }>`SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name`,
    (rows) => rows.map((row) => row.name)
  ))

const content = Effect.flatMap(Client, (sql) => sql`SELECT name, value, updated_at FROM trustlog_cursor ORDER BY name`)

const execute = (statement: string) => Effect.flatMap(Client, (sql) => sql.unsafe(statement))

const reasonOf = <A, R>(effect: Effect.Effect<A, DatabaseError, R>) =>
  Effect.map(Effect.flip(effect), (error) => error.reason)

const schema = fs.readFileSync(path.join(root, "sql/sqlite.sql"), "utf8")

describe("migrations", () => {
  it.scoped("make the tables of an empty database, once", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* reasonOf(Migrations.check()), "missing")
      assert.deepStrictEqual(yield* tables, [], "a check writes nothing")
      yield* Migrations.run()
      assert.include(yield* tables, "operation")
      assert.include(yield* tables, "trustlog_status")
      const before = yield* content
      const { stream } = yield* Migrations.check()
      assert.match(stream, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
      yield* Migrations.run()
      assert.deepStrictEqual(yield* content, before)
      assert.deepStrictEqual((yield* Migrations.check()).stream, stream)
    }).pipe(Effect.provide(empty)))

  it.scoped("keep what a prefix separates apart", () =>
    Effect.gen(function*() {
      yield* execute("CREATE TABLE operation (mine)")
      yield* Migrations.run({ prefix: "audit_" })
      yield* Migrations.run({ prefix: "_2" })
      assert.includeMembers([...yield* tables], ["operation", "audit_operation", "_2operation", "_2trustlog_status"])
      const first = yield* Migrations.check({ prefix: "audit_" })
      const second = yield* Migrations.check({ prefix: "_2" })
      assert.notStrictEqual(first.stream, second.stream)
    }).pipe(Effect.provide(empty)))

  for (const prefix of ["2a", "a b", "a\"b", "a'; DROP TABLE x; --", "é", "a.b", "a-b", "\0", "{prefix}", "a\n"]) {
    it.scoped(`refuse the prefix ${JSON.stringify(prefix)}`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(Migrations.run({ prefix }))
        assert.include(error.problem, "write a letter or underscore")
        assert.strictEqual(yield* reasonOf(Migrations.check({ prefix })), "unknown")
        assert.deepStrictEqual(yield* tables, [])
      }).pipe(Effect.provide(empty)))
  }

  for (
    const [what, statement] of [
      ["a table called operation", "CREATE TABLE operation (mine)"],
      ["a table called OPERATION", "CREATE TABLE OPERATION (mine)"],
      ["a view called operation", "CREATE VIEW operation AS SELECT 1"],
      ["a table called trustlog_cursor with other columns", "CREATE TABLE trustlog_cursor (mine)"],
      ["an empty table called trustlog_cursor", "CREATE TABLE trustlog_cursor (name, value)"],
      ["a schema that is no number", "CREATE TABLE trustlog_cursor AS SELECT 'schema' AS name, 'one' AS value"],
      ["a schema that is nothing", "CREATE TABLE trustlog_cursor AS SELECT 'schema' AS name, NULL AS value"]
    ] as const
  ) {
    it.scoped(`leave a database alone that has ${what} of another program`, () =>
      Effect.gen(function*() {
        yield* execute(statement)
        const before = yield* tables
        const error = yield* Effect.flip(Migrations.run())
        assert.strictEqual(error.reason, "foreign")
        assert.strictEqual(yield* reasonOf(Migrations.check()), "foreign")
        assert.deepStrictEqual(yield* tables, before)
      }).pipe(Effect.provide(empty)))
  }

  it.scoped("say which cure there is for another program's table", () =>
    Effect.gen(function*() {
      yield* execute("CREATE TABLE operation (mine)")
      const error = yield* Effect.flip(Migrations.run())
      assert.strictEqual(
        error.problem,
        "the database has a table operation that trustlog did not make: choose another database, schema or table prefix"
      )
    }).pipe(Effect.provide(empty)))

  it.scoped("make nothing when one table is in the way", () =>
    Effect.gen(function*() {
      yield* execute("CREATE TABLE trustlog_retry (mine)")
      yield* Effect.flip(Migrations.run())
      assert.deepStrictEqual(yield* tables, ["trustlog_retry"])
    }).pipe(Effect.provide(empty)))

  it.scoped("refuse the tables of a newer trustlog, and change nothing", () =>
    Effect.gen(function*() {
      yield* Migrations.run()
      yield* execute("UPDATE trustlog_cursor SET value = '7' WHERE name = 'schema'")
      yield* execute("DELETE FROM trustlog_cursor WHERE name = 'stream'")
      const before = yield* content
      for (const effect of [Migrations.run(), Effect.asVoid(Migrations.check())]) {
        const error = yield* Effect.flip(effect)
        assert.strictEqual(error.reason, "newer")
        assert.strictEqual(error.problem, "made by a newer trustlog (schema 7, this program knows 1): upgrade trustlog")
      }
      assert.deepStrictEqual(yield* content, before)
    }).pipe(Effect.provide(empty)))

  it.scoped("take a schema that was loaded by hand as it is, and give it its stream", () =>
    Effect.gen(function*() {
      for (const statement of schema.replaceAll("{prefix}", "").replace(/^--.*$/gm, "").split(/;$/m)) {
        if (statement.trim() !== "") yield* execute(statement)
      }
      assert.strictEqual(yield* reasonOf(Migrations.check()), "missing")
      yield* Migrations.run()
      yield* Migrations.check()
    }).pipe(Effect.provide(empty)))

  it.scoped("neither wait for a writer nor need permission to write where the tables are up to date", () =>
    Effect.gen(function*() {
      const filename = path.join(yield* folder, "test.db")
      const busy = Sqlite.layer({ filename, busyWait: 0 })
      yield* Effect.gen(function*() {
        yield* Migrations.run()
        const sql = yield* Client
        const held = yield* Deferred.make<void>()
        yield* Effect.fork(sql.withTransaction(Effect.zipRight(Deferred.succeed(held, undefined), Effect.never)))
        yield* Deferred.await(held)
        yield* Effect.provide(Migrations.run(), busy)
      }).pipe(Effect.provide(Sqlite.layer({ filename })))
      yield* Effect.provide(Migrations.run(), Sqlite.layer({ filename, readonly: true }))
    }))

  it.scoped("join a transaction that is going on, and are rolled back with it", () =>
    Effect.gen(function*() {
      const sql: SqlClient.SqlClient = yield* Client
      yield* Effect.flip(sql.withTransaction(Effect.zipRight(Migrations.run(), Effect.fail("no"))))
      assert.deepStrictEqual(yield* tables, [])
    }).pipe(Effect.provide(empty)))

  it.scoped("are not misled by a client that transforms names", () =>
    Effect.gen(function*() {
      const filename = path.join(yield* folder, "test.db")
      const shout = (name: string) => `x_${name}`
      yield* Effect.zipRight(Migrations.run(), Migrations.check()).pipe(
        Effect.provide(Sqlite.layer({ filename, transformQueryNames: shout, transformResultNames: shout }))
      )
    }))

  describe("of several processes", () => {
    let program = ""
    beforeAll(async () => {
      program = await bundle(fileURLToPath(new URL("./suites/migrateProgram.ts", import.meta.url)))
    })

    it.scopedLive("that start at once on an empty database all find one stream", () =>
      Effect.gen(function*() {
        const directory = yield* folder
        for (const round of [1, 2, 3]) {
          const file = path.join(directory, `${round}.db`)
          const outputs = yield* Effect.forEach(
            [1, 2, 3, 4],
            () => Effect.promise(() => promisify(execFile)(...runtime.running(program, file))),
            { concurrency: "unbounded" }
          )
          const streams = outputs.map((output) => output.stdout)
          assert.match(streams[0] ?? "", /^[0-9a-f-]{36}\n$/)
          assert.deepStrictEqual(streams, streams.map(() => streams[0]))
        }
      }))
  })
})

describe("the generated module", () => {
  const dialects = ["sqlite", "postgresql", "mysql", "test_data", "test_data_mysql"].map((name) => `sql/${name}.sql`)

  const codegen = (directory: string, ...args: ReadonlyArray<string>) =>
    new Promise<{ readonly code: number | null; readonly stderr: string }>((resolve) => {
      const child = spawn(...runtime.running(path.join(directory, "scripts/codegen.mjs"), ...args))
      let stderr = ""
      child.stderr.on("data", (data) => stderr += data)
      child.on("close", (code) => resolve({ code, stderr }))
    })

  it("is what the files in sql make", async () => {
    assert.deepStrictEqual(await codegen(root, "--check"), { code: 0, stderr: "" })
  })

  const copy = Effect.tap(folder, (directory) => {
    for (const file of ["scripts/codegen.mjs", ...dialects, "src/internal/migrations.generated.ts"]) {
      fs.mkdirSync(path.dirname(path.join(directory, file)), { recursive: true })
      fs.copyFileSync(path.join(root, file), path.join(directory, file))
    }
  })

  it.scoped("is found to differ when the SQL has changed, until it is made again", () =>
    Effect.gen(function*() {
      const directory = yield* copy
      fs.appendFileSync(
        path.join(directory, "sql/sqlite.sql"),
        "\n-- migration: 2 more\n\nCREATE TABLE {prefix}more (a);\n"
      )
      const differing = yield* Effect.promise(() => codegen(directory, "--check"))
      assert.deepInclude(differing, { code: 1 })
      assert.match(differing.stderr, /npm run codegen/)
      assert.deepInclude(yield* Effect.promise(() => codegen(directory)), { code: 0 })
      assert.deepInclude(yield* Effect.promise(() => codegen(directory, "--check")), { code: 0 })
      const made = fs.readFileSync(path.join(directory, "src/internal/migrations.generated.ts"), "utf8")
      assert.include(made, `"CREATE TABLE {prefix}more (a)"`)
    }))

  for (
    const [what, text] of [
      ["a section out of turn", "\n-- migration: 3 more\n\nSELECT 1;\n"],
      ["a section without a title", "\n-- migration: 2\n\nSELECT 1;\n"],
      ["a statement without a semicolon", "\n-- migration: 2 more\n\nSELECT 1\n"]
    ] as const
  ) {
    it.scoped(`is not made of SQL with ${what}`, () =>
      Effect.gen(function*() {
        const directory = yield* copy
        fs.appendFileSync(path.join(directory, "sql/sqlite.sql"), text)
        const { code, stderr } = yield* Effect.promise(() => codegen(directory))
        assert.strictEqual(code, 1)
        assert.include(stderr, "sql/sqlite.sql")
      }))
  }
})
