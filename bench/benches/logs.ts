/**
 * How much of its rate a delivery keeps where the log is a real one: the embedded ledger beside a log that does nothing, and
 * Pulsar beside the shortest loop that publishes to it.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Bench } from "../Bench.ts"
import * as Broker from "../Broker.ts"
import * as Folder from "../Folder.ts"
import * as Process from "../Process.ts"
import { type Chart, shown, shownSpread, type Table } from "../Report.ts"
import * as Rounds from "../Rounds.ts"
import * as Server from "../Server.ts"
import type { Name } from "../contenders.ts"

/** One log, or two that are alike but for what is compared. The first contender is what the other is compared with. */
interface Comparison {
  readonly title: string
  readonly contenders: readonly [reference: Name, other: Name]
  readonly count: number
  readonly log: string
  /** Seconds of processors that the log has used, if it is a process of its own. */
  readonly cpu: Effect.Effect<number | undefined>
}

const unknown: Effect.Effect<number | undefined> = Effect.succeed(undefined)

const compare = (
  server: Server.Server,
  { contenders, count, cpu, log, title }: Comparison,
  rounds: number,
  note: (text: string) => Effect.Effect<void>
): Effect.Effect<{ readonly table: Table; readonly chart: Chart }, never, Scope.Scope> =>
  Effect.gen(function*() {
    const [reference, other] = yield* Effect.all(contenders.map((name) =>
      Effect.gen(function*() {
        const url = yield* server.database
        return { url, process: yield* Process.start(name, url, log) }
      })
    ))
    if (reference === undefined || other === undefined) return yield* Effect.dieMessage("two are compared")
    const both = [reference, other]
    const found = yield* Rounds.alternate(both, rounds, ({ process, url }, round) =>
      Effect.gen(function*() {
        yield* process.ask("fill", { count })
        yield* Server.settle(url)
        const [ofServer, ofLog] = [yield* server.cpu, yield* cpu]
        const answer = yield* process.ask("drain", { count })
        yield* note(`round ${round}: ${process.name} ${shown(answer.perSecond)}/s`)
        return {
          ...answer,
          server: Server.micros(ofServer, yield* server.cpu, count),
          log: Server.micros(ofLog, yield* cpu, count)
        }
      }))
    const ratioOf = (contender: typeof other) => Rounds.ratio(found, contender, reference, ({ perSecond }) => perSecond)
    return {
      table: {
        title,
        columns: [
          "",
          "ratio",
          "records/s",
          "CPU of the process, µs",
          "CPU of PostgreSQL, µs",
          "CPU of the log, µs",
          "memory, MiB",
          "sent twice"
        ],
        rows: both.map((contender) => {
          const figure = (of: "perSecond" | "cpuMicros" | "server" | "log" | "memory" | "duplicates") =>
            shown(Rounds.figures(found, contender, (answer) => answer[of]).median)
          return [
            contender.process.name,
            shownSpread(ratioOf(contender)),
            figure("perSecond"),
            figure("cpuMicros"),
            figure("server"),
            figure("log"),
            figure("memory"),
            figure("duplicates")
          ]
        })
      },
      chart: {
        title,
        unit: `rate as a part of that of “${reference.process.name}”, median and range of the rounds; more is better`,
        bars: both.map((contender) => ({
          label: contender.process.name,
          isOurs: contender !== reference,
          spread: ratioOf(contender)
        }))
      }
    }
  })

export const logs: Bench = {
  title: "Delivering a backlog to real logs",
  run: ({ note, rounds, scale }) =>
    Effect.gen(function*() {
      const server = yield* Server.PostgreSQL
      const ledger = yield* compare(
        server,
        {
          title: "The embedded ledger, beside a log that does nothing",
          contenders: ["trustlog", "trustlog, ledger"],
          count: Math.round(100_000 * scale),
          log: yield* Folder.temporary,
          cpu: unknown
        },
        rounds,
        note
      )
      const broker = yield* Broker.Pulsar
      const pulsar = broker === undefined ? undefined : yield* compare(
        server,
        {
          title: "Apache Pulsar over WebSocket, beside the bare publish loop",
          contenders: ["bare publish loop", "trustlog, Pulsar"],
          count: Math.round(40_000 * scale),
          log: broker.url,
          cpu: broker.cpu
        },
        rounds,
        note
      )
      const both = pulsar === undefined ? [ledger] : [ledger, pulsar]
      return {
        conditions: [
          ...server.conditions,
          `${rounds} rounds, one worker process; each backlog was vacuumed before it was drained; messages of 600 bytes of JSON`,
          pulsar === undefined
            ? `Pulsar is left out: ${Broker.cure}`
            : "Pulsar on the same machine; 500 messages on their way at most, each acknowledged by itself"
        ],
        tables: both.map(({ table }) => table),
        charts: both.map(({ chart }) => chart)
      }
    })
}
