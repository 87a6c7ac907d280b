/**
 * What the rate of a delivery depends on: how much was delivered before, how many processes share the lanes, and how many lanes
 * there are.
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import { query } from "../../test/servers/Database.ts"
import type { Bench } from "../Bench.ts"
import * as Process from "../Process.ts"
import { type Chart, shown, shownSpread, type Table } from "../Report.ts"
import * as Rounds from "../Rounds.ts"
import * as Server from "../Server.ts"
import type { Share } from "../tasks.ts"

interface Part {
  readonly table: Table
  readonly chart: Chart
}

type Note = (text: string) => Effect.Effect<void>

/** Millions of records that have been there for long. */
const histories = [0.1, 1, 10]

/** Rows as `Sample` makes them. Ids grow, as ours do; nothing reads the hashes of what was delivered. */
const past = (count: number): string =>
  `INSERT INTO operation (id, kind, lane, occurred_at, recorded_at, actor, action, target, source, payload,
      payload_bytes, content_hash)
    SELECT lpad(to_hex(i), 32, '0')::uuid, 'operation', 'operation', at, at, 'alice@example.org', 'invoice.approve',
      'invoice/' || i, 'billing', payload, octet_length(payload), repeat(md5(i::text), 2)
    FROM (
      SELECT i, now() - interval '1 day' AS at,
        '{"amount":"1250.00","at":1764000000000,"currency":"EUR","invoice":' || i || ',"note":"' || repeat('.', 230) ||
          '"}' AS payload
      FROM generate_series(1, ${count}) AS i
    ) AS rows`

const history = (
  server: Server.Server,
  rounds: number,
  scale: number,
  note: Note
): Effect.Effect<Part, never, Scope.Scope> =>
  Effect.gen(function*() {
    const count = Math.round(100_000 * scale)
    const contenders = yield* Effect.forEach(histories, (millions) =>
      Effect.gen(function*() {
        const url = yield* server.database
        const before = Math.round(millions * 1e6 * scale)
        const process = yield* Process.start("trustlog", url)
        yield* note(`${shown(before)} records of long ago`)
        yield* query(url, past(before))
        yield* Server.settle(url)
        return { before, url, process }
      }))
    const found = yield* Rounds.alternate(contenders, rounds, ({ before, process, url }, round) =>
      Effect.gen(function*() {
        yield* process.ask("fill", { count })
        yield* Server.settle(url)
        const cpu = yield* server.cpu
        const answer = yield* process.ask("drain", { count })
        const used = Server.micros(cpu, yield* server.cpu, count)
        yield* note(`round ${round}: ${shown(answer.perSecond)}/s after ${shown(before)}`)
        return { ...answer, server: used }
      }))
    const [least] = contenders
    if (least === undefined)
      return yield* Effect.dieMessage("there is no history")
    const rows = contenders.map((contender) => ({
      label: `${shown(contender.before)} before`,
      ratio: Rounds.ratio(found, contender, least, ({ perSecond }) =>
        perSecond),
      figure: (of: "perSecond" | "cpuMicros" | "server") =>
        shown(
          Rounds.figures(found, contender, (answer) =>
            answer[of]).median
        )
    }))
    return {
      table: {
        title: `A backlog of ${shown(count)}, and what was delivered before it`,
        columns: ["", "ratio to the first", "records/s", "CPU of the worker, µs", "CPU of PostgreSQL, µs"],
        rows: rows.map(({ figure, label, ratio }) => [
          label,
          shownSpread(ratio),
          figure("perSecond"),
          figure("cpuMicros"),
          figure("server")
        ])
      },
      chart: {
        title: "Delivering a backlog after a history",
        unit: "rate as a part of that with the shortest history, median and range of the rounds; more is better",
        bars: rows.map(({ label, ratio }) => ({ label, isOurs: true, spread: ratio }))
      }
    }
  })

/** How many processes, and over how many lanes. */
interface Shape {
  readonly workers: number
  readonly lanes: number
}

const title = ({ lanes, workers }: Shape): string =>
  `${workers} ${workers === 1 ? "process" : "processes"}, ${lanes} ${lanes === 1 ? "lane" : "lanes"}`

/** The rest have taken their lanes after so long. */
const settling = "5 seconds"

