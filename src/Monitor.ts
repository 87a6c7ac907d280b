/**
 * Keeps the gauges of `TrustlogMetrics` fresh. One in the whole installation is enough; more show the same.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Next } from "./Actor.ts"
import { Host } from "./Host.ts"
import { Repository } from "./Repository.ts"
import type { DatabaseError } from "./TrustlogError.ts"
import * as TrustlogMetrics from "./TrustlogMetrics.ts"
import * as monotonic from "./internal/monotonic.ts"

export interface Options {
  /** How often to look; 15 seconds by default. */
  readonly every?: Duration.DurationInput | undefined
}

/** Looks, one look a cycle. */
export interface Session {
  readonly cycle: Effect.Effect<Next, DatabaseError>
}

/** After a look that took long, so many times as long passes until the next: a struggling database is not pressed. */
const patience = 20

/** Begins to look. What is kept between cycles is which lanes have gauges. */
export const session = (options: Options = {}): Effect.Effect<Session, never, Repository> =>
  Effect.map(Repository, (repository) => {
    const every = Duration.toMillis(options.every ?? "15 seconds")
    let listed: ReadonlySet<string> = new Set()
    return {
      cycle: Effect.gen(function*() {
        const began = yield* monotonic.now
        const stats = yield* repository.stats
        const before = listed
        listed = yield* TrustlogMetrics.observed(stats, listed, yield* Clock.currentTimeMillis)
        if (stats.lanes.length > listed.size && before.size < listed.size) {
          yield* Effect.logWarning(
            `there are ${stats.lanes.length} lanes, and ${listed.size} of them have gauges of their own; ` +
              "the others are in the totals"
          )
        }
        const took = (yield* monotonic.now) - began
        return Next.After({ delay: Duration.millis(Math.max(every, took * patience)) })
      }).pipe(Effect.annotateLogs({ package: "effect-trustlog", module: "Monitor" }))
    }
  })

/** Looks regularly, as one actor. */
export const layer = (options: Options = {}): Layer.Layer<never, never, Repository | Host> =>
  Layer.scopedDiscard(Effect.gen(function*() {
    const host = yield* Host
    const { cycle } = yield* session(options)
    yield* host.start({ identity: "monitor", cycle, isBound: true })
  }))
