/**
 * Time for what waits or lapses inside this process. The wall clock may be set back, and then everything that waits until
 * a time of it would wait for too long.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

/** Milliseconds, by a clock that never jumps. */
export const now: Effect.Effect<number> = Effect.map(Clock.currentTimeNanos, (nanos) => Number(nanos) / 1_000_000)

/** The same, for what is called back. */
export const reader: Effect.Effect<() => number> = Effect.map(
  Effect.clock,
  (clock) => () => Number(clock.unsafeCurrentTimeNanos()) / 1_000_000
)
