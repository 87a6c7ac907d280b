import * as RunnerAddress from "@effect/cluster/RunnerAddress"
import * as TestRunner from "@effect/cluster/TestRunner"
import * as NodeClusterSocket from "@effect/platform-node/NodeClusterSocket"
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as FileSystem from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import { Next, type Status } from "../../src/Actor.ts"
import * as CircuitBreaker from "../../src/CircuitBreaker.ts"
import * as CursorWorker from "../../src/CursorWorker.ts"
import * as Sqlite from "../../src/Database/Sqlite.ts"
import { type ActorRef, Host } from "../../src/Host.ts"
import * as Cluster from "../../src/Host/Cluster.ts"
import { laneOf } from "../../src/Operation.ts"
import * as Memory from "../../src/Publisher/Memory.ts"
import { Repository } from "../../src/Repository.ts"
import * as RetryWorker from "../../src/RetryWorker.ts"
import { free } from "../servers/Port.ts"
import { suite } from "../suites/HostTest.ts"
import { database, entry, held } from "../workers.ts"

suite("a runner of a cluster", Layer.provide(Cluster.layer(), TestRunner.layer))

/** Waits until something holds; the test's own limit ends it otherwise. */
const until = <E>(condition: Effect.Effect<boolean, E>) =>
  Effect.repeat(condition, { until: (holds) => holds, schedule: Schedule.spaced("10 millis") })

it.scopedLive("the workers deliver in a cluster, lanes by the process that has their leases", () => {
  const services = Layer.mergeAll(
    database,
    Memory.layer,
    CircuitBreaker.layer,
    Layer.provide(Cluster.layer(), TestRunner.layer)
  )
  return Effect.gen(function*() {
    const { append, stats, wake } = yield* Repository
    yield* append([entry(1), entry(2, { kind: "record" }), entry(3, {}, laneOf("operation", "named"))])
    const workers = Layer.merge(CursorWorker.layer, RetryWorker.layer)
    const delivered = until(Effect.map(stats, ({ delivered }) => delivered === 3))
    yield* Effect.provide(Effect.zipRight(wake(), delivered), workers)
    assert.sameMembers(yield* held, [1, 2, 3])
  }).pipe(Effect.provide(services))
})

/** A runner that others reach over a socket, with its shards in a database, until its scope closes. */
const runner = (filename: string) =>
  Effect.gen(function*() {
    const port = yield* free
    const scope = yield* Scope.make()
    yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
    const sharding = NodeClusterSocket.layer({
      storage: "sql",
      shardingConfig: {
        runnerAddress: Option.some(RunnerAddress.RunnerAddress.make({ host: "127.0.0.1", port })),
        shardsPerGroup: 12,
        refreshAssignmentsInterval: Duration.millis(200),
        sendRetryInterval: Duration.millis(20)
      }
    }).pipe(Layer.provide(Sqlite.layer({ filename })))
    const context = yield* Scope.extend(Layer.build(Layer.provide(Cluster.layer(), sharding)), scope)
    return { host: Context.get(context, Host), scope, leave: Scope.close(scope, Exit.void) }
  })

/** Actors whose cycles the test sees begin and ends, on whichever runner that is. One of them is bound to its process. */
const puppets = (names: ReadonlyArray<string>, bound: string) => {
  const running = new Map<string, Array<{ readonly runner: number; readonly end: Deferred.Deferred<Next> }>>(
    [...names, bound].map((name) => [name, []])
  )
  const here = (name: string) => running.get(name) ?? []
  return {
    start: (runner: number, { host, scope }: { readonly host: Host["Type"]; readonly scope: Scope.Scope }) =>
      Effect.map(
        Effect.forEach([...names, bound], (identity) =>
          Scope.extend(
            host.start({
              identity,
              isBound: identity === bound,
              pollInterval: Duration.infinity,
              cycle: Effect.acquireUseRelease(
                Effect.map(Deferred.make<Next>(), (end) => {
                  const cycle = { runner, end }
                  here(identity).push(cycle)
                  return cycle
                }),
                ({ end }) => Deferred.await(end),
                (cycle) => Effect.sync(() => here(identity).splice(here(identity).indexOf(cycle), 1))
              )
            }),
            scope
          )),
        (refs) => (name: string): ActorRef => refs[names.indexOf(name)] ?? assert.fail(name)
      ),
    /** Which runners run a cycle of it now. */
    at: (name: string) => here(name).map(({ runner }) => runner),
    /** Ends its cycle. */
    end: (name: string, next: Next) =>
      Effect.forEach(here(name), ({ end }) => Deferred.succeed(end, next), { discard: true })
  }
}

