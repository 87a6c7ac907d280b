/**
 * A broker that is killed, stopped, frozen, or not there. Records are small and stored by themselves: the storage of a single
 * broker does not survive more (a half-written batch makes its topic unreadable).
 */
import { assert, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Instance from "../servers/Instance.ts"
import * as Server from "../servers/Server.ts"
import * as Topic from "../servers/Topic.ts"
import { append, application, breakerIs, delivered, holdsAll, isSaid, noAttemptUsed } from "./pulsarScene.ts"
import { range } from "./scene.ts"

/** A broker of these tests' own. */
class Own extends Context.Tag("effect-trustlog/test/OwnPulsar")<Own, Instance.PulsarInstance>() {}

Server.on("postgresql-18", (server) => {
  Server.having("pulsar", () => {
    layer(Layer.scoped(Own, Instance.Pulsar()), { excludeTestServices: true })("a broker", (it) => {
      for (const [how, end] of [["killed", "kill"], ["stopped", "stop"]] as const) {
        it.scoped(`${how} in mid-flight, and back after ten seconds, loses nothing`, () =>
          Effect.gen(function*() {
            const own = yield* Own
            const topic = yield* Topic.make(own)
            yield* Effect.gen(function*() {
              const numbers = range(1, 20_000)
              const appending = yield* Effect.fork(append(numbers))
              yield* delivered(1000)
              yield* own[end]
              yield* isSaid(/^WARN the log is out/)
              yield* breakerIs("open")
              yield* appending.await
              yield* Effect.sleep("10 seconds")
              yield* noAttemptUsed
              yield* own.start
              const before = Date.now()
              yield* breakerIs("closed")
              assert.isBelow(Date.now() - before, 15_000)
              yield* holdsAll(own, topic, numbers)
            }).pipe(Effect.provide(application(yield* Server.database(server), topic, { serviceUrl: own.wsUrl })))
          }))
      }

      it.scoped("frozen for half a minute is noticed, and nothing is lost when it goes on", () =>
        Effect.gen(function*() {
          const own = yield* Own
          const topic = yield* Topic.make(own)
          yield* Effect.gen(function*() {
            const numbers = range(1, 20_000)
            const appending = yield* Effect.fork(append(numbers))
            yield* delivered(1000)
            yield* Effect.acquireRelease(own.freeze, () => own.thaw)
            const before = Date.now()
            // The connection stays open: that nobody answers a ping is all there is to see.
            yield* breakerIs("open")
            assert.isBelow(Date.now() - before, 25_000)
            yield* appending.await
            yield* Effect.sleep(30_000 - (Date.now() - before))
            yield* noAttemptUsed
            yield* own.thaw
            yield* holdsAll(own, topic, numbers)
          }).pipe(Effect.provide(application(yield* Server.database(server), topic, { serviceUrl: own.wsUrl })))
        }))

      it.scoped("that is not there at the start is waited for, for a minute, and no attempt is used up", () =>
        Effect.gen(function*() {
          const own = yield* Own
          const topic = yield* Topic.make(own)
          yield* own.stop
          yield* Effect.gen(function*() {
            const numbers = range(1, 5000)
            yield* append(numbers)
            yield* isSaid(/^WARN the log is out: .*ECONNREFUSED/)
            yield* breakerIs("open")
            yield* Effect.sleep("1 minute")
            yield* noAttemptUsed
            yield* own.start
            const before = Date.now()
            yield* breakerIs("closed")
            assert.isBelow(Date.now() - before, 15_000)
            yield* holdsAll(own, topic, numbers)
          }).pipe(Effect.provide(application(yield* Server.database(server), topic, { serviceUrl: own.wsUrl })))
        }))
    })
  })
})
