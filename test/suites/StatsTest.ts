/**
 * What every back-end of `Repository` tells of what waits, however much that is.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Migrations from "../../src/Migrations.ts"
import { laneOf } from "../../src/Operation.ts"
import { type LaneStats, maxCounted, Repository } from "../../src/Repository.ts"
import * as Sql from "../../src/Repository/Sql.ts"
import { entry } from "../workers.ts"
import type { Target } from "./RepositoryTest.ts"

/** How what a database reads is measured. */
export interface Meter {
  /** What an effect makes the database read, in a unit of its own. */
  readonly measured: (
    effect: Effect.Effect<unknown, unknown, Repository>
  ) => Effect.Effect<number, unknown, Repository | SqlClient.SqlClient>
  /** The most that `stats` may read, however many rows are pending. */
  readonly most: number
  /** So many rows are pending then. */
  readonly rows: number
}

const digit = `(SELECT 0 AS d ${Array.from({ length: 9 }, (_, i) => `UNION ALL SELECT ${i + 1}`).join(" ")})`

/** `SELECT n`: the numbers from 0, so many. */
const numbers = (count: number): string => {
  const digits = Array.from({ length: String(count - 1).length }, (_, i) => `d${i}`)
  return `SELECT n FROM (
    SELECT ${digits.map((name, i) => `${10 ** i} * ${name}.d`).join(" + ")} AS n
    FROM ${digits.map((name) => `${digit} ${name}`).join(" CROSS JOIN ")}
  ) numbers WHERE n < ${count}`
}

/** Makes rows pending, so many, at positions that are given as an expression of `n`, which counts from 0. */
const pend = (lane: string, count: number, position = "n + 1") =>
  Effect.flatMap(SqlClient.SqlClient, (sql) =>
    sql`INSERT INTO trustlog_pending (lane, position)
      SELECT ${sql.literal(`'${lane}'`)}, ${sql.literal(position)} FROM (${sql.literal(numbers(count))}) s`)

const stats = Effect.flatMap(Repository, (repository) => repository.stats)

const brief = ({ isEstimate, lane, pending }: LaneStats) => ({ lane: String(lane), pending, isEstimate })

const within = (actual: number, truth: number, factor: number, what: string) => {
  assert.isAtLeast(actual, truth / factor, what)
  assert.isAtMost(actual, truth * factor, what)
}

