import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/TestClock"
import * as LaneLease from "../src/LaneLease.ts"
import { laneOf } from "../src/Operation.ts"
import { Repository } from "../src/Repository.ts"
import { DatabaseError } from "../src/TrustlogError.ts"
import { database } from "./workers.ts"

const lane = laneOf("operation")

/** A repository whose renewals fail while the switch is on. */
const flaky = Effect.map(Repository, (repository) => {
  const state = { isFailing: false, tries: 0 }
  const layer = Layer.succeed(Repository, {
    ...repository,
    renew: (lease, timeToLive) =>
      Effect.suspend(() => {
        state.tries++
        return state.isFailing
          ? new DatabaseError({ reason: "locked", problem: "the database is locked" })
          : repository.renew(lease, timeToLive)
      })
  })
  return { state, layer }
})

const owner = Effect.flatMap(
  Repository,
  (repository) => Effect.map(repository.lanes, (lanes) => lanes.find((found) => found.lane === lane)?.owner)
)

describe("a lane that is held", () => {
  it.effect("stays held while its scope is open, and is given back with it", () =>
    Effect.gen(function*() {
      yield* Effect.scoped(Effect.gen(function*() {
        assert.isDefined(yield* LaneLease.hold(lane, "a"))
        assert.isUndefined(yield* LaneLease.hold(lane, "b"))
        for (let n = 0; n < 20; n++) yield* TestClock.adjust("3 seconds")
        assert.strictEqual(yield* owner, "a")
      }))
      assert.strictEqual(yield* owner, null)
    }).pipe(Effect.provide(database)))

  it.effect("is not lost by renewals that fail for less than the lease lasts", () =>
    Effect.gen(function*() {
      const { layer, state } = yield* flaky
      yield* Effect.scoped(Effect.gen(function*() {
        const held = yield* LaneLease.hold(lane, "a")
        if (held === undefined) return assert.fail("the lane is free")
        const lost = yield* Effect.fork(held.lost)
        state.isFailing = true
        for (let n = 0; n < 8; n++) yield* TestClock.adjust("1 second")
        state.isFailing = false
        for (let n = 0; n < 30; n++) yield* TestClock.adjust("1 second")
        assert.isAbove(state.tries, 10)
        assert.isNull(yield* lost.status.pipe(Effect.map((status) => status._tag === "Done" ? status : null)))
        assert.strictEqual(yield* owner, "a")
      })).pipe(Effect.provide(layer))
    }).pipe(Effect.provide(database)))

  it.effect("is lost when the lease has run out unrenewed", () =>
    Effect.gen(function*() {
      const { layer, state } = yield* flaky
      yield* Effect.scoped(Effect.gen(function*() {
        const held = yield* LaneLease.hold(lane, "a")
        if (held === undefined) return assert.fail("the lane is free")
        state.isFailing = true
        const lost = yield* Effect.fork(held.lost)
        for (let n = 0; n < 12; n++) yield* TestClock.adjust("1 second")
        yield* Fiber.join(lost)
      })).pipe(Effect.provide(layer))
    }).pipe(Effect.provide(database)))

  it.effect("is lost as soon as a renewal meets another owner", () =>
    Effect.gen(function*() {
      const repository = yield* Repository
      yield* Effect.scoped(Effect.gen(function*() {
        const held = yield* LaneLease.hold(lane, "a")
        if (held === undefined) return assert.fail("the lane is free")
        // As if this process had been frozen: the lease lapses, and another takes the lane.
        yield* repository.renew(held.lease, Duration.millis(-1))
        assert.isDefined(yield* repository.acquire(lane, "b", Duration.seconds(10)))
        const lost = yield* Effect.fork(held.lost)
        yield* TestClock.adjust("3 seconds")
        yield* Fiber.join(lost)
      }))
      assert.strictEqual(yield* owner, "b")
    }).pipe(Effect.provide(database)))
})
