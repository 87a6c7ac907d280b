import { expect, it } from "@effect/vitest"
import * as Array from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import * as Actor from "../src/Actor.ts"
import { actorRestarts } from "../src/TrustlogMetrics.ts"

const actor: Actor.Actor<never, never> = {
  identity: "cursor/operation",
  cycle: Effect.succeed(Actor.Next.Idle({})),
  pollInterval: "1 second"
}

/** How long until the next cycle of an actor whose cycle has just ended like this; `Infinity`: not by time. */
const waitAfter = (state: Actor.State, next: Actor.Next, now: number): readonly [Actor.State, number] => {
  const after = Actor.ended(Actor.began(state, now), next, now)
  const decision = Actor.decide(after, now)
  return [after, decision._tag === "Run" ? 0 : decision._tag === "Wait" ? decision.until - now : NaN]
}

/** The waits of an actor whose cycles find nothing, each begun when it is due. */
const idleWaits = (state: Actor.State, count: number, atMost?: Duration.DurationInput): ReadonlyArray<number> => {
  const waits: Array<number> = []
  let [at, now] = [state, 0]
  for (let i = 0; i < count; i++) {
    const [after, wait] = waitAfter(at, Actor.Next.Idle({ atMost }), now)
    waits.push(wait)
    at = after
    now += wait
  }
  return waits
}

const started = Actor.initial(actor, 0)

it("the first cycle is due at once, and without hints idle ones come at the poll interval", () => {
  expect(Actor.decide(started, 0)).toEqual({ _tag: "Run" })
  expect(idleWaits(started, 3)).toEqual([1_000, 1_000, 1_000])
})

it("the poll interval is 10 seconds by default, and never so short as to be a hot loop", () => {
  const poll = (pollInterval: Duration.DurationInput | undefined) =>
    idleWaits(Actor.initial({ ...actor, pollInterval }, 0), 1)
  expect(poll(undefined)).toEqual([10_000])
  expect(poll(0)).toEqual([2])
  expect(poll(Duration.infinity)).toEqual([Infinity])
})

it("what may be there only later is looked for at 2, 4, 8 … ms, up to the poll interval", () => {
  const burst = [2, 4, 8, 16, 32, 64, 128, 256, 512, 1_000, 1_000]
  expect(idleWaits(Actor.received(started, "Expect", 0), 11)).toEqual(burst)
  // What is there is looked for once, and does not end what is expected.
  expect(idleWaits(Actor.received(started, "Wake", 0), 2)).toEqual([1_000, 1_000])
  expect(idleWaits(Actor.received(Actor.received(started, "Expect", 0), "Wake", 0), 11)).toEqual(burst)
  expect(idleWaits(waitAfter(started, Actor.Next.Again(), 0)[0], 1)).toEqual([1_000])
})

it("a hint while a cycle runs, which may have looked already, is followed when the cycle ends", () => {
  for (const message of ["Wake", "Expect"] as const) {
    const hinted = Actor.received(Actor.began(started, 0), message, 5)
    expect(Actor.decide(hinted, 5)).toEqual({ _tag: "Wait", until: Infinity })
    expect(Actor.decide(Actor.ended(hinted, Actor.Next.Idle({}), 10), 10)).toEqual({ _tag: "Run" })
    // A cycle that took less than 2 ms is not followed sooner than that.
    const short = Actor.received(Actor.began(started, 0), message, 1)
    expect(Actor.decide(Actor.ended(short, Actor.Next.Idle({}), 1), 1)).toEqual({ _tag: "Wait", until: 2 })
    // It is followed once.
    expect(waitAfter(Actor.ended(hinted, Actor.Next.Idle({}), 10), Actor.Next.Idle({}), 20)[1])
      .toBe(message === "Wake" ? 1_000 : 4)
  }
})

it("a wake-up of an idle actor is followed at once, but cycles that find nothing stay 2 ms apart", () => {
  const [idle] = waitAfter(started, Actor.Next.Idle({}), 0)
  expect(Actor.decide(Actor.received(idle, "Wake", 1), 1)).toEqual({ _tag: "Wait", until: 2 })
  expect(Actor.decide(Actor.received(idle, "Wake", 500), 500)).toEqual({ _tag: "Run" })
})

