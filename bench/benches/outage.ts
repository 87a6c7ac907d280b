/**
 * What becomes of operations while the log takes none, with the settings for retries that everybody starts with; and of one
 * that is committed late.
 */
import * as Effect from "effect/Effect"
import type { Bench } from "../Bench.ts"
import * as Process from "../Process.ts"
import { counted, shown } from "../Report.ts"
import * as Server from "../Server.ts"
import type { Name } from "../contenders.ts"

const names: ReadonlyArray<Name> = [
  "trustlog",
  "graphile-worker",
  "pg-boss",
  "pg-boss, notify",
  "pg-transactional-outbox",
  "Effect PersistedQueue"
]

const small = { backlog: 1_000, perSecond: 9 }

const large = { backlog: 500_000, perSecond: 200 }

/** Shorter ones would end before anybody has given up. */
const least = 5

export const outage: Bench = {
  title: "An outage of the log, and a commit that is late",
  run: ({ note, scale }) =>
    Effect.gen(function*() {
      const server = yield* Server.PostgreSQL
      const lasting = (seconds: number) => Math.max(least, Math.round(seconds * scale))
      const start = (name: Name) => Effect.flatMap(server.database, (url) => Process.start(name, url))
      /** All at once: they wait most of the time. */
      const together = <A>(ask: (process: Process.Process) => Effect.Effect<A>) =>
        Effect.scoped(
          Effect.forEach(names, (name) =>
            Effect.gen(function*() {
              const process = yield* start(name)
              const answer = yield* ask(process)
              yield* note(`${name}: done`)
              return { name, note: process.note, answer }
            }), { concurrency: "unbounded" })
        )

      const seconds = lasting(60)
      yield* note(`an outage of ${seconds} s`)
      const outages = yield* together((process) => process.ask("outage", { ...small, seconds }))

      const open = lasting(10)
      yield* note(`a commit after ${open} s`)
      const lates = yield* together((process) => process.ask("late", { seconds: open }))

      const backlog = Math.round(large.backlog * scale)
      const outOfReach = lasting(20)
      yield* note(`an outage with a backlog of ${backlog}`)
      const found = yield* Effect.scoped(Effect.flatMap(start("trustlog"), (process) =>
        process.ask("outage", { backlog, perSecond: large.perSecond, seconds: outOfReach })))

      return {
        conditions: [
          ...server.conditions,
          "everybody's own settings for retries; all at once, each in a process of its own; one run",
          `the log took nothing for ${seconds} s; ${counted(small.backlog)} were recorded when that began, and ` +
          `${small.perSecond}/s during it and for 10 s after it, or for as long as old ones kept coming; all is counted when nothing ` +
          "is left to be tried, 90 s after it at the latest",
          "the first and the last delivery are those of what was recorded before the end of the outage; what was given up by then " +
          "has none",
          "the hand-written loop has no retries and waits for no commit: it takes no part"
        ],
        tables: [{
          title: `${seconds} s without a log`,
          columns: [
            "",
            "records",
            "dead at its end",
            "calls in vain",
            "first delivery after it, s",
            "last one, s",
            "given up",
            "still to be tried",
            "missing"
          ],
          rows: outages.map(({ answer, name }) => [
            name,
            counted(answer.records),
            counted(answer.dead),
            counted(answer.calls),
            shown(answer.first),
            shown(answer.last),
            counted(answer.lost),
            counted(answer.pending),
            counted(answer.missing)
          ])
        }, {
          title: `Committed ${open} s after its statement, 45/s meanwhile`,
          columns: ["", "arrived after the commit, ms"],
          rows: lates.map(({ answer, name }) => [name, answer.millis === null ? "LOST" : shown(answer.millis)])
        }, {
          title: `trustlog, an outage with a backlog of ${counted(backlog)}, ${large.perSecond}/s going on throughout`,
          columns: [
            "waiting at its end",
            "first delivery after it, s",
            "all of them delivered, s",
            "records/s between",
            "calls in vain",
            "given up",
            "missing"
          ],
          rows: [[
            counted(found.waiting),
            shown(found.first),
            shown(found.last),
            shown(found.first === null || found.last === null ? null : found.waiting / (found.last - found.first)),
            counted(found.calls),
            counted(found.lost),
            counted(found.missing)
          ]]
        }, {
          title: "What the numbers do not say",
          columns: ["", "set up, and not guaranteed"],
          rows: outages.map(({ name, note }) => [name, note === "" ? "–" : note])
        }],
        charts: []
      }
    })
}
