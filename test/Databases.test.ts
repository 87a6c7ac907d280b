/**
 * The main job on every server: how tables are made and named, what a whole life of operations leaves, and its proof.
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as fs from "node:fs/promises"
import * as os from "node:os"
import * as path from "node:path"
import * as CircuitBreaker from "../src/CircuitBreaker.ts"
import * as CursorWorker from "../src/CursorWorker.ts"
import * as Drain from "../src/Drain.ts"
import * as Ledger from "../src/Ledger.ts"
import * as Migrations from "../src/Migrations.ts"
import { laneOf } from "../src/Operation.ts"
import * as PublisherLedger from "../src/Publisher/Ledger.ts"
import * as Memory from "../src/Publisher/Memory.ts"
import { Repository } from "../src/Repository.ts"
import * as Sql from "../src/Repository/Sql.ts"
import { RetryPolicy } from "../src/RetryPolicy.ts"
import * as Trustlog from "../src/Trustlog.ts"
import * as Verify from "../src/Verify.ts"
import { mysql } from "../src/internal/migrations.generated.ts"
import { client, fresh, pass } from "./serverDatabase.ts"
import { query } from "./servers/Database.ts"
import { database, onEach, type Server } from "./servers/Server.ts"
import { id, uuid } from "./workers.ts"

const read = { actor: "alice", action: "read", target: "file/1" }

/** Everything but a database's client. */
const application = (options: Migrations.Options = {}) =>
  Trustlog.layer.pipe(
    Layer.provideMerge(Layer.provide(Sql.layer(options), Migrations.layer(options))),
    Layer.provideMerge(Layer.merge(Memory.layer, CircuitBreaker.layer)),
    Layer.orDie
  )

const oneRetry = Layer.succeed(RetryPolicy, { schedule: Schedule.spaced("1 minute").pipe(Schedule.upTo("1 minute")) })

/** Uses every verb that writes, and returns how it went. */
const life = Effect.gen(function*() {
  const trustlog = yield* Trustlog.Trustlog
  const repository = yield* Repository
  const control = yield* Memory.Control
  yield* trustlog.append({ ...read, id: uuid(1), payload: { text: "ä'\"\\\u2028\u{1f600}" } })
  yield* trustlog.appendAll([2, 3, 4].map((n) => ({ ...read, id: uuid(n), kind: "record" as const })), {
    lane: "tenant.7"
  })
  yield* trustlog.append({ ...read, id: uuid(5) }, { strategy: "DbOnly" })
  yield* trustlog.promote([id(5)])
  yield* control.refuse(uuid(2), "rejected")
  yield* control.refuse(uuid(3), "tooLarge")
  const first = yield* Drain.drainOnce()
  const retried = yield* repository.nextRetryIn
  const letters = yield* repository.deadLetters({ after: 0, limit: 9 })
  yield* control.accept(uuid(3))
  yield* repository.replay([id(3)])
  yield* repository.setPaused(true)
  yield* repository.setPaused(false)
  const second = yield* Drain.drainOnce()
  return {
    first: [first.delivered, first.refused],
    second: [second.delivered, second.refused],
    isWaiting: retried !== undefined && retried > 50_000 && retried <= 60_000,
    letters: letters.map((letter) => [letter.id, letter.reason, letter.attempts]),
    stats: yield* repository.stats
  }
})

const lived = (result: Effect.Effect.Success<typeof life>) => {
  assert.deepInclude(result, {
    first: [3, 2],
    second: [1, 0],
    isWaiting: true,
    letters: [[id(3), "tooLarge", 1]]
  })
  assert.include(result.stats, { pending: 0, retrying: 1, dead: 0, delivered: 4 })
}

/** Every table and view of a server's schemas, with its schema, but for the server's own. */
const tablesOf = (server: Server) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) =>
    Effect.map(
      sql.unsafe<{ readonly s: string; readonly n: string }>(
        `SELECT table_schema AS s, table_name AS n FROM information_schema.tables WHERE ${
          server.dialect === "pg"
            ? "table_schema NOT IN ('pg_catalog', 'information_schema')"
            : "table_schema = DATABASE() OR table_schema LIKE 'Evidence\\_%'"
        }`
      ),
      (rows) => rows.map(({ n, s }) => `${s}.${n}`)
    ))

