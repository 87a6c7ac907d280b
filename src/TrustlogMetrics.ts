/**
 * Every metric of the package. Counters are of this process, and counted as things happen; gauges are of the database, and
 * as fresh as the last look of a `Monitor`.
 */
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type { Breaker, LaneStats, Stats } from "./Repository.ts"

/** Cycles of an actor that failed and were backed off, by `actor`. */
export const actorRestarts = Metric.counter("trustlog_actor_restarts_total", {
  description: "Cycles of an actor that failed and were backed off",
  incremental: true
})

/** Operations that the log has acknowledged, by `lane`. */
export const delivered = Metric.counter("trustlog_delivered_total", {
  description: "Operations that the log has acknowledged",
  incremental: true
})

/** Refusals that were written down, by `lane`. */
export const refused = Metric.counter("trustlog_refused_total", {
  description: "Refusals by the log that were written down",
  incremental: true
})

/** Operations that became dead letters, by `lane`. */
export const dead = Metric.counter("trustlog_dead_letters_total", {
  description: "Operations that became dead letters",
  incremental: true
})

const gauge = (name: string, description: string) => Metric.gauge(`trustlog_${name}`, { description })

/**
 * What `Repository.stats` says, as gauges: figures of the whole database, so that every process that runs a `Monitor` shows
 * the same. Over several processes take the greatest; a sum would count everything as often as there are processes.
 */
export const undelivered = gauge("undelivered", "Operations that are not in the log yet: pending, retrying and dead")
export const pending = gauge("pending", "Operations that wait for their first delivery")
export const pendingIsEstimate = gauge("pending_is_estimate", "1 while trustlog_pending is an estimate, else 0")
export const oldestPending = gauge("oldest_pending_seconds", "For how long the oldest pending operation has waited")
export const retrying = gauge("retrying", "Operations that the log refused and that are sent again later")
/** Not `trustlog_dead_letters`: to OpenMetrics, that is the family of the counter `trustlog_dead_letters_total`. */
export const deadNow = gauge("dead", "Dead letters: operations that wait for a person")
export const late = gauge("late", "Operations that were found behind a lane's cursor so far")
export const purged = gauge("purged", "Operations that were taken out of the database after their delivery")
export const breaker = gauge("breaker", "The worst breaker of all lanes: 0 closed, 1 half-open, 2 open")
export const paused = gauge("paused", "1 while any lane is paused, else 0")
/** 0 without a horizon, and with one whose age is not known: then `horizonTransactions` tells. */
export const horizonSeconds = gauge("horizon_seconds", "The age of what keeps PostgreSQL from removing dead rows")
export const horizonTransactions = gauge("horizon_transactions", "The same age, in transactions begun since")
export const lanes = gauge("lanes", "Lanes that there are")
export const lanesUnowned = gauge("lanes_unowned", "Lanes that no process delivers")
/** Lanes whose figures are in the totals only. */
export const lanesUnlisted = gauge("lanes_unlisted", "Lanes beyond the number that have gauges of their own")
/** Gauges keep their values when nobody sets them: compare this with the time. */
export const statsTimestamp = gauge("stats_timestamp_seconds", "When these figures were read, in seconds since 1970")

/** Gauges by `lane`. */
export const laneLag = gauge("lane_lag_seconds", "For how long the lane's oldest pending operation has waited")
export const lanePending = gauge("lane_pending", "Operations of the lane that wait for their first delivery")
export const laneLate = gauge("lane_late", "Operations that were found behind the lane's cursor so far")
export const laneBreaker = gauge("lane_breaker", "The lane's breaker: 0 closed, 1 half-open, 2 open")

/** So many lanes have gauges of their own. */
export const maxLanes = 200

const levels: Record<Breaker, number> = { closed: 0, "half-open": 1, open: 2 }

/**
 * Sets the gauges. `listed` are the lanes that have had gauges of their own so far; the answer is those that have them now.
 * A metric cannot be taken back, so a lane that is listed once stays so, and its gauges are 0 when it has vanished; places
 * that are free go to those that lag most.
 */
export const observed = (
  stats: Stats,
  listed: ReadonlySet<string>,
  nowMillis: number
): Effect.Effect<ReadonlySet<string>> =>
  Effect.gen(function*() {
    const totals = [
      [undelivered, stats.undelivered],
      [pending, stats.pending],
      [pendingIsEstimate, stats.isEstimate ? 1 : 0],
      [oldestPending, stats.oldestPendingSeconds],
      [retrying, stats.retrying],
      [deadNow, stats.dead],
      [late, stats.late],
      [purged, stats.purged],
      [breaker, levels[stats.breaker]],
      [paused, stats.paused ? 1 : 0],
      [horizonSeconds, stats.horizon?.ageSeconds ?? 0],
      [horizonTransactions, stats.horizon?.ageTransactions ?? 0],
      [lanes, stats.lanes.length],
      [lanesUnowned, stats.lanes.filter(({ owner }) => owner === null).length],
      [statsTimestamp, nowMillis / 1000]
    ] as const
    for (const [metric, value] of totals) yield* Metric.set(metric, value)

    const found = new Map<string, LaneStats>(stats.lanes.map((lane) => [lane.lane, lane]))
    const others = stats.lanes.filter(({ lane }) => !listed.has(lane)).toSorted((a, b) => b.lagSeconds - a.lagSeconds)
    const added = others.slice(0, Math.max(0, maxLanes - listed.size)).map(({ lane }) => lane)
    yield* Metric.set(lanesUnlisted, others.length - added.length)
    const nowListed = new Set([...listed, ...added])
    for (const lane of nowListed) {
      const its = found.get(lane)
      yield* Metric.set(Metric.tagged(laneLag, "lane", lane), its?.lagSeconds ?? 0)
      yield* Metric.set(Metric.tagged(lanePending, "lane", lane), its?.pending ?? 0)
      yield* Metric.set(Metric.tagged(laneLate, "lane", lane), its?.late ?? 0)
      yield* Metric.set(Metric.tagged(laneBreaker, "lane", lane), levels[its?.breaker ?? "closed"])
    }
    return nowListed
  })

/** Counts what was settled in a lane. */
export const settled = (
  lane: string,
  counts: { readonly delivered: number; readonly refused: number; readonly dead: number }
): Effect.Effect<void> =>
  Effect.all([
    Metric.incrementBy(Metric.tagged(delivered, "lane", lane), counts.delivered),
    Metric.incrementBy(Metric.tagged(refused, "lane", lane), counts.refused),
    Metric.incrementBy(Metric.tagged(dead, "lane", lane), counts.dead)
  ], { discard: true })
