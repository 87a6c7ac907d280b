import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as turn from "../../src/internal/turn.ts"

describe("a turn", () => {
  /** Fibres that each want the turn, in order; `order` tells who has got it. */
  const waiting = (turns: turn.Turn, count: number) =>
    Effect.gen(function*() {
      const order: Array<number> = []
      const members = yield* Effect.forEach(Array.from({ length: count }, (_, i) => i), (i) =>
        Effect.gen(function*() {
          const end = yield* Deferred.make<void>()
          const fiber = yield* Effect.fork(Effect.scoped(
            turns.take.pipe(Effect.zipRight(Effect.sync(() => order.push(i))), Effect.zipRight(Deferred.await(end)))
          ))
          yield* Effect.yieldNow()
          return { end: Effect.zipRight(Deferred.succeed(end, undefined), Fiber.await(fiber)), fiber }
        }))
      return { members, order }
    })

  const settle = Effect.forEach(Array.from({ length: 20 }), () => Effect.yieldNow(), { discard: true })

  it.effect("is had by one at a time, in the order they came", () =>
    Effect.gen(function*() {
      const turns = turn.make()
      const { members, order } = yield* waiting(turns, 3)
      assert.isTrue(turns.isTaken())
      for (const [i, member] of members.entries()) {
        yield* settle
        assert.deepStrictEqual(order, [0, 1, 2].slice(0, i + 1))
        yield* member.end
      }
      assert.isFalse(turns.isTaken())
    }))

  it.effect("does not come to one that stopped waiting, and is not passed on by it", () =>
    Effect.gen(function*() {
      const turns = turn.make()
      const { members: [first, second, third, fourth], order } = yield* waiting(turns, 4)
      yield* Fiber.interrupt(second?.fiber ?? Fiber.void)
      yield* Fiber.interrupt(third?.fiber ?? Fiber.void)
      yield* settle
      assert.deepStrictEqual(order, [0])
      yield* first?.end ?? Effect.void
      yield* settle
      assert.deepStrictEqual(order, [0, 3])
      yield* fourth?.end ?? Effect.void
      assert.isFalse(turns.isTaken())
    }))

  it.effect("is not lost when its holder ends and the next is interrupted at the same moment", () =>
    Effect.gen(function*() {
      // The interruption comes after any number of steps of the one whose turn it has become.
      for (let steps = 0; steps < 20; steps++) {
        const turns = turn.make()
        const { members: [first, second, third] } = yield* waiting(turns, 3)
        const ending = yield* Effect.fork(first?.end ?? Effect.void)
        for (let i = 0; i < steps; i++) yield* Effect.yieldNow()
        yield* Fiber.interrupt(second?.fiber ?? Fiber.void)
        yield* Fiber.await(ending)
        yield* third?.end ?? Effect.void
        assert.isFalse(turns.isTaken(), `after ${steps} steps`)
      }
    }))
})
