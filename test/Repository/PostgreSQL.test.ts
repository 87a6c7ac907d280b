import * as SqlClient from "@effect/sql/SqlClient"
import * as Statement from "@effect/sql/Statement"
import { assert, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"
import * as Migrations from "../../src/Migrations.ts"
import { laneOf } from "../../src/Operation.ts"
import * as Memory from "../../src/Publisher/Memory.ts"
import { Repository, type Row } from "../../src/Repository.ts"
import * as Sql from "../../src/Repository/Sql.ts"
import * as Trustlog from "../../src/Trustlog.ts"
import { range } from "../faults/scene.ts"
import { client, fresh } from "../serverDatabase.ts"
import * as PgBouncer from "../servers/PgBouncer.ts"
import * as Server from "../servers/Server.ts"
import { entry } from "../workers.ts"

/** What becomes of rows that are all delivered. */
const settlementOf = (rows: ReadonlyArray<Row>) => ({
  topic: "topic",
  delivered: rows.map(({ contentHash, id, position }) => ({
    position,
    id,
    contentHash: contentHash ?? "",
    isHashed: true,
    messageId: Uint8Array.of(1)
  })),
  refused: [],
  checkpoint: undefined,
  position: rows.at(-1)?.position ?? 0,
  late: 0
})

Server.onEach((server) => {
  it.scoped.each([
    { pages: 250, statistics: "never analysed" },
    { pages: 250, statistics: "analysed" },
    { pages: 100, statistics: "analysed when they were empty" },
    { pages: 100, statistics: "analysed" }
  ])(
    "the work for a page of $pages grows neither with its lane's backlog nor with others', on tables that were $statistics",
    ({ pages, statistics }) =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const repository = yield* Repository
        for (const table of ["operation", "trustlog_pending", "trustlog_receipt"]) {
          yield* sql`ALTER TABLE ${sql(table)} SET (autovacuum_enabled = false)`
        }
        if (statistics === "analysed when they were empty") yield* sql`VACUUM ANALYZE`
        const lane = laneOf("operation")
        const count = 10_000
        let next = 1
        // Much of another lane before, between and behind.
        const others = Array.from({ length: 6 }, () => "other")
        for (const to of [...others, undefined, ...others, undefined, ...others]) {
          const last = next + count / 2 - 1
          yield* repository.append(range(next, last).map((n) => entry(n, {}, laneOf("operation", to))))
          next = last + 1
        }
        if (statistics === "analysed") yield* sql`VACUUM ANALYZE`
        const lease = yield* repository.acquire(lane, "a", Duration.minutes(1))
        if (lease === undefined) return assert.fail("the lane is free")
        // What a session has read is counted when it says so.
        const read = Effect.gen(function*() {
          yield* sql`SELECT pg_stat_force_next_flush()`
          const [row] = yield* sql<{ readonly rows: string }>`SELECT sum(seq_tup_read + idx_tup_fetch) AS rows
          FROM pg_stat_user_tables`
          return Number(row?.rows)
        })
        const before = yield* read
        let after = lease.position
        for (let settled = 0; settled < count; settled += pages) {
          const { rows } = yield* repository.page(lease, { after, limit: pages, maxBytes: 8_000_000 })
          assert.strictEqual(rows.length, pages)
          after = rows.at(-1)?.position ?? after
          yield* repository.settle(lease, settlementOf(rows))
          yield* repository.lowerBound(lease, after)
          yield* repository.lanes
        }
        // Each is read from two indexes, once more by its key, and deleted by it; the rest is the lanes' rows.
        assert.isBelow(((yield* read) - before) / count, 5)

        // The look of a lane that has caught up, without the settings of a page.
        yield* repository.append(range(next, next + 9).map((n) => entry(n)))
        const idle = yield* read
        const { rows } = yield* repository.page(lease, { after, limit: pages, maxBytes: 8_000_000, isCaughtUp: true })
        assert.strictEqual(rows.length, 10)
        assert.isBelow((yield* read) - idle, 100)
      }).pipe(
        Effect.provide(Layer.provideMerge(
          Layer.provide(Sql.layer(), Migrations.layer()),
          fresh(server, { maxConnections: 1 })
        )),
        Effect.orDie
      )
  )

  const prepared = Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const repository = yield* Repository
    for (const n of [1, 2, 3]) yield* repository.append([entry(n)])
    yield* repository.append([entry(4), entry(5)])
    yield* sql.withTransaction(repository.append([entry(6)]))
    assert.strictEqual((yield* repository.stats).pending, 6)
    return yield* sql<{ readonly statement: string }>`SELECT statement FROM pg_prepared_statements`
  })
  const repository = Layer.provide(Sql.layer(), Migrations.layer())

  it.scoped("a connection to the server itself prepares what appends once, for one and for many, and nothing else", () =>
    Effect.gen(function*() {
      const statements = yield* prepared
      assert.strictEqual(statements.length, 2, JSON.stringify(statements))
      assert.isTrue(statements.every(({ statement }) => statement.includes("INSERT INTO \"operation\"")))
    }).pipe(Effect.provide(Layer.provideMerge(repository, fresh(server, { maxConnections: 1 }))), Effect.orDie))

  it.scoped("few records of a lane that has caught up are settled by one statement, unless its row is locked by somebody", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const repository = yield* Repository
      yield* repository.append([1, 2, 3, 4, 5, 6].map((n) => entry(n)))
      const lease = yield* repository.acquire(laneOf("operation"), "a", Duration.minutes(1))
      if (lease === undefined) return assert.fail("the lane is free")

      /** The statements by which the next record is settled. */
      const settled = Effect.gen(function*() {
        const { rows } = yield* repository.page(lease, { after: 0, limit: 1, maxBytes: 8_000_000, isCaughtUp: true })
        const said: Array<string> = []
        yield* Statement.withTransformer(repository.settle(lease, settlementOf(rows)), (statement) => {
          said.push(statement.compile()[0])
          return Effect.succeed(statement)
        })
        return said
      })

      // Whoever has just begun knows nothing of the receipts before.
      assert.isAbove((yield* settled).length, 1)
      const [once, ...others] = yield* settled
      assert.match(once ?? "", /UPDATE .*DELETE .*INSERT /s)
      assert.lengthOf(others, 0)
      assert.include(yield* repository.stats, { pending: 4, delivered: 2 })

      /** Locks rows in a transaction of somebody else's; gives how to end it. */
      const lock = (rows: Statement.Statement<unknown>) =>
        Effect.gen(function*() {
          const isLocked = yield* Effect.makeLatch()
          const mayEnd = yield* Effect.makeLatch()
          const somebody = yield* rows.pipe(
            Effect.zipRight(isLocked.open),
            Effect.zipRight(mayEnd.await),
            sql.withTransaction,
            Effect.fork
          )
          yield* isLocked.await
          return Effect.zipRight(mayEnd.open, Fiber.join(somebody))
        })

      const unlockLane = yield* lock(sql`SELECT 1 FROM trustlog_cursor WHERE name = 'lane/operation' FOR UPDATE`)
      const waiting = yield* Effect.fork(settled)
      const waits = sql<{ readonly waiting: number }>`SELECT count(*)::int AS waiting FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'`
      yield* Effect.repeat(waits, { until: ([row]) => row?.waiting === 1 })
      yield* unlockLane
      assert.isAbove((yield* Fiber.join(waiting)).length, 1)
      assert.lengthOf(yield* settled, 1)
      assert.include(yield* repository.stats, { pending: 2, delivered: 4 })

      // Nor does it hold the lane's row for as long as somebody cares to hold another.
      const unlockRecord = yield* lock(sql`SELECT 1 FROM trustlog_pending FOR UPDATE`)
      const refusal = yield* Effect.flip(settled)
      assert.deepInclude(refusal, { _tag: "DatabaseError", reason: "locked" })
      yield* unlockRecord
      yield* settled

      // In a transaction that is open it has one of its own, which stays when that is rolled back.
      yield* Effect.flip(sql.withTransaction(Effect.zipRight(settled, Effect.fail("rolled back"))))
      assert.include(yield* repository.stats, { pending: 0, delivered: 6 })
      const receipts = yield* repository.evidence.receipts({ lane: "operation", after: 0, limit: 10 })
      assert.deepStrictEqual(receipts.map(({ sequence }) => sequence), [1, 2, 3, 4, 5, 6])
    }).pipe(Effect.provide(Layer.provideMerge(repository, fresh(server, { maxConnections: 3 }))), Effect.orDie))

  it.scoped("a tracer and a transformer of statements are shown what appends, though it is given to the driver as it is", () =>
    Effect.gen(function*() {
      const trustlog = yield* Trustlog.Trustlog
      const append = trustlog.append({ actor: "a", action: "b", target: "c" })
      const spans: Array<readonly [name: string, parent: string | undefined, text: unknown]> = []
      const tracer = Tracer.make({
        context: (run) => run(),
        span: (name, parent, context, links, startTime, kind) => {
          const attributes = new Map<string, unknown>()
          const span: Tracer.Span = {
            _tag: "Span",
            name,
            parent,
            context,
            links,
            kind,
            attributes,
            spanId: name,
            traceId: "trace",
            sampled: true,
            status: { _tag: "Started", startTime },
            attribute: (key, value) => void attributes.set(key, value),
            end: () =>
              void spans.push([
                name,
                Option.getOrUndefined(parent)?.spanId,
                attributes.get("db.query.text") ?? attributes.get("trustlog.batch")
              ]),
            event: () => {},
            addLinks: () => {}
          }
          return span
        }
      })
      yield* Effect.withTracer(append, tracer)
      const [[, , text] = [], ...others] = spans
      assert.include(text, "INSERT INTO \"operation\"")
      assert.deepStrictEqual(spans.map(([name, parent]) => [name, parent]), [
        ["sql.execute", "Trustlog.append"],
        ["Trustlog.append", undefined]
      ])
      assert.strictEqual(others[0]?.[2], 1)
      const seen: Array<string> = []
      yield* Statement.withTransformer(append, (statement) => {
        seen.push(statement.compile()[0])
        return Effect.succeed(statement)
      })
      assert.deepStrictEqual(seen, [text])
      yield* append
      assert.include(yield* trustlog.stats, { pending: 3 })
      assert.lengthOf(spans, 2)
    }).pipe(
      Effect.provide(Layer.provide(
        Trustlog.layer,
        Layer.merge(Layer.provide(repository, fresh(server, { maxConnections: 1 })), Memory.layer)
      )),
      Effect.orDie
    ))

  if (server.name === "postgresql-15") {
    Server.having("pgbouncer", () => {
      it.scoped("behind a pooler nothing is prepared, whose connections are everybody's", () =>
        Effect.gen(function*() {
          const url = yield* Server.database(server)
          const through = yield* PgBouncer.make(url, { poolSize: 1 })
          const statements = yield* Effect.provide(prepared, Layer.provideMerge(repository, client(through)))
          assert.deepStrictEqual(statements, [])
        }).pipe(Effect.orDie))
    })
  }
}, "pg")
