/**
 * Time between us and a broker: how long a silence is believed, and what an outage costs. No time passes but by the test's clock.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as TestClock from "effect/TestClock"
import * as CircuitBreaker from "../../src/CircuitBreaker.ts"
import * as CursorWorker from "../../src/CursorWorker.ts"
import { laneOf } from "../../src/Operation.ts"
import { Publisher } from "../../src/Publisher.ts"
import * as PulsarWebSocket from "../../src/Publisher/PulsarWebSocket.ts"
import { Repository } from "../../src/Repository.ts"
import { messages } from "../messages.ts"
import { appended, database, uuid } from "../workers.ts"
import * as FakeWebSocket from "./FakeWebSocket.ts"

const topic = "persistent://public/default/operation"

const over = ({ client }: ReturnType<typeof FakeWebSocket.make>) =>
  Layer.orDie(Layer.provide(PulsarWebSocket.layer({ serviceUrl: "ws://broker:8080" }), client))

/** A clock that a test puts forward without that anything happens meanwhile, as for a process that is stopped. */
const stoppable = Effect.map(Effect.clock, (clock) => {
  let stopped = 0n
  return {
    stop: (duration: Duration.DurationInput) => {
      stopped += Option.getOrThrow(Duration.toNanos(duration))
    },
    clock: {
      [Clock.ClockTypeId]: clock[Clock.ClockTypeId],
      unsafeCurrentTimeMillis: () => clock.unsafeCurrentTimeMillis(),
      unsafeCurrentTimeNanos: () => clock.unsafeCurrentTimeNanos() + stopped,
      currentTimeMillis: clock.currentTimeMillis,
      currentTimeNanos: Effect.map(clock.currentTimeNanos, (nanos) => nanos + stopped),
      sleep: (duration: Duration.Duration) => clock.sleep(duration)
    } satisfies Clock.Clock
  }
})

describe("a broker that hangs", () => {
  it.effect("is given up when it has not answered for five seconds, and what was sent is unknown", () => {
    const fake = FakeWebSocket.make()
    return Effect.gen(function*() {
      const { health, publish } = yield* Publisher
      yield* publish(topic, messages(0, 3))
      fake.broker.isHung = true
      const publishing = yield* Effect.fork(publish(topic, messages(3, 5)))
      yield* TestClock.adjust("12 seconds")
      const { outage, outcomes } = yield* Fiber.join(publishing)
      assert.deepStrictEqual(outcomes.map(({ _tag }) => _tag), ["Unknown", "Unknown"])
      assert.strictEqual(outage?.reason, "lost")
      assert.match(outage?.message ?? "", /the broker has been silent for 5s/)
      assert.strictEqual(fake.broker.open.size, 0)
      assert.strictEqual((yield* Effect.flip(health(topic))).reason, "unavailable")
    }).pipe(Effect.provide(over(fake)))
  })

  it.effect("is asked also when nothing is sent, and its connection is kept for as long as it answers", () => {
    const fake = FakeWebSocket.make()
    return Effect.gen(function*() {
      const { health } = yield* Publisher
      yield* health(topic)
      yield* TestClock.adjust("10 minutes")
      assert.strictEqual(fake.broker.attempts, 1)
      assert.isAbove(fake.broker.pings, 100)
      fake.broker.isHung = true
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(fake.broker.open.size, 0)
    }).pipe(Effect.provide(over(fake)))
  })

  it.effect("is not blamed for the time in which this process was stopped", () => {
    const fake = FakeWebSocket.make()
    return Effect.gen(function*() {
      const { clock, stop } = yield* stoppable
      const { health } = yield* Publisher
      yield* Effect.withClock(health(topic), clock)
      fake.broker.isHung = true
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual(fake.broker.pings, 1)
      // What it has answered meanwhile is still to be read.
      fake.broker.isHung = false
      stop("1 hour")
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(fake.broker.attempts, 1)
      assert.strictEqual(fake.broker.open.size, 1)
    }).pipe(Effect.provide(over(fake)))
  })
})

describe("a broker that closes every connection as soon as it is open", () => {
  it.effect("is unavailable, and is used again when it keeps them", () => {
    const fake = FakeWebSocket.make()
    return Effect.gen(function*() {
      const { health, publish } = yield* Publisher
      fake.broker.isFickle = true
      assert.strictEqual((yield* Effect.flip(health(topic))).reason, "unavailable")
      const error = yield* Effect.flip(publish(topic, messages(0, 3)))
      assert.strictEqual(error.reason, "unavailable")
      fake.broker.isFickle = false
      const { outcomes } = yield* publish(topic, messages(0, 3))
      assert.deepStrictEqual(outcomes.map(({ _tag }) => _tag), ["Acknowledged", "Acknowledged", "Acknowledged"])
    }).pipe(Effect.provide(over(fake)))
  })
})

describe("an outage of fifteen minutes", () => {
  it.effect("costs no attempt and a probe every five seconds, and ends within five", () => {
    const fake = FakeWebSocket.make()
    return Effect.gen(function*() {
      const repository = yield* Repository
      yield* appended(300)
      fake.broker.isAway = true
      const lease = yield* repository.acquire(laneOf("operation"), "a", Duration.seconds(10))
      if (lease === undefined) return assert.fail("the lane is held")
      const { cycle } = yield* CursorWorker.session(lease)
      /** Works for as long as a host would. */
      const work = (seconds: number) =>
        Effect.gen(function*() {
          for (let second = 0; second < seconds; second++) {
            while ((yield* cycle).next._tag === "Again");
            yield* TestClock.adjust("1 second")
          }
        })
      yield* work(900)
      assert.include(yield* repository.stats, { pending: 300, retrying: 0, dead: 0, breaker: "open" })
      assert.isAtLeast(fake.broker.attempts, 900 / 6)
      assert.isAtMost(fake.broker.attempts, 900 / 5 + 10)
      fake.broker.isAway = false
      yield* work(6)
      assert.include(yield* repository.stats, { pending: 0, retrying: 0, dead: 0, delivered: 300, breaker: "closed" })
      assert.deepStrictEqual(fake.broker.held, Array.from({ length: 300 }, (_, n) => uuid(n + 1)))
    }).pipe(Effect.provide([database, over(fake), CircuitBreaker.layer]))
  })
})
