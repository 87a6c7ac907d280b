import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as TestClock from "effect/TestClock"
import { Next } from "../src/Actor.ts"
import * as CircuitBreaker from "../src/CircuitBreaker.ts"
import * as CursorWorker from "../src/CursorWorker.ts"
import type { Host } from "../src/Host.ts"
import { laneOf } from "../src/Operation.ts"
import { type Message, type Outcome, type Published, Publisher } from "../src/Publisher.ts"
import * as Memory from "../src/Publisher/Memory.ts"
import * as Receipt from "../src/Receipt.ts"
import { type Lease, Repository } from "../src/Repository.ts"
import * as RetryWorker from "../src/RetryWorker.ts"
import { PublisherError } from "../src/TrustlogError.ts"
import { appended, entry, held, id, layer, uuid } from "./workers.ts"

type Services =
  | Repository
  | SqlClient.SqlClient
  | Publisher
  | Memory.Control
  | CircuitBreaker.CircuitBreakers
  | Host

const test = <E>(sentence: string, body: Effect.Effect<void, E, Services>) =>
  it.effect(sentence, () => Effect.provide(body, layer))

const lane = laneOf("operation")
const ttl = Duration.seconds(10)

const acquire = (owner = "a") =>
  Effect.flatMap(
    Repository,
    (repository) =>
      Effect.flatMap(repository.acquire(lane, owner, ttl), (lease) =>
        lease === undefined ? Effect.dieMessage("the lane is held") : Effect.succeed(lease))
  )

const begin = (owner = "a") => Effect.flatMap(acquire(owner), (lease: Lease) => CursorWorker.session(lease))

/** Runs cycles until one is not followed by another at once, and waits out what it asks for. */
const run = (session: CursorWorker.Session | RetryWorker.Session, limit = 10_000) =>
  Effect.gen(function*() {
    for (let n = 0; n < limit; n++) {
      const { next } = yield* session.cycle
      if (next._tag === "After") return "held" as const
      if (next._tag !== "Again") return "idle" as const
    }
    return "busy" as const
  })

const sizes = Effect.flatMap(
  Memory.Control,
  (control) => Effect.map(control.calls, (calls) => calls.map((call) => call.ids.length))
)

const stats = Effect.flatMap(Repository, (repository) => repository.stats)

