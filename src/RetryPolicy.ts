/**
 * When a refused record is tried again. The delay is a function of the refusals that are written down, so that any
 * process goes on with the curve where another left it.
 */
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"

/** A policy. When the schedule ends, the record is a dead letter. */
export interface Policy {
  readonly schedule: Schedule.Schedule<unknown>
}

/**
 * The policy of this process: five retries after 1, 2, 4, 8 and 16 minutes by default. Change it with
 * `Layer.succeed(RetryPolicy, { schedule })`.
 */
export class RetryPolicy extends Context.Reference<RetryPolicy>()("effect-trustlog/RetryPolicy", {
  defaultValue: (): Policy => ({
    schedule: Schedule.exponential("1 minute", 2).pipe(Schedule.intersect(Schedule.recurs(5)))
  })
}) {}

/** An uncapped curve grows past every date that a database can hold. */
const longest = Duration.days(365)

/** The first delays of a schedule, without sleeping: `count` of them, or fewer when it ends before. At most a year each. */
export const firstDelays = (
  schedule: Schedule.Schedule<unknown>,
  count: number
): Effect.Effect<ReadonlyArray<Duration.Duration>> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) =>
    // What a schedule gives when it ends is no delay, and looks like one: so it is asked once more than needed.
    Schedule.run(Schedule.delays(schedule), now, Array.from({ length: count + 1 })).pipe(
      Effect.map((delays) => Chunk.toReadonlyArray(delays).slice(0, -1).map(Duration.min(longest)))
    ))

/**
 * The delay after the n-th settled refusal (1, 2, 3 …), by replaying the schedule n steps; none makes it a dead letter.
 * It costs n steps: a caller with many rows asks once for each number of attempts.
 */
export const delayAfter = (policy: Policy, attempts: number): Effect.Effect<Option.Option<Duration.Duration>> =>
  Effect.suspend(() => {
    const count = Math.max(1, attempts)
    return Effect.map(firstDelays(policy.schedule, count), (delays) => Option.fromNullable(delays[count - 1]))
  })
