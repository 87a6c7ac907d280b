/**
 * What every host of actors does. It runs in real time and waits for events only, so that a host with its own clock
 * passes it too.
 */
import { describe, expect, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"
import * as LogLevel from "effect/LogLevel"
import * as Logger from "effect/Logger"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import { type Message, Next } from "../../src/Actor.ts"
import { Host } from "../../src/Host.ts"

class Greeting extends Context.Tag("test/Greeting")<Greeting, string>() {}

/** An actor whose cycles the test begins to see one by one, and ends as it likes. */
const puppet = (identity: string, maxFailures?: number) =>
  Effect.gen(function*() {
    const host = yield* Host
    const begun = yield* Queue.unbounded<Deferred.Deferred<Next, string>>()
    let running = 0
    let mostAtOnce = 0
    const ref = yield* host.start({
      identity,
      maxFailures,
      pollInterval: Duration.infinity,
      cycle: Effect.gen(function*() {
        const end = yield* Deferred.make<Next, string>()
        mostAtOnce = Math.max(mostAtOnce, ++running)
        yield* Queue.offer(begun, end)
        return yield* Deferred.await(end)
      }).pipe(Effect.ensuring(Effect.sync(() => running--)))
    })
    return {
      ...ref,
      /** Waits for the next cycle to begin, and ends it. */
      end: (next: Next) => Effect.flatMap(Queue.take(begun), (end) => Deferred.succeed(end, next)),
      fail: (error: string) => Effect.flatMap(Queue.take(begun), (end) => Deferred.fail(end, error)),
      begins: Queue.take(begun),
      /** Waits for the next cycle to begin, and leaves it running. */
      hang: Effect.asVoid(Queue.take(begun)),
      hasBegun: Effect.map(Queue.size(begun), (size) => size > 0),
      mostAtOnce: Effect.sync(() => mostAtOnce)
    }
  })

type Puppet = Effect.Effect.Success<ReturnType<typeof puppet>>

/** Waits until the actor is in a state, which it is about to enter. */
const until = (actor: Puppet, state: string) =>
  Effect.repeat(Effect.zipLeft(actor.status, Effect.yieldNow()), { until: (status) => status.state === state })

const flood = (actor: Puppet, message: Message, count: number) => Effect.repeatN(actor.send(message), count - 1)

export const suite = <E>(name: string, layer: Layer.Layer<Host, E>) => {
  // Failures are made on purpose here, and warned of.
  const provide = <A, E2, R>(effect: Effect.Effect<A, E2, R>) =>
    effect.pipe(Effect.provide(layer), Logger.withMinimumLogLevel(LogLevel.None))

  describe(`a host of actors: ${name}`, () => {
    it.scopedLive("runs the first cycle at once, further ones as each says, one at a time, until one says stop", () =>
      Effect.gen(function*() {
        const actor = yield* puppet("count")
        yield* actor.end(Next.Again())
        yield* actor.end(Next.After({ delay: "1 millis" }))
        yield* actor.end(Next.Idle({ atMost: "3 millis" }))
        yield* actor.end(Next.Stop())
        yield* actor.await
        expect(yield* actor.status).toMatchObject({ identity: "count", state: "stopped", cycles: 4, failuresInRow: 0 })
        expect(yield* actor.mostAtOnce).toBe(1)
      }).pipe(provide))

    it.scopedLive("wakes an idle actor, once for a hundred thousand messages, and leaves a held one alone", () =>
      Effect.gen(function*() {
        const actor = yield* puppet("wake")
        yield* actor.end(Next.Idle({}))
        yield* until(actor, "idle")
        yield* actor.send("Wake")
        const end = yield* actor.begins
        yield* flood(actor, "Wake", 100_000)
        expect(yield* actor.status).toMatchObject({ state: "running", cycles: 1 })
        yield* Deferred.succeed(end, Next.After({ delay: "1 hour" }))
        yield* until(actor, "held")
        yield* flood(actor, "Wake", 100_000)
        expect(yield* actor.status).toMatchObject({ state: "held", cycles: 2 })
        expect(yield* actor.mostAtOnce).toBe(1)
      }).pipe(provide))

    it.scopedLive("answers while a cycle hangs", () =>
      Effect.gen(function*() {
        const actor = yield* puppet("hang")
        yield* actor.hang
        expect(yield* actor.status).toMatchObject({ state: "running", cycles: 0 })
        expect(yield* actor.send("Wake")).toMatchObject({ state: "running" })
        expect(yield* actor.send("Pause")).toMatchObject({ state: "running" })
        expect(yield* actor.send("Resume")).toMatchObject({ state: "running" })
      }).pipe(provide))

    it.scopedLive("begins no cycle while paused, and goes on at once when resumed", () =>
      Effect.gen(function*() {
        const actor = yield* puppet("pause")
        const end = yield* actor.begins
        yield* actor.send("Pause")
        yield* Deferred.succeed(end, Next.Again())
        yield* until(actor, "paused")
        yield* actor.send("Wake")
        expect(yield* actor.send("Drain")).toMatchObject({ state: "paused", cycles: 1 })
        expect(yield* actor.hasBegun).toBe(false)
        yield* actor.send("Resume")
        yield* actor.hang
        expect(yield* actor.status).toMatchObject({ state: "running", cycles: 1 })
      }).pipe(provide))

    it.scopedLive("answers a drain when nothing is left, held or failed, and no sooner", () =>
      Effect.gen(function*() {
        const actor = yield* puppet("drain")
        const before = yield* actor.begins
        const drain = yield* Effect.fork(actor.send("Drain"))
        const other = yield* Effect.fork(actor.send("Drain"))
        yield* Effect.yieldNow()
        // It began before the drain was asked for, and may have looked too early.
        yield* Deferred.succeed(before, Next.Idle({}))
        yield* actor.end(Next.Again())
        yield* actor.end(Next.Again())
        const last = yield* actor.begins
        expect(yield* Fiber.poll(drain)).toMatchObject({ _tag: "None" })
        yield* Deferred.succeed(last, Next.Idle({}))
        expect(yield* Fiber.join(drain)).toMatchObject({ state: "idle", cycles: 4 })
        yield* Fiber.join(other)

        const held = yield* Effect.fork(actor.send("Drain"))
        yield* actor.end(Next.After({ delay: "1 hour" }))
        expect(yield* Fiber.join(held)).toMatchObject({ state: "held", cycles: 5 })

        const failed = yield* Effect.fork(actor.send("Drain"))
        yield* actor.fail("no")
        expect(yield* Fiber.join(failed)).toMatchObject({ state: "backingOff", cycles: 6, lastError: "no" })
      }).pipe(provide))

    it.scopedLive("a caller that gives up on a drain leaves the actor at work", () =>
      Effect.gen(function*() {
        const actor = yield* puppet("impatient")
        const drain = yield* Effect.fork(actor.send("Drain"))
        const end = yield* actor.begins
        yield* Fiber.interrupt(drain)
        yield* Deferred.succeed(end, Next.Again())
        yield* actor.end(Next.Idle({}))
        yield* until(actor, "idle")
        expect(yield* actor.status).toMatchObject({ cycles: 2 })
      }).pipe(provide))

    it.scopedLive("goes on after failures and defects", () =>
      Effect.gen(function*() {
        const actor = yield* puppet("fail")
        yield* actor.fail("first")
        yield* actor.fail("second")
        const end = yield* actor.begins
        expect(yield* actor.status).toMatchObject({ cycles: 2, failuresInRow: 2, lastError: "second" })
        yield* Deferred.die(end, new Error("bug"))
        yield* actor.end(Next.Idle({}))
        yield* until(actor, "idle")
        expect(yield* actor.status).toMatchObject({ cycles: 4, failuresInRow: 0, lastError: "bug" })
      }).pipe(provide))

    it.scopedLive("ends an actor that has failed as often in a row as it may, and tells what the last failure was", () =>
      Effect.gen(function*() {
        const actor = yield* puppet("limit", 2)
        yield* actor.fail("first")
        yield* actor.end(Next.Again())
        yield* actor.fail("second")
        yield* actor.fail("last")
        yield* actor.await
        expect(yield* actor.status).toMatchObject({ state: "stopped", failuresInRow: 2, lastError: "last", cycles: 4 })
        expect(yield* actor.send("Wake")).toMatchObject({ state: "stopped" })
      }).pipe(provide))

    it.scopedLive("goes on when something interrupts the cycle from outside, and takes along what the cycle left running", () =>
      Effect.gen(function*() {
        const host = yield* Host
        const interrupted = yield* Deferred.make<void>()
        let cycles = 0
        const actor = yield* host.start({
          identity: "interrupted",
          cycle: Effect.withFiberRuntime<Next>((fiber) =>
            cycles++ > 0
              ? Effect.succeed(Next.Stop())
              : Effect.never.pipe(
                Effect.onInterrupt(() => Deferred.succeed(interrupted, undefined)),
                Effect.fork,
                Effect.zipRight(Effect.yieldNow()),
                Effect.zipRight(Fiber.interrupt(fiber)),
                Effect.as(Next.Again())
              )
          )
        })
        yield* Deferred.await(interrupted)
        yield* actor.await
        expect(yield* actor.status).toMatchObject({ state: "stopped", cycles: 2, lastError: "interrupted" })
      }).pipe(provide))

    it.scopedLive("closing the scope interrupts the cycle, answers whoever waits, and ends the actor", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const actor = yield* Scope.extend(puppet("close"), scope)
        yield* actor.hang
        const drain = yield* Effect.fork(actor.send("Drain"))
        const end = yield* Effect.fork(Effect.zipRight(actor.await, actor.status))
        yield* Effect.yieldNow()
        yield* Scope.close(scope, Exit.void)
        expect(yield* Fiber.join(end)).toMatchObject({ state: "stopped" })
        expect(yield* Fiber.join(drain)).toMatchObject({ state: "stopped" })
        for (const message of ["Wake", "Expect", "Pause", "Resume", "Drain", "Status"] as const) {
          expect(yield* actor.send(message)).toMatchObject({ state: "stopped", cycles: 0 })
        }
      }).pipe(provide))

    it.scopedLive("closing the scope lets finish what must not be interrupted, and waits for it", () =>
      Effect.gen(function*() {
        const host = yield* Host
        const [settling, settle] = yield* Effect.all([Deferred.make<void>(), Deferred.make<void>()])
        const events: Array<string> = []
        const scope = yield* Scope.make()
        yield* Scope.addFinalizer(scope, Effect.sync(() => events.push("lease given back")))
        const actor = yield* Scope.extend(
          host.start({
            identity: "settle",
            cycle: Deferred.succeed(settling, undefined).pipe(
              Effect.zipRight(Deferred.await(settle)),
              Effect.zipRight(Effect.sync(() => events.push("settled"))),
              Effect.uninterruptible,
              Effect.zipRight(Effect.sync(() => events.push("went on"))),
              Effect.as(Next.Again())
            )
          }),
          scope
        )
        yield* Deferred.await(settling)
        const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
        yield* Effect.yieldNow()
        yield* Deferred.succeed(settle, undefined)
        yield* Fiber.join(closing)
        yield* actor.await
        expect(events).toEqual(["settled", "lease given back"])
      }).pipe(provide))

    it.scopedLive("a scope that is closed before the actor has begun ends it as well", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const actor = yield* Scope.extend(puppet("stillborn"), scope)
        yield* Scope.close(scope, Exit.void)
        yield* actor.await
        expect(yield* actor.send("Drain")).toMatchObject({ state: "stopped" })
      }).pipe(provide))

    it.scopedLive("gives a cycle the services that its starter has", () =>
      Effect.gen(function*() {
        const host = yield* Host
        const seen = yield* Deferred.make<string>()
        yield* host.start({
          identity: "services",
          cycle: Effect.gen(function*() {
            yield* Deferred.succeed(seen, yield* Greeting)
            return Next.Stop()
          })
        })
        expect(yield* Deferred.await(seen)).toBe("hello")
      }).pipe(Effect.provideService(Greeting, "hello"), provide))

    it.scopedLive("actors do not wait for each other", () =>
      Effect.gen(function*() {
        const slow = yield* puppet("slow")
        yield* slow.hang
        const quick = yield* puppet("quick")
        yield* quick.end(Next.Stop())
        yield* quick.await
        expect(yield* slow.status).toMatchObject({ state: "running" })
      }).pipe(provide))
  })
}
