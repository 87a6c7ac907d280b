import { describe, expect, it } from "@effect/vitest"
import * as Array from "effect/Array"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/TestClock"
import { type Actor, describe as inWords, Next } from "../../src/Actor.ts"
import { Host } from "../../src/Host.ts"
import * as Local from "../../src/Host/Local.ts"
import * as runtime from "../runtime.ts"
import { suite } from "../suites/HostTest.ts"

suite("fibres of this process", Local.layer)

/** Starts an actor whose n-th cycle (0, 1 …) ends as told; `at` holds when each began. */
const start = <E>(cycle: (n: number) => Effect.Effect<Next, E>, options?: Partial<Actor<E, never>>) =>
  Effect.gen(function*() {
    const host = yield* Host
    const at: Array<number> = []
    const ref = yield* host.start({
      identity: "cursor/operation",
      cycle: Effect.flatMap(Clock.currentTimeMillis, (now) => cycle(at.push(now) - 1)),
      ...options
    })
    yield* Effect.yieldNow()
    return { ...ref, at }
  })

const idle = Effect.succeed(Next.Idle({}))

/** Lets time pass in steps of one millisecond, as an event loop would. */
const pass = (millis: number) => Effect.repeatN(TestClock.adjust(1), millis - 1)

describe("by the clock", () => {
  it.scoped("an idle actor polls every 10 seconds, to the millisecond", () =>
    Effect.gen(function*() {
      const { at } = yield* start(() => idle)
      yield* TestClock.adjust("9999 millis")
      expect(at).toEqual([0])
      yield* TestClock.adjust(1)
      yield* TestClock.adjust("10 seconds")
      expect(at).toEqual([0, 10_000, 20_000])
    }).pipe(Effect.provide(Local.layer)))

  it.scoped("what is expected is looked for at once, then after 2, 4, 8 … ms, then by the poll interval", () =>
    Effect.gen(function*() {
      const { at, send } = yield* start(() => idle, { pollInterval: "100 millis" })
      yield* TestClock.adjust(50)
      yield* send("Expect")
      yield* pass(400)
      expect(at).toEqual([0, 50, 52, 56, 64, 80, 112, 176, 276, 376])
    }).pipe(Effect.provide(Local.layer)))

  it.scoped("a wake-up is followed at once, and once", () =>
    Effect.gen(function*() {
      const { at, send } = yield* start(() => idle, { pollInterval: "100 millis" })
      yield* TestClock.adjust(50)
      yield* send("Wake")
      yield* pass(200)
      expect(at).toEqual([0, 50, 150, 250])
    }).pipe(Effect.provide(Local.layer)))

  it.scoped("a flood of 100,000 wake-ups makes one cycle every 2 ms at most", () =>
    Effect.gen(function*() {
      const { at, send } = yield* start(() => idle)
      yield* TestClock.adjust(50)
      yield* Effect.repeatN(Effect.zipRight(Effect.repeatN(send("Wake"), 9_999), TestClock.adjust(1)), 9)
      expect(at).toEqual([0, 50, 52, 54, 56, 58, 60])
    }).pipe(Effect.provide(Local.layer)))

  it.scoped("a held actor is not woken, and goes on after its delay", () =>
    Effect.gen(function*() {
      const { at, send, status } = yield* start((n) =>
        Effect.succeed(n === 0 ? Next.After({ delay: 5_000 }) : Next.Idle({}))
      )
      yield* Effect.repeatN(Effect.zipRight(send("Wake"), TestClock.adjust(100)), 48)
      expect(yield* status).toMatchObject({ state: "held", since: 0 })
      expect(at).toEqual([0])
      yield* TestClock.adjust(100)
      expect(at).toEqual([0, 5_000])
    }).pipe(Effect.provide(Local.layer)))

  it.scoped("a held actor goes on at once when it is resumed or drained", () =>
    Effect.gen(function*() {
      const { at, send } = yield* start(() => Effect.succeed(Next.After({ delay: "1 day" })))
      yield* TestClock.adjust(7)
      yield* send("Resume")
      yield* TestClock.adjust(7)
      expect(yield* send("Drain")).toMatchObject({ state: "held", cycles: 3 })
      expect(at).toEqual([0, 7, 14])
    }).pipe(Effect.provide(Local.layer)))

  it.scoped("something that is due in 300 ms is not left until the poll", () =>
    Effect.gen(function*() {
      const { at } = yield* start((n) => Effect.succeed(Next.Idle({ atMost: n === 0 ? "300 millis" : undefined })))
      yield* TestClock.adjust("12 seconds")
      expect(at).toEqual([0, 300, 10_300])
    }).pipe(Effect.provide(Local.layer)))

  it.scoped("delays longer than JavaScript's timers can wait are kept", () =>
    Effect.gen(function*() {
      const clock = yield* Effect.clock
      const { at } = yield* start(() => Effect.succeed(Next.After({ delay: "40 days" }))).pipe(
        Effect.withClock({
          ...clock,
          currentTimeMillis: clock.currentTimeMillis,
          currentTimeNanos: clock.currentTimeNanos,
          // As the real one does.
          sleep: (duration) => Duration.toMillis(duration) >= 2 ** 31 ? Effect.never : clock.sleep(duration)
        })
      )
      yield* Effect.repeatN(TestClock.adjust("1 day"), 38)
      expect(at.length).toBe(1)
      yield* TestClock.adjust("1 day")
      expect(at.length).toBe(2)
    }).pipe(Effect.provide(Local.layer)))

  it.scoped("twenty failures in a row back off, say so, and the actor recovers by itself; a good cycle resets the delays", () =>
    Effect.gen(function*() {
      const { at, status } = yield* start((n) =>
        n < 20
          ? n % 2 === 0 ? Effect.fail(`no ${n}`) : Effect.dieMessage(`bug ${n}`)
          : n === 21
          ? Effect.fail("again")
          : idle
      )
      yield* TestClock.adjust("351.1 seconds")
      expect(at.slice(1).map((time, i) => time - (at[i] ?? 0))).toEqual(
        [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, ...Array.replicate(30_000, 10)]
      )
      expect(at.length).toBe(20)
      const failing = yield* status
      expect(failing).toMatchObject({ state: "backingOff", cycles: 20, failuresInRow: 20, since: at[19] })
      expect(inWords(failing)).toBe(
        "cursor/operation: backing off after 20 failures in a row: RuntimeException: bug 19"
      )
      yield* TestClock.adjust("30 seconds")
      expect(yield* status).toMatchObject({ state: "idle", failuresInRow: 0 })
      yield* TestClock.adjust("10 seconds")
      expect(yield* status).toMatchObject({ state: "backingOff", failuresInRow: 1 })
      yield* TestClock.adjust("100 millis")
      expect(yield* status).toMatchObject({ state: "idle", failuresInRow: 0 })
    }).pipe(Effect.provide(Local.layer)))

  it.scoped("a cycle that fails is not begun again by wake-ups", () =>
    Effect.gen(function*() {
      const { at, send } = yield* start(() => Effect.fail("no"))
      yield* Effect.repeatN(Effect.zipRight(send("Wake"), TestClock.adjust(1)), 298)
      expect(at).toEqual([0, 100])
      yield* TestClock.adjust(1)
      expect(at).toEqual([0, 100, 300])
    }).pipe(Effect.provide(Local.layer)))

  it.scoped("the wall clock's being set back delays nothing", () =>
    Effect.gen(function*() {
      const clock = yield* Effect.clock
      const { at, send } = yield* start(() => Effect.succeed(Next.After({ delay: "5 seconds" }))).pipe(
        Effect.withClock({
          ...clock,
          sleep: (duration) => clock.sleep(duration),
          unsafeCurrentTimeMillis: () => -3_600_000,
          currentTimeMillis: Effect.succeed(-3_600_000)
        })
      )
      yield* TestClock.adjust("4 seconds")
      yield* send("Wake")
      yield* TestClock.adjust("1 seconds")
      expect(at.length).toBe(2)
    }).pipe(Effect.provide(Local.layer)))
})

