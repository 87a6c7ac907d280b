import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/TestClock"
import * as CircuitBreaker from "../src/CircuitBreaker.ts"
import * as CursorWorker from "../src/CursorWorker.ts"
import { laneOf } from "../src/Operation.ts"
import { Publisher } from "../src/Publisher.ts"
import * as Memory from "../src/Publisher/Memory.ts"
import { Repository } from "../src/Repository.ts"
import * as RetryPolicy from "../src/RetryPolicy.ts"
import * as RetryWorker from "../src/RetryWorker.ts"
import { PublisherError } from "../src/TrustlogError.ts"
import { appended, entry, held, id, layer, uuid } from "./workers.ts"

const lane = laneOf("operation")
const workers = Layer.merge(CursorWorker.layer, RetryWorker.layer)

/** Keeps the workers running while the effect does what it does. */
const working = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.scoped(Effect.zipRight(Layer.build(workers), effect))

const stats = Effect.flatMap(Repository, (repository) => repository.stats)

/** When each publish of a record was, in minutes, by a publisher that tells. */
const times = (n: number) =>
  Effect.gen(function*() {
    const inner = yield* Publisher
    const seen: Array<number> = []
    const publisher = Publisher.of({
      ...inner,
      publish: (topic, batch) =>
        Effect.flatMap(Clock.currentTimeMillis, (now) => {
          if (batch.some((message) => message.id === uuid(n))) seen.push(now / 60_000)
          return inner.publish(topic, batch)
        })
    })
    return { seen, layer: Layer.succeed(Publisher, publisher) }
  })

/** Runs cycles until one is not followed by another at once. */
const exhaust = <E>(session: { readonly cycle: Effect.Effect<CursorWorker.Progress, E> }) =>
  Effect.repeat(session.cycle, { while: (progress) => progress.next._tag === "Again" })

/** The cycles of both workers of a process, now and every so often until the time is over. */
const cycles = (count: number, every: Duration.DurationInput = "1 minute") =>
  Effect.gen(function*() {
    const repository = yield* Repository
    const lease = yield* repository.acquire(lane, "process", Duration.weeks(1))
    if (lease === undefined) return yield* Effect.dieMessage("the lane is free")
    const first = yield* CursorWorker.session(lease)
    const second = yield* RetryWorker.session
    for (let n = 0; n < count; n++) {
      yield* exhaust(first)
      yield* exhaust(second)
      yield* TestClock.adjust(every)
    }
  })

describe("a refused record", () => {
  it.effect("is tried after 1, 2, 4, 8 and 16 minutes, and is a dead letter after the sixth refusal", () =>
    Effect.gen(function*() {
      const control = yield* Memory.Control
      const repository = yield* Repository
      yield* control.refuse(uuid(2), "rejected")
      yield* appended(3)
      const recorded = yield* times(2)
      yield* Effect.provide(cycles(31), recorded.layer)
      assert.include(yield* stats, { retrying: 1, dead: 0, delivered: 2 })
      yield* Effect.provide(cycles(60), recorded.layer)
      assert.deepStrictEqual(recorded.seen, [0, 1, 3, 7, 15, 31])
      assert.include(yield* repository.deadLetter(id(2)), {
        attempts: 6,
        reason: "rejected",
        error: "refused: rejected"
      })
      assert.include(yield* stats, { pending: 0, retrying: 0, dead: 1, delivered: 2 })
    }).pipe(Effect.provide(layer)))

  it.effect("that can never succeed is a dead letter at once", () =>
    Effect.gen(function*() {
      const control = yield* Memory.Control
      for (const [n, reason] of [[1, "tooLarge"], [2, "conflict"], [3, "altered"]] as const) {
        yield* control.refuse(uuid(n), reason)
      }
      yield* appended(4)
      yield* cycles(1)
      assert.include(yield* stats, { pending: 0, retrying: 0, dead: 3, delivered: 1 })
    }).pipe(Effect.provide(layer)))

  it.effect("is delivered when the log takes it after all, with a receipt in its lane's chain", () =>
    Effect.gen(function*() {
      const control = yield* Memory.Control
      const repository = yield* Repository
      yield* control.refuse(uuid(2), "rejected")
      yield* appended(3)
      yield* cycles(2)
      yield* control.accept(uuid(2))
      yield* cycles(2)
      assert.deepStrictEqual(yield* held, [1, 3, 2])
      assert.include(yield* stats, { pending: 0, retrying: 0, dead: 0, delivered: 3 })
      const receipts = yield* repository.evidence.receipts({ lane, after: 0, limit: 9 })
      assert.deepStrictEqual(receipts.map((receipt) => [receipt.sequence, receipt.count]), [[1, 2], [2, 1]])
    }).pipe(Effect.provide(layer)))

  it.effect("follows the schedule that the application gives", () =>
    Effect.gen(function*() {
      const control = yield* Memory.Control
      yield* control.refuse(uuid(1), "schema")
      yield* appended(1)
      const recorded = yield* times(1)
      const policy = Layer.succeed(RetryPolicy.RetryPolicy, {
        schedule: Schedule.spaced("3 minutes").pipe(Schedule.intersect(Schedule.recurs(2)))
      })
      yield* Effect.provide(cycles(20), Layer.merge(recorded.layer, policy))
      assert.deepStrictEqual(recorded.seen, [0, 3, 6])
      assert.include(yield* stats, { dead: 1 })
    }).pipe(Effect.provide(layer)))

  it.effect("replayed by a person starts from the beginning", () =>
    Effect.gen(function*() {
      const control = yield* Memory.Control
      const repository = yield* Repository
      yield* control.refuse(uuid(1), "tooLarge")
      yield* appended(1)
      yield* cycles(1)
      assert.include(yield* stats, { dead: 1 })
      yield* control.accept(uuid(1))
      yield* repository.replay([id(1)])
      yield* cycles(1)
      assert.include(yield* stats, { pending: 0, dead: 0, delivered: 1 })
    }).pipe(Effect.provide(layer)))
})

