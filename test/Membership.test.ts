/**
 * Several processes share the lanes: here each is a layer with connections of its own.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as LogLevel from "effect/LogLevel"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/TestClock"
import * as fs from "node:fs/promises"
import * as os from "node:os"
import * as path from "node:path"
import { Next } from "../src/Actor.ts"
import * as CircuitBreaker from "../src/CircuitBreaker.ts"
import * as CursorWorker from "../src/CursorWorker.ts"
import * as Sqlite from "../src/Database/Sqlite.ts"
import { Host } from "../src/Host.ts"
import * as HostLocal from "../src/Host/Local.ts"
import * as Membership from "../src/Membership.ts"
import * as Migrations from "../src/Migrations.ts"
import { laneOf } from "../src/Operation.ts"
import * as Memory from "../src/Publisher/Memory.ts"
import { Repository } from "../src/Repository.ts"
import * as Sql from "../src/Repository/Sql.ts"
import { LeaseLost } from "../src/TrustlogError.ts"
import { defaults, WorkerConfig } from "../src/WorkerConfig.ts"
import { client } from "./serverDatabase.ts"
import { database, onEach } from "./servers/Server.ts"
import { entry, layer } from "./workers.ts"

const idle = Effect.succeed(Next.Idle({}))

type Client = Layer.Layer<SqlClient, unknown>

const config = Layer.succeed(WorkerConfig, {
  ...defaults,
  lease: Duration.seconds(3),
  leaseRenewal: Duration.seconds(1),
  laneScan: Duration.millis(200)
})

const suite = (connections: Effect.Effect<Client, never, Scope.Scope>) => {
  it.scopedLive("no member has more than its share, those that join get theirs, and those that leave lose none", () =>
    Effect.gen(function*() {
      const connection = yield* connections
      const repository = Layer.provide(Sql.layer(), connection)
      yield* Effect.orDie(Effect.provide(Migrations.run(), connection))

      /** Starts a process. */
      const join = Effect.gen(function*() {
        const scope = yield* Scope.make()
        yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
        const services = Layer.mergeAll(repository, Memory.layer, CircuitBreaker.layer, HostLocal.layer, config)
        yield* Scope.extend(Layer.build(Layer.provide(CursorWorker.layer, services)), scope)
        return { leave: Scope.close(scope, Exit.void) }
      })

      yield* Effect.gen(function*() {
        const { append, lanes, stats } = yield* Repository
        // Together with the two that there are from the beginning: seven.
        const names = Array.from({ length: 5 }, (_, n) => laneOf("operation", `tenant-${n}`))
        yield* append(names.map((lane, n) => entry(n + 1, {}, lane)))
        /** How many lanes each owner has, the most first. */
        const shares = Effect.map(lanes, (found) => {
          const counts = new Map<string, number>()
          for (const { owner } of found) {
            if (owner !== null) counts.set(owner, (counts.get(owner) ?? 0) + 1)
          }
          return Array.from(counts.values()).sort((a, b) => b - a)
        })
        const settlesTo = (expected: ReadonlyArray<number>) =>
          Effect.repeat(shares, {
            until: (found) => JSON.stringify(found) === JSON.stringify(expected),
            schedule: Schedule.spaced("50 millis")
          }).pipe(
            Effect.timeoutOption("30 seconds"),
            Effect.flatMap((settled) =>
              Option.isSome(settled)
                ? Effect.void
                : Effect.dieMessage(`the lanes are not shared as ${expected.join(", ")}`)
            )
          )
        const first = yield* join
        yield* settlesTo([7])
        yield* join
        yield* settlesTo([4, 3])
        yield* join
        yield* settlesTo([3, 3, 1])
        yield* first.leave
        yield* settlesTo([4, 3])
        assert.include(yield* stats, { pending: 0, delivered: 5 })
        // A lane that nobody knew is taken at once.
        yield* append([entry(9, {}, laneOf("operation", "tenant-9"))])
        yield* settlesTo([4, 4])
        yield* Effect.repeat(stats, {
          until: ({ delivered }) => delivered === 6,
          schedule: Schedule.spaced("20 millis")
        })
      }).pipe(Effect.provide(repository))
    }).pipe(Effect.orDie))
}

describe("lanes on SQLite", () => {
  suite(Effect.map(
    Effect.acquireRelease(
      Effect.promise(() => fs.mkdtemp(path.join(os.tmpdir(), "trustlog-membership-"))),
      (directory) => Effect.promise(() => fs.rm(directory, { recursive: true, force: true }))
    ),
    (directory) => Sqlite.layer({ filename: path.join(directory, "trustlog.db") })
  ))
})