describe("delivery", () => {
  test(
    "pending rows are published in the order of their positions, and each page gets a receipt",
    Effect.gen(function*() {
      const repository = yield* Repository
      yield* appended(250)
      assert.strictEqual(yield* run(yield* begin()), "idle")
      assert.deepStrictEqual(yield* held, Array.from({ length: 250 }, (_, n) => n + 1))
      assert.include(yield* stats, { pending: 0, delivered: 250 })
      assert.deepInclude((yield* stats).lanes[0], { position: 250 })
      const receipts = yield* repository.evidence.receipts({ lane, after: 0, limit: 10 })
      assert.deepStrictEqual(receipts.map((receipt) => receipt.count), [100, 150])
      for (const receipt of receipts) assert.isTrue(Either.isRight(Receipt.open(receipt)))
    })
  )

  test(
    "pages grow to four thousand rows while a backlog drains, and a short one makes them small again",
    Effect.gen(function*() {
      yield* appended(6_000)
      yield* (yield* Repository).append(Array.from({ length: 6_000 }, (_, n) => entry(6_001 + n)))
      const session = yield* begin()
      yield* run(session)
      assert.deepStrictEqual(yield* sizes, [100, 200, 400, 800, 1600, 3200, 4000, 1700])
      const repository = yield* Repository
      yield* repository.append(Array.from({ length: 150 }, (_, n) => entry(20_000 + n)))
      yield* run(session)
      assert.deepStrictEqual((yield* sizes).slice(8), [100, 50])
    })
  )

  test(
    "a lane has caught up when a page was its last, and not while it is paused: it may fill for as long as it likes",
    Effect.gen(function*() {
      const repository = yield* Repository
      const pages: Array<boolean> = []
      const noting = Layer.succeed(Repository, {
        ...repository,
        page: (lease, bounds) => {
          pages.push(bounds.isCaughtUp === true)
          return repository.page(lease, bounds)
        }
      })
      yield* appended(100)
      const session = yield* Effect.provide(begin(), noting)
      yield* run(session)
      // A full page, the look behind it, and the next cycle.
      assert.deepStrictEqual(pages.splice(0), [false, false, false])
      yield* repository.append([entry(101)])
      yield* run(session)
      yield* run(session)
      assert.deepStrictEqual(pages.splice(0), [true, true])
      yield* repository.setPaused(true)
      yield* run(session)
      yield* repository.setPaused(false)
      yield* run(session)
      yield* run(session)
      assert.deepStrictEqual(pages.splice(0), [true, false, true])
    })
  )

  test(
    "a record that is refused delays none of the other 99 of its page",
    Effect.gen(function*() {
      const control = yield* Memory.Control
      yield* control.refuse(uuid(50), "rejected")
      yield* appended(100)
      yield* run(yield* begin())
      assert.strictEqual((yield* held).length, 99)
      assert.deepStrictEqual(yield* sizes, [100])
      assert.include(yield* stats, { pending: 0, delivered: 99, retrying: 1, dead: 0 })
    })
  )

  test(
    "a row that no longer matches its content hash is never sent, and is a dead letter at once",
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const repository = yield* Repository
      yield* appended(3)
      yield* sql`UPDATE operation SET actor = 'mallory' WHERE position = 2`
      yield* sql`UPDATE operation SET lane = 'record' WHERE position = 3`
      yield* run(yield* begin())
      assert.deepStrictEqual(yield* held, [1])
      const letters = yield* repository.deadLetters({ after: 0, limit: 9 })
      assert.deepStrictEqual(letters.map((letter) => [letter.id, letter.reason]), [[id(2), "altered"], [
        id(3),
        "altered"
      ]])
    })
  )

  test(
    "a row that plain SQL wrote is delivered with the hash of what was sent",
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const repository = yield* Repository
      yield* sql`INSERT INTO operation (id, kind, lane, occurred_at, actor, action, target, payload)
        VALUES (${uuid(1)}, 'operation', 'operation', '2026-01-01T00:00:00Z', 'a', 'b', 'c', '{"b": 1, "a": 2}')`
      yield* sql`INSERT INTO trustlog_pending (lane, position) VALUES ('operation', 1)`
      yield* run(yield* begin())
      const [one] = yield* (yield* Memory.Control).held
      const [receipt] = yield* repository.evidence.receipts({ lane, after: 0, limit: 1 })
      if (one === undefined || receipt === undefined) return assert.fail("it was delivered")
      assert.include(new TextDecoder().decode(one.message.bytes), "\"payload\":{\"a\":2,\"b\":1}")
      assert.deepInclude(Either.getOrThrow(Receipt.open(receipt))[0], {
        contentHash: one.message.contentHash,
        isHashed: false
      })
    })
  )

  test(
    "a row whose text is no UTF-8 harms neither the process nor its neighbours, and is a dead letter",
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const repository = yield* Repository
      yield* appended(3)
      yield* sql`UPDATE operation SET actor = CAST(x'ff41fe' AS TEXT) WHERE position = 1`
      yield* sql`UPDATE operation SET payload = 'a' || char(0) || 'b' WHERE position = 2`
      yield* run(yield* begin())
      assert.deepStrictEqual(yield* held, [3])
      const letters = yield* repository.deadLetters({ after: 0, limit: 9 })
      assert.deepStrictEqual(letters.map((letter) => letter.reason), ["altered", "altered"])
    })
  )

  test(
    "rows whose size was tampered with hold nobody up",
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* appended(4)
      yield* sql`UPDATE operation SET payload_bytes = 9223372036854775807 WHERE position IN (1, 2)`
      yield* sql`UPDATE operation SET payload_bytes = -9223372036854775807 WHERE position = 3`
      yield* run(yield* begin())
      assert.deepStrictEqual(yield* held, [1, 2, 3, 4])
    })
  )

  test(
    "rows that appear behind the cursor are found by the next derivation, and counted as late",
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* appended(300)
      yield* sql`DELETE FROM trustlog_pending WHERE position IN (5, 6)`
      const session = yield* begin()
      yield* run(session)
      yield* sql`INSERT INTO trustlog_pending (lane, position) VALUES ('operation', 5), ('operation', 6)`
      yield* run(session)
      assert.strictEqual((yield* held).length, 298)
      yield* TestClock.adjust("10 seconds")
      yield* run(session)
      assert.deepStrictEqual((yield* held).slice(298), [5, 6])
      assert.deepInclude((yield* stats).lanes[0], { delivered: 300, late: 2 })
    })
  )

  test(
    "a cursor that has caught up trails, so that a row just behind the head is found without a derivation",
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* appended(20)
      yield* sql`DELETE FROM trustlog_pending WHERE position = 19`
      const session = yield* begin()
      yield* run(session)
      yield* sql`INSERT INTO trustlog_pending (lane, position) VALUES ('operation', 19)`
      yield* run(session)
      assert.strictEqual((yield* held).at(-1), 19)
      assert.deepInclude((yield* stats).lanes[0], { late: 0 })
    })
  )
})

