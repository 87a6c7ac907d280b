/**
 * Every metric of the package.
 */
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"

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