it.effect("a lane that fails in one process again and again is begun anew: by another, if there is one", () =>
  Effect.gen(function*() {
    const { lanes } = yield* Repository
    const lane = laneOf("operation")
    const began: Array<string> = []
    /** Starts a process whose lanes fail, or not; the lane that is looked at is told when it is begun. */
    const join = (name: string, cycle: Effect.Effect<Next, string>) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const member = Membership.layer(({ lease }) =>
          Effect.sync(() => {
            if (lease.lane === lane) began.push(name)
            return { identity: `cursor/${lease.lane}`, maxFailures: 8, cycle: lease.lane === lane ? cycle : idle }
          })
        )
        yield* Scope.extend(Layer.build(member), scope)
        return { leave: Scope.close(scope, Exit.void) }
      })
    const pass = (seconds: number) => Effect.repeatN(TestClock.adjust("1 second"), seconds - 1)
    const owner = Effect.map(lanes, (found) => found.find((found) => found.lane === lane)?.owner)

    const ill = yield* join("ill", Effect.fail("no"))
    yield* pass(1)
    const first = yield* owner
    assert.isString(first)
    const well = yield* join("well", idle)
    yield* pass(11)
    assert.deepStrictEqual(began, ["ill"])
    yield* pass(60)
    // It is more than its share, so that it gives it back now and then, and takes it again.
    assert.deepStrictEqual(new Set(began.splice(0).slice(1)), new Set(["well"]))
    yield* well.leave
    yield* pass(2)
    assert.deepStrictEqual(began, ["ill"])
    assert.strictEqual(yield* owner, first)
    // Alone, it begins anew at once, and fails on.
    yield* pass(14)
    assert.deepStrictEqual(began, ["ill", "ill"])
    yield* ill.leave
  }).pipe(Effect.provide(layer), Logger.withMinimumLogLevel(LogLevel.None)))

it.scoped("what is under way for a lane that is lost is interrupted at once, and the lane is taken anew", () =>
  Effect.gen(function*() {
    const repository = yield* Repository
    const lane = laneOf("operation")
    let isLost = false
    const losing = Layer.succeed(Repository, {
      ...repository,
      renew: (lease, timeToLive) =>
        isLost && lease.lane === lane
          ? new LeaseLost({ lane, epoch: lease.epoch })
          : repository.renew(lease, timeToLive)
    })
    const events: Array<string> = []
    const hung = Membership.layer(({ lease }) =>
      Effect.sync(() => {
        if (lease.lane !== lane) return { identity: `cursor/${lease.lane}`, cycle: idle }
        events.push(`${lease.epoch} begun`)
        const cycle = Effect.onInterrupt(
          Effect.never,
          () => Effect.sync(() => events.push(`${lease.epoch} interrupted`))
        )
        return { identity: "cursor/operation", cycle }
      })
    )
    yield* Effect.provide(Layer.build(hung), losing)
    const pass = (seconds: number) => Effect.repeatN(TestClock.adjust("1 second"), seconds - 1)
    yield* pass(10)
    assert.deepStrictEqual(events, ["1 begun"])
    isLost = true
    // The next renewal, in three seconds at most, finds it out.
    yield* pass(3)
    isLost = false
    yield* pass(10)
    assert.deepStrictEqual(events, ["1 begun", "1 interrupted", "2 begun"])
  }).pipe(
    Effect.provide(layer),
    Effect.provide(Layer.succeed(WorkerConfig, { ...defaults, shutdown: Duration.zero })),
    Logger.withMinimumLogLevel(LogLevel.None)
  ))

it.scopedLive("a cycle that does not end holds up the end of a program for as long as it may, and no longer", () =>
  Effect.gen(function*() {
    const { lanes } = yield* Repository
    const scope = yield* Scope.make()
    const hung = Membership.layer(({ lease }) =>
      Effect.succeed({ identity: `cursor/${lease.lane}`, cycle: Effect.never })
    )
    yield* Scope.extend(Layer.build(hung), scope)
    yield* Effect.repeat(lanes, { until: (found) => found.every(({ owner }) => owner !== null) })
    yield* Scope.close(scope, Exit.void).pipe(Effect.disconnect, Effect.timeout("30 seconds"))
    assert.isTrue((yield* lanes).every(({ owner }) => owner === null))
  }).pipe(
    Effect.provide(layer),
    Effect.provide(Layer.succeed(WorkerConfig, { ...defaults, shutdown: Duration.millis(50) }))
  ))

it.scoped("a program that ends before it has looked for lanes delivers all the same what it has appended", () =>
  Effect.gen(function*() {
    const { append, stats } = yield* Repository
    yield* append([entry(1)])
    const { start } = yield* Host
    // As long as it lives, the look for lanes comes to nothing.
    const busy = Host.of({
      start: (actor) => start(actor.identity === "lanes" ? { ...actor, cycle: Effect.never } : actor)
    })
    yield* Effect.scoped(Layer.build(Layer.provide(CursorWorker.layer, Layer.succeed(Host, busy))))
    assert.include(yield* stats, { delivered: 1, pending: 0 })
  }).pipe(Effect.provide(layer)))

onEach((server) => {
  suite(Effect.map(database(server), (url) => client(url, { maxConnections: 4 })))
})
