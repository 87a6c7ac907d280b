/**
 * The suite of hosts, and what only a host in a Durable Object does.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as LogLevel from "effect/LogLevel"
import * as Logger from "effect/Logger"
import * as Queue from "effect/Queue"
import { Next } from "../../../src/Actor.ts"
import { Host } from "../../../src/Host.ts"
import * as DurableObject from "../../../src/Host/DurableObject.ts"
import { suite } from "../../suites/HostTest.ts"
import { objectOfTest, Objects, worker } from "../worker.ts"

/** The host in the object whose test runs, which has it called when its alarm comes. */
const layerOver = (storage: (storage: DurableObject.Storage) => DurableObject.Storage) =>
  Layer.unwrapEffect(Effect.sync(() => {
    const object = objectOfTest()
    const called = Layer.effectDiscard(Effect.map(DurableObject.Events, ({ alarm }) => {
      object.onAlarm = () => Effect.runPromise(alarm)
    }))
    return Layer.provideMerge(called, DurableObject.layer({ storage: storage(object.storage) }))
  }))

const layer = layerOver((storage) => storage)

suite("an alarm of a Durable Object", layer)

/** An actor whose cycles are told, and which ends them as it is told. */
const start = (identity: string) =>
  Effect.gen(function*() {
    const host = yield* Host
    const begun = yield* Queue.unbounded<Deferred.Deferred<Next, string>>()
    const ref = yield* host.start({
      identity,
      cycle: Effect.gen(function*() {
        const end = yield* Deferred.make<Next, string>()
        yield* Queue.offer(begun, end)
        return yield* Deferred.await(end)
      })
    })
    return {
      ...ref,
      begun,
      end: (next: Next) => Effect.flatMap(Queue.take(begun), (end) => Deferred.succeed(end, next))
    }
  })

const ask = (method: string, path: string) =>
  Effect.gen(function*() {
    const { fetch } = yield* DurableObject.Events
    const response = yield* fetch(new Request(`https://object${path}`, { method }))
    if (response === undefined) return undefined
    return { status: response.status, body: yield* Effect.promise(() => response.json()) }
  })

const silently = Logger.withMinimumLogLevel(LogLevel.None)

