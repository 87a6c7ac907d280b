import { assert, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Subscriber from "../src/Subscriber.ts"
import { PublisherError } from "../src/TrustlogError.ts"
import { nextTurn } from "../src/internal/eventLoop.ts"

const lost = new PublisherError({ reason: "lost", problem: "the connection is lost" })

it.live("An interruption that comes while a lost consumer is being closed ends what consumes", () =>
  Effect.gen(function*() {
    const closing = yield* Deferred.make<void>()
    const isClosed = yield* Deferred.make<void>()
    const consumer: Subscriber.Consumer = {
      take: Effect.fail(lost),
      acknowledge: () => Effect.void,
      reject: () => Effect.void
    }
    let opened = 0
    const subscriber = Subscriber.Subscriber.of({
      open: () =>
        Effect.suspend(() => {
          opened++
          const close = Effect.zipRight(Deferred.succeed(closing, undefined), Deferred.await(isClosed))
          return Effect.as(Effect.addFinalizer(() => close), consumer)
        }),
      send: () => Effect.fail(lost)
    })
    const running = yield* Effect.fork(Effect.provideService(
      Subscriber.run({ topics: ["persistent://public/default/t"], subscription: "s" }, () => Effect.void),
      Subscriber.Subscriber,
      subscriber
    ))
    yield* Deferred.await(closing)
    const interrupting = yield* Effect.fork(Fiber.interrupt(running))
    // It has come to everybody by then.
    yield* Effect.repeatN(nextTurn, 20)
    yield* Deferred.succeed(isClosed, undefined)
    assert.isTrue(Exit.isInterrupted(yield* Fiber.join(interrupting)))
    assert.strictEqual(opened, 1)
  }))