describe("two runners of a cluster", () => {
  it.scopedLive("run each actor once, tell it from either, and begin it anew where it is left when one goes away", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const filename = `${yield* fs.makeTempDirectoryScoped({ prefix: "trustlog-cluster-" })}/cluster.db`
      const names = Array.from({ length: 8 }, (_, n) => `actor-${n}`)
      const { at, end, start } = puppets(names, "bound")
      const runner0 = yield* runner(filename)
      const ref0 = yield* start(0, runner0)
      // Alone, it runs all of them.
      yield* until(Effect.sync(() => names.every((name) => at(name).join() === "0")))
      const runner1 = yield* runner(filename)
      const ref1 = yield* start(1, runner1)
      const of = (runner: number) => names.filter((name) => at(name).join() === String(runner))
      yield* until(Effect.sync(() => of(1).length > 0 && of(0).length + of(1).length === names.length))

      assert.deepStrictEqual(at("bound"), [0, 1])

      const [theirs = assert.fail("runner 0 has none"), another = assert.fail("runner 0 has one")] = of(0)
      for (const name of names) {
        const expected = { identity: name, state: "running", cycles: 0 } as const
        assert.include(yield* ref0(name).status, expected)
        assert.include(yield* ref1(name).send("Wake"), expected)
      }
      const is = (name: string, state: string) =>
        until(Effect.map(ref1(name).status, (status) => status.state === state))
      yield* ref1(theirs).send("Pause")
      yield* end(theirs, Next.Again())
      yield* is(theirs, "paused")
      assert.include(yield* ref1(theirs).send("Drain"), { state: "paused", cycles: 1 })
      yield* ref1(theirs).send("Resume")
      yield* until(Effect.sync(() => at(theirs).join() === "0"))
      /** Ends cycles with nothing left to do until a drain is answered. */
      const finish = (drain: Fiber.Fiber<Status>) =>
        Effect.zipRight(
          until(
            Effect.zipRight(end(theirs, Next.Idle({})), Effect.map(Fiber.poll(drain), Option.isSome))
          ),
          Fiber.join(drain)
        )
      const drain = yield* Effect.fork(ref1(theirs).send("Drain"))
      assert.include(yield* finish(drain), { state: "idle" })
      const ended = yield* Effect.fork(ref1(another).await)
      yield* end(another, Next.Stop())
      yield* Fiber.join(ended)
      assert.include(yield* ref1(another).status, { state: "stopped", cycles: 1 })

      const waiting = yield* Effect.fork(ref1(theirs).send("Drain"))
      yield* until(Effect.sync(() => at(theirs).length === 1))
      yield* runner0.leave
      assert.include(yield* ref0(theirs).status, { state: "stopped" })
      yield* ref0(theirs).await
      // What ended by its own decision is begun anew as well: nobody has written that down.
      yield* until(Effect.sync(() => names.every((name) => at(name).join() === "1")))
      assert.include(yield* ref1(theirs).status, { state: "running", cycles: 0 })
      assert.isTrue(Option.isNone(yield* Fiber.poll(waiting)))
      assert.include(yield* finish(waiting), { state: "idle" })
    }).pipe(Effect.provide(NodeContext.layer)))
})
