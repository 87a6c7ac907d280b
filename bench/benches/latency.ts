/**
 * How long an operation takes from its statement to the log, and what a worker costs that has nothing to do.
 */
import * as Effect from "effect/Effect"
import * as path from "node:path"
import type { Bench } from "../Bench.ts"
import * as Folder from "../Folder.ts"
import { MySQL } from "../MySQL.ts"
import * as Process from "../Process.ts"
import type { Chart, Table } from "../Report.ts"
import { shown, shownSpread } from "../Report.ts"
import * as Rounds from "../Rounds.ts"
import * as Server from "../Server.ts"
import type { Name } from "../contenders.ts"
import type { Latencies } from "../tasks.ts"

/** Those that can take a thousand a second, and those that cannot. */
const fast: ReadonlyArray<Name> = ["trustlog", "hand-written loop", "graphile-worker", "pg-boss, notify"]
const slow: ReadonlyArray<Name> = ["pg-boss", "Effect PersistedQueue", "pg-transactional-outbox"]

const apart: ReadonlyArray<Name> = ["trustlog", "graphile-worker", "pg-boss, notify"]

const columns = ["", "p50, ms", "p99, ms", "p99.9, ms", "max, ms", "arrived/s", "lost", "CPU, %"]

interface Contender {
  readonly label: string
  readonly isOurs: boolean
}

const tableOf = <C extends Contender>(title: string, found: Rounds.Rounds<C, Latencies>): Table => ({
  title,
  columns,
  rows: Array.from(found, ([contender, answers]) => {
    const figures = (of: keyof Latencies) => Rounds.figures(found, contender, (answer) => answer[of])
    return [
      contender.label,
      shownSpread(figures("p50")),
      shownSpread(figures("p99")),
      shown(figures("p999").median),
      shown(figures("max").max),
      shown(figures("perSecond").median),
      String(answers.reduce((sum, { lost }) => sum + lost, 0)),
      shown(figures("cpu").median)
    ]
  })
})

const chartOf = <C extends Contender>(title: string, found: Rounds.Rounds<C, Latencies>): Chart => ({
  title,
  unit: "99 of 100 arrive within so many milliseconds, median and range of the rounds; less is better",
  bars: Array.from(found.keys(), (contender) => ({
    label: contender.label,
    isOurs: contender.isOurs,
    spread: Rounds.figures(found, contender, ({ p99 }) => p99)
  }))
})

/** A worker is given so long to begin before another process appends. */
const head = 1

export const latency: Bench = {
  title: "From the statement of an operation to the log",
  run: ({ note, rounds, scale }) =>
    Effect.gen(function*() {
      const server = yield* Server.PostgreSQL
      const start = (name: Name) =>
        Effect.gen(function*() {
          const url = yield* server.database
          return { label: name, isOurs: name === "trustlog", url, process: yield* Process.start(name, url) }
        })
      const seconds = Math.max(2, Math.round(5 * scale))
      const both = yield* Effect.forEach(fast, start)
      const polling = yield* Effect.forEach(slow, start)
      const tables: Array<Table> = []
      const charts: Array<Chart> = []

      const together = <C extends Contender & { readonly process: Process.Process }>(
        contenders: ReadonlyArray<C>,
        perSecond: number
      ) =>
        Rounds.alternate(contenders, rounds, ({ label, process }, round) =>
          Effect.gen(function*() {
            const answer = yield* process.ask("latency", { perSecond, seconds })
            yield* note(`round ${round}: ${label} at ${perSecond}/s: ${shown(answer.p50)} ms, ${shown(answer.p99)} ms`)
            return answer
          }))

      // The faster rate first: whoever has much code has then run more of it often enough for it to be compiled.
      for (const [perSecond, contenders] of [[1_000, both], [100, [...both, ...polling]]] as const) {
        for (const { url } of contenders) yield* Server.settle(url)
        const found = yield* together(contenders, perSecond)
        const title = `${shown(perSecond)}/s, application and worker in one process`
        tables.push(tableOf(title, found))
        charts.push(chartOf(title, found))
      }

      // The process that worked before is the worker, and another one appends.
      const pairs = yield* Effect.forEach(both.filter(({ label }) => apart.includes(label)), (contender) =>
        Effect.map(Process.start(contender.label, contender.url), (sender) => ({ ...contender, sender })))
      for (const perSecond of [1_000, 100]) {
        for (const { url } of pairs)
          yield* Server.settle(url)
        const found = yield* Rounds.alternate(pairs, rounds, ({ label, process, sender }, round) =>
          Effect.gen(function*() {
            const [answer] = yield* Effect.all([
              process.ask("receive", { perSecond, seconds }),
              Effect.delay(sender.ask("send", { perSecond, seconds }), head * 1_000)
            ], { concurrency: "unbounded" })
            yield* note(`round ${round}: ${label} apart: ${shown(answer.p50)} ms, ${shown(answer.p99)} ms`)
            return answer
          }))
        tables.push(tableOf(`${shown(perSecond)}/s, appended by another process than the worker's`, found))
      }

      const mysql = yield* MySQL
      const sqlite = `sqlite:${path.join(yield* Folder.temporary, "trustlog.db")}`
      const others = yield* Effect.forEach(
        [{ label: "SQLite", url: sqlite }, ...mysql === undefined ? [] : [{ label: "MySQL", url: mysql }]],
        ({ label, url }) =>
          Effect.map(Process.start("trustlog", url), (process) => ({ label, isOurs: true, url, process }))
      )
      const databases = [...both.slice(0, 1).map((contender) => ({ ...contender, label: "PostgreSQL" })), ...others]
      tables.push(tableOf("trustlog, 100/s, by database", yield* together(databases, 100)))

      const idleSeconds = Math.max(5, Math.round(20 * scale))
      const idle = yield* Effect.forEach(databases, ({ label, process }) =>
        Effect.map(process.ask("idle", { seconds: idleSeconds }), ({ cpu }) => [label, cpu.toFixed(2)]))
      tables.push({ title: "trustlog with nothing to do", columns: ["", "CPU of the worker, %"], rows: idle })

      return {
        conditions: [
          ...server.conditions,
          `${rounds} rounds of ${seconds} s each; a log that does nothing; messages of 600 bytes of JSON`,
          "the faster rate first, so that all of them have worked for a while; tables are vacuumed in between",
          "the clock starts for all of them before the append is called: it includes the commit, and the wait for a connection",
          "the range is that of the rounds; max is the largest of all rounds, lost the sum of what had not come when nothing had come for 5 s; " +
          "CPU is of one processor: of the application and the worker together, of the worker alone where another process appends",
          "where fewer arrive in a second than are stated, the contender cannot keep up on this machine: its times are those of a " +
          "queue that grows for as long as it is measured",
          ...mysql === undefined ? ["MySQL was not measured: `npm run servers` fetches it"] : [],
          `idle: ${idleSeconds} s each, once`
        ],
        tables,
        charts
      }
    })
}