describe("at fault", () => {
  it.scoped("a logger that throws does not end the actor, nor keeps it from recovering", () =>
    Effect.gen(function*() {
      const { at, status } = yield* start((n) => n === 1 ? idle : Effect.fail("no"), { pollInterval: "1 second" })
      yield* TestClock.adjust(100)
      expect(yield* status).toMatchObject({ state: "idle", cycles: 2, failuresInRow: 0 })
      yield* TestClock.adjust("10 seconds")
      expect(at.slice(0, 5)).toEqual([0, 100, 1_100, 1_200, 1_400])
    }).pipe(
      Effect.provide(Local.layer),
      Effect.provide(Logger.add(Logger.make(() => JSON.parse("{"))))
    ))

  it.scoped("an actor whose timers fail ends, and is not said to be alive", () =>
    Effect.gen(function*() {
      const clock = yield* Effect.clock
      const { await: ends, status } = yield* start(() => idle).pipe(
        Effect.withClock({
          ...clock,
          currentTimeMillis: clock.currentTimeMillis,
          currentTimeNanos: clock.currentTimeNanos,
          sleep: () => Effect.dieMessage("no timers")
        })
      )
      yield* ends
      expect(yield* status).toMatchObject({ state: "stopped", cycles: 1 })
    }).pipe(Effect.provide(Local.layer)))
})

