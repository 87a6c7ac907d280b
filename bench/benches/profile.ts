/**
 * Where the time of recording and of delivering goes, and what they allocate.
 */
import * as Effect from "effect/Effect"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import type { Bench } from "../Bench.ts"
import * as Process from "../Process.ts"
import type { Table } from "../Report.ts"
import * as Server from "../Server.ts"
import type { Share } from "../profile.ts"

const folder = fileURLToPath(new URL("..", import.meta.url))

const tableOf = (title: string, shares: ReadonlyArray<Share>, rows: number): Table => ({
  title,
  columns: ["", "%"],
  rows: shares.slice(0, rows).map(({ name, percent }) => [name, percent.toFixed(1)])
})

export const profile: Bench = {
  title: "Where the time goes",
  run: ({ note, scale }) =>
    Effect.gen(function*() {
      const server = yield* Server.PostgreSQL
      const url = yield* server.database
      const process = yield* Process.start("trustlog", url)
      const tables: Array<Table> = []
      const drained = Math.round(200_000 * scale)
      // The first is compiled while it runs, and what waits is another's.
      for (const isWarm of [false, true]) {
        for (const what of ["append", "drain"] as const) {
          const count = what === "append" ? Math.round(20_000 * scale) : drained
          if (what === "drain") {
            // What was appended is a part of the backlog.
            yield* process.ask("fill", { count: count - Math.round(20_000 * scale) })
            yield* Server.settle(url)
          }
          const file = path.join(folder, `${what}.cpuprofile`)
          const found = yield* process.ask("profile", { count, what, file })
          if (!isWarm) continue
          yield* note(`${file} can be opened in a browser's developer tools, or at speedscope.app`)
          const of = what === "append" ? "Recording" : "Delivering"
          tables.push(
            tableOf(`${of}: time by module, idle time left out`, found.modules, 16),
            tableOf(`${of}: time by function`, found.functions, 30),
            tableOf(
              `${of}: ${(found.allocated / count).toFixed(1)} KiB allocated for each record, by module`,
              found.allocations,
              12
            )
          )
        }
      }
      return {
        conditions: [...server.conditions, "sampled every 200 µs, allocations every 64 KiB"],
        tables,
        charts: []
      }
    })
}
