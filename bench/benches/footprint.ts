/**
 * What a record takes up in the database and in its write-ahead log, and what the program takes up in memory, on the disk, and
 * of the time of whoever starts it.
 */
import * as Effect from "effect/Effect"
import { execFileSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { query } from "../../test/servers/Database.ts"
import type { Bench } from "../Bench.ts"
import * as Installation from "../Installation.ts"
import * as Process from "../Process.ts"
import { counted, shown, shownSpread, type Table } from "../Report.ts"
import * as Rounds from "../Rounds.ts"
import * as Server from "../Server.ts"
import { startup } from "../Startup.ts"
import type { Name } from "../contenders.ts"

interface Contender {
  readonly name: Name
  /** As many as it can deliver in some seconds. */
  readonly count: number
  readonly delivers: boolean
}

const contenders: ReadonlyArray<Contender> = [
  { name: "bare INSERT", count: 100_000, delivers: false },
  { name: "hand-written loop", count: 100_000, delivers: true },
  { name: "trustlog", count: 100_000, delivers: true },
  { name: "graphile-worker", count: 100_000, delivers: true },
  { name: "pg-boss", count: 100_000, delivers: true },
  { name: "pg-boss, notify", count: 100_000, delivers: true },
  { name: "Effect PersistedQueue", count: 10_000, delivers: true },
  { name: "pg-transactional-outbox", count: 5_000, delivers: true }
]

/** Memory must not grow with what is to be delivered. Less than the least of them does not fill what a worker may take. */
const backlogs = [100_000, 300_000, 1_000_000]

const startups = 10

const root = fileURLToPath(new URL("../..", import.meta.url))

const mebibytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(2)

/** Builds it as it is published, which makes its command line what it is now, too. */
const packed = (): { readonly size: number; readonly unpackedSize: number } => {
  const text = execFileSync("npm", ["pack", "--dry-run", "--json"], {
    cwd: root,
    encoding: "utf8",
    shell: process.platform === "win32",
    stdio: ["ignore", "pipe", "ignore"]
  })
  const [found]: ReadonlyArray<{ readonly size: number; readonly unpackedSize: number }> = JSON.parse(text)
  if (found === undefined) throw new Error("npm pack packs nothing")
  return found
}

const installations = (): ReadonlyArray<Table> => {
  const { size, unpackedSize } = packed()
  const ours = Installation.of(root, "")
  const effect = Installation.of(root, "effect", "@effect/experimental", "@effect/platform", "@effect/sql")
  const peers = ["graphile-worker", "pg-boss", "pg-transactional-outbox"]
  return [{
    title: "The package",
    columns: ["", "MiB"],
    rows: [["packed", mebibytes(size)], ["unpacked", mebibytes(unpackedSize)]]
  }, {
    title: "An installation on this machine, with what it depends on",
    columns: ["", "packages", "MiB"],
    rows: [
      ["trustlog", counted(ours.packages + 1), mebibytes(ours.bytes + unpackedSize)],
      [
        "of that, what an application has that is written with Effect",
        counted(effect.packages),
        mebibytes(effect.bytes)
      ],
      ...peers.map((name) => {
        const { bytes, packages } = Installation.of(`${root}bench`, name)
        return [name, counted(packages), mebibytes(bytes)]
      })
    ]
  }]
}

export const footprint: Bench = {
  title: "What a record and the program take up",
  run: ({ note, rounds, scale }) =>
    Effect.gen(function*() {
      const server = yield* Server.PostgreSQL

      const measured = ({ count, delivers, name }: Contender) =>
        Effect.scoped(Effect.gen(function*() {
          const url = yield* server.database
          const writer = yield* Process.start(name, url)
          const empty = yield* Server.size(url)
          yield* Server.settle(url)
          const before = yield* Server.wal(url)
          yield* writer.ask("fill", { count })
          const recorded = yield* Server.wal(url)
          // Without a checkpoint: whoever delivers what was just recorded does not log its pages as a whole.
          yield* query(url, "VACUUM ANALYZE")
          let delivery = Number.NaN
          let memory = Number.NaN
          if (delivers) {
            // A process that has not recorded anything.
            const worker = yield* Process.start(name, url)
            const from = yield* Server.wal(url)
            const drained = yield* worker.ask("drain", { count })
            delivery = ((yield* Server.wal(url)) - from) / count
            memory = drained.memory
          }
          yield* Server.settle(url)
          const { indexes, tables } = yield* Server.size(url)
          return {
            recording: (recorded - before) / count,
            delivery,
            tables: (tables - empty.tables) / count,
            indexes: (indexes - empty.indexes) / count,
            memory
          }
        }))

      const scaled = contenders.map((contender) => ({ ...contender, count: Math.round(contender.count * scale) }))
      const found = yield* Rounds.alternate(scaled, rounds, (contender, round) =>
        Effect.tap(measured(contender), () =>
          note(`round ${round}: ${contender.name}`)))
      const figure = (contender: Contender, of: "recording" | "delivery" | "tables" | "indexes" | "memory") =>
        Rounds.figures(found, contender, (answer) =>
          answer[of])

      const drains = backlogs.map((count): Contender => ({
        name: "trustlog",
        count: Math.round(count * scale),
        delivers: true
      }))
      const sizes = yield* Rounds.alternate(drains, rounds, (contender, round) =>
        Effect.tap(measured(contender), () =>
          note(`round ${round}: a backlog of ${counted(contender.count)}`)))

      yield* note("the command line")
      const installed = yield* Effect.sync(installations)
      const starts = yield* startup(startups)

      return {
        conditions: [
          ...server.conditions,
          `${rounds} rounds, each in an empty database, recorded in batches by one process and delivered by another one to a log ` +
          "that does nothing; messages of 600 bytes of JSON",
          "a checkpoint before recording and none between that and delivering; tables are vacuumed before they are measured, as " +
          "everybody leaves them: delivered records are kept, or their space is free to be used again",
          "memory is the largest resident memory of the process that delivers"
        ],
        tables: [
          {
            title: "Bytes for each record, and memory",
            columns: [
              "",
              "records",
              "WAL to record",
              "WAL to deliver",
              "WAL, sum",
              "tables afterwards",
              "indexes afterwards",
              "memory, MiB"
            ],
            rows: scaled.map((contender) => [
              contender.name,
              counted(contender.count),
              shown(figure(contender, "recording").median),
              shown(figure(contender, "delivery").median),
              shown(
                Rounds.figures(found, contender, ({ delivery, recording }) =>
                  recording + delivery).median
              ),
              shown(figure(contender, "tables").median),
              shown(figure(contender, "indexes").median),
              shown(figure(contender, "memory").median)
            ])
          },
          {
            title: "trustlog, memory by backlog",
            columns: ["records", "memory, MiB"],
            rows: drains.map((contender) => [
              counted(contender.count),
              shownSpread(Rounds.figures(sizes, contender, ({ memory }) =>
                memory))
            ])
          },
          ...installed,
          starts
        ],
        charts: [{
          title: "Write-ahead log of a record",
          unit: "bytes to record and to deliver it, median and range of the rounds; less is better",
          bars: scaled.filter(({ delivers }) =>
            delivers
          ).map((contender) => ({
            label: contender.name,
            isOurs: contender.name === "trustlog",
            spread: Rounds.figures(found, contender, ({ delivery, recording }) => recording + delivery)
          }))
        }]
      }
    })
}