describe("in real time", () => {
  it.scopedLive("a hundred thousand messages leave no memory behind, while a cycle hangs", () =>
    Effect.gen(function*() {
      const { send, status } = yield* start(() => Effect.never)
      const used = Effect.sync(runtime.heapUsed)
      yield* Effect.repeatN(send("Wake"), 999)
      const before = yield* used
      yield* Effect.repeatN(send("Wake"), 99_999)
      expect((yield* used) - before).toBeLessThan(1_000_000)
      expect(yield* status).toMatchObject({ state: "running", cycles: 0 })
    }).pipe(Effect.provide(Local.layer)))

  it.scopedLive("cycles that never leave the thread and always have more to do leave timers their turn", () =>
    Effect.gen(function*() {
      const { status } = yield* start((n) =>
        Effect.sync(() => {
          for (const end = performance.now() + 1; performance.now() < end;);
          return n < 2_000 ? Next.Again() : Next.Stop()
        })
      )
      yield* Effect.sleep(10)
      expect((yield* status).cycles).toBeLessThan(1_000)
    }).pipe(Effect.provide(Local.layer)))

  it.scopedLive("a thousand actors are started, drained and ended", () =>
    Effect.gen(function*() {
      const host = yield* Host
      const scope = yield* Scope.make()
      const refs = yield* Effect.forEach(Array.range(1, 1_000), (n) =>
        Scope.extend(host.start({ identity: `lane/${n}`, cycle: idle }), scope))
      const drained = yield* Effect.forEach(refs, (ref) =>
        ref.send("Drain"), { concurrency: "unbounded" })
      expect(drained.every((status) => status.state === "idle")).toBe(true)
      yield* Scope.close(scope, Exit.void)
      yield* Effect.forEach(refs, (ref) => ref.await, { concurrency: "unbounded", discard: true })
    }).pipe(Effect.provide(Local.layer)))

  it.live("an actor in a layer ends with it, also when the layer is built uninterruptibly", () =>
    Effect.gen(function*() {
      const begun = yield* Deferred.make<void>()
      const worker = Layer.scopedDiscard(
        Effect.flatMap(
          Host,
          (host) =>
            host.start({ identity: "layer", cycle: Effect.zipRight(Deferred.succeed(begun, undefined), Effect.never) })
        )
      )
      const program = yield* Layer.launch(worker).pipe(Effect.provide(Local.layer), Effect.fork)
      yield* Deferred.await(begun)
      yield* Fiber.interrupt(program)
      const scope = yield* Scope.make()
      yield* Effect.uninterruptible(Layer.buildWithScope(Layer.provide(worker, Local.layer), scope))
      yield* Scope.close(scope, Exit.void)
    }))
})
