/**
 * Actors as fibres of this process.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Actor from "../Actor.ts"
import * as Host from "../Host.ts"
import { nextTurn } from "../internal/eventLoop.ts"
import { now } from "../internal/monotonic.ts"

/** A longer one is not a delay to JavaScript's timers; whatever comes after it is decided anew. */
const longestSleep = 24 * 60 * 60 * 1_000

/** For how long cycles may follow each other before timers and sockets get their turn. */
const longestTurn = 5

const start = <E, R>(actor: Actor.Actor<E, R>): Effect.Effect<Host.ActorRef, never, R | Scope.Scope> =>
  Effect.gen(function*() {
    let state = Actor.initial(actor, yield* now)
    let turnBegan = yield* now
    const changed = yield* Effect.makeLatch()
    const drained = yield* Effect.makeLatch(true)

    // The mailbox: messages are folded into the state as they come, so it holds nothing and is never full.
    const update: Actor.Update = (change) =>
      Effect.map(now, (now) => {
        const before = Actor.decide(state, now)
        state = change(state, now)
        if (!Equal.equals(Actor.decide(state, now), before)) changed.unsafeOpen()
        if (state.drain === "none") drained.unsafeOpen()
        else drained.unsafeClose()
        return state
      })

    const life = Effect.gen(function*() {
      while (true) {
        // Closed before the state is read, or a message in between would be slept through.
        changed.unsafeClose()
        const at = yield* now
        const decision = Actor.decide(state, at)
        switch (decision._tag) {
          case "Run":
            if (at - turnBegan >= longestTurn) {
              yield* nextTurn
              turnBegan = yield* now
            } else {
              yield* Actor.run(actor, update)
            }
            break
          case "Wait":
            yield* Effect.raceFirst(
              changed.await,
              Effect.sleep(Duration.millis(Math.min(decision.until - at, longestSleep)))
            )
            turnBegan = yield* now
            break
          case "End":
            return
        }
      }
    })

    // A fibre that is interrupted before it has begun runs nothing, not even what ensures.
    yield* Effect.addFinalizer(() => update(Actor.stopped))
    const fiber = yield* life.pipe(
      Effect.ensuring(update(Actor.stopped)),
      Effect.interruptible,
      Effect.forkScoped
    )

    const send = (message: Actor.Message) =>
      update((state, now) => Actor.received(state, message, now)).pipe(
        Effect.zipRight(message === "Drain" ? drained.await : Effect.void),
        Effect.map(() => Actor.status(state))
      )
    return { identity: actor.identity, send, status: send("Status"), await: Effect.asVoid(Fiber.await(fiber)) }
  })

export const layer: Layer.Layer<Host.Host> = Layer.succeed(Host.Host, { start })
