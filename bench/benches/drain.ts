/**
 * How fast a backlog is delivered to a log that does nothing.
 */
import * as Effect from "effect/Effect"
import type { Bench } from "../Bench.ts"
import * as Process from "../Process.ts"
import { shown, shownSpread } from "../Report.ts"
import * as Rounds from "../Rounds.ts"
import * as Server from "../Server.ts"
import type { Name } from "../contenders.ts"

/** Each with a backlog that it can deliver in some seconds. */
const contenders: ReadonlyArray<{ readonly name: Name; readonly count: number }> = [
  { name: "hand-written loop", count: 200_000 },
  { name: "trustlog", count: 200_000 },
  { name: "graphile-worker", count: 100_000 },
  { name: "pg-boss", count: 100_000 },
  { name: "Effect PersistedQueue", count: 10_000 },
  { name: "pg-transactional-outbox", count: 5_000 }
]

export const drain: Bench = {
  title: "Delivering a backlog to a log that does nothing",
  run: ({ note, rounds, scale }) =>
    Effect.gen(function*() {
      const server = yield* Server.PostgreSQL
      const processes = yield* Effect.forEach(contenders, ({ count, name }) =>
        Effect.gen(function*() {
          const url = yield* server.database
          return { url, count: Math.round(count * scale), process: yield* Process.start(name, url) }
        }))
      const found = yield* Rounds.alternate(processes, rounds, ({ count, process, url }, round) =>
        Effect.gen(function*() {
          yield* process.ask("fill", { count })
          yield* Server.settle(url)
          const wal = yield* Server.wal(url)
          const cpu = yield* server.cpu
          const answer = yield* process.ask("drain", { count })
          const cpuAfter = yield* server.cpu
          yield* note(`round ${round}: ${process.name} ${shown(answer.perSecond)}/s`)
          return {
            ...answer,
            wal: ((yield* Server.wal(url)) - wal) / count,
            server: cpu === undefined || cpuAfter === undefined ? Number.NaN : (cpuAfter - cpu) / count * 1e6
          }
        }))
      const [hand] = processes
      const rows = processes.flatMap((contender) =>
        hand === undefined ? [] : [{
          label: contender.process.name,
          note: contender.process.note,
          isOurs: contender.process.name === "trustlog",
          count: contender.count,
          ratio: Rounds.ratio(found, contender, hand, ({ perSecond }) =>
            perSecond),
          figure: (of: "perSecond" | "cpuMicros" | "server" | "wal" | "memory" | "duplicates") =>
            shown(
              Rounds.figures(found, contender, (answer) =>
                answer[of]).median
            )
        }]
      )
      return {
        conditions: [
          ...server.conditions,
          `${rounds} rounds, one worker process; each backlog was vacuumed before it was drained; messages of 600 bytes of JSON`
        ],
        tables: [{
          title: "Rates, and what a record cost",
          columns: [
            "",
            "ratio to the loop",
            "records/s",
            "backlog",
            "CPU of the worker, µs",
            "CPU of PostgreSQL, µs",
            "WAL, bytes",
            "memory, MiB",
            "sent twice"
          ],
          rows: rows.map(({ count, figure, label, ratio }) => [
            label,
            shownSpread(ratio),
            figure("perSecond"),
            shown(count),
            figure("cpuMicros"),
            figure("server"),
            figure("wal"),
            figure("memory"),
            figure("duplicates")
          ])
        }, {
          title: "What the numbers do not say",
          columns: ["", "set up, and not guaranteed"],
          rows: rows.map(({ label, note }) => [label, note === "" ? "–" : note])
        }],
        charts: [{
          title: "Delivering a backlog, log that does nothing",
          unit: "rate as a part of the hand-written loop's, median and range of the rounds; more is better",
          bars: rows.map(({ isOurs, label, ratio: spread }) => ({ label, isOurs, spread }))
        }]
      }
    })
}