it("an idle actor waits at most until the time that it named", () => {
  expect(idleWaits(started, 2, "300 millis")).toEqual([300, 300])
  expect(idleWaits(started, 1, "1 hour")).toEqual([1_000])
  expect(idleWaits(Actor.received(started, "Expect", 0), 4, "5 millis")).toEqual([2, 4, 5, 5])
})

it("something said to be due already, where a cycle found nothing, is asked for ever more rarely", () => {
  for (const atMost of [0, -5, 1, NaN]) {
    expect(idleWaits(started, 11, atMost)).toEqual([2, 4, 8, 16, 32, 64, 128, 256, 512, 2, 4])
  }
})

it("a delay is not cut short by a wake-up, and is by Resume and Drain", () => {
  const [held, wait] = waitAfter(started, Actor.Next.After({ delay: "5 seconds" }), 0)
  expect(wait).toBe(5_000)
  expect(Actor.status(held).state).toBe("held")
  expect(Actor.decide(Actor.received(held, "Wake", 100), 100)).toEqual({ _tag: "Wait", until: 5_000 })
  expect(Actor.decide(Actor.received(held, "Wake", 100), 5_000)).toEqual({ _tag: "Run" })
  expect(Actor.decide(Actor.received(held, "Resume", 100), 100)).toEqual({ _tag: "Run" })
  expect(Actor.decide(Actor.received(held, "Drain", 100), 100)).toEqual({ _tag: "Run" })
})

it("failures back off from 100 ms, doubling to 30 s, and a good cycle begins anew", () => {
  const fail = (state: Actor.State) => Actor.failed(Actor.began(state, 0), "no", 0)
  const wait = (state: Actor.State) => {
    const decision = Actor.decide(state, 0)
    return decision._tag === "Wait" ? decision.until : 0
  }
  let state = started
  const waits = Array.makeBy(12, () => wait(state = fail(state)))
  expect(waits).toEqual([100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000, 30_000])
  expect(Actor.decide(Actor.received(state, "Wake", 100), 100)).toEqual({ _tag: "Wait", until: 30_000 })
  expect(wait(fail(waitAfter(state, Actor.Next.Again(), 0)[0]))).toBe(100)
  expect(wait({ ...state, failuresInRow: 1_000_000 })).toBe(30_000)
  expect(wait(fail({ ...state, failuresInRow: 1_000_000 }))).toBe(30_000)
})

it("an actor with a limit of failures in a row ends with the last of them, and says what it was", () => {
  const fail = (state: Actor.State, n: number) => Actor.failed(Actor.began(state, n), `no ${n}`, n)
  const limited = Actor.initial({ ...actor, maxFailures: 3 }, 0)
  const twice = fail(fail(limited, 1), 2)
  expect(Actor.status(twice).state).toBe("backingOff")
  // A good one begins the count anew.
  const again = fail(fail(waitAfter(twice, Actor.Next.Again(), 3)[0], 4), 5)
  expect(Actor.status(again).state).toBe("backingOff")
  const last = fail(Actor.received(again, "Drain", 5), 6)
  expect(Actor.status(last)).toMatchObject({ state: "stopped", failuresInRow: 3, lastError: "no 6", since: 6 })
  expect(last.drain).toBe("none")
  expect(Actor.decide(Actor.received(last, "Resume", 7), 1_000_000)).toEqual({ _tag: "End" })
  expect(Actor.describe(Actor.status(last))).toBe("cursor/operation: stopped after 3 failures in a row: no 6")
  expect(Actor.status(fail(Actor.initial({ ...actor, maxFailures: 0 }, 0), 1)).state).toBe("stopped")
})

it("a drain ends with the first cycle begun after it that has nothing more to do", () => {
  const before = Actor.began(started, 0)
  const asked = Actor.received(before, "Drain", 1)
  const endedBefore = Actor.ended(asked, Actor.Next.Idle({}), 2)
  expect(endedBefore.drain).toBe("asked")
  expect(Actor.decide(endedBefore, 2)).toEqual({ _tag: "Run" })
  const more = Actor.ended(Actor.began(endedBefore, 2), Actor.Next.Again(), 3)
  expect(Actor.decide(more, 3)).toEqual({ _tag: "Run" })
  const ends = [
    Actor.ended(Actor.began(more, 3), Actor.Next.Idle({}), 4),
    Actor.ended(Actor.began(more, 3), Actor.Next.After({ delay: 5 }), 4),
    Actor.ended(Actor.began(more, 3), Actor.Next.Stop(), 4),
    Actor.failed(Actor.began(more, 3), "no", 4)
  ]
  expect(ends.map((state) => state.drain)).toEqual(["none", "none", "none", "none"])
  expect(ends.map((state) => Actor.status(state).state)).toEqual(["idle", "held", "stopped", "backingOff"])
})