describe("actors of a Durable Object", () => {
  it.scopedLive("a pause outlives the object's memory, and so does its end", () =>
    Effect.gen(function*() {
      yield* Effect.gen(function*() {
        const actor = yield* start("cursor/operation")
        yield* actor.end(Next.Idle({}))
        assert.strictEqual((yield* actor.send("Pause")).state, "paused")
      }).pipe(Effect.scoped, Effect.provide(layer))
      yield* Effect.gen(function*() {
        const actor = yield* start("cursor/operation")
        assert.include(yield* actor.status, { state: "paused" })
        assert.strictEqual((yield* actor.send("Drain")).state, "paused")
        yield* actor.send("Resume")
        yield* actor.end(Next.Idle({}))
      }).pipe(Effect.scoped, Effect.provide(layer))
      yield* Effect.gen(function*() {
        const actor = yield* start("cursor/operation")
        yield* actor.end(Next.Idle({}))
      }).pipe(Effect.scoped, Effect.provide(layer))
    }))

  it.scopedLive("a pause that comes while a cycle runs outlives an object that is lost in the middle of it", () =>
    Effect.gen(function*() {
      yield* Effect.gen(function*() {
        const actor = yield* start("retry")
        yield* Effect.asVoid(Queue.take(actor.begun))
        assert.strictEqual((yield* actor.send("Pause")).state, "running")
      }).pipe(Effect.scoped, Effect.provide(layer))
      const status = yield* Effect.flatMap(start("retry"), (actor) => actor.status).pipe(
        Effect.scoped,
        Effect.provide(layer)
      )
      assert.strictEqual(status.state, "paused")
    }))

  it.scopedLive("failures are counted on, and waited after, by whoever comes next", () =>
    Effect.gen(function*() {
      yield* Effect.gen(function*() {
        const actor = yield* start("failing")
        for (let n = 0; n < 3; n++)
          yield* Effect.flatMap(Queue.take(actor.begun), (end) => Deferred.fail(end, `no ${n}`))
        yield* Effect.repeat(Effect.zipLeft(actor.status, Effect.yieldNow()), {
          until: ({ cycles }) => cycles === 3
        })
      }).pipe(Effect.scoped, Effect.provide(layer), silently)
      const status = yield* Effect.flatMap(start("failing"), (actor) => actor.status).pipe(
        Effect.scoped,
        Effect.provide(layer)
      )
      assert.include(status, { state: "backingOff", failuresInRow: 3, lastError: "no 2", cycles: 3 })
    }))

  it.scopedLive("the next alarm is set before a cycle runs, and for the next cycle after it", () => {
    const events: Array<string> = []
    const recorded = layerOver((storage) => ({
      get: (key) => storage.get(key),
      put: (key, value) => storage.put(key, value),
      setAlarm: (time) => {
        events.push(time - Date.now() > 5_000 ? "later" : "now")
        return storage.setAlarm(time)
      },
      deleteAlarm: () => {
        events.push("deleted")
        return storage.deleteAlarm()
      }
    }))
    return Effect.gen(function*() {
      const actor = yield* start("guarded")
      const end = yield* Queue.take(actor.begun)
      events.push("cycle")
      yield* Deferred.succeed(end, Next.After({ delay: "1 hour" }))
      yield* Effect.repeat(Effect.delay(actor.status, 1), { until: () => events.length >= 4 })
      assert.deepStrictEqual(events, ["now", "later", "cycle", "later"])
      yield* actor.send("Pause")
      yield* actor.send("Resume")
      yield* Effect.asVoid(Queue.take(actor.begun))
    }).pipe(Effect.provide(recorded))
  })

  it.scopedLive("an alarm never fails, whatever its storage says, and cycles run all the same", () => {
    const broken = layerOver((storage) => ({
      get: (key) => storage.get(key),
      put: () => Promise.reject(new Error("full")),
      setAlarm: () => Promise.reject(new Error("full")),
      deleteAlarm: () => Promise.reject(new Error("full"))
    }))
    return Effect.gen(function*() {
      const actor = yield* start("unkept")
      const { alarm } = yield* DurableObject.Events
      const working = yield* Effect.fork(alarm)
      yield* actor.end(Next.After({ delay: "1 hour" }))
      yield* working
      assert.strictEqual((yield* actor.status).state, "held")
      assert.strictEqual((yield* Effect.exit(actor.send("Pause")))._tag, "Failure")
    }).pipe(Effect.provide(broken), silently)
  })

  it.scopedLive("messages come by requests, and are answered in JSON", () =>
    Effect.gen(function*() {
      const actor = yield* start("cursor/operation/eu")
      assert.include((yield* ask("GET", "/actors/cursor/operation/eu"))?.body, { identity: "cursor/operation/eu" })
      const draining = yield* Effect.fork(ask("POST", "/actors/cursor/operation/eu/Drain"))
      yield* actor.end(Next.Idle({}))
      yield* Effect.forkScoped(Effect.forever(actor.end(Next.Idle({}))))
      assert.include((yield* draining)?.body, { state: "idle" })
      assert.include((yield* ask("POST", "/actors/cursor/operation/eu/Pause"))?.body, { state: "paused" })
      assert.include((yield* ask("GET", "/actors"))?.body[0], { state: "paused" })
      assert.strictEqual((yield* ask("POST", "/actors/cursor/operation/eu/Stop"))?.status, 400)
      assert.strictEqual((yield* ask("POST", "/actors/cursor/Pause"))?.status, 404)
      assert.strictEqual((yield* ask("GET", "/actors/%E0"))?.status, 404)
      assert.strictEqual((yield* ask("DELETE", "/actors"))?.status, 405)
      assert.isUndefined(yield* ask("GET", "/actorsand"))
    }).pipe(Effect.provide(layer)))
})

export { Objects as Tests }
export default worker