/** Runs the suite over a kind of database. */
export const suite = (name: string, { client, pass }: Target, meter: Meter): void => {
  const layer = Layer.orDie(Layer.provideMerge(Layer.provide(Sql.layer(), Migrations.layer()), client))

  const test = <E>(
    sentence: string,
    body: Effect.Effect<void, E, Repository | SqlClient.SqlClient | Scope.Scope>
  ) => it.scoped(sentence, () => Effect.provide(body, layer), 120_000)

  describe(`${name}: stats`, () => {
    test(
      "all that is not delivered is counted, by lane and in all, and how far behind it is",
      Effect.gen(function*() {
        const repository = yield* Repository
        const sql = yield* SqlClient.SqlClient
        yield* repository.append([1, 2, 3, 4].map((n) => entry(n)))
        yield* repository.append([entry(5, {}, laneOf("operation", "tenant"))])
        yield* pass(100)
        yield* repository.append([entry(6, { kind: "record" })])
        yield* repository.setPaused(true, laneOf("record"))
        yield* sql`UPDATE trustlog_cursor SET late = 3 WHERE name = 'lane/record'`
        yield* sql`INSERT INTO trustlog_retry (position, lane, state, attempts, reason, error, first_failed_at, last_failed_at)
          SELECT position, lane, CASE position WHEN 1 THEN 'dead' ELSE 'waiting' END, 1, 'rejected', 'no',
            recorded_at, recorded_at FROM operation WHERE position <= 3`
        yield* sql`DELETE FROM trustlog_pending WHERE position <= 3`
        const found = yield* stats
        assert.include(found, {
          undelivered: 6,
          pending: 3,
          isEstimate: false,
          retrying: 2,
          dead: 1,
          isCapped: false,
          late: 3,
          paused: true,
          horizon: null
        })
        assert.approximately(found.oldestPendingSeconds, 100, 30)
        const lanes = new Map(found.lanes.map((lane) => [String(lane.lane), lane]))
        assert.include(lanes.get("operation"), { pending: 1, lagPositions: 2, late: 0, paused: false })
        // Nobody has taken it yet, so that it has no row.
        assert.include(lanes.get("operation/tenant"), { pending: 1, lagPositions: 1, position: 0, owner: null })
        assert.include(lanes.get("record"), { pending: 1, lagPositions: 0, late: 3, paused: true })
        assert.isBelow(lanes.get("record")?.lagSeconds ?? Number.NaN, 60)
      })
    )

    test(
      "without anything, all is 0",
      Effect.gen(function*() {
        assert.deepStrictEqual({ ...(yield* stats) }, {
          undelivered: 0,
          pending: 0,
          isEstimate: false,
          oldestPendingSeconds: 0,
          retrying: 0,
          dead: 0,
          isCapped: false,
          delivered: 0,
          purged: 0,
          late: 0,
          breaker: "closed",
          paused: false,
          newLanesPaused: false,
          horizon: null,
          lanes: []
        })
      })
    )

    test(
      `${maxCounted} pending rows are counted one by one, over all lanes, and many more are estimated`,
      Effect.gen(function*() {
        yield* pend("operation", 60_000, "3 * n + 1")
        yield* pend("record", 39_000, "3 * n + 2")
        for (let i = 0; i < 100; i++) yield* pend(`operation/${i}`, 10, `3 * n + ${3 + 30 * i}`)
        const exact = yield* stats
        assert.include(exact, { pending: maxCounted, isEstimate: false })
        assert.isFalse(exact.lanes.some(({ isEstimate }) => isEstimate))
        yield* pend("record", 30_000, "3 * n + 500000")
        const estimated = yield* stats
        assert.isTrue(estimated.isEstimate)
        within(estimated.pending, maxCounted + 30_000, 1.1, "in all")
        // Small lanes are known exactly whatever the others are.
        const small = estimated.lanes.filter(({ lane }) => lane.startsWith("operation/"))
        assert.deepStrictEqual(
          small.map(brief),
          small.map(({ lane }) => ({ lane: String(lane), pending: 10, isEstimate: false }))
        )
        assert.lengthOf(small, 100)
      })
    )

    test(
      "estimates are within a tenth, however a lane's rows are spread",
      Effect.gen(function*() {
        const lanes: ReadonlyArray<readonly [string, ReadonlyArray<readonly [number, string]>]> = [
          ["operation/all", [[100_000, "n + 1"]]],
          ["operation/every-third", [[80_000, "3 * n + 1"]]],
          ["operation/few", [[30, "97 * n + 1"]]],
          ["operation/dense-then-sparse", [[50_000, "n + 1"], [40_000, "100000 + 100 * n"]]],
          ["operation/sparse-then-dense", [[40_000, "100 * n + 1"], [80_000, "4000001 + n"]]],
          ["operation/batches", [[80_000, "n + 9000 * ((n - n % 1000) / 1000) + 1"]]],
          ["record/gap", [[40_000, "n + 1"], [40_000, "50000000 + n"]]]
        ]
        for (const [lane, parts] of lanes) {
          for (const [count, position] of parts) yield* pend(lane, count, position)
        }
        const found = yield* stats
        const truth = new Map(lanes.map(([lane, parts]) => [lane, parts.reduce((sum, [count]) => sum + count, 0)]))
        for (const { isEstimate, lane, pending } of found.lanes) {
          within(pending, truth.get(lane) ?? Number.NaN, 1.1, lane)
          assert.strictEqual(isEstimate, lane !== "operation/few", lane)
        }
        assert.lengthOf(found.lanes, lanes.length)
        within(found.pending, 550_030, 1.1, "in all")
      })
    )

    test(
      `retries and dead letters are counted up to ${maxCounted}, and it says so`,
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const fail = (state: string, count: number, from: number) =>
          sql`INSERT INTO trustlog_retry (position, lane, state, attempts, reason, error, first_failed_at, last_failed_at)
            SELECT n + ${sql.literal(String(from))}, 'operation', ${sql.literal(`'${state}'`)}, 1, 'rejected', 'no',
              '2026-01-01 00:00:00', '2026-01-01 00:00:00' FROM (${sql.literal(numbers(count))}) s`
        yield* fail("dead", 2, 1)
        yield* fail("waiting", maxCounted, 10)
        assert.include(yield* stats, { retrying: maxCounted, dead: 2, isCapped: false })
        yield* fail("waiting", 5, 1_000_000)
        assert.include(yield* stats, { retrying: maxCounted, dead: 2, isCapped: true, undelivered: maxCounted + 2 })
      })
    )

    test(
      `with ${meter.rows} pending rows, only a part of them is read`,
      Effect.gen(function*() {
        yield* pend("operation", meter.rows * 0.9, "n + 1")
        yield* pend("record", meter.rows * 0.1, "10 * n + 1")
        const found = yield* stats
        within(found.pending, meter.rows, 1.1, "in all")
        const cost = yield* meter.measured(stats)
        assert.isAbove(cost, maxCounted, "the meter measures")
        assert.isAtMost(cost, meter.most)
      })
    )
  })
}
