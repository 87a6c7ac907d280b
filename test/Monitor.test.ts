import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import type * as MetricKeyType from "effect/MetricKeyType"
import * as MetricState from "effect/MetricState"
import * as TestClock from "effect/TestClock"
import * as Monitor from "../src/Monitor.ts"
import { laneOf } from "../src/Operation.ts"
import { Repository, type Stats } from "../src/Repository.ts"
import * as TrustlogMetrics from "../src/TrustlogMetrics.ts"
import { appended, entry, layer } from "./workers.ts"

type Gauge = Metric.Metric<MetricKeyType.MetricKeyType.Gauge<number>, number, MetricState.MetricState.Gauge<number>>

const valueOf = (gauge: Gauge) => Effect.map(Metric.value(gauge), ({ value }) => value)

const ofLane = (gauge: Gauge, lane: string) => valueOf(Metric.tagged(gauge, "lane", lane))

/** The lanes that have gauges of their own. */
const listed = Effect.map(
  Metric.snapshot,
  (pairs) =>
    pairs.flatMap(({ metricKey }) =>
      metricKey.name === "trustlog_lane_pending"
        ? Array.from(metricKey.tags).filter(({ key }) => key === "lane").map(({ value }) => value)
        : []
    )
)

const look = Effect.flatMap(Monitor.session(), ({ cycle }) => cycle)