/** A log whose answers the test gives, and a cycle that delivers to it. */
const answering = Effect.gen(function*() {
  const calls = yield* Queue.unbounded<{
    readonly numbers: ReadonlyArray<number>
    readonly acknowledge: Effect.Effect<void>
    readonly lose: Effect.Effect<void>
  }>()
  const publisher = Publisher.of({
    publish: (_, batch) =>
      Effect.gen(function*() {
        const answer = yield* Deferred.make<Published>()
        const all = (outcome: Outcome, outage?: PublisherError): Effect.Effect<void> =>
          Deferred.succeed(answer, { outcomes: batch.map(() => outcome), outage, checkpoint: undefined })
        const lost = new PublisherError({ reason: "lost", problem: "the connection ended" })
        yield* Queue.offer(calls, {
          numbers: batch.map((message) => Number(`0x${message.id.slice(-12)}`)),
          acknowledge: all({ _tag: "Acknowledged", messageId: Uint8Array.of(1) }),
          lose: all({ _tag: "Unknown", error: "no answer" }, lost)
        })
        return yield* Deferred.await(answer)
      }),
    health: () => Effect.void
  })
  const { cycle } = yield* Effect.provideService(begin(), Publisher, publisher)
  return { cycle, next: Queue.take(calls), calls: Queue.size(calls) }
})

