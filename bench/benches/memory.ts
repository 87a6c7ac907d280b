/**
 * Whether a long delivery needs more memory than a short one.
 */
import * as Effect from "effect/Effect"
import type { Bench } from "../Bench.ts"
import * as Process from "../Process.ts"
import { shown } from "../Report.ts"
import * as Server from "../Server.ts"

export const memory: Bench = {
  title: "Memory of a process that delivers ten million records",
  run: ({ note, scale }) =>
    Effect.gen(function*() {
      const server = yield* Server.PostgreSQL
      const url = yield* server.database
      // Those who append go before the one that delivers comes, so that its memory is its own.
      const count = Math.round(1e7 * scale)
      yield* Effect.scoped(Effect.gen(function*() {
        const application = yield* Process.start("trustlog", url)
        yield* note(`recording ${shown(count)}`)
        yield* application.ask("fill", { count })
      }))
      yield* Server.settle(url)
      const worker = yield* Process.start("trustlog", url)
      yield* note("delivering them")
      const { duplicates, memoryOfTenths, perSecond } = yield* worker.ask("drain", { count })
      // The heap grows to what suits the work first.
      const settled = memoryOfTenths.slice(1).filter((mebibytes) => mebibytes > 0)
      return {
        conditions: [
          ...server.conditions,
          `a backlog of ${shown(count)}, one worker process, one run; messages of 600 bytes of JSON`,
          "resident memory, looked at every 100 ms"
        ],
        tables: [{
          title: "From the second tenth of the backlog to the last",
          columns: ["records/s", "least of a tenth's largest, MiB", "largest, MiB", "sent twice"],
          rows: [[
            shown(perSecond),
            shown(Math.min(...settled)),
            shown(Math.max(...settled)),
            shown(duplicates)
          ]]
        }, {
          title: "By tenths of the backlog",
          columns: memoryOfTenths.map((_, i) => `${i + 1}`),
          rows: [memoryOfTenths.map((mebibytes) => shown(mebibytes))]
        }],
        charts: []
      }
    })
}