describe("a monitor", () => {
  it.effect("sets the gauges to what stats say", () =>
    Effect.gen(function*() {
      const repository = yield* Repository
      const sql = yield* SqlClient.SqlClient
      yield* appended(4)
      yield* repository.setPaused(true, laneOf("operation"))
      yield* sql`UPDATE trustlog_cursor SET late = 2, breaker = 'half-open' WHERE name = 'lane/operation'`
      yield* sql`INSERT INTO trustlog_retry (position, lane, state, attempts, reason, error, first_failed_at, last_failed_at)
        SELECT position, lane, CASE position WHEN 1 THEN 'dead' ELSE 'waiting' END, 1, 'rejected', 'no',
          recorded_at, recorded_at FROM operation WHERE position <= 3`
      yield* sql`DELETE FROM trustlog_pending WHERE position <= 3`
      yield* TestClock.adjust("90 seconds")
      yield* look
      const expected: ReadonlyArray<readonly [Gauge, number]> = [
        [TrustlogMetrics.undelivered, 4],
        [TrustlogMetrics.pending, 1],
        [TrustlogMetrics.pendingIsEstimate, 0],
        [TrustlogMetrics.retrying, 2],
        [TrustlogMetrics.deadNow, 1],
        [TrustlogMetrics.late, 2],
        [TrustlogMetrics.breaker, 1],
        [TrustlogMetrics.paused, 1],
        [TrustlogMetrics.horizonSeconds, 0],
        [TrustlogMetrics.lanes, 1],
        [TrustlogMetrics.lanesUnowned, 1],
        [TrustlogMetrics.statsTimestamp, 90]
      ]
      for (const [gauge, value] of expected)
        assert.strictEqual(yield* valueOf(gauge), value, Object(gauge.keyType).name)
      assert.approximately(yield* valueOf(TrustlogMetrics.oldestPending), 90, 0.1)
      assert.approximately(yield* ofLane(TrustlogMetrics.laneLag, "operation"), 90, 0.1)
      assert.strictEqual(yield* ofLane(TrustlogMetrics.lanePending, "operation"), 1)
      assert.strictEqual(yield* ofLane(TrustlogMetrics.laneLate, "operation"), 2)
      assert.strictEqual(yield* ofLane(TrustlogMetrics.laneBreaker, "operation"), 1)
    }).pipe(Effect.provide(layer)))

  it.effect("tells of a horizon, also of one whose age is known in transactions only", () =>
    Effect.gen(function*() {
      const stats = yield* Effect.flatMap(Repository, (repository) => repository.stats)
      const horizon = {
        kind: "replicationSlot",
        ageSeconds: null,
        ageTransactions: 12,
        pid: null,
        name: "standby",
        user: null,
        application: null,
        state: "inactive",
        since: null
      } as const
      yield* TrustlogMetrics.observed({ ...stats, horizon }, new Set(), 0)
      assert.strictEqual(yield* valueOf(TrustlogMetrics.horizonSeconds), 0)
      assert.strictEqual(yield* valueOf(TrustlogMetrics.horizonTransactions), 12)
      yield* TrustlogMetrics.observed({ ...stats, horizon: { ...horizon, ageSeconds: 7 } }, new Set(), 0)
      assert.strictEqual(yield* valueOf(TrustlogMetrics.horizonSeconds), 7)
      yield* TrustlogMetrics.observed(stats, new Set(), 0)
      assert.strictEqual(yield* valueOf(TrustlogMetrics.horizonSeconds), 0)
      assert.strictEqual(yield* valueOf(TrustlogMetrics.horizonTransactions), 0)
    }).pipe(Effect.provide(layer)))

  it.effect("forgets what it said of a lane that has vanished", () =>
    Effect.gen(function*() {
      const repository = yield* Repository
      const sql = yield* SqlClient.SqlClient
      const { cycle } = yield* Monitor.session()
      yield* repository.append([entry(1, {}, laneOf("operation", "gone")), entry(2)])
      yield* TestClock.adjust("10 seconds")
      yield* cycle
      assert.strictEqual(yield* ofLane(TrustlogMetrics.lanePending, "operation/gone"), 1)
      yield* sql`DELETE FROM trustlog_pending WHERE lane = 'operation/gone'`
      yield* cycle
      assert.strictEqual(yield* ofLane(TrustlogMetrics.lanePending, "operation/gone"), 0)
      assert.strictEqual(yield* ofLane(TrustlogMetrics.laneLag, "operation/gone"), 0)
      assert.strictEqual(yield* ofLane(TrustlogMetrics.lanePending, "operation"), 1)
      assert.strictEqual(yield* valueOf(TrustlogMetrics.lanes), 1)
    }).pipe(Effect.provide(layer)))

  it.effect("gives no more than a number of lanes gauges of their own: those that lag most, and for good", () =>
    Effect.gen(function*() {
      const repository = yield* Repository
      const { cycle } = yield* Monitor.session()
      const others = new Set(yield* listed)
      const lane = (n: number) => laneOf("operation", `many-${n}`)
      const append = (from: number, to: number) =>
        repository.append(Array.from({ length: to - from }, (_, i) => entry(from + i, {}, lane(from + i))))
      yield* append(1, 101)
      yield* TestClock.adjust("10 seconds")
      yield* append(101, 251)
      yield* cycle
      const first = (yield* listed).filter((name) => !others.has(name))
      assert.lengthOf(first, TrustlogMetrics.maxLanes)
      assert.includeMembers(first, Array.from({ length: 100 }, (_, i) => String(lane(i + 1))))
      assert.strictEqual(yield* valueOf(TrustlogMetrics.lanesUnlisted), 50)
      assert.strictEqual(yield* valueOf(TrustlogMetrics.lanes), 250)
      yield* append(251, 260)
      yield* cycle
      assert.deepStrictEqual((yield* listed).filter((name) => !others.has(name)), first)
      assert.strictEqual(yield* valueOf(TrustlogMetrics.lanesUnlisted), 59)
    }).pipe(Effect.provide(layer)))

  it.scoped("looks again and again, and after a failure too", () =>
    Effect.gen(function*() {
      const inner = yield* Repository
      const sql = yield* SqlClient.SqlClient
      let looks = 0
      const stats: Effect.Effect<Stats, Effect.Effect.Error<typeof inner.stats>> = Effect.suspend(() => {
        looks++
        return inner.stats
      })
      const watched = Layer.succeed(Repository, Repository.of({ ...inner, stats }))
      yield* Layer.build(Layer.provide(Monitor.layer({ every: "1 minute" }), watched))
      /** Lets the monitor go on until something is so. */
      const eventually = (what: string, isSo: Effect.Effect<boolean>, passing = Effect.void) =>
        Effect.repeat(Effect.zipRight(Effect.zipRight(passing, Effect.yieldNow()), isSo), {
          until: (is) => is,
          times: 1_000
        }).pipe(Effect.map((is) => assert.isTrue(is, what)))
      const looked = (times: number) => eventually(`looked ${times} times`, Effect.sync(() => looks >= times))
      const shows = (pending: number) =>
        eventually(
          `${pending} pending`,
          Effect.map(valueOf(TrustlogMetrics.pending), (value) => value === pending)
        )
      yield* shows(0)
      yield* looked(1)
      yield* appended(2)
      yield* TestClock.adjust("59 seconds")
      assert.strictEqual(looks, 1)
      yield* sql`ALTER TABLE trustlog_retry RENAME TO elsewhere`
      yield* TestClock.adjust("1 second")
      yield* looked(2)
      yield* sql`ALTER TABLE elsewhere RENAME TO trustlog_retry`
      yield* eventually("looked again", Effect.sync(() => looks >= 3), TestClock.adjust("1 second"))
      yield* shows(2)
    }).pipe(Effect.provide(layer)))
})