describe("the pages of a backlog", () => {
  test(
    "two are on their way at once, and are settled in their order",
    Effect.gen(function*() {
      const repository = yield* Repository
      yield* appended(1000)
      const { calls, cycle, next } = yield* answering
      const fiber = yield* Effect.fork(cycle)
      const [first, second] = [yield* next, yield* next]
      assert.deepStrictEqual([first.numbers[0], second.numbers[0]], [1, 101])
      yield* second.acknowledge
      yield* first.acknowledge
      const [third, fourth] = [yield* next, yield* next]
      assert.deepStrictEqual([third.numbers[0], fourth.numbers[0]], [301, 701])
      assert.strictEqual(yield* calls, 0)
      yield* fourth.acknowledge
      yield* third.acknowledge
      assert.include(yield* Fiber.join(fiber), { delivered: 1000 })
      const receipts = yield* repository.evidence.receipts({ lane, after: 0, limit: 10 })
      assert.deepStrictEqual(receipts.map((receipt) => receipt.firstPosition), [1, 101, 301, 701])
      assert.include(yield* stats, { pending: 0, delivered: 1000 })
    })
  )

  test(
    "one of which nobody knows is sent again, though the one behind it was delivered, and ends the cycle",
    Effect.gen(function*() {
      yield* appended(1000)
      const { calls, cycle, next } = yield* answering
      const fiber = yield* Effect.fork(cycle)
      const [first, second] = [yield* next, yield* next]
      yield* first.lose
      yield* second.acknowledge
      assert.include(yield* Fiber.join(fiber), { delivered: 200 })
      assert.strictEqual(yield* calls, 0)
      assert.include(yield* stats, { pending: 800, delivered: 200 })
      const again = yield* Effect.fork(cycle)
      const one = yield* next
      assert.deepStrictEqual(one.numbers, [1])
      yield* one.acknowledge
      yield* Fiber.join(again)
    })
  )

  test(
    "are as large as the log can answer in a quarter of its time, as fast as it was last seen",
    Effect.gen(function*() {
      yield* appended(1000)
      const { cycle, next } = yield* answering
      const fiber = yield* Effect.fork(cycle)
      const [first, second] = [yield* next, yield* next]
      yield* TestClock.adjust("15 seconds")
      yield* first.acknowledge
      yield* second.acknowledge
      assert.include(yield* Fiber.join(fiber), { delivered: 300 })
      const another = yield* Effect.fork(cycle)
      const third = yield* next
      assert.deepStrictEqual([first, second, third].map(({ numbers }) => numbers.length), [100, 200, 100])
      yield* TestClock.adjust("15 seconds")
      yield* third.acknowledge
      yield* (yield* next).acknowledge
      yield* Fiber.join(another)
      yield* Effect.fork(cycle)
      assert.strictEqual((yield* next).numbers.length, 50)
    })
  )

  test(
    "the time that the log has for one begins when the one before it is answered",
    Effect.gen(function*() {
      yield* appended(300)
      const { cycle, next } = yield* answering
      const fiber = yield* Effect.fork(cycle)
      const [first, second] = [yield* next, yield* next]
      yield* TestClock.adjust("29 seconds")
      yield* first.acknowledge
      // Settled by now, and so the answer has been seen.
      yield* Effect.repeat(stats, { until: ({ delivered }) => delivered === 100 })
      yield* TestClock.adjust("29 seconds")
      yield* second.acknowledge
      assert.include(yield* Fiber.join(fiber), { delivered: 300, outage: undefined })
    })
  )
})