it("a paused actor begins no cycle, whatever it is told, and is drained as it is", () => {
  const paused = Actor.received(started, "Pause", 0)
  const told = Actor.received(Actor.received(paused, "Wake", 1), "Drain", 2)
  expect(Actor.decide(told, 1_000_000)).toEqual({ _tag: "Wait", until: Infinity })
  expect(told.drain).toBe("none")
  expect(Actor.decide(Actor.received(told, "Resume", 3), 3)).toEqual({ _tag: "Run" })
})

it("a pause during a drain lets the cycle under way end, and ends the drain with it", () => {
  const draining = Actor.received(Actor.began(Actor.received(started, "Drain", 0), 0), "Pause", 1)
  expect(draining.drain).toBe("covered")
  expect(Actor.status(draining).state).toBe("running")
  const paused = Actor.ended(draining, Actor.Next.Again(), 2)
  expect(paused.drain).toBe("none")
  expect(Actor.status(paused).state).toBe("paused")
})

it("a status says since when it has been in its state, and messages that do not change it leave that alone", () => {
  const [idle] = waitAfter(Actor.initial(actor, 7), Actor.Next.Idle({}), 10)
  expect(Actor.status(idle).since).toBe(10)
  expect(Actor.status(Actor.received(idle, "Wake", 20)).since).toBe(10)
  expect(Actor.status(Actor.received(idle, "Pause", 30)).since).toBe(30)
  expect(Actor.status(Actor.received(Actor.received(idle, "Pause", 30), "Pause", 40)).since).toBe(30)
})

it("people read what an actor does, and why", () => {
  const fail = (state: Actor.State) => Actor.failed(Actor.began(state, 0), "the disk is full", 0)
  expect(Actor.describe(Actor.status(started))).toBe("cursor/operation: idle")
  const once = fail(started)
  expect(Actor.describe(Actor.status(once))).toBe("cursor/operation: backing off after 1 failure: the disk is full")
  expect(Actor.describe(Actor.status(Actor.began(fail(once), 0)))).toBe(
    "cursor/operation: running after 2 failures in a row: the disk is full"
  )
})

const nexts = FastCheck.constantFrom<Actor.Next>(
  Actor.Next.Again(),
  Actor.Next.Idle({}),
  Actor.Next.Idle({ atMost: 0 }),
  Actor.Next.Idle({ atMost: 30 }),
  Actor.Next.After({ delay: 50 })
)
const events = FastCheck.array(FastCheck.record({
  message: FastCheck.constantFrom(...Actor.Message.literals),
  next: nexts,
  isGood: FastCheck.boolean(),
  elapsed: FastCheck.nat(2_000)
}))

it("whatever it is told and however its cycles end, an actor that is not paused goes on within a bounded time", () => {
  FastCheck.assert(
    FastCheck.property(events, (events) => {
      let state = started
      let now = 0
      for (const { elapsed, isGood, message, next } of events) {
        state = Actor.received(state, message, now)
        now += elapsed
        const decision = Actor.decide(state, now)
        if (state.isRunning) {
          expect(decision).toEqual({ _tag: "Wait", until: Infinity })
          state = isGood ? Actor.ended(state, next, now) : Actor.failed(state, "no", now)
        } else if (decision._tag === "Run") {
          expect(state.isPaused).toBe(false)
          state = Actor.began(state, now)
        }
        if (state.drain !== "none") expect(state.isPaused && !state.isRunning).toBe(false)
        if (!state.isPaused && !state.isRunning) {
          const next = Actor.decide(state, now)
          if (next._tag === "Wait") expect(next.until - now).toBeLessThanOrEqual(30_000)
          else expect(next._tag).toBe("Run")
        }
        expect(Actor.decide(Actor.stopped(state, now), now)).toEqual({ _tag: "End" })
      }
    }),
    { numRuns: 500 }
  )
})

