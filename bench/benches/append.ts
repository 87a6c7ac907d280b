/**
 * What it costs an application to record an operation, beside the bare INSERT of its row.
 */
import * as Effect from "effect/Effect"
import type { Bench } from "../Bench.ts"
import * as Process from "../Process.ts"
import { shown, shownSpread } from "../Report.ts"
import * as Rounds from "../Rounds.ts"
import * as Server from "../Server.ts"
import type { Name } from "../contenders.ts"

const names: ReadonlyArray<Name> = [
  "bare INSERT",
  "bare INSERT, Effect's client",
  "hand-written loop",
  "trustlog",
  "graphile-worker",
  "pg-boss",
  "pg-boss, notify",
  "pg-transactional-outbox",
  "Effect PersistedQueue"
]

const shapes = [
  { title: "one connection, one operation in a transaction", count: 3_000, atOnce: 1, perBatch: 1 },
  { title: "16 connections, one operation in a transaction", count: 16_000, atOnce: 16, perBatch: 1 },
  { title: "one connection, 1,000 operations at once", count: 30_000, atOnce: 1, perBatch: 1_000 }
] as const

/** Those whose batches are a thousand calls, and those that notify somebody in each transaction, are given less to do. */
const slow: { readonly [K in "batches" | "transactions"]: ReadonlyArray<Name> } = {
  batches: ["pg-transactional-outbox", "Effect PersistedQueue"],
  transactions: ["graphile-worker", "pg-boss", "pg-boss, notify"]
}

export const append: Bench = {
  title: "Recording an operation",
  run: ({ note, rounds, scale }) =>
    Effect.gen(function*() {
      const server = yield* Server.PostgreSQL
      const processes = yield* Effect.forEach(names, (name) =>
        Effect.gen(function*() {
          const url = yield* server.database
          return { url, process: yield* Process.start(name, url) }
        }))
      const tables = []
      const charts = []
      for (const { atOnce, count, perBatch, title } of shapes) {
        yield* note(title)
        const found = yield* Rounds.alternate(processes, rounds, ({ process, url }) =>
          Effect.gen(function*() {
            const part = slow[perBatch > 1 ? "batches" : "transactions"].includes(process.name) ? 0.1 : 1
            const some = Math.max(perBatch, Math.round(count * scale * part / perBatch) * perBatch)
            const before = yield* Server.wal(url)
            const answer = yield* process.ask("append", { count: some, atOnce, perBatch })
            return { ...answer, wal: ((yield* Server.wal(url)) - before) / some }
          }))
        const [bare] = processes
        const rows = processes.flatMap((contender) =>
          bare === undefined ? [] : [{
            label: contender.process.name,
            isOurs: contender.process.name === "trustlog",
            ratio: Rounds.ratio(found, contender, bare, ({ perSecond }) => perSecond),
            rate: Rounds.figures(found, contender, ({ perSecond }) => perSecond),
            cpu: Rounds.figures(found, contender, ({ cpuMicros }) => cpuMicros),
            wal: Rounds.figures(found, contender, ({ wal }) => wal)
          }]
        )
        tables.push({
          title,
          columns: ["", "ratio to the bare INSERT", "operations/s", "CPU of the application, µs", "WAL, bytes"],
          rows: rows.map(({ cpu, label, rate, ratio, wal }) => [
            label,
            shownSpread(ratio),
            shown(rate.median),
            shown(cpu.median),
            shown(wal.median)
          ])
        })
        charts.push({
          title: `Recording: ${title}`,
          unit: "rate as a part of the bare INSERT's, median and range of the rounds; more is better",
          bars: rows.map(({ isOurs, label, ratio: spread }) => ({ label, isOurs, spread }))
        })
      }
      return {
        conditions: [
          ...server.conditions,
          `${rounds} rounds; the client in a process of its own; messages of 600 bytes of JSON`
        ],
        tables,
        charts
      }
    })
}
