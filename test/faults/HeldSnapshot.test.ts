/**
 * An old snapshot that somebody holds open keeps every row that is delivered in the tables and their indexes. The cursor's
 * lower bound keeps pages from reading them.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { laneOf } from "../../src/Operation.ts"
import { Publisher } from "../../src/Publisher.ts"
import { Repository } from "../../src/Repository.ts"
import * as Server from "../servers/Server.ts"
import type { Before } from "./overheard.ts"
import { range, repository, until, workers } from "./scene.ts"

const lane = laneOf("operation")
const rounds = 4
const perRound = 50_000

/** A log that takes everything at once, and how long that took. */
const counting = () => {
  let taken = 0
  let [first, last] = [0, 0]
  const publisher = Layer.succeed(Publisher, {
    publish: (_, batch) =>
      Effect.sync(() => {
        last = performance.now()
        if (taken === 0) first = last
        taken += batch.length
        return {
          outcomes: batch.map(() => ({ _tag: "Acknowledged" as const, messageId: Uint8Array.of(1) })),
          outage: undefined,
          checkpoint: undefined
        }
      }),
    health: () => Effect.void
  })
  /** Milliseconds from the first page to the last one of so many rows. */
  const drained = (rows: number) =>
    Effect.map(until(Effect.sync(() => taken >= rows)), () => {
      taken = 0
      return last - first
    })
  return { publisher, drained }
}

/** Operations that plain SQL appends, in one transaction. */
const append = (rows: number) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) =>
    sql`WITH added AS (
      INSERT INTO operation (id, kind, lane, occurred_at, actor, action, target)
      SELECT gen_random_uuid(), 'operation', 'operation', clock_timestamp(), 'alice', 'read', 'file/' || n
      FROM generate_series(1, ${rows}::int) AS n
      RETURNING lane, position
    ) INSERT INTO trustlog_pending (lane, position) SELECT lane, position FROM added`)

const work = `SELECT sum(pg_stat_get_xact_blocks_fetched(c.oid)) AS blocks,
    sum(pg_stat_get_xact_tuples_returned(c.oid)) FILTER (WHERE c.relname = 'trustlog_pending_pkey') AS entries
  FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'i')`

/** What a transaction reads: blocks of any table, and entries of the index of what is pending. */
interface Cost {
  readonly blocks: number
  readonly entries: number
}

/** Counts what a transaction's statements read. */
const meter = () => {
  let first: Cost | undefined
  let last: Cost = { blocks: 0, entries: 0 }
  const before: Before = (statement, connection) =>
    statement.startsWith("BEGIN") ? Effect.void : connection.executeUnprepared(work, [], undefined).pipe(
      Effect.orDie,
      Effect.map(([row]) => {
        last = { blocks: Number(Reflect.get(row, "blocks")), entries: Number(Reflect.get(row, "entries")) }
        first ??= last
      })
    )
  const reset = Effect.sync(() => {
    first = undefined
  })
  const cost = Effect.sync((): Cost => ({
    blocks: last.blocks - (first?.blocks ?? 0),
    entries: last.entries - (first?.entries ?? 0)
  }))
  return { before, reset, cost }
}

/** What a page of a thousand rows reads, above the bound or from the beginning. */
const costOfPage = (url: string, from: "bound" | "beginning") => {
  const { before, cost, reset } = meter()
  return Effect.gen(function*() {
    const { acquire, page, release } = yield* Repository
    const lease = yield* acquire(lane, "measuring", Duration.minutes(1))
    if (lease === undefined) return yield* Effect.dieMessage("nobody has it")
    yield* reset
    const { rows } = yield* page(lease, {
      after: from === "bound" ? lease.position : 0,
      limit: 1_000,
      maxBytes: 8_000_000
    })
    assert.strictEqual(rows.length, 1_000)
    const read = yield* cost
    yield* release(lease)
    return read
  }).pipe(Effect.provide(repository(url, { before })))
}

describe("a snapshot that is held open elsewhere", () => {
  Server.on("postgresql-18", (server) => {
    it.scopedLive("does not slow the delivery of 200,000 operations down: no page reads more at the end", () =>
      Effect.gen(function*() {
        // Each has a database of its own, since a snapshot keeps rows in its own database only.
        const sides = yield* Effect.forEach([true, false], (isHeld) =>
          Effect.gen(function*() {
            const url = yield* Server.database(server)
            const base = yield* Layer.build(repository(url))
            yield* Effect.provide(append(1_000), base)
            const before = yield* costOfPage(url, "bound")
            if (isHeld) {
              const sql = Context.get(base, SqlClient.SqlClient)
              const holding = yield* Effect.makeLatch()
              yield* Effect.forkScoped(sql.withTransaction(Effect.gen(function*() {
                yield* sql`SET TRANSACTION ISOLATION LEVEL REPEATABLE READ`
                yield* sql`SELECT count(*) FROM operation`
                yield* holding.open
                yield* Effect.never
              })))
              yield* holding.await
            }
            const { drained, publisher } = counting()
            const start = Layer.build(Layer.provide(workers(), [publisher, Layer.succeedContext(base)]))
            return { isHeld, url, base, before, drained, start, millis: 0 }
          }))
        yield* Effect.scoped(Effect.gen(function*() {
          for (const { drained, start } of sides) {
            yield* start
            yield* drained(1_000)
          }
          for (const _ of range(1, rounds)) {
            for (const side of sides) {
              yield* Effect.provide(append(perRound), side.base)
              side.millis += yield* side.drained(perRound)
            }
          }
        }))
        const rate = (isHeld: boolean) =>
          rounds * perRound * 1000 / sides.reduce((sum, side) => side.isHeld === isHeld ? sum + side.millis : sum, 0)
        const [held, free] = [rate(true), rate(false)]
        yield* Console.log(
          `with a held snapshot ${Math.round(held)} rows/s, without ${Math.round(free)}: ratio ${
            (held / free).toFixed(2)
          }`
        )
        const costs = yield* Effect.forEach(sides, ({ base, before, isHeld, url }) =>
          Effect.gen(function*() {
            yield* Effect.provide(append(1_000), base)
            const after = yield* costOfPage(url, "bound")
            const unbounded = yield* costOfPage(url, "beginning")
            const shown = [before, after, unbounded].map(({ blocks, entries }) =>
              `${entries} entries in ${blocks} blocks`
            )
            yield* Console.log(
              `${isHeld ? "held" : "free"}: a page read ${shown[0]} at first, ${shown[1]} at the end, ` +
                `and would read ${shown[2]} without the bound`
            )
            assert.isAtMost(after.entries, before.entries * 1.1)
            // Or nothing was held, and nothing shown.
            if (isHeld) assert.isAbove(unbounded.entries, rounds * perRound)
            return after
          }))
        // The tables have grown alike, and their indexes in height.
        const [withSnapshot, without] = costs
        assert.isAtMost(withSnapshot?.blocks ?? Infinity, (without?.blocks ?? 0) * 1.1)
      }))
  })
})