/** What processes did together, from the first message of any to the last of any. */
const together = (shares: ReadonlyArray<Share>, count: number, server: number) => {
  const times = shares.flatMap(({ first, last }) => first === null || last === null ? [] : [{ first, last }])
  const elapsed = (Math.max(...times.map(({ last }) => last)) - Math.min(...times.map(({ first }) => first))) / 1_000
  const parts = shares.map(({ published }) => published / count * 100)
  return {
    perSecond: count / elapsed,
    workers: shares.reduce((sum, { cpu }) => sum + cpu, 0) / elapsed,
    server: server / elapsed,
    largest: Math.max(...parts),
    duplicates: shares.reduce((sum, { published }) => sum + published, 0) - count
  }
}

const sharing = (
  server: Server.Server,
  shapes: ReadonlyArray<Shape>,
  name: string,
  rounds: number,
  scale: number,
  note: Note
): Effect.Effect<Part, never, Scope.Scope> =>
  Effect.gen(function*() {
    const count = Math.round(200_000 * scale)
    const contenders = yield* Effect.forEach(shapes, (shape) =>
      Effect.gen(function*() {
        const url = yield* server.database
        const start = Process.start("trustlog", url)
        return {
          ...shape,
          url,
          application: yield* start,
          processes: yield* Effect.replicateEffect(start, shape.workers)
        }
      }))
    const found = yield* Rounds.alternate(contenders, rounds, (contender, round) =>
      Effect.gen(function*() {
        const { application, lanes, processes, url } = contender
        // Everything is there, and the lanes are shared out, before the first of them delivers.
        yield* application.ask("hold", { isHeld: true })
        yield* application.ask("fill", { count, lanes })
        yield* Server.settle(url)
        const working = yield* Effect.fork(
          Effect.forEach(processes, (process) => process.ask("share", {}), { concurrency: "unbounded" })
        )
        yield* Effect.sleep(settling)
        const cpu = yield* server.cpu
        yield* application.ask("hold", { isHeld: false })
        const shares = yield* Fiber.join(working)
        // A microsecond of each of a million is a second.
        const answer = together(shares, count, Server.micros(cpu, yield* server.cpu, 1e6))
        yield* note(`round ${round}: ${title(contender)} ${shown(answer.perSecond)}/s`)
        return answer
      }))
    const [one] = contenders
    if (one === undefined) return yield* Effect.dieMessage("nothing is compared")
    const rows = contenders.map((contender) => ({
      label: title(contender),
      ratio: Rounds.ratio(found, contender, one, ({ perSecond }) => perSecond),
      figure: (of: "perSecond" | "workers" | "server" | "largest" | "duplicates") =>
        shown(Rounds.figures(found, contender, (answer) => answer[of]).median)
    }))
    return {
      table: {
        title: `${name}, a backlog of ${shown(count)}`,
        columns: [
          "",
          "ratio to the first",
          "records/s",
          "processors that the workers used",
          "processors that PostgreSQL used",
          "largest share, %",
          "sent twice"
        ],
        rows: rows.map(({ figure, label, ratio }) => [
          label,
          shownSpread(ratio),
          figure("perSecond"),
          figure("workers"),
          figure("server"),
          figure("largest"),
          figure("duplicates")
        ])
      },
      chart: {
        title: name,
        unit: "rate as a part of the first's, median and range of the rounds; more is better",
        bars: rows.map(({ label, ratio }) => ({ label, isOurs: true, spread: ratio }))
      }
    }
  })

const processes: ReadonlyArray<Shape> = [1, 2, 4].map((workers) => ({ workers, lanes: 4 }))
const lanes: ReadonlyArray<Shape> = [1, 4, 16].map((lanes) => ({ workers: 1, lanes }))

export const scale: Bench = {
  title: "What the rate depends on: history, processes, lanes",
  run: ({ note, rounds, scale }) =>
    Effect.gen(function*() {
      const server = yield* Server.PostgreSQL
      const parts = [
        yield* Effect.scoped(history(server, rounds, scale, note)),
        yield* Effect.scoped(sharing(server, processes, "Processes that share four lanes", rounds, scale, note)),
        yield* Effect.scoped(sharing(server, lanes, "Lanes of one process", rounds, scale, note))
      ]
      return {
        conditions: [
          ...server.conditions,
          `${rounds} rounds; each backlog was vacuumed before it was drained; messages of 600 bytes of JSON`,
          "The limit is this machine where the processors that are used, added up, come near to those that it has"
        ],
        tables: parts.map(({ table }) => table),
        charts: parts.map(({ chart }) => chart)
      }
    })
}