onEach((server) => {
  describe("the tables", () => {
    it.scoped("are made once, however many processes start at once on an empty database", () =>
      Effect.gen(function*() {
        for (const schema of [undefined, "evidence"]) {
          const url = yield* database(server)
          const options = schema === undefined || server.dialect !== "pg" ? {} : { schema }
          const streams = yield* Effect.forEach(
            Array.from({ length: 8 }),
            () =>
              Effect.zipRight(Migrations.run(options), Migrations.check(options)).pipe(
                Effect.provide(client(url, { maxConnections: 2 }))
              ),
            { concurrency: "unbounded" }
          )
          assert.strictEqual(new Set(streams.map(({ stream }) => stream)).size, 1)
        }
      }))

    it.scoped("stand in the schema and under the prefix that were chosen, and nothing stands anywhere else", () =>
      Effect.gen(function*() {
        // On MySQL a schema is a database, which belongs to the whole server.
        const schema = server.dialect === "pg" ? "Evidence" : `Evidence_${process.pid}`
        const drop = `DROP DATABASE IF EXISTS \`${schema}\``
        if (server.dialect === "mysql") yield* Effect.addFinalizer(() => query(server.url, drop))
        const options = { schema, prefix: "Audit_" }
        lived(yield* Effect.provide(life, Layer.provideMerge(application(options), oneRetry)))
        const tables = yield* tablesOf(server)
        assert.strictEqual(tables.length, 7, tables.join())
        assert.isTrue(
          tables.every((table) => table.toLowerCase().startsWith(`${schema}.Audit_`.toLowerCase())),
          tables.join()
        )
        // A second set of tables beside the first is another database to the program.
        lived(yield* Effect.provide(life, Layer.provideMerge(application(), oneRetry)))
      }).pipe(Effect.provide(Layer.orDie(fresh(server)))))

    it.scoped("are found under names that a host's transforms would change", () =>
      Effect.gen(function*() {
        lived(yield* Effect.provide(life, Layer.provideMerge(application(), oneRetry)))
        const sql = yield* SqlClient.SqlClient
        const [row] = yield* sql<{ readonly COLUMN_OF_THE_HOST: number }>`SELECT 1 AS column_of_the_host`
        assert.deepStrictEqual(row && { ...row }, { COLUMN_OF_THE_HOST: 1 })
      }).pipe(Effect.provide(Layer.orDie(
        fresh(server, {
          transformQueryNames: (name) => `${name}_of_the_host`,
          transformResultNames: (name) => name.toUpperCase()
        })
      ))))

    it.scoped("are left alone where another program's are in the way, and names that need quoting are refused", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`CREATE TABLE operation (mine INTEGER)`
        assert.include(yield* Effect.flip(Migrations.run()), { reason: "foreign" })
        yield* sql`CREATE TABLE trustlog_cursor (mine INTEGER)`
        assert.include(yield* Effect.flip(Migrations.run()), { reason: "foreign" })
        for (
          const options of [{ prefix: "a\"b" }, { prefix: "a`b" }, { schema: "a.b" }, { schema: "" }, { prefix: "é" }]
        ) {
          assert.match((yield* Effect.flip(Migrations.run(options))).problem, /is not accepted: write a letter/)
        }
        assert.include(yield* Effect.flip(Sql.make({ prefix: "other_" })), { reason: "missing" })
      }).pipe(Effect.provide(Layer.orDie(fresh(server)))))

    if (server.dialect === "mysql") {
      it.scoped("are completed where their making was interrupted, whichever statement was the last", () =>
        Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          const statements = mysql.flatMap((migration) => migration.statements)
          for (const done of statements.keys()) {
            const prefix = `half${done}_`
            for (const statement of statements.slice(0, done)) {
              yield* sql.unsafe(statement.replaceAll("{schema}", "").replaceAll("{prefix}", prefix)).unprepared
            }
            yield* Migrations.run({ prefix })
            assert.match((yield* Migrations.check({ prefix })).stream, /^[0-9a-f-]{36}$/)
          }
        }).pipe(Effect.provide(Layer.orDie(fresh(server)))))
    }
  })

  describe("an append", () => {
    it.scoped("takes part in a host's transaction of every isolation, and a failing part leaves the rest", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const trustlog = yield* Trustlog.Trustlog
        const { evidence } = yield* Repository
        const levels = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]
        for (const [n, level] of levels.entries()) {
          // There is one connection, which keeps what is set for its session.
          if (server.dialect === "mysql")
            yield* sql.unsafe(`SET SESSION TRANSACTION ISOLATION LEVEL ${level}`).unprepared
          yield* sql.withTransaction(Effect.gen(function*() {
            if (server.dialect === "pg") yield* sql.unsafe(`SET TRANSACTION ISOLATION LEVEL ${level}`)
            yield* trustlog.append({ ...read, id: uuid(100 * n + 1) })
            const again = yield* trustlog.append({ ...read, id: uuid(100 * n + 1) })
            assert.strictEqual(again.outcome, "duplicate")
            const conflict = yield* Effect.flip(trustlog.appendAll([
              { ...read, id: uuid(100 * n + 2) },
              { ...read, id: uuid(100 * n + 1), actor: "mallory" }
            ]))
            assert.strictEqual(conflict._tag, "OperationConflict")
            yield* trustlog.append({ ...read, id: uuid(100 * n + 3) })
          }))
        }
        const found = (yield* evidence.operations({ after: 0, limit: 99 })).map((row) => row.id)
        assert.deepStrictEqual(found, [1, 3, 101, 103, 201, 203].map(id))
      }).pipe(Effect.provide(application()), Effect.provide(Layer.orDie(fresh(server, { maxConnections: 1 })))))
  })

  describe("a verb that waits for a connection", () => {
    it.scopedLive("and is interrupted takes none with it, when one is free at last", () =>
      Effect.gen(function*() {
        const repository = yield* Repository
        const isHeld = yield* Deferred.make<void>()
        const mayEnd = yield* Deferred.make<void>()
        const holder = yield* Effect.fork(
          repository.transaction(Effect.zipRight(Deferred.succeed(isHeld, undefined), Deferred.await(mayEnd)))
        )
        yield* Deferred.await(isHeld)
        const waiting = yield* Effect.fork(repository.transaction(Effect.void))
        yield* Effect.yieldNow()
        const interrupting = yield* Effect.fork(Fiber.interrupt(waiting))
        yield* Effect.yieldNow()
        yield* Deferred.succeed(mayEnd, undefined)
        yield* Fiber.join(holder)
        yield* Fiber.join(interrupting)
        // The only one there is.
        yield* repository.transaction(Effect.void)
      }).pipe(Effect.provide(application()), Effect.provide(Layer.orDie(fresh(server, { maxConnections: 1 })))))
  })

  describe("verify", () => {
    const folder = Effect.acquireRelease(
      Effect.promise(() => fs.mkdtemp(path.join(os.tmpdir(), "trustlog-databases-"))),
      (directory) => Effect.promise(() => fs.rm(directory, { recursive: true, force: true }))
    )

    it.scoped("proves what is complete, and sees what was changed, taken away or added", () =>
      Effect.gen(function*() {
        const ledger = path.join(yield* folder, "ledger")
        const log = Layer.unwrapEffect(
          Effect.as(Ledger.init({ path: ledger }), PublisherLedger.layer({ path: ledger }))
        )
        const world = Trustlog.layer.pipe(
          Layer.provideMerge(Layer.provide(Sql.layer(), Migrations.layer())),
          Layer.provideMerge(Layer.merge(log, CircuitBreaker.layer)),
          Layer.provideMerge(NodeContext.layer),
          Layer.orDie
        )
        yield* Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          const trustlog = yield* Trustlog.Trustlog
          yield* trustlog.appendAll(
            Array.from({ length: 300 }, (_, n) => ({ ...read, id: uuid(n + 1), payload: { n } }))
          )
          yield* trustlog.append({ ...read, id: uuid(999) }, { strategy: "DbOnly" })
          yield* Drain.drainOnce()
          const verdict = Effect.map(Verify.verify({ ledger }), ({ altered, missing, surplus, verdict }) => ({
            verdict,
            findings: [...missing, ...altered, ...surplus].map((finding) => finding.id)
          }))
          assert.deepStrictEqual(yield* verdict, { verdict: "complete", findings: [] })
          const changes: ReadonlyArray<readonly [change: string, undo: string | undefined, found: string]> = [
            [`payload = '{"n":8}'`, `payload = '{"n":7}'`, uuid(8)],
            ["occurred_at = '2001-01-01 00:00:00'", undefined, uuid(8)]
          ]
          const which = server.dialect === "pg" ? `id = '${uuid(8)}'` : `id = UNHEX('${uuid(8).replaceAll("-", "")}')`
          for (const [change, undo, found] of changes) {
            yield* sql.unsafe(`UPDATE operation SET ${change} WHERE ${which}`)
            assert.deepStrictEqual(yield* verdict, { verdict: "tampered", findings: [found] })
            if (undo !== undefined) yield* sql.unsafe(`UPDATE operation SET ${undo} WHERE ${which}`)
          }
          yield* sql.unsafe(`DELETE FROM operation WHERE ${which}`)
          assert.deepStrictEqual((yield* verdict).findings.includes(uuid(8)), true)
          yield* sql`UPDATE trustlog_cursor SET delivered = delivered + 1 WHERE name = 'lane/operation'`
          assert.include((yield* verdict).findings, "lane/operation")
          yield* sql`DELETE FROM trustlog_receipt`
          assert.include((yield* verdict).findings, "receipt/operation/1")
        }).pipe(Effect.provide(world))
      }).pipe(Effect.provide(Layer.orDie(fresh(server)))))
  })

  describe("the sample rows", () => {
    it.scoped("load after the schema, and a drain delivers what is pending", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const file = server.dialect === "pg" ? "test_data.sql" : "test_data_mysql.sql"
        const text = yield* Effect.promise(() => fs.readFile(new URL(`../sql/${file}`, import.meta.url), "utf8"))
        for (const statement of text.replace(/^--.*$/gm, "").split(/;\s*$/m)) {
          if (/INSERT/.test(statement)) yield* sql.unsafe(statement).unprepared
        }
        assert.deepInclude(yield* Drain.drainOnce(), { delivered: 15, refused: 0, outage: undefined })
        const rows = yield* sql<{ readonly status: string; readonly n: number }>`SELECT status, count(*) AS n
          FROM trustlog_status GROUP BY status ORDER BY status`
        assert.deepStrictEqual(rows.map(({ n, status }) => [status, Number(n)]), [["db_only", 5], ["delivered", 15]])
      }).pipe(Effect.provide(application()), Effect.provide(Layer.orDie(fresh(server)))))
  })

  describe("a settlement", () => {
    it.scopedLive("waits for no transaction of a host's that is open in the lane, however little else it holds", () =>
      Effect.gen(function*() {
        const repository = yield* Repository
        const trustlog = yield* Trustlog.Trustlog
        const lane = laneOf("operation")
        for (const count of [1, 5, 40]) {
          const several = Array.from({ length: count }, () => read)
          yield* trustlog.appendAll(several)
          const isOpen = yield* Deferred.make<void>()
          const commit = yield* Deferred.make<void>()
          const host = yield* Effect.fork(trustlog.transaction(
            trustlog.append(read).pipe(
              Effect.zipRight(Deferred.succeed(isOpen, undefined)),
              Effect.zipRight(Deferred.await(commit))
            )
          ))
          yield* Deferred.await(isOpen)
          yield* trustlog.appendAll(several)
          const lease = yield* repository.acquire(lane, "worker", Duration.seconds(60))
          if (lease === undefined) return assert.fail("the lane is free")
          const { cycle } = yield* CursorWorker.session(lease)
          assert.strictEqual((yield* cycle).delivered, count * 2)
          yield* Deferred.succeed(commit, undefined)
          yield* host
          yield* repository.release(lease)
          assert.strictEqual((yield* Drain.drainOnce()).delivered, 1)
        }
      }).pipe(Effect.provide(application()), Effect.provide(Layer.orDie(fresh(server)))))
  })

  describe("a lease", () => {
    it.scoped("lapses by the database's clock", () =>
      Effect.gen(function*() {
        const repository = yield* Repository
        const [lane] = (yield* repository.lanes).map(({ lane }) => lane)
        if (lane === undefined) return assert.fail("there are two lanes from the beginning")
        yield* repository.acquire(lane, "a", Duration.seconds(10))
        yield* pass(9)
        assert.isUndefined(yield* repository.acquire(lane, "b", Duration.seconds(10)))
        yield* pass(2)
        assert.isTrue((yield* repository.acquire(lane, "b", Duration.seconds(10)))?.isRecovered)
      }).pipe(Effect.provide(application()), Effect.provide(Layer.orDie(fresh(server)))))
  })
})
