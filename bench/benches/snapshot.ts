/**
 * What a delivery keeps of its rate while another session holds an old snapshot, as a long report or a stalled replica does: then
 * nothing that was deleted since can be cleared away.
 */
import * as Effect from "effect/Effect"
import { Client } from "pg"
import type { Bench } from "../Bench.ts"
import * as Process from "../Process.ts"
import { shown, shownSpread } from "../Report.ts"
import * as Rounds from "../Rounds.ts"
import * as Server from "../Server.ts"
import type { Name } from "../contenders.ts"

const names: ReadonlyArray<Name> = ["hand-written loop", "trustlog", "graphile-worker", "pg-boss"]

/** Held until the scope closes. */
const snapshotOf = (url: string) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const client = new Client({ connectionString: url })
      await client.connect()
      await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ")
      // The first statement takes it.
      await client.query("SELECT 1")
      return client
    }),
    (client) => Effect.promise(() => client.end())
  )

export const snapshot: Bench = {
  title: "An old snapshot held open",
  run: ({ note, rounds, scale }) =>
    Effect.gen(function*() {
      const server = yield* Server.PostgreSQL
      const count = Math.round(300_000 * scale)
      const pairs = yield* Effect.forEach(names, (name) =>
        Effect.gen(function*() {
          const url = yield* server.database
          const process = yield* Process.start(name, url)
          return { process, without: { url, process, isHeld: false }, held: { url, process, isHeld: true } }
        }))
      const contenders = pairs.flatMap(({ held, without }) => [without, held])
      const found = yield* Rounds.alternate(contenders, rounds, ({ isHeld, process, url }, round) =>
        Effect.scoped(Effect.gen(function*() {
          if (isHeld)
            yield* snapshotOf(url)
          yield* process.ask("fill", { count })
          yield* Server.settle(url)
          const before = yield* server.cpu
          const answer = yield* process.ask("drain", { count })
          const used = Server.micros(before, yield* server.cpu, count)
          yield* note(`round ${round}: ${process.name}${isHeld ? ", held" : ""} ${shown(answer.perSecond)}/s`)
          return { ...answer, server: used }
        })))
      const rows = pairs.map(({ held, process, without }) => {
        const figures = (of: "perSecond" | "cpuMicros" | "server") =>
          [without, held].map((contender) => {
            const { median } = Rounds.figures(found, contender, (answer) =>
              answer[of])
            return shown(median)
          })
        return {
          label: process.name,
          ratio: Rounds.ratio(found, held, without, ({ perSecond }) =>
            perSecond),
          figures: [...figures("perSecond"), ...figures("cpuMicros"), ...figures("server")]
        }
      })
      return {
        conditions: [
          ...server.conditions,
          `${rounds} rounds, one worker process, a log that does nothing; messages of 600 bytes of JSON`,
          `A backlog of ${shown(count)}, recorded and vacuumed while the snapshot was held`
        ],
        tables: [{
          title: "Rates with and without it",
          columns: [
            "",
            "ratio to itself without",
            "records/s without",
            "with",
            "CPU of the worker, µs, without",
            "with",
            "CPU of PostgreSQL, µs, without",
            "with"
          ],
          rows: rows.map(({ figures, label, ratio }) => [label, shownSpread(ratio), ...figures])
        }],
        charts: [{
          title: "Delivering a backlog while an old snapshot is held",
          unit: "rate as a part of its own without the snapshot, median and range of the rounds; more is better",
          bars: rows.map(({ label, ratio }) => ({ label, isOurs: label === "trustlog", spread: ratio }))
        }]
      }
    })
}
