/**
 * Recording into SQLite, and delivering from it, beside the bare driver.
 */
import * as Effect from "effect/Effect"
import * as path from "node:path"
import type { Bench } from "../Bench.ts"
import * as Folder from "../Folder.ts"
import { machine, runtime } from "../Machine.ts"
import * as Process from "../Process.ts"
import { shown, shownSpread, type Table } from "../Report.ts"
import * as Rounds from "../Rounds.ts"
import type { Name } from "../contenders.ts"

/** The first of them is what the others are compared with. */
const recording: ReadonlyArray<Name> = ["bare INSERT, SQLite", "hand-written loop, SQLite", "trustlog"]
const delivering: ReadonlyArray<Name> = ["hand-written loop, SQLite", "trustlog"]

const shapes = [
  { title: "one operation in a transaction", count: 2_000, perBatch: 1 },
  { title: "1,000 operations at once", count: 50_000, perBatch: 1_000 }
] as const

const backlog = 200_000

export const sqlite: Bench = {
  title: "Delivering a backlog from SQLite",
  run: ({ note, rounds, scale }) =>
    Effect.gen(function*() {
      const folder = yield* Folder.temporary
      const start = (of: string) => (name: Name, i: number) =>
        Process.start(name, `sqlite:${path.join(folder, `${of}-${i}.db`)}`)
      const tables: Array<Table> = []

      const drains = yield* Effect.forEach(delivering, start("drain"))
      const count = Math.round(backlog * scale)
      const drained = yield* Rounds.alternate(drains, rounds, (process, round) =>
        Effect.gen(function*() {
          yield* process.ask("fill", { count })
          const answer = yield* process.ask("drain", { count })
          yield* note(`round ${round}: ${process.name} ${shown(answer.perSecond)}/s`)
          return answer
        }))
      const [loop] = drains
      const ratios = drains.flatMap((process) =>
        loop === undefined ? [] : [Rounds.ratio(drained, process, loop, ({ perSecond }) => perSecond)]
      )
      tables.push({
        title: `Delivering ${shown(count)} records to a log that does nothing`,
        columns: ["", "ratio to the loop", "records/s", "CPU, µs", "memory, MiB", "sent twice"],
        rows: drains.map((process, i) => [
          process.name,
          ratios[i] === undefined ? "" : shownSpread(ratios[i]),
          shown(Rounds.figures(drained, process, ({ perSecond }) => perSecond).median),
          shown(Rounds.figures(drained, process, ({ cpuMicros }) => cpuMicros).median),
          shown(Rounds.figures(drained, process, ({ memory }) => memory).median),
          shown(Rounds.figures(drained, process, ({ duplicates }) => duplicates).median)
        ])
      })

      const appends = yield* Effect.forEach(recording, start("append"))
      for (const { count, perBatch, title } of shapes) {
        yield* note(title)
        const some = Math.max(1, Math.round(count * scale / perBatch)) * perBatch
        const found = yield* Rounds.alternate(appends, rounds, (process) =>
          process.ask("append", { count: some, atOnce: 1, perBatch }))
        const [bare] = appends
        tables.push({
          title: `Recording: ${title}`,
          columns: ["", "ratio to the bare INSERT", "operations/s", "CPU, µs"],
          rows: appends.flatMap((process) =>
            bare === undefined ? [] : [[
              process.name,
              shownSpread(Rounds.ratio(found, process, bare, ({ perSecond }) =>
                perSecond)),
              shown(
                Rounds.figures(found, process, ({ perSecond }) =>
                  perSecond).median
              ),
              shown(Rounds.figures(found, process, ({ cpuMicros }) => cpuMicros).median)
            ]]
          )
        })
      }
      return {
        conditions: [
          machine,
          `${runtime}, node:sqlite; WAL, synchronous = FULL`,
          `${rounds} rounds, each contender in a process of its own; messages of 600 bytes of JSON`
        ],
        tables,
        charts: [{
          title: "Delivering a backlog from SQLite, log that does nothing",
          unit: "rate as a part of the hand-written loop's, median and range of the rounds; more is better",
          bars: drains.flatMap(({ name }, i) =>
            ratios[i] === undefined ? [] : [{ label: name, isOurs: name === "trustlog", spread: ratios[i] }]
          )
        }]
      }
    })
}
