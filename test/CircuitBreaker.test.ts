import { expect, it } from "@effect/vitest"
import * as Array from "effect/Array"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/TestClock"
import * as CircuitBreaker from "../src/CircuitBreaker.ts"

/** Asks once, reports, and tells what the answer was. */
const attempt = (breaker: CircuitBreaker.CircuitBreaker, isWell: boolean) =>
  Effect.scoped(Effect.gen(function*() {
    const permit = yield* breaker.permit
    if (permit._tag === "Held") return Duration.toMillis(permit.delay)
    yield* (isWell ? breaker.succeeded(permit) : breaker.failed(permit))
    return permit._tag
  }))

it.effect("a closed breaker lets everybody send, and a success leaves it closed since it was made", () =>
  Effect.gen(function*() {
    yield* TestClock.setTime(1_000)
    const breaker = yield* CircuitBreaker.make()
    yield* TestClock.adjust("1 hour")
    expect(yield* Effect.replicateEffect(attempt(breaker, true), 3)).toEqual(["Flow", "Flow", "Flow"])
    expect(yield* breaker.state).toEqual({ breaker: "closed", since: 1_000 })
  }))

it.effect("an outage is probed after 0.5, 1, 2, 4, 5, 5 … seconds, not a millisecond earlier", () =>
  Effect.gen(function*() {
    const breaker = yield* CircuitBreaker.make()
    expect(yield* attempt(breaker, false)).toBe("Flow")
    for (const delay of [500, 1_000, 2_000, 4_000, 5_000, 5_000, 5_000]) {
      expect(yield* attempt(breaker, false)).toBe(delay)
      yield* TestClock.adjust(delay - 1)
      expect(yield* attempt(breaker, false)).toBe(1)
      expect((yield* breaker.state).breaker).toBe("open")
      yield* TestClock.adjust(1)
      expect(yield* attempt(breaker, false)).toBe("Probe")
    }
  }))

it.effect("a success closes it and forgets the delays", () =>
  Effect.gen(function*() {
    const breaker = yield* CircuitBreaker.make()
    for (const delay of [500, 1_000, 2_000]) {
      yield* attempt(breaker, false)
      yield* TestClock.adjust(delay)
    }
    expect(yield* attempt(breaker, true)).toBe("Probe")
    expect(yield* breaker.state).toEqual({ breaker: "closed", since: 3_500 })
    expect(yield* attempt(breaker, false)).toBe("Flow")
    expect(yield* attempt(breaker, false)).toBe(500)
  }))

it.effect("an outage of six hours is probed every 5 seconds to its end", () =>
  Effect.gen(function*() {
    const breaker = yield* CircuitBreaker.make()
    // TestClock lets other fibres settle at each step, which takes minutes over as many.
    const clock = yield* Effect.clock
    let now = 0
    const sixHours = 6 * 60 * 60 * 1_000
    yield* Effect.gen(function*() {
      yield* attempt(breaker, false)
      let probes = 0
      while (now < sixHours) {
        const answer = yield* attempt(breaker, false)
        if (typeof answer === "number") now += answer
        else probes++
      }
      expect(probes).toBe(4 + Math.ceil((sixHours - 7_500) / 5_000) - 1)
      yield* attempt(breaker, true)
      expect(yield* attempt(breaker, true)).toBe("Flow")
    }).pipe(Effect.withClock({
      ...clock,
      currentTimeMillis: Effect.sync(() => now),
      currentTimeNanos: Effect.sync(() => BigInt(now) * 1_000_000n)
    }))
  }))

it.scoped("of a hundred workers that ask at once, one probes", () =>
  Effect.gen(function*() {
    const breaker = yield* CircuitBreaker.make()
    for (const delay of [500, 1_000]) {
      yield* attempt(breaker, false)
      yield* TestClock.adjust(delay)
    }
    const permits = yield* Effect.all(Array.replicate(breaker.permit, 100), { concurrency: "unbounded" })
    expect(permits.filter((permit) => permit._tag === "Probe").length).toBe(1)
    expect(permits.filter((permit) => permit._tag === "Held").length).toBe(99)
    expect((yield* breaker.state).breaker).toBe("half-open")
    // Who is held by another's probe looks again soon, whatever the curve has come to.
    expect(yield* attempt(breaker, true)).toBe(500)
  }))

it.effect("pages that were on their way when the outage began count as one outage", () =>
  Effect.gen(function*() {
    const breaker = yield* CircuitBreaker.make()
    const begin = yield* Deferred.make<void>()
    const worker = Effect.scoped(Effect.gen(function*() {
      const permit = yield* breaker.permit
      yield* Deferred.await(begin)
      if (permit._tag !== "Held") yield* breaker.failed(permit)
    }))
    const workers = yield* Effect.fork(Effect.all(Array.replicate(worker, 20), { concurrency: "unbounded" }))
    yield* Effect.yieldNow()
    yield* Deferred.succeed(begin, undefined)
    yield* Fiber.join(workers)
    expect(yield* attempt(breaker, false)).toBe(500)
  }))