/** Runs one cycle under supervision; returns the state after it and what was logged. */
const runOnce = <E>(cycle: Effect.Effect<Actor.Next, E>, state: Actor.State = started) =>
  Effect.gen(function*() {
    let kept = state
    const logged: Array<string> = []
    yield* Actor.run({ identity: "test", cycle }, (change) => Effect.sync(() => kept = change(kept, 0))).pipe(
      Effect.provide(Logger.replace(
        Logger.defaultLogger,
        Logger.map(Logger.stringLogger, (line) => void logged.push(line))
      ))
    )
    return { state: kept, logged }
  })

class Broken extends Error {
  override get message(): string {
    throw new Error("even this")
  }
}

it.effect("every way to fail is backed off, counted and told: failures, defects, throws, interruptions", () =>
  Effect.gen(function*() {
    const counter = Metric.tagged(actorRestarts, "actor", "test")
    const cases: ReadonlyArray<readonly [Effect.Effect<Actor.Next, unknown>, string]> = [
      [Effect.fail("no"), "no"],
      [Effect.die(new Error("no")), "no"],
      [Effect.die(new TypeError("no")), "TypeError: no"],
      [Effect.die(new TypeError()), "TypeError"],
      [Effect.fail({ reason: "full" }), `{"reason":"full"}`],
      [Effect.sync(() => JSON.parse("{")), "SyntaxError: "],
      [Effect.interrupt, "interrupted"],
      [Effect.fail(undefined), ""],
      [Effect.fail(null), ""],
      [Effect.fail(""), ""],
      [Effect.die(new Broken()), "an error that cannot be shown"],
      [Effect.fail(Object.create(null)), "{}"],
      [Effect.zipRight(Effect.fail("a"), Effect.fail("b"), { concurrent: true }), "a"],
      // What a caller in JavaScript may answer.
      [Effect.sync(() => JSON.parse("null")), ""],
      [Effect.sync(() => JSON.parse(`{"_tag":"After","delay":"soon"}`)), ""]
    ]
    for (const [cycle, text] of cases) {
      const before = yield* Metric.value(counter)
      const { state } = yield* runOnce(cycle)
      expect(Actor.status(state)).toMatchObject({ state: "backingOff", failuresInRow: 1, cycles: 1 })
      expect(state.lastError).toContain(text)
      expect((yield* Metric.value(counter)).count).toBe(before.count + 1)
    }
  }))

it.effect("a status stays one short printable line, whatever an error says", () =>
  Effect.gen(function*() {
    const { state } = yield* runOnce(Effect.die(new Error(`\u001b[2Jdisk\r\n\n full\u0000 ${"x".repeat(50_000_000)}`)))
    expect(state.lastError).toMatch(/^ ?\[2Jdisk full x+$/)
    expect(state.lastError?.length).toBeLessThanOrEqual(1_000)
  }))

it.effect("failures are warned of with their number, and the recovery is told", () =>
  Effect.gen(function*() {
    const first = yield* runOnce(Effect.fail("no"), { ...started, failuresInRow: 19 })
    expect(first.logged).toHaveLength(1)
    expect(first.logged[0]).toContain("level=WARN")
    expect(first.logged[0]).toContain("backing off for 30000 ms after 20 failures in a row: no")
    for (const annotation of ["package=effect-trustlog", "module=Actor", "actor=test"]) {
      expect(first.logged[0]).toContain(annotation)
    }
    const second = yield* runOnce(Effect.succeed(Actor.Next.Again()), first.state)
    expect(second.logged).toHaveLength(1)
    expect(second.logged[0]).toContain("recovered after 20 failed cycles")
    expect((yield* runOnce(Effect.succeed(Actor.Next.Again()), second.state)).logged).toEqual([])
    const last = yield* runOnce(Effect.fail("no"), { ...started, failuresInRow: 19, maxFailures: 20 })
    expect(last.logged).toHaveLength(1)
    expect(last.logged[0]).toContain("level=ERROR")
    expect(last.logged[0]).toContain("cycle failed; ended after 20 failures in a row: no")
  }))
