/**
 * How soon an actor answers, and what its mailbox holds, while it is flooded from a hundred senders, over a cycle that hangs and
 * over cycles that never rest.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { Next } from "../../src/Actor.ts"
import { Host } from "../../src/Host.ts"
import * as HostLocal from "../../src/Host/Local.ts"
import type { Bench } from "../Bench.ts"
import { machine, runtime } from "../Machine.ts"
import { shown, shownSpread } from "../Report.ts"
import * as Rounds from "../Rounds.ts"
import { turn } from "../turn.ts"

const senders = 100

/** So many messages a sender has at a time; then others, timers and sockets have their turn. */
const burst = 10

/** A cycle that waits for what never comes, and one that uses the thread for a millisecond and has more to do. */
const floods = [
  { label: "a cycle that hangs", cycle: Effect.never },
  {
    label: "cycles without rest",
    cycle: Effect.sync(() => {
      for (const end = performance.now() + 1; performance.now() < end;);
      return Next.Again()
    })
  }
]

/** What the heap holds once it is swept. */
const used = (): number => {
  setFlagsFromString("--expose-gc")
  runInNewContext("gc")()
  return process.memoryUsage().heapUsed
}

const quantile = (sorted: ReadonlyArray<number>, part: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN

const measure = (cycle: Effect.Effect<Next>, bursts: number) =>
  Effect.scoped(Effect.gen(function*() {
    const host = yield* Host
    const actor = yield* host.start({ identity: "bench", cycle })
    yield* actor.send("Wake")
    const before = used()
    const isFlooded = yield* Deferred.make<void>()
    const asking = yield* Effect.fork(Effect.gen(function*() {
      const answers: Array<number> = []
      while (!(yield* Deferred.isDone(isFlooded))) {
        const began = performance.now()
        yield* actor.status
        answers.push(performance.now() - began)
        yield* Effect.sleep(1)
      }
      return answers.sort((a, b) => a - b)
    }))
    const began = performance.now()
    yield* Effect.forEach(
      Array.from({ length: senders }),
      () =>
        Effect.repeatN(
          Effect.zipRight(Effect.repeatN(actor.send("Wake"), burst - 1), Effect.promise(turn)),
          bursts - 1
        ),
      { concurrency: "unbounded", discard: true }
    )
    const took = performance.now() - began
    yield* Deferred.succeed(isFlooded, undefined)
    const answers = yield* Fiber.join(asking)
    const { cycles } = yield* actor.status
    return { took, cycles, answers, heap: (used() - before) / 1_024 }
  })).pipe(Effect.provide(HostLocal.layer))

export const actor: Bench = {
  title: "An actor that is flooded",
  run: ({ rounds, scale }) =>
    Effect.gen(function*() {
      const bursts = Math.max(1, Math.round(100 * scale))
      const messages = senders * burst * bursts
      const found = yield* Rounds.alternate(floods, rounds, ({ cycle }) => measure(cycle, bursts))
      return {
        conditions: [
          machine,
          runtime,
          `${rounds} rounds; ${
            messages.toLocaleString("en")
          } messages from ${senders} senders, asked for its status every ms`
        ],
        tables: [{
          title: "Answers while the messages come",
          columns: [
            "",
            "messages/s",
            "cycles ended",
            "answers",
            "median, ms",
            "99 %, ms",
            "slowest, ms",
            "heap larger by, KiB"
          ],
          rows: floods.map((flood) => {
            const figure = (of: (answer: Effect.Effect.Success<ReturnType<typeof measure>>) => number) =>
              Rounds.figures(found, flood, of)
            return [
              flood.label,
              shown(figure(({ took }) => messages / took * 1_000).median),
              shown(figure(({ cycles }) => cycles).median),
              shown(figure(({ answers }) => answers.length).median),
              shown(figure(({ answers }) => quantile(answers, 0.5)).median),
              shown(figure(({ answers }) => quantile(answers, 0.99)).median),
              shownSpread(figure(({ answers }) => quantile(answers, 1))),
              shownSpread(figure(({ heap }) => heap))
            ]
          })
        }],
        charts: []
      }
    })
}
