import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/TestClock"
import * as Drain from "../src/Drain.ts"
import { laneOf } from "../src/Operation.ts"
import { Publisher } from "../src/Publisher.ts"
import * as Memory from "../src/Publisher/Memory.ts"
import { Repository } from "../src/Repository.ts"
import { PublisherError } from "../src/TrustlogError.ts"
import { appended, entry, held, layer, uuid } from "./workers.ts"

describe("a drain", () => {
  it.effect("delivers every lane and sends the retries that are due, and waits for none that is not", () =>
    Effect.gen(function*() {
      const control = yield* Memory.Control
      const repository = yield* Repository
      yield* appended(5)
      yield* repository.append([
        entry(6, { kind: "record" }),
        entry(7, {}, laneOf("operation", "tenant-1"))
      ])
      yield* control.refuse(uuid(2), "rejected")
      const first = yield* Drain.drainOnce()
      assert.deepInclude(first, { delivered: 6, refused: 1, outage: undefined })
      assert.include(first.stats, { pending: 0, retrying: 1 })
      yield* control.accept(uuid(2))
      assert.include(yield* Drain.drainOnce(), { delivered: 0 })
      yield* TestClock.adjust("1 minute")
      const second = yield* Drain.drainOnce()
      assert.include(second, { delivered: 1, refused: 0 })
      assert.sameMembers(yield* held, [1, 2, 3, 4, 5, 6, 7])
      assert.isTrue((yield* repository.lanes).every(({ owner }) => owner === null))
    }).pipe(Effect.provide(layer)))

  it.effect("waits for the lanes of a process that died, until their leases lapse", () =>
    Effect.gen(function*() {
      const repository = yield* Repository
      yield* appended(3)
      yield* repository.acquire(laneOf("operation"), "dead", Duration.seconds(10))
      const fiber = yield* Effect.fork(Drain.drainOnce())
      yield* TestClock.adjust("9 seconds")
      assert.deepStrictEqual(yield* held, [])
      yield* TestClock.adjust("2 seconds")
      assert.include(yield* Fiber.join(fiber), { delivered: 3 })
    }).pipe(Effect.provide(layer)))

  it.effect("ends when its budget is used up, with what is left", () =>
    Effect.gen(function*() {
      const repository = yield* Repository
      yield* appended(3)
      yield* repository.acquire(laneOf("operation"), "alive", Duration.hours(1))
      const fiber = yield* Effect.fork(Drain.drainOnce({ budget: "5 seconds" }))
      yield* TestClock.adjust("5 seconds")
      const drained = yield* Fiber.join(fiber)
      assert.include(drained, { delivered: 0, outage: undefined })
      assert.include(drained.stats, { pending: 3 })
    }).pipe(Effect.provide(layer)))

  it.effect("ends at once when the log is out, and says why", () =>
    Effect.gen(function*() {
      const control = yield* Memory.Control
      yield* appended(3)
      yield* control.outage(true)
      const drained = yield* Drain.drainOnce()
      assert.strictEqual(drained.outage?.message, "the log is down")
      assert.include(drained.stats, { pending: 3, retrying: 0, breaker: "open" })
    }).pipe(Effect.provide(layer)))

  it.effect("delivers to the topics that are well, while another is out", () =>
    Effect.gen(function*() {
      const repository = yield* Repository
      const inner = yield* Publisher
      yield* appended(300)
      yield* repository.append(Array.from({ length: 300 }, (_, n) => entry(1000 + n, { kind: "record" })))
      const outage = new PublisherError({ reason: "unavailable", problem: "this topic is out" })
      const isOut = (topic: string) => topic.endsWith("/operation")
      const publisher = Layer.succeed(Publisher, {
        publish: (topic, batch) => isOut(topic) ? Effect.fail(outage) : inner.publish(topic, batch),
        health: (topic) => isOut(topic) ? Effect.fail(outage) : inner.health(topic)
      })
      const drained = yield* Effect.provide(Drain.drainOnce(), publisher)
      assert.deepInclude(drained, { delivered: 300, outage })
      assert.include(drained.stats, { pending: 300 })
    }).pipe(Effect.provide(layer)))

  it.live("keeps to its budget though neither database nor log ever leaves the thread", () =>
    Effect.gen(function*() {
      yield* appended(9000)
      const drained = yield* Drain.drainOnce({ budget: "1 millis" })
      assert.isAbove(drained.stats.pending, 0)
      assert.strictEqual(drained.stats.pending + drained.stats.delivered, 9000)
    }).pipe(Effect.provide(layer)))

  it.effect("waits for a lane that it lost, until that is free again", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const inner = yield* Publisher
      yield* appended(3)
      let calls = 0
      const publisher = Layer.succeed(Publisher, {
        ...inner,
        publish: (topic, batch) =>
          calls++ > 0 ? inner.publish(topic, batch) : Effect.zipRight(
            Effect.orDie(
              sql`UPDATE trustlog_cursor SET owner = 'thief', epoch = epoch + 1 WHERE name = 'lane/operation'`
            ),
            inner.publish(topic, batch)
          )
      })
      const fiber = yield* Effect.fork(Effect.provide(Drain.drainOnce(), publisher))
      for (let n = 0; n < 12; n++) yield* TestClock.adjust("1 second")
      assert.include((yield* Fiber.join(fiber)).stats, { pending: 0, delivered: 3 })
    }).pipe(Effect.provide(layer)))

  it.effect("leaves a paused lane as it is", () =>
    Effect.gen(function*() {
      const repository = yield* Repository
      yield* appended(3)
      yield* repository.setPaused(true, laneOf("operation"))
      assert.include((yield* Drain.drainOnce()).stats, { pending: 3, paused: true })
    }).pipe(Effect.provide(layer)))
})