describe("an outage", () => {
  test(
    "opens the breaker, holds everything without an attempt, and ends with one record alone before the backlog",
    Effect.gen(function*() {
      const control = yield* Memory.Control
      yield* appended(500)
      yield* control.outage(true)
      const session = yield* begin()
      assert.strictEqual(yield* run(session), "held")
      assert.strictEqual((yield* stats).breaker, "open")
      const sent = yield* sizes
      // The page behind the first one may have been on its way already.
      assert.isAtMost(sent.length, 2)
      for (let minute = 0; minute < 30; minute++) {
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(yield* run(session), "held")
      }
      assert.deepStrictEqual(yield* sizes, sent)
      assert.include(yield* stats, { pending: 500, retrying: 0, dead: 0 })
      yield* control.outage(false)
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(yield* run(session), "idle")
      assert.include(yield* stats, { pending: 0, delivered: 500, breaker: "closed" })
      assert.deepStrictEqual((yield* sizes).slice(sent.length, sent.length + 3), [1, 2, 4])
    })
  )

  test(
    "closes the breaker when the log is well again, though there is nothing to send",
    Effect.gen(function*() {
      const control = yield* Memory.Control
      yield* appended(1)
      yield* control.outage(true)
      const session = yield* begin()
      yield* run(session)
      const sql = yield* SqlClient.SqlClient
      yield* sql`DELETE FROM trustlog_pending`
      yield* control.outage(false)
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(yield* run(session), "idle")
      assert.strictEqual((yield* stats).breaker, "closed")
    })
  )

  test(
    "of three days, with restarts in it, costs no attempt",
    Effect.gen(function*() {
      const control = yield* Memory.Control
      yield* appended(150)
      yield* control.outage(true)
      for (let hour = 0; hour < 72; hour++) {
        // A process that is killed: its lease lapses, and the next one has new breakers.
        const session = yield* Effect.provide(begin(`process ${hour}`), CircuitBreaker.layer)
        for (let n = 0; n < 3; n++) {
          assert.strictEqual(yield* run(session), "held")
          yield* TestClock.adjust("20 minutes")
        }
      }
      assert.include(yield* stats, { pending: 150, retrying: 0, dead: 0 })
      yield* control.outage(false)
      assert.strictEqual(yield* run(yield* Effect.provide(begin("last"), CircuitBreaker.layer)), "idle")
      assert.deepStrictEqual(yield* held, Array.from({ length: 150 }, (_, n) => n + 1))
    })
  )

  test(
    "with a hundred kills in it condemns no innocent record",
    Effect.gen(function*() {
      const control = yield* Memory.Control
      yield* appended(3)
      for (let kill = 0; kill < 100; kill++) {
        const session = yield* Effect.provide(begin(`process ${kill}`), CircuitBreaker.layer)
        // Every third process sees the log well, and dies before it could send anything.
        yield* control.outage(kill % 3 !== 0)
        if (kill % 3 !== 0) yield* run(session)
        yield* TestClock.adjust("11 seconds")
      }
      assert.include(yield* stats, { pending: 3, retrying: 0, dead: 0 })
    })
  )

  test(
    "that only shows in silence leaves every record pending",
    Effect.gen(function*() {
      const control = yield* Memory.Control
      yield* appended(2)
      yield* control.hang(true)
      const fiber = yield* Effect.fork(Effect.flatMap(begin(), run))
      yield* TestClock.adjust("30 seconds")
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(yield* Fiber.join(fiber), "held")
      assert.include(yield* stats, { pending: 2, retrying: 0, breaker: "open" })
    })
  )
})

describe("a log that fails by itself, though it says that it is well", () => {
  test(
    "makes no record suspect, whether it took the batch or not",
    Effect.gen(function*() {
      yield* appended(3)
      const outage = new PublisherError({ reason: "unavailable", problem: "the disk is full" })
      const publishers = [
        () => Effect.fail(outage),
        (_: string, batch: ReadonlyArray<Message>) =>
          Effect.succeed({
            outcomes: batch.map((): Outcome => ({ _tag: "Unknown", error: "the disk is full" })),
            outage,
            checkpoint: undefined
          })
      ]
      for (const [i, publish] of publishers.entries()) {
        const session = yield* begin(`process ${i}`).pipe(
          Effect.provide(
            Layer.merge(CircuitBreaker.layer, Layer.succeed(Publisher, { publish, health: () => Effect.void }))
          )
        )
        for (let n = 0; n < 20; n++) {
          assert.strictEqual(yield* run(session), "held")
          yield* TestClock.adjust("5 seconds")
        }
        assert.include(yield* stats, { pending: 3, retrying: 0, dead: 0, breaker: "open" })
      }
    })
  )
})