describe("a retry that loses the connection", () => {
  it.effect("is found among the others of its claim, each of which is sent alone then", () =>
    Effect.gen(function*() {
      const control = yield* Memory.Control
      const repository = yield* Repository
      for (const n of [1, 2, 3, 4, 5]) yield* control.refuse(uuid(n), "rejected")
      yield* appended(5)
      yield* cycles(1)
      for (const n of [1, 2, 3, 4, 5]) yield* control.accept(uuid(n))
      yield* control.breakOn(uuid(3))
      yield* cycles(1)
      assert.include(yield* stats, { delivered: 4, retrying: 1, dead: 0 })
      yield* cycles(40)
      assert.include(yield* repository.deadLetter(id(3)), { attempts: 6, reason: "suspect" })
    }).pipe(Effect.provide(layer)))

  it.effect("is not sent while the log says that it is not well", () =>
    Effect.gen(function*() {
      const repository = yield* Repository
      const inner = yield* Publisher
      yield* appended(1)
      const held = yield* repository.acquire(lane, "other", Duration.seconds(10))
      if (held === undefined) return assert.fail("the lane is free")
      for (let loss = 0; loss < 3; loss++) {
        yield* repository.markInFlight(held, 1)
        yield* repository.countLoss(held, "lost")
      }
      let calls = 0
      const publisher = Layer.succeed(Publisher, {
        publish: (topic, batch) => {
          calls++
          return inner.publish(topic, batch)
        },
        health: () => new PublisherError({ reason: "unavailable", problem: "not now" })
      })
      const { outage } = yield* Effect.provide(Effect.flatMap(RetryWorker.session, ({ cycle }) => cycle), publisher)
      assert.strictEqual(outage?.message, "not now")
      assert.strictEqual(calls, 0)
      assert.include(yield* stats, { retrying: 1, dead: 0 })
    }).pipe(Effect.provide(layer)))
})

describe("an outage", () => {
  it.effect("of three days holds retries as they are, and they go on where they were", () =>
    Effect.gen(function*() {
      const control = yield* Memory.Control
      const repository = yield* Repository
      yield* control.refuse(uuid(1), "rejected")
      yield* appended(1)
      yield* cycles(1)
      yield* control.outage(true)
      // The lane's worker notices nothing, having nothing to send: the retry itself meets the outage, in many processes.
      for (let hour = 0; hour < 72; hour++) yield* Effect.provide(cycles(3, "20 minutes"), CircuitBreaker.layer)
      assert.include(yield* stats, { retrying: 1, dead: 0 })
      yield* control.outage(false)
      yield* control.accept(uuid(1))
      yield* Effect.provide(cycles(1), CircuitBreaker.layer)
      assert.include(yield* stats, { retrying: 0, dead: 0, delivered: 1 })
      assert.deepStrictEqual(yield* repository.deadLetters({ after: 0, limit: 1 }), [])
    }).pipe(Effect.provide(layer)))
})

