/**
 * What the SQLite client does on every driver: values, streams, transactions, waiting, processes, failures.
 */
import * as Reactivity from "@effect/experimental/Reactivity"
import * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import { assert, beforeAll, describe, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { spawn } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import * as readline from "node:readline"
import { fileURLToPath } from "node:url"
import * as Sqlite from "../../src/Database/Sqlite.ts"
import { DatabaseError } from "../../src/TrustlogError.ts"
import { dialectOf } from "../../src/internal/dialects/dialectOf.ts"
import { bundle } from "../Program.ts"
import * as runtime from "../runtime.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "trustlog-sqlite-"))),
  (directory) => Effect.sync(() => fs.rmSync(directory, { recursive: true, force: true }))
)

const newFile = Effect.map(folder, (directory) => path.join(directory, "test.db"))

/** What a statement failed with, as the layer promises it. */
const failureOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(Effect.flip(effect), (error) =>
    error instanceof DatabaseError
      ? Effect.succeed(error)
      : error instanceof SqlError && error.cause instanceof DatabaseError
      ? Effect.succeed(error.cause)
      : Effect.dieMessage(`not a database error: ${String(error)}`))

const reasonOf = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.map(failureOf(effect), (error) => error.reason)

export const suite = (driver: "node:sqlite" | "libsql") =>
  describe(`SQLite over ${driver}`, () => {
    const open = (
      filename: string,
      options: Partial<Sqlite.Options> = {}
    ): Effect.Effect<SqlClient.SqlClient, DatabaseError, Scope.Scope> =>
      Effect.provide(Sqlite.make({ filename, driver, ...options }), Reactivity.layer)

    const opened = Effect.flatMap(newFile, (file) => open(file))

    describe("values", () => {
      it.scoped("are stored as what they are", () =>
        Effect.gen(function*() {
          const sql = yield* opened
          yield* sql`CREATE TABLE t (id INTEGER PRIMARY KEY, v)`
          const values: ReadonlyArray<readonly [unknown, string, unknown]> = [
            [1, "integer", 1],
            [2 ** 53 - 1, "integer", 2 ** 53 - 1],
            [-5n, "integer", -5],
            [1.5, "real", 1.5],
            [-0, "real", -0],
            [1e300, "real", 1e300],
            [true, "integer", 1],
            [false, "integer", 0],
            [null, "null", null],
            [undefined, "null", null],
            [new Date(0), "text", "1970-01-01T00:00:00.000Z"],
            ["", "text", ""],
            ["é😀'\"\\\n", "text", "é😀'\"\\\n"],
            ["x".repeat(5_000_000), "text", "x".repeat(5_000_000)],
            [new Uint8Array([0, 255]), "blob", new Uint8Array([0, 255])],
            [Buffer.from("abc").subarray(1), "blob", new Uint8Array([98, 99])],
            [new Uint8Array(0), "blob", new Uint8Array(0)],
            [new Uint8Array([7]).buffer, "blob", new Uint8Array([7])]
          ]
          for (const [value, type, read] of values) {
            const rows = yield* sql`INSERT INTO t (v) VALUES (${value}) RETURNING v, typeof(v) AS type`
            assert.deepStrictEqual(rows, [{ v: read, type }])
          }
        }))

      it.scoped("that SQLite cannot store are refused before anything is done", () =>
        Effect.gen(function*() {
          const sql = yield* opened
          yield* sql`CREATE TABLE t (v)`
          const values = [
            "a\0b",
            NaN,
            2n ** 63n,
            -(2n ** 63n) - 1n,
            {},
            [1],
            Symbol("s"),
            () => 1,
            new Date(NaN),
            new Map()
          ]
          for (const value of values) {
            const error = yield* failureOf(sql`INSERT INTO t (v) VALUES (${sql.literal("1")}), (${value})`)
            assert.match(error.problem, /parameter 1 is /)
          }
          assert.deepStrictEqual(yield* sql`SELECT v FROM t`, [])
        }))

      it.scoped("beyond 2^53 are exact as bigints, and an error where a number was expected", () =>
        Effect.gen(function*() {
          const sql = yield* opened
          yield* sql`CREATE TABLE t (v INTEGER)`
          const large = [9007199254740993n, 2n ** 63n - 1n, -(2n ** 63n)]
          for (const value of large) yield* sql`INSERT INTO t (v) VALUES (${value})`
          const read = sql<{ readonly v: number | bigint }>`SELECT v FROM t ORDER BY rowid`
          const exact = Effect.provideService(SqlClient.SafeIntegers, true)
          assert.deepStrictEqual((yield* exact(read)).map((row) => row.v), large)
          assert.deepStrictEqual(yield* exact(read.values), large.map((v) => [v]))
          assert.deepStrictEqual(
            Chunk.toReadonlyArray(yield* Stream.runCollect(read.stream).pipe(exact)).map((row) => row.v),
            large
          )
          assert.match((yield* failureOf(read)).problem, /the integer|too large/)
          assert.strictEqual(yield* reasonOf(read.values), "unknown")
          assert.strictEqual(yield* reasonOf(Stream.runCollect(read.stream)), "unknown")
          assert.deepStrictEqual(yield* sql`SELECT 9007199254740991 AS v, 1.0 AS w`, [{ v: 2 ** 53 - 1, w: 1 }])
        }))

      it.scoped("of two columns with one name are both kept as arrays, and a raw write tells its changes", () =>
        Effect.gen(function*() {
          const sql = yield* opened
          assert.deepStrictEqual(yield* sql`SELECT 1 AS a, x'02' AS a`.values, [[1, new Uint8Array([2])]])
          yield* sql`CREATE TABLE t (v)`
          assert.include(yield* sql`INSERT INTO t (v) VALUES (1), (2)`.raw, { changes: 2 })
          assert.deepStrictEqual(yield* sql`SELECT v FROM t`.raw, [{ v: 1 }, { v: 2 }])
        }))

      it.scoped("follow a change of the table's columns", () =>
        Effect.gen(function*() {
          const sql = yield* opened
          yield* sql`CREATE TABLE t (a)`
          yield* sql`INSERT INTO t (a) VALUES (1)`
          assert.deepStrictEqual(yield* sql`SELECT * FROM t`, [{ a: 1 }])
          yield* sql`ALTER TABLE t ADD COLUMN b DEFAULT 2`
          assert.deepStrictEqual(yield* sql`SELECT * FROM t`, [{ a: 1, b: 2 }])
        }))

      it.scoped("are renamed by the client's transforms, unless without them", () =>
        Effect.gen(function*() {
          const sql = yield* open(yield* newFile, {
            transformQueryNames: (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
            transformResultNames: (name) => name.replace(/_[a-z]/g, (letters) => letters.slice(1).toUpperCase())
          })
          yield* sql`CREATE TABLE t (an_id)`
          yield* sql`INSERT INTO t ${sql.insert({ anId: 1 })}`
          assert.deepStrictEqual(yield* sql`SELECT an_id FROM t`, [{ anId: 1 }])
          assert.deepStrictEqual(
            Chunk.toReadonlyArray(yield* Stream.runCollect(sql`SELECT an_id FROM t`.stream)),
            [{ anId: 1 }]
          )
          const plain = sql.withoutTransforms()
          assert.deepStrictEqual(yield* plain.withTransaction(plain`SELECT an_id FROM t`), [{ an_id: 1 }])
        }))
    })

    describe("streams", () => {
      const numbers = (sql: SqlClient.SqlClient, count: number) =>
        Effect.zipRight(
          sql`CREATE TABLE numbers (n INTEGER PRIMARY KEY)`,
          sql`WITH RECURSIVE c(n) AS (SELECT 1 WHERE 0 < ${count} UNION ALL SELECT n + 1 FROM c WHERE n < ${count})
            INSERT INTO numbers SELECT n FROM c`
        )

      for (const count of [0, 1, 128, 10_000]) {
        it.scoped(`give ${count} rows once and in order, in a transaction and outside`, () =>
          Effect.gen(function*() {
            const sql = yield* opened
            yield* numbers(sql, count)
            const read = Stream.runCollect(sql<{ readonly n: number }>`SELECT n FROM numbers ORDER BY n`.stream)
            const expected = Array.from({ length: count }, (_, i) => ({ n: i + 1 }))
            assert.deepStrictEqual(Chunk.toReadonlyArray(yield* read), expected)
            assert.deepStrictEqual(Chunk.toReadonlyArray(yield* sql.withTransaction(read)), expected)
          }))
      }

      it.scoped("read one state of the database while their consumer writes to it", () =>
        Effect.gen(function*() {
          const sql = yield* opened
          yield* numbers(sql, 1000)
          const seen = yield* sql<{ readonly n: number }>`SELECT n FROM numbers ORDER BY n`.stream.pipe(
            Stream.mapEffect(({ n }) => sql.withTransaction(sql`INSERT INTO numbers (n) VALUES (${n + 1000})`)),
            Stream.runCount
          )
          assert.strictEqual(seen, 1000)
          assert.deepStrictEqual(yield* sql`SELECT count(*) AS n FROM numbers`, [{ n: 2000 }])
        }))

      it.scoped("see what their own transaction has written", () =>
        Effect.gen(function*() {
          const sql = yield* opened
          yield* numbers(sql, 1)
          yield* sql.withTransaction(Effect.gen(function*() {
            yield* sql`INSERT INTO numbers (n) VALUES (2)`
            assert.strictEqual(yield* Stream.runCount(sql`SELECT n FROM numbers`.stream), 2)
          }))
        }))

      it.scoped("that stop early let go of the state they read", () =>
        Effect.gen(function*() {
          const file = yield* newFile
          const sql = yield* open(file)
          yield* numbers(sql, 10_000)
          const first = Stream.runCollect(Stream.take(sql`SELECT n FROM numbers`.stream, 1))
          yield* first
          yield* sql.withTransaction(first)
          yield* sql`INSERT INTO numbers (n) VALUES (-1)`
          const other = yield* open(file)
          assert.deepInclude((yield* other`PRAGMA wal_checkpoint(TRUNCATE)`)[0], { busy: 0 })
        }))

      it.scoped("leave no file open, however many there are", () =>
        Effect.gen(function*() {
          const sql = yield* opened
          yield* numbers(sql, 1000)
          const open = () => fs.readdirSync("/dev/fd").length
          yield* Stream.runDrain(sql`SELECT n FROM numbers`.stream)
          const before = open()
          for (let i = 0; i < 100; i++) yield* Stream.runDrain(Stream.take(sql`SELECT n FROM numbers`.stream, i))
          assert.isAtMost(open(), before)
        }))

      it.scoped("of a database in memory work too", () =>
        Effect.gen(function*() {
          const sql = yield* open(":memory:")
          yield* numbers(sql, 300)
          assert.strictEqual(yield* Stream.runCount(sql`SELECT n FROM numbers`.stream), 300)
        }))

      it.scoped("fail with the statement's failure", () =>
        Effect.gen(function*() {
          const sql = yield* opened
          assert.strictEqual(yield* reasonOf(Stream.runDrain(sql`SELECT * FROM nowhere`.stream)), "missing")
        }))
    })

    describe("transactions", () => {
      const table = Effect.tap(opened, (sql) => sql`CREATE TABLE t (v UNIQUE)`)
      const valuesOf = (sql: SqlClient.SqlClient) =>
        Effect.map(sql<{ readonly v: unknown }>`SELECT v FROM t ORDER BY v`, (rows) => rows.map((row) => row.v))
      const insert = (sql: SqlClient.SqlClient, v: unknown) => sql`INSERT INTO t (v) VALUES (${v})`

      it.scoped("that fail leave nothing, and one inside another leaves nothing of its own", () =>
        Effect.gen(function*() {
          const sql = yield* table
          const failing = sql.withTransaction(Effect.zipRight(insert(sql, 1), Effect.fail("no")))
          assert.deepStrictEqual(yield* Effect.exit(failing), Exit.fail("no"))
          assert.deepStrictEqual(yield* valuesOf(sql), [])
          yield* sql.withTransaction(Effect.gen(function*() {
            yield* insert(sql, 2)
            yield* Effect.flip(failing)
            yield* sql.withTransaction(insert(sql, 3))
          }))
          assert.deepStrictEqual(yield* valuesOf(sql), [2, 3])
        }))

      it.scoped("keep other fibres' statements waiting until they have ended", () =>
        Effect.gen(function*() {
          const sql = yield* table
          const wrote = yield* Deferred.make<void>()
          const end = yield* Deferred.make<void>()
          const writer = yield* Effect.fork(sql.withTransaction(Effect.gen(function*() {
            yield* insert(sql, 1)
            yield* Deferred.succeed(wrote, undefined)
            yield* Deferred.await(end)
            return yield* Effect.fail("no")
          })))
          yield* Deferred.await(wrote)
          const reader = yield* Effect.fork(valuesOf(sql))
          yield* Effect.yieldNow()
          assert.strictEqual(yield* Stream.runCount(sql`SELECT v FROM t`.stream), 0, "a stream need not wait")
          yield* Deferred.succeed(end, undefined)
          assert.deepStrictEqual(yield* Fiber.await(writer), Exit.fail("no"))
          assert.deepStrictEqual(yield* Fiber.join(reader), [])
        }))

      it.live("come in turn, and an interrupted one gives its turn to the next", () =>
        Effect.scoped(Effect.gen(function*() {
          const sql = yield* table
          const fibers = yield* Effect.forEach(
            Array.from({ length: 300 }, (_, i) => i),
            (i) => Effect.fork(sql.withTransaction(Effect.zipRight(insert(sql, i), Effect.yieldNow())))
          )
          yield* Effect.forEach(
            fibers.filter((_, i) => i % 3 !== 0),
            (fiber) => Effect.zipRight(Effect.yieldNow(), Effect.fork(Fiber.interrupt(fiber))),
            { discard: true }
          )
          const exits = yield* Effect.forEach(fibers, Fiber.await)
          assert.isTrue(exits.some(Exit.isInterrupted))
          const committed = exits.flatMap((exit, i) => Exit.isSuccess(exit) ? [i] : [])
          assert.isTrue(committed.length >= 100)
          assert.deepStrictEqual(yield* valuesOf(sql), committed)
          yield* sql.withTransaction(insert(sql, "last"))
        })))

      it.scoped("that run while their fibre is interrupted are rolled back", () =>
        Effect.gen(function*() {
          const sql = yield* table
          const wrote = yield* Deferred.make<void>()
          const fiber = yield* Effect.fork(sql.withTransaction(
            insert(sql, 1).pipe(Effect.zipRight(Deferred.succeed(wrote, undefined)), Effect.zipRight(Effect.never))
          ))
          yield* Deferred.await(wrote)
          yield* Fiber.interrupt(fiber)
          yield* sql.withTransaction(insert(sql, 2))
          assert.deepStrictEqual(yield* valuesOf(sql), [2])
        }))

      it.scoped("may be used by the finalizer of a fibre that is interrupted, even if it has to wait", () =>
        Effect.gen(function*() {
          const sql = yield* table
          const end = yield* Deferred.make<void>()
          const holding = yield* Deferred.make<void>()
          const holder = yield* Effect.fork(
            sql.withTransaction(Effect.zipRight(Deferred.succeed(holding, undefined), Deferred.await(end)))
          )
          yield* Deferred.await(holding)
          const started = yield* Deferred.make<void>()
          const fiber = yield* Effect.fork(
            Deferred.succeed(started, undefined).pipe(
              Effect.zipRight(Effect.never),
              Effect.ensuring(Effect.orDie(sql.withTransaction(insert(sql, "finally"))))
            )
          )
          yield* Deferred.await(started)
          const interrupting = yield* Effect.fork(Fiber.interrupt(fiber))
          yield* Effect.yieldNow()
          yield* Deferred.succeed(end, undefined)
          yield* Fiber.join(interrupting)
          yield* Fiber.join(holder)
          assert.deepStrictEqual(yield* valuesOf(sql), ["finally"])
        }))

      it.scoped("whose COMMIT fails are rolled back, and fail with an error instead of a defect", () =>
        Effect.gen(function*() {
          const sql = yield* table
          yield* sql`CREATE TABLE child (v REFERENCES t (v) DEFERRABLE INITIALLY DEFERRED)`
          const orphan = sql.withTransaction(sql`INSERT INTO child (v) VALUES (1)`)
          assert.strictEqual(yield* reasonOf(orphan), "constraint")
          yield* sql.withTransaction(insert(sql, 2))
          assert.deepStrictEqual(yield* sql`SELECT count(*) AS n FROM child`, [{ n: 0 }])
        }))

      it.scoped("that find the disk full are rolled back whole, and nothing after it is kept by itself", () =>
        Effect.gen(function*() {
          const sql = yield* table
          yield* sql`PRAGMA max_page_count = 20`
          const fill = Effect.forever(Effect.suspend(() => insert(sql, "x".repeat(8000) + Math.random())))
          assert.strictEqual(yield* reasonOf(sql.withTransaction(fill)), "full")
          const goingOn = (fill: Effect.Effect<unknown, SqlError>) =>
            sql.withTransaction(Effect.gen(function*() {
              yield* insert(sql, 1)
              yield* Effect.flip(fill)
              // The database has ended the transaction by itself.
              return yield* Effect.flip(insert(sql, 2))
            }))
          assert.strictEqual(yield* reasonOf(goingOn(fill)), "full")
          assert.strictEqual(yield* reasonOf(goingOn(sql.withTransaction(fill))), "full")
          assert.deepStrictEqual(yield* valuesOf(sql), [])
          yield* sql.withTransaction(insert(sql, 3))
          assert.deepStrictEqual(yield* valuesOf(sql), [3])
        }))

      it.scoped("and streams that still go on when the database is closed fail, and nothing else does", () =>
        Effect.gen(function*() {
          const scope = yield* Scope.make()
          const sql = yield* Scope.extend(table, scope)
          for (let i = 0; i < 1000; i++) yield* insert(sql, i)
          const rows = sql`SELECT v FROM t`
          const begun = [yield* Deferred.make<void>(), yield* Deferred.make<void>()] as const
          const closed = yield* Deferred.make<void>()
          const wait = (i: 0 | 1) => Effect.zipRight(Deferred.succeed(begun[i], undefined), Deferred.await(closed))
          const transaction = yield* Effect.fork(
            sql.withTransaction(insert(sql, -1).pipe(Effect.zipRight(wait(0)), Effect.zipRight(rows)))
          )
          const stream = yield* Effect.fork(Stream.runForEach(rows.stream, () => wait(1)))
          yield* Deferred.await(begun[0])
          yield* Deferred.await(begun[1])
          yield* Scope.close(scope, Exit.void)
          yield* Deferred.succeed(closed, undefined)
          for (
            const effect of [
              Fiber.join(transaction),
              Fiber.join(stream),
              rows,
              sql.withTransaction(rows),
              Stream.runDrain(rows.stream)
            ]
          ) {
            assert.strictEqual((yield* Effect.flip(effect))._tag, "SqlError")
          }
        }))

      it.scoped("may be made on a reserved connection, which is given back without an open one", () =>
        Effect.gen(function*() {
          const sql = yield* table
          yield* Effect.scoped(Effect.gen(function*() {
            const connection = yield* sql.reserve
            yield* connection.executeUnprepared("BEGIN IMMEDIATE", [], undefined)
            yield* connection.execute("INSERT INTO t (v) VALUES (?)", [1], undefined)
          }))
          assert.deepStrictEqual(yield* valuesOf(sql), [])
          yield* sql.withTransaction(insert(sql, 2))
        }))
    })

    it.scoped("reads what other programs have written as what it is, whatever that is", () =>
      Effect.gen(function*() {
        const sql = yield* opened
        const { select } = yield* dialectOf(sql)
        const columns = {
          none: "NULL",
          words: "'é😀'",
          cut: "'a' || char(0) || 'b'",
          marked: "CAST(x'EFBBBF61' AS TEXT)",
          broken: "CAST(x'61F0908062EDA08063FF' AS TEXT)",
          bytes: "CAST('abc' AS BLOB)",
          whole: "-5",
          large: "9223372036854775807",
          real: "1.5"
        }
        assert.deepStrictEqual(yield* select(columns, sql``, ["x'00ff' AS leaves"]), [{
          none: null,
          words: "é😀",
          cut: "a\0b",
          marked: "\uFEFFa",
          broken: "a\uFFFDb\uFFFD\uFFFD\uFFFDc\uFFFD",
          bytes: 0.5,
          whole: -5,
          large: 2 ** 63,
          real: 1.5,
          "x'00ff' AS leaves": new Uint8Array([0, 255])
        }])
      }))

    it.scoped("tells at once that another connection has committed, also in a transaction and while it is locked", () =>
      Effect.gen(function*() {
        const file = yield* newFile
        const [sql, other] = [yield* open(file), yield* open(file)]
        const { look } = (yield* dialectOf(sql)).watch
        assert.isDefined(look)
        const before = look()
        yield* sql`CREATE TABLE t (v)`
        assert.deepStrictEqual(look(), before)
        yield* other.withTransaction(Effect.gen(function*() {
          yield* other`INSERT INTO t VALUES (1)`
          assert.deepStrictEqual(look(), before)
        }))
        const after = look()
        assert.isTrue(Exit.isSuccess(after))
        assert.notDeepEqual(after, before)
        yield* sql.withTransaction(Effect.sync(() => assert.deepStrictEqual(look(), after)))
      }))

    describe("a locked database", () => {
      const locked = Effect.gen(function*() {
        const file = yield* newFile
        const holder = yield* open(file)
        yield* holder`CREATE TABLE t (v)`
        const held = yield* Deferred.make<void>()
        const end = yield* Deferred.make<void>()
        const fiber = yield* Effect.fork(holder.withTransaction(
          Effect.zipRight(Deferred.succeed(held, undefined), Deferred.await(end))
        ))
        yield* Deferred.await(held)
        return { file, release: Effect.zipRight(Deferred.succeed(end, undefined), Fiber.join(fiber)) }
      })

      // Under a test's clock, which nobody moves.
      it.scoped("is waited for while other fibres go on, whatever the clock says", () =>
        Effect.gen(function*() {
          const { file, release } = yield* locked
          const sql = yield* open(file)
          const transaction = yield* Effect.fork(sql.withTransaction(sql`INSERT INTO t (v) VALUES (1)`))
          const statement = yield* Effect.fork(Effect.flatMap(open(file), (sql) => sql`INSERT INTO t (v) VALUES (2)`))
          // The holder lives in this very thread: a wait that blocks it would never end.
          yield* Effect.async<void>((resume) => {
            const timer = setTimeout(() => resume(Effect.void), 300)
            return Effect.sync(() => clearTimeout(timer))
          })
          assert.isNull(transaction.unsafePoll())
          assert.isNull(statement.unsafePoll())
          yield* release
          yield* Fiber.join(transaction)
          yield* Fiber.join(statement)
          assert.deepStrictEqual(yield* sql`SELECT count(*) AS n FROM t`, [{ n: 2 }])
        }))

      it.scoped("is given up after the time that was set, without losing the connection", () =>
        Effect.gen(function*() {
          const { file, release } = yield* locked
          const sql = yield* open(file, { busyWait: "100 millis" })
          assert.deepStrictEqual(yield* sql`SELECT count(*) AS n FROM t`, [{ n: 0 }])
          assert.strictEqual(yield* reasonOf(sql.withTransaction(sql`INSERT INTO t (v) VALUES (1)`)), "locked")
          const error = yield* failureOf(sql`INSERT INTO t (v) VALUES (1)`)
          assert.strictEqual(error.problem, `${file} is locked by another process`)
          assert.isTrue(error.isRetryable)
          yield* release
          yield* sql.withTransaction(sql`INSERT INTO t (v) VALUES (1)`)
        }))

      it.live("is not waited for by a fibre that is interrupted", () =>
        Effect.scoped(Effect.gen(function*() {
          const { file, release } = yield* locked
          const sql = yield* open(file, { busyWait: "1 hour" })
          const fibers = yield* Effect.all([
            Effect.fork(sql.withTransaction(sql`INSERT INTO t (v) VALUES (1)`)),
            Effect.fork(sql.withTransaction(sql`INSERT INTO t (v) VALUES (2)`)),
            Effect.fork(sql`INSERT INTO t (v) VALUES (3)`)
          ])
          yield* Effect.sleep("50 millis")
          yield* Fiber.interruptAll(fibers)
          yield* release
          yield* sql.withTransaction(sql`INSERT INTO t (v) VALUES (4)`)
          assert.deepStrictEqual(yield* sql`SELECT v FROM t`, [{ v: 4 }])
        })))
    })

    describe("processes", () => {
      let program = ""
      beforeAll(async () => {
        program = await bundle(fileURLToPath(new URL("./sqliteProgram.ts", import.meta.url)))
      })

      const start = (verb: string, file: string, options: { readonly limit?: number; readonly uid?: number } = {}) =>
        Effect.acquireRelease(
          Effect.sync(() => {
            // Where a runtime does not ignore the signal by itself, it would end the process.
            const limit = options.limit === undefined ? "" : `trap '' XFSZ; ulimit -f ${options.limit}; `
            const child = spawn("sh", ["-c", `${limit}exec "$0" "$@"`, ...runtime.words, program, verb, driver, file], {
              stdio: ["ignore", "pipe", "inherit"],
              ...(options.uid !== undefined && { uid: options.uid, gid: options.uid })
            })
            const lines: Array<string> = []
            const reader = readline.createInterface({ input: child.stdout })
            reader.on("line", (line) => lines.push(line))
            const ended = new Promise<void>((resolve) => void reader.on("close", resolve))
            const nextLine = () => new Promise<void>((resolve) => void reader.once("line", () => resolve()))
            return { child, lines, ended, nextLine }
          }),
          ({ child }) => Effect.sync(() => void child.kill("SIGKILL"))
        )

      const counter = Effect.gen(function*() {
        const file = yield* newFile
        yield* Effect.scoped(Effect.gen(function*() {
          const sql = yield* open(file)
          yield* sql`CREATE TABLE counter (n INTEGER)`
          yield* sql`INSERT INTO counter (n) VALUES (0)`
          yield* sql`CREATE TABLE log (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT)`
        }))
        return file
      })

      it.scopedLive("that read, then write, in transactions lose no update and never fail", () =>
        Effect.gen(function*() {
          const file = yield* counter
          const children = yield* Effect.all(Array.from({ length: 4 }, () => start("increment", file)))
          for (const { ended, lines } of children) {
            yield* Effect.promise(() => ended)
            assert.deepStrictEqual(lines, ["done"])
          }
          const sql = yield* open(file)
          assert.deepStrictEqual(yield* sql`SELECT n FROM counter`, [{ n: 800 }])
        }))

      it.scopedLive("that open a new file at once all succeed", () =>
        Effect.gen(function*() {
          const directory = yield* folder
          for (const round of [1, 2, 3]) {
            const children = yield* Effect.all(
              Array.from({ length: 4 }, () => start("start", path.join(directory, `${round}.db`)))
            )
            for (const { ended, lines } of children) {
              yield* Effect.promise(() => ended)
              assert.deepStrictEqual(lines, ["done"])
            }
          }
        }))

      it.scopedLive("that are killed in a transaction leave nothing of it, and hold nobody up", () =>
        Effect.gen(function*() {
          const file = yield* counter
          const { child, ended, nextLine } = yield* start("hold", file)
          yield* Effect.promise(nextLine)
          const sql = yield* open(file, { busyWait: "1 minute" })
          const writer = yield* Effect.fork(sql.withTransaction(sql`UPDATE counter SET n = n + 10`))
          yield* Effect.sleep("50 millis")
          assert.isNull(writer.unsafePoll())
          child.kill("SIGKILL")
          yield* Effect.promise(() => ended)
          yield* Fiber.join(writer)
          assert.deepStrictEqual(yield* sql`SELECT n FROM counter`, [{ n: 10 }])
        }))

      it.scopedLive("that are killed keep all that they have committed", () =>
        Effect.gen(function*() {
          const file = yield* counter
          for (let round = 0; round < 5; round++) {
            const { child, ended, lines, nextLine } = yield* start("commit", file)
            yield* Effect.promise(nextLine)
            yield* Effect.promise(nextLine)
            child.kill("SIGKILL")
            yield* Effect.promise(() => ended)
            const sql = yield* open(file)
            assert.deepStrictEqual(yield* sql`PRAGMA integrity_check`, [{ integrity_check: "ok" }])
            const [row] = yield* sql<{ readonly last: number; readonly n: number }>`
              SELECT max(id) AS last, count(*) AS n FROM log`
            assert.isAtLeast(row?.last ?? 0, Number(lines.at(-1)))
            assert.strictEqual(row?.n, row?.last)
          }
        }))

      it.scopedLive("that may write no more bytes fail with `full`, and nothing is damaged", () =>
        Effect.gen(function*() {
          const file = yield* counter
          const { ended, lines } = yield* start("write", file, { limit: 300 })
          yield* Effect.promise(() => ended)
          assert.strictEqual(lines[0], "read 1")
          assert.match(lines[1] ?? "", /"reason":"full".*cannot grow/)
          const sql = yield* open(file)
          assert.deepStrictEqual(yield* sql`PRAGMA integrity_check`, [{ integrity_check: "ok" }])
          assert.deepStrictEqual(yield* sql`SELECT count(*) AS n FROM log`, [{ n: 0 }])
        }))

      it.scopedLive("without permission to write can read, and say what is wrong", () =>
        Effect.gen(function*() {
          const file = yield* counter
          const old = path.join(path.dirname(file), "old.db")
          // Root may do everything.
          const nobody = process.getuid?.() === 0 ? { uid: 65534 } : {}
          const output = (verb: string, file: string, options = {}) =>
            Effect.scoped(Effect.gen(function*() {
              const { ended, lines } = yield* start(verb, file, options)
              yield* Effect.promise(() => ended)
              return lines.join("\n")
            }))
          assert.strictEqual(yield* output("old", old), "done")
          const permit = (directory: number, database: number) => {
            fs.chmodSync(path.dirname(file), 0o777)
            fs.rmSync(`${file}-shm`, { force: true })
            fs.chmodSync(file, database)
            fs.chmodSync(old, database)
            fs.chmodSync(path.dirname(file), directory)
          }
          const written = /^read 1\nfailed .*"reason":"readOnly".*cannot be written/
          permit(0o777, 0o444)
          assert.match(yield* output("write", file, nobody), written)
          assert.match(yield* output("write", old, nobody), written)
          permit(0o555, 0o444)
          assert.match(
            yield* output("write", file, nobody),
            /^failed .*no permission to write in .*, which SQLite needs even to read it/
          )
          assert.match(yield* output("write", old, nobody), written)
          permit(0o777, 0o000)
          assert.match(
            yield* output("write", file, nobody),
            /^failed .*"reason":"unavailable".*no permission to read it/
          )
        }))
    })

    describe("opening", () => {
      const inFolder = Effect.map(folder, (directory) => {
        fs.writeFileSync(path.join(directory, "text"), "No database, but text that goes on. ".repeat(200))
        fs.mkdirSync(path.join(directory, "sub"))
        return directory
      })

      for (
        const [what, name, options, reason, problem] of [
          ["a folder", "sub", {}, "unavailable", "it is a folder"],
          ["a file in a folder that is not there", "no/such/x.db", {}, "unavailable", "does not exist; make it"],
          ["a file in a file", "text/x.db", {}, "unavailable", "is not a folder"],
          ["a file that is no database", "text", {}, "foreign", "is not an SQLite database"],
          ["a file that is not there to read", "x.db", { readonly: true }, "unavailable", "it does not exist"],
          ["a name with a NUL character", "x\0.db", {}, "unavailable", "must not hold a NUL"]
        ] as const
      ) {
        it.scoped(`${what} fails with a message that says so`, () =>
          Effect.gen(function*() {
            const directory = yield* inFolder
            const error = yield* failureOf(open(path.join(directory, name), options))
            assert.strictEqual(error.reason, reason)
            assert.include(error.problem, problem)
            assert.sameMembers(fs.readdirSync(directory), ["sub", "text"])
          }))
      }

      it.scoped("takes a name literally, whatever is in it", () =>
        Effect.gen(function*() {
          const directory = yield* folder
          const before = process.cwd()
          yield* Effect.addFinalizer(() => Effect.sync(() => process.chdir(before)))
          process.chdir(directory)
          const name = "file:we ird?mode=ro#%25é'.db"
          for (const readonly of [false, true]) {
            const sql = yield* open(name, { readonly })
            if (!readonly) yield* sql`CREATE TABLE t (v)`
            else assert.strictEqual(yield* reasonOf(sql`INSERT INTO t (v) VALUES (1)`), "readOnly")
          }
          assert.include(fs.readdirSync(directory), name)
        }))

      it.scoped("to read only allows transactions that read", () =>
        Effect.gen(function*() {
          const file = yield* newFile
          yield* Effect.flatMap(open(file), (sql) => sql`CREATE TABLE t (v)`)
          const sql = yield* open(file, { readonly: true })
          assert.deepStrictEqual(yield* sql.withTransaction(sql`SELECT v FROM t`), [])
          assert.strictEqual(yield* Stream.runCount(sql`SELECT v FROM t`.stream), 0)
          assert.strictEqual(yield* reasonOf(sql.withTransaction(sql`DELETE FROM t`)), "readOnly")
        }))

      it.scoped("a file whose pages are damaged is `corrupt` when they are read", () =>
        Effect.gen(function*() {
          const file = yield* newFile
          yield* Effect.scoped(Effect.gen(function*() {
            const sql = yield* open(file)
            yield* sql`CREATE TABLE t (v)`
            yield* sql`INSERT INTO t (v) VALUES (${"x".repeat(100_000)})`
          }))
          const bytes = fs.readFileSync(file)
          fs.writeFileSync(file, bytes.fill(0xff, 4096, 8192))
          const sql = yield* open(file)
          const error = yield* failureOf(sql`SELECT v FROM t`)
          assert.strictEqual(error.reason, "corrupt")
          assert.include(error.problem, `${file} is damaged`)
        }))

      it.scoped("sets what makes a commit last", () =>
        Effect.gen(function*() {
          const sql = yield* opened
          assert.deepStrictEqual(yield* sql`PRAGMA journal_mode`, [{ journal_mode: "wal" }])
          assert.deepStrictEqual(yield* sql`PRAGMA synchronous`, [{ synchronous: 2 }])
          assert.deepStrictEqual(yield* sql`PRAGMA foreign_keys`, [{ foreign_keys: 1 }])
        }))
    })

    describe("failures", () => {
      for (
        const [statement, reason] of [
          ["SELECT * FROM nowhere", "missing"],
          ["INSERT INTO t (v) VALUES (1)", "constraint"],
          ["INSERT INTO t (v) VALUES (NULL)", "constraint"],
          ["INSERT INTO t (v) VALUES (-1)", "constraint"],
          ["SELEC 1", "unknown"],
          ["SELECT nothing FROM t", "unknown"],
          ["", "unknown"],
          ["-- nothing", "unknown"]
        ] as const
      ) {
        it.scoped(`of ${statement === "" ? "an empty statement" : statement} are ${reason}`, () =>
          Effect.gen(function*() {
            const file = yield* newFile
            const sql = yield* open(file)
            yield* sql`CREATE TABLE t (v PRIMARY KEY NOT NULL CHECK (v > 0)) WITHOUT ROWID`
            yield* sql`INSERT INTO t (v) VALUES (1)`
            const run = sql.unsafe(statement)
            for (const effect of [run, run.unprepared, sql.withTransaction(run)]) {
              const error = yield* failureOf(effect)
              assert.strictEqual(error.reason, reason)
              assert.include(error.problem, file)
              assert.isFalse(error.isRetryable)
            }
            assert.strictEqual(yield* reasonOf(run.values), reason)
            assert.strictEqual(yield* reasonOf(run.raw), reason)
          }))
      }
    })
  })