it.effect("a report about a page sent before the last change is dropped, good or bad", () =>
  Effect.scoped(Effect.gen(function*() {
    const breaker = yield* CircuitBreaker.make()
    const slow = yield* breaker.permit
    if (slow._tag === "Held") return yield* Effect.dieMessage("held")
    yield* attempt(breaker, false)
    yield* breaker.succeeded(slow)
    expect((yield* breaker.state).breaker).toBe("open")
    yield* TestClock.adjust("500 millis")
    yield* attempt(breaker, true)
    yield* breaker.failed(slow)
    expect((yield* breaker.state).breaker).toBe("closed")
  })))

it.effect("a prober that goes without a report leaves the probe to the next, at once", () =>
  Effect.gen(function*() {
    const breaker = yield* CircuitBreaker.make()
    yield* attempt(breaker, false)
    yield* TestClock.adjust("500 millis")
    const isProbing = yield* Deferred.make<void>()
    const prober = yield* breaker.permit.pipe(
      Effect.zipRight(Deferred.succeed(isProbing, undefined)),
      Effect.zipRight(Effect.never),
      Effect.scoped,
      Effect.fork
    )
    yield* Deferred.await(isProbing)
    expect(yield* attempt(breaker, true)).toBe(500)
    yield* Fiber.interrupt(prober)
    expect((yield* breaker.state).breaker).toBe("open")
    expect(yield* attempt(breaker, true)).toBe("Probe")
    expect((yield* breaker.state).breaker).toBe("closed")
  }))

it.effect("a prober that reports after it has left the probe to the next is not heard", () =>
  Effect.gen(function*() {
    const breaker = yield* CircuitBreaker.make()
    yield* attempt(breaker, false)
    yield* TestClock.adjust("500 millis")
    const left = yield* Effect.scoped(breaker.permit)
    if (left._tag !== "Probe") return yield* Effect.dieMessage("no probe")
    yield* breaker.succeeded(left)
    expect((yield* breaker.state).breaker).toBe("open")
    yield* Effect.scoped(Effect.gen(function*() {
      expect((yield* breaker.permit)._tag).toBe("Probe")
      yield* breaker.succeeded(left)
      yield* breaker.failed(left)
      expect((yield* breaker.state).breaker).toBe("half-open")
    }))
  }))

it.effect("closing the scope after a report changes nothing, even while somebody else probes", () =>
  Effect.gen(function*() {
    const breaker = yield* CircuitBreaker.make()
    yield* attempt(breaker, false)
    yield* TestClock.adjust("500 millis")
    const scope = yield* Scope.make()
    const first = yield* Scope.extend(breaker.permit, scope)
    if (first._tag !== "Probe") return yield* Effect.dieMessage("no probe")
    yield* breaker.failed(first)
    yield* TestClock.adjust("1 second")
    yield* Effect.scoped(Effect.gen(function*() {
      expect((yield* breaker.permit)._tag).toBe("Probe")
      yield* Scope.close(scope, Exit.void)
      expect((yield* breaker.state).breaker).toBe("half-open")
    }))
  }))

it.effect("the clock's being set back does not hold it for longer", () =>
  Effect.gen(function*() {
    const breaker = yield* CircuitBreaker.make()
    yield* attempt(breaker, false)
    const wallClock = yield* Effect.clock
    yield* TestClock.adjust("500 millis")
    const permit = yield* Effect.scoped(breaker.permit).pipe(
      Effect.withClock({
        ...wallClock,
        currentTimeMillis: Effect.succeed(-3_600_000),
        currentTimeNanos: wallClock.currentTimeNanos
      })
    )
    expect(permit._tag).toBe("Probe")
  }))

it.effect("the last delay of a schedule that ends stays, and one without delay does not make a hot loop", () =>
  Effect.gen(function*() {
    const short = yield* CircuitBreaker.make({
      schedule: Schedule.exponential("1 second", 3).pipe(Schedule.intersect(Schedule.recurs(2)))
    })
    yield* attempt(short, false)
    for (const delay of [1_000, 3_000, 3_000, 3_000]) {
      expect(yield* attempt(short, false)).toBe(delay)
      yield* TestClock.adjust(delay)
      yield* attempt(short, false)
    }
    for (const [schedule, delay] of [[Schedule.stop, 5_000], [Schedule.forever, 10]] as const) {
      const breaker = yield* CircuitBreaker.make({ schedule })
      yield* attempt(breaker, false)
      expect(yield* attempt(breaker, false)).toBe(delay)
    }
  }))

it.effect("a topic has one breaker, whoever asks, and topics do not hold each other", () =>
  Effect.gen(function*() {
    const breakers = yield* CircuitBreaker.CircuitBreakers
    const [a, again] = yield* Effect.all([breakers.get("a"), breakers.get("a")], { concurrency: "unbounded" })
    expect(again).toBe(a)
    yield* attempt(a, false)
    expect(yield* attempt(yield* breakers.get("a"), true)).toBe(500)
    expect(yield* attempt(yield* breakers.get("__proto__"), true)).toBe("Flow")
  }).pipe(Effect.provide(CircuitBreaker.layer)))
