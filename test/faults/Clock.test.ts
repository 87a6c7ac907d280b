/**
 * Processes whose clock is an hour wrong: the database's decides, so nothing lapses too early or too late.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { laneOf } from "../../src/Operation.ts"
import * as Memory from "../../src/Publisher/Memory.ts"
import { Repository } from "../../src/Repository.ts"
import { fresh } from "../serverDatabase.ts"
import { query } from "../servers/Database.ts"
import * as Server from "../servers/Server.ts"
import { entry, uuid } from "../workers.ts"
import { arrived, atWork, entries, over, quick, range, repository, until, workers } from "./scene.ts"

const hour = 3_600_000

const right = Clock.make()

/** A clock that is wrong, and as fast as others. What is measured with it may not notice. */
const wrong = (millis: number): Clock.Clock => ({
  [Clock.ClockTypeId]: Clock.ClockTypeId,
  unsafeCurrentTimeMillis: () => right.unsafeCurrentTimeMillis() + millis,
  unsafeCurrentTimeNanos: () => right.unsafeCurrentTimeNanos() + BigInt(millis) * 1_000_000n,
  currentTimeMillis: Effect.map(right.currentTimeMillis, (now) => now + millis),
  currentTimeNanos: Effect.map(right.currentTimeNanos, (now) => now + BigInt(millis) * 1_000_000n),
  sleep: right.sleep
})

const clocks = [["slow", wrong(-hour)], ["fast", wrong(hour)]] as const

const lane = laneOf("operation")
const ttl = Duration.seconds(2)

/** Waits until something has lapsed that was stamped after a moment: not before its time, and soon after it. */
const lapsed = (since: number, condition: Effect.Effect<boolean, unknown>) =>
  Effect.map(until(condition), () => {
    const took = performance.now() - since
    assert.isAtLeast(took, Duration.toMillis(ttl))
    assert.isBelow(took, Duration.toMillis(ttl) + 10_000)
  })

describe.concurrent("clocks that are an hour wrong", () => {
  Server.onEach((server) => {
    for (
      const [name, mine, theirs] of [["slow", wrong(-hour), wrong(hour)], ["fast", wrong(hour), wrong(-hour)]] as const
    ) {
      it.scopedLive(`leases, members, retries and claims of a process whose clock is ${name} last as they should`, () =>
        Effect.gen(function*() {
          const { acquire, append, claimRetries, lanes, nextRetryIn, register, renew, settle } = yield* Repository
          const here = Effect.withClock(mine)
          const there = Effect.withClock(theirs)
          const claim = claimRetries({ limit: 10, maxBytes: 1_000_000, timeToLive: ttl, excluded: [] })

          yield* here(append(entries([1, 2])))
          const lease = yield* here(acquire(lane, "a", ttl))
          if (lease === undefined) return assert.fail("nobody has it")
          assert.isUndefined(yield* there(acquire(lane, "b", ttl)))
          yield* here(register("a", ttl))
          assert.strictEqual(yield* there(register("b", Duration.minutes(1))), 2)
          const renewedAt = performance.now()
          yield* here(renew(lease, ttl))
          assert.deepStrictEqual((yield* there(lanes)).filter(({ owner }) => owner !== null), [{ lane, owner: "a" }])

          // A refused record is tried again when the database says so.
          yield* here(settle(lease, {
            topic: "topic",
            delivered: [],
            refused: range(1, 2).map((position) => ({ position, reason: "rejected", error: "no", delay: ttl })),
            checkpoint: undefined,
            position: 2,
            late: 0
          }))
          assert.approximately((yield* there(nextRetryIn)) ?? 0, Duration.toMillis(ttl), 1_500)
          assert.isUndefined(yield* there(claim))
          yield* lapsed(
            renewedAt,
            Effect.map(there(acquire(lane, "b", Duration.minutes(1))), (found) => found?.isRecovered === true)
          )
          yield* until(Effect.map(there(register("b", Duration.minutes(1))), (members) => members === 1))

          yield* until(Effect.map(here(nextRetryIn), (millis) => (millis ?? 1) <= 0))
          const claimedAt = performance.now()
          assert.strictEqual((yield* here(claim))?.rows.length, 2)
          yield* lapsed(
            claimedAt,
            Effect.map(there(claim), (claimed) => claimed?.rows.some(({ isLapsed }) => isLapsed) === true)
          )
          assert.strictEqual((yield* Effect.flip(here(renew(lease, ttl))))._tag, "LeaseLost")
        }).pipe(Effect.provide(over(fresh(server)))))
    }

    it.scopedLive("workers with clocks that differ by two hours share the lanes, and none loses its own", () =>
      Effect.gen(function*() {
        const url = yield* Server.database(server)
        const context = yield* Layer.build(Layer.merge(repository(url), Memory.layer))
        const { append } = Context.get(context, Repository)
        const control = Context.get(context, Memory.Control)
        const crews = yield* Effect.forEach(
          clocks,
          ([, clock]) =>
            Layer.build(Layer.provide(workers(quick), [Layer.succeedContext(context), Layer.setClock(clock)]))
        )
        const rows = Effect.map(
          query(url, "SELECT name, owner, epoch FROM trustlog_cursor WHERE name LIKE 'lane/%' ORDER BY name"),
          (all) => all.map((row) => JSON.stringify(row))
        )
        const owners = Effect.map(
          Context.get(context, Repository).lanes,
          (all) => new Set(all.map(({ owner }) => owner))
        )
        yield* until(Effect.map(owners, (all) => all.size === 2 && !all.has(null)))
        const before = yield* rows
        yield* control.refuse(uuid(3), "rejected")
        for (const n of range(1, 10)) {
          yield* append([entry(n), entry(100 + n, { kind: "record" })])
          yield* Effect.sleep("600 millis")
        }
        yield* Effect.provide(arrived([1, 2, ...range(4, 10), ...range(101, 110)]), context)
        assert.deepStrictEqual(yield* rows, before, "no lane was taken over")
        // Tried once: the first retry is a minute away for everybody.
        assert.strictEqual((yield* control.calls).filter(({ ids }) => ids.includes(uuid(3))).length, 1)
        const { nextRetryIn } = Context.get(context, Repository)
        assert.approximately((yield* nextRetryIn) ?? 0, 55_000, 10_000)
        yield* Effect.forEach(crews, (crew) => Effect.provide(atWork, crew))
      }))
  })
})
