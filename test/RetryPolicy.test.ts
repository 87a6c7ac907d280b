import { expect, it } from "@effect/vitest"
import * as Array from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/TestClock"
import { delayAfter, firstDelays, type Policy, RetryPolicy } from "../src/RetryPolicy.ts"

const seconds = (policy: Policy, attempts: ReadonlyArray<number>) =>
  Effect.forEach(attempts, (n) =>
    Effect.map(
      delayAfter(policy, n),
      Option.match({ onNone: () => "dead" as const, onSome: (delay) => Duration.toSeconds(delay) })
    ))

it.effect("six refusals are followed by 1, 2, 4, 8 and 16 minutes, and then a dead letter", () =>
  Effect.gen(function*() {
    expect(yield* seconds(yield* RetryPolicy, [1, 2, 3, 4, 5, 6, 7, 1_000])).toEqual(
      [60, 120, 240, 480, 960, "dead", "dead", "dead"]
    )
  }))

it.effect("a delay is computed without sleeping, and does not depend on the time of day", () =>
  Effect.gen(function*() {
    const policy = yield* RetryPolicy
    yield* TestClock.setTime(1_800_000_000_123)
    const fiber = yield* Effect.fork(delayAfter(policy, 5))
    expect(yield* Fiber.join(fiber)).toEqual(Option.some(Duration.minutes(16)))
  }))

it.effect("the policy of an application replaces the default", () =>
  Effect.gen(function*() {
    expect(yield* seconds(yield* RetryPolicy, [1, 2, 3])).toEqual([7, 7, "dead"])
  }).pipe(
    Effect.provide(
      Layer.succeed(RetryPolicy, { schedule: Schedule.spaced("7 seconds").pipe(Schedule.upTo("10 seconds")) })
    )
  ))

it.effect("a retry without delay is a retry, and a schedule that ends at once is none", () =>
  Effect.gen(function*() {
    expect(yield* seconds({ schedule: Schedule.recurs(2) }, [1, 2, 3])).toEqual([0, 0, "dead"])
    expect(yield* seconds({ schedule: Schedule.stop }, [1, 2])).toEqual(["dead", "dead"])
  }))

it.effect("a jittered schedule varies within its bounds and keeps its number of retries", () =>
  Effect.gen(function*() {
    const { schedule } = yield* RetryPolicy
    const policy = { schedule: schedule.pipe(Schedule.jittered) }
    const delays = yield* Effect.forEach(
      Array.range(1, 200),
      () => Effect.map(delayAfter(policy, 3), Option.match({ onNone: () => 0, onSome: Duration.toSeconds }))
    )
    expect(Math.min(...delays)).toBeGreaterThanOrEqual(240 * 0.8)
    expect(Math.max(...delays)).toBeLessThanOrEqual(240 * 1.2)
    expect(new Set(delays).size).toBeGreaterThan(1)
    expect(yield* seconds(policy, [6])).toEqual(["dead"])
  }).pipe(Effect.withRandom(Random.make("jitter"))))

it.effect("an uncapped curve stays within dates that a database can hold", () =>
  Effect.gen(function*() {
    const policy = { schedule: Schedule.exponential("1 minute", 10) }
    const day = 24 * 60 * 60
    expect(yield* seconds(policy, [1, 2, 6, 7, 50])).toEqual([60, 600, 6_000_000, 365 * day, 365 * day])
  }))

it.effect("the ten-thousandth refusal of a schedule without end still has its delay", () =>
  Effect.gen(function*() {
    expect(yield* seconds({ schedule: Schedule.spaced("3 seconds") }, [10_000])).toEqual([3])
  }))

it.effect("a number of refusals below one counts as one", () =>
  Effect.gen(function*() {
    expect(yield* seconds(yield* RetryPolicy, [0, -1])).toEqual([60, 60])
  }))

it.effect("the first delays of a schedule end where it ends", () =>
  Effect.gen(function*() {
    const { schedule } = yield* RetryPolicy
    expect(yield* firstDelays(schedule, 2)).toEqual([Duration.minutes(1), Duration.minutes(2)])
    expect((yield* firstDelays(schedule, 9)).length).toBe(5)
    expect(yield* firstDelays(schedule, 0)).toEqual([])
  }))
