/**
 * Every metric of the package.
 */
import * as Metric from "effect/Metric"

/** Cycles of an actor that failed and were backed off, by `actor`. */
export const actorRestarts = Metric.counter("trustlog_actor_restarts_total", {
  description: "Cycles of an actor that failed and were backed off",
  incremental: true
})