describe("members", () => {
  const lease = Duration.seconds(10)

  it.effect("share the lanes evenly, give surplus back when one joins, and take over from one that ends", () =>
    Effect.gen(function*() {
      const repository = yield* Repository
      const owners = Effect.map(repository.lanes, (lanes) => lanes.map(({ owner }) => owner))
      yield* Effect.scoped(Effect.gen(function*() {
        yield* Layer.build(CursorWorker.layer)
        yield* TestClock.adjust("1 second")
        assert.strictEqual(new Set(yield* owners).size, 1)
        yield* Effect.scoped(Effect.gen(function*() {
          yield* Layer.build(Layer.fresh(CursorWorker.layer))
          yield* TestClock.adjust("3 seconds")
          const shared = yield* owners
          assert.strictEqual(new Set(shared).size, 2)
          assert.notInclude(shared, null)
        }))
        yield* TestClock.adjust("2 seconds")
        const alone = yield* owners
        assert.strictEqual(new Set(alone).size, 1)
        assert.notInclude(alone, null)
      }))
      assert.deepStrictEqual(yield* owners, [null, null])
    }).pipe(Effect.provide(layer)))

  it.effect("take the lanes of one that died within its lease and two seconds", () =>
    Effect.gen(function*() {
      const repository = yield* Repository
      yield* repository.register("dead", lease)
      for (const kind of ["operation", "record"] as const) yield* repository.acquire(laneOf(kind), "dead", lease)
      yield* working(Effect.gen(function*() {
        yield* TestClock.adjust("5 seconds")
        assert.isTrue((yield* repository.lanes).every(({ owner }) => owner === "dead"))
        yield* TestClock.adjust("7 seconds")
        assert.isTrue((yield* repository.lanes).every(({ owner }) => owner !== "dead" && owner !== null))
      }))
    }).pipe(Effect.provide(layer)))

  it.effect("leave no lane without an owner for long while others join and die again and again without taking any", () =>
    Effect.gen(function*() {
      const repository = yield* Repository
      const named = Array.from({ length: 6 }, (_, n) => laneOf("operation", `tenant-${n}`))
      yield* repository.append(named.map((lane, n) => entry(n + 1, {}, lane)))
      yield* repository.register("dead", lease)
      for (const { lane } of yield* repository.lanes) yield* repository.acquire(lane, "dead", lease)
      yield* working(Effect.gen(function*() {
        let unowned = 0
        for (let n = 1; n <= 60; n++) {
          yield* repository.register(`dying ${n}`, lease)
          yield* TestClock.adjust("1 second")
          const owners = (yield* repository.lanes).map(({ owner }) => owner)
          if (n >= 12) assert.notInclude(owners, "dead")
          unowned = owners.includes(null) ? unowned + 1 : 0
          assert.isAtMost(unowned, 2, `after ${n} s`)
        }
        assert.include(yield* stats, { pending: 0 })
      }))
    }).pipe(Effect.provide(layer)))

  it.effect("deliver what is appended within milliseconds, and what is pending before they end", () =>
    Effect.gen(function*() {
      const repository = yield* Repository
      yield* working(Effect.gen(function*() {
        yield* TestClock.adjust("5 seconds")
        yield* appended(3)
        yield* repository.wake()
        yield* TestClock.adjust("10 millis")
        assert.deepStrictEqual(yield* held, [1, 2, 3])
        yield* appended(9)
      }))
      assert.strictEqual((yield* held).length, 9)
      assert.include(yield* stats, { pending: 0 })
    }).pipe(Effect.provide(layer)))

  it.effect("end what they are at when they lose a lane, and take it again when it is free", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const inner = yield* Publisher
      yield* appended(1)
      let calls = 0
      const publisher = Layer.succeed(Publisher, {
        ...inner,
        publish: (topic, batch) => calls++ === 0 ? Effect.never : inner.publish(topic, batch)
      })
      yield* Effect.provide(
        working(Effect.gen(function*() {
          yield* TestClock.adjust("1 second")
          yield* sql`UPDATE trustlog_cursor SET owner = 'thief', epoch = epoch + 1 WHERE name = 'lane/operation'`
          // The thief's lease lapses long before the publish deadline would have ended the cycle.
          for (let n = 0; n < 15; n++) yield* TestClock.adjust("1 second")
          assert.include(yield* stats, { pending: 0, delivered: 1 })
        })),
        publisher
      )
    }).pipe(Effect.provide(layer)))

  it.effect("that were frozen while they published settle nothing when they wake up", () =>
    Effect.gen(function*() {
      const control = yield* Memory.Control
      const repository = yield* Repository
      yield* appended(5)
      const frozen = yield* repository.acquire(lane, "frozen", lease)
      if (frozen === undefined) return assert.fail("the lane is free")
      const session = yield* CursorWorker.session(frozen)
      yield* control.hang(true)
      const cycle = yield* Effect.fork(Effect.flip(session.cycle))
      yield* TestClock.adjust("11 seconds")
      yield* control.hang(false)
      yield* Effect.yieldNow()
      const taken = yield* repository.acquire(lane, "awake", lease)
      assert.isDefined(taken)
      const lost = yield* cycle
      assert.strictEqual(lost._tag, "LeaseLost")
      assert.include(yield* stats, { pending: 5, delivered: 0 })
    }).pipe(Effect.provide(layer)))
})
