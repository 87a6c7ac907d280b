/**
 * The workers' cycles, run until there is nothing left that can be delivered now: for cron, serverless functions, and the
 * end of a process.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { v4 } from "uuid"
import type { CircuitBreakers } from "./CircuitBreaker.ts"
import * as CursorWorker from "./CursorWorker.ts"
import * as LaneLease from "./LaneLease.ts"
import type { Lane } from "./Operation.ts"
import type { Publisher } from "./Publisher.ts"
import { Repository, type Stats } from "./Repository.ts"
import * as RetryWorker from "./RetryWorker.ts"
import type { DatabaseError, PublisherError } from "./TrustlogError.ts"
import { nextTurn } from "./internal/eventLoop.ts"

/** How a drain ended. */
export interface Drained {
  /** Operations that this call settled as delivered, and refusals that it wrote down. */
  readonly delivered: number
  readonly refused: number
  /** Why it stopped before everything was sent, if the log was out. */
  readonly outage: PublisherError | undefined
  /** What is left, by the database, at the end. */
  readonly stats: Stats
}

/**
 * Delivers what is pending and sends the retries that are due, then returns: when nothing is left that may be sent now,
 * when the log is out, or when the budget of time is used up. Lanes that another process holds are waited for, so that
 * the lease of one that died lapses; retries that are not due are not.
 */
export const drainOnce = (options: {
  readonly budget?: Duration.DurationInput | undefined
} = {}): Effect.Effect<Drained, DatabaseError, Repository | Publisher | CircuitBreakers> =>
  Effect.gen(function*() {
    const repository = yield* Repository
    const owner = v4()
    let delivered = 0
    let refused = 0
    let outage: PublisherError | undefined

    /** Runs cycles back to back until one has nothing to do, or the log is out. */
    const exhaust = <E>(session: { readonly cycle: Effect.Effect<CursorWorker.Progress, E> }) =>
      Effect.gen(function*() {
        while (true) {
          const progress = yield* session.cycle
          delivered += progress.delivered
          refused += progress.refused
          outage = progress.outage ?? outage
          if (progress.outage !== undefined || progress.next._tag !== "Again") return
          yield* nextTurn
        }
      })

    /** Whether the lane was ours until there was nothing left to do in it. */
    const drainLane = (lane: Lane) =>
      Effect.scoped(Effect.gen(function*() {
        const held = yield* LaneLease.hold(lane, owner)
        if (held === undefined) return false
        return yield* CursorWorker.session(held.lease).pipe(
          Effect.flatMap(exhaust),
          Effect.as(true),
          Effect.catchTag("LeaseLost", (error) => Effect.as(Effect.logWarning(error.message), false)),
          Effect.raceFirst(Effect.as(held.lost, false))
        )
      }))

    const pass = Effect.gen(function*() {
      const drained = new Set<Lane>()
      for (const { lane } of yield* repository.lanes) {
        if (yield* drainLane(lane)) drained.add(lane)
      }
      yield* Effect.flatMap(RetryWorker.session, exhaust)
      const { lanes } = yield* repository.stats
      return outage !== undefined ||
        lanes.every(({ lane, paused, pending }) => drained.has(lane) || paused || pending === 0)
    })

    // Another process holds what is left: it delivers that itself, or its lease lapses.
    const everything = Effect.repeat(pass, { until: (isDone) => isDone, schedule: Schedule.spaced("500 millis") })
    yield* options.budget === undefined
      ? everything
      : Effect.raceFirst(everything, Effect.sleep(options.budget))
    return { delivered, refused, outage, stats: yield* repository.stats }
  })