describe("a pause", () => {
  test(
    "comes after what is on its way, which is settled, and before the next page; what is resumed goes on",
    Effect.gen(function*() {
      const control = yield* Memory.Control
      const repository = yield* Repository
      yield* appended(2000)
      yield* control.hang(true)
      const session = yield* begin()
      const delivery = yield* Effect.fork(run(session))
      yield* Effect.repeat(sizes, { until: (sizes) => sizes.length === 1 })
      yield* repository.setPaused(true, lane)
      yield* control.hang(false)
      assert.strictEqual(yield* Fiber.join(delivery), "idle")
      assert.include(yield* stats, { pending: 1900, delivered: 100, paused: true })
      assert.deepStrictEqual(yield* sizes, [100])
      yield* repository.setPaused(false, lane)
      assert.strictEqual(yield* run(session), "idle")
      assert.include(yield* stats, { pending: 0, delivered: 2000 })
    })
  )

  test(
    "holds the retries of its lanes, for which is looked once a second",
    Effect.gen(function*() {
      const control = yield* Memory.Control
      const repository = yield* Repository
      yield* appended(1)
      yield* control.refuse(uuid(1), "rejected")
      yield* run(yield* begin())
      yield* control.accept(uuid(1))
      yield* repository.setPaused(true)
      yield* TestClock.adjust("1 minute")
      yield* TestClock.adjust("1 second")
      const session = yield* RetryWorker.session
      const { next } = yield* session.cycle
      assert.deepStrictEqual(next, Next.Idle({ atMost: Duration.seconds(1) }))
      yield* repository.setPaused(false)
      yield* run(session)
      assert.include(yield* stats, { retrying: 0, delivered: 1 })
    })
  )
})

describe("a record that breaks what carries it", () => {
  /** Both workers of one process, cycle by cycle, for so many minutes. */
  const work = (minutes: number, owner = "a") =>
    Effect.gen(function*() {
      const first = yield* begin(owner)
      const second = yield* RetryWorker.session
      for (let minute = 0; minute < minutes; minute++) {
        for (let round = 0; round < 5; round++) {
          yield* run(first)
          yield* run(second)
          yield* TestClock.adjust("12 seconds")
        }
      }
    })

  test(
    "by losing the connection each time ends as a dead letter, while the others flow",
    Effect.gen(function*() {
      const control = yield* Memory.Control
      const repository = yield* Repository
      yield* appended(300)
      yield* control.breakOn(uuid(77))
      yield* work(1)
      assert.include(yield* stats, { pending: 0, retrying: 1, dead: 0 })
      assert.sameMembers(
        Array.from(new Set(yield* held)),
        Array.from({ length: 300 }, (_, n) => n + 1).filter((n) => n !== 77)
      )
      yield* work(33)
      assert.include(yield* stats, { pending: 0, retrying: 0, dead: 1, delivered: 299 })
      const letter = yield* repository.deadLetter(id(77))
      assert.include(letter, { attempts: 6, reason: "suspect" })
    })
  )

  test(
    "by killing the process each time ends as a dead letter, while the others flow",
    Effect.gen(function*() {
      const inner = yield* Publisher
      const repository = yield* Repository
      yield* appended(60)
      let kills = 0
      /** Ends as a process does that is killed while it publishes: nothing after that happens. */
      const process = (owner: string) =>
        Effect.gen(function*() {
          const killed = yield* Deferred.make<void>()
          const deadly = Publisher.of({
            ...inner,
            publish: (topic, batch) =>
              batch.some((message) => message.id === uuid(33))
                ? Effect.zipRight(Deferred.succeed(killed, undefined), Effect.never)
                : inner.publish(topic, batch)
          })
          const life = Effect.gen(function*() {
            yield* run(yield* RetryWorker.session)
            yield* run(yield* begin(owner))
          })
          yield* life.pipe(
            Effect.provide(Layer.merge(CircuitBreaker.layer, Layer.succeed(Publisher, deadly))),
            Effect.raceFirst(Effect.map(Deferred.await(killed), () => {
              kills++
            }))
          )
        })
      for (let minute = 0; minute < 45; minute++) {
        yield* process(`process ${minute}`)
        yield* TestClock.adjust("61 seconds")
      }
      assert.include(yield* stats, { pending: 0, retrying: 0, dead: 1, delivered: 59 })
      assert.include(yield* repository.deadLetter(id(33)), { attempts: 6, reason: "suspect" })
      assert.isBelow(kills, 20)
    })
  )
})
