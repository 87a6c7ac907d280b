/**
 * One scenario: tables, writers and workers of its own, faults, an end in order, and what the figures say.
 */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as NodePath from "@effect/platform-node/NodePath"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as fs from "node:fs/promises"
import * as path from "node:path"
import * as CircuitBreaker from "../../CircuitBreaker.ts"
import * as Drain from "../../Drain.ts"
import * as Migrations from "../../Migrations.ts"
import { type Lane, laneOf } from "../../Operation.ts"
import { Publisher } from "../../Publisher.ts"
import { Repository } from "../../Repository.ts"
import * as Sql from "../../Repository/Sql.ts"
import { DatabaseError, type LedgerError } from "../../TrustlogError.ts"
import * as Verify from "../../Verify.ts"
import { WorkerConfig } from "../../WorkerConfig.ts"
import * as monotonic from "../monotonic.ts"
import * as child from "./child.ts"
import * as crew from "./crew.ts"
import * as faults from "./faults.ts"
import * as log from "./log.ts"
import * as notes from "./notes.ts"
import type { Scratch } from "./scratch.ts"
import * as tally from "./tally.ts"
import * as watch from "./watch.ts"
import * as worker from "./worker.ts"

export interface Options {
  readonly name: string
  readonly scratch: Scratch
  readonly faults: faults.Faults
  readonly clockOffsets: ReadonlyArray<number>
  readonly millis: number
  readonly leaseMillis: number
  readonly rederivationMillis: number
  readonly boundMillis: number
  readonly workers: number
  readonly writers: number
  readonly maxOperations: number
}

/** What came of it. Times are milliseconds. */
export interface Outcome {
  readonly what: string
  readonly tally: tally.Tally
  readonly takeovers: ReadonlyArray<number>
  readonly longestUnowned: number
  /** For how long the machine let one of the processes wait, in all. */
  readonly starvation: number
  readonly lateMillis: ReadonlyArray<number> | undefined
  readonly left: { readonly pending: number; readonly retrying: number; readonly dead: number }
  /** Why it has failed, if it has. */
  readonly problems: ReadonlyArray<string>
}

/** Each worker has two lanes in a fair share, up to so many lanes. */
const maxLanes = 8

const lanesFor = (workers: number): ReadonlyArray<Lane> =>
  Array.from(
    { length: Math.min(maxLanes, Math.max(2, workers * 2)) },
    (_, i) => laneOf(i % 2 === 0 ? "operation" : "record", i < 2 ? undefined : `torture-${Math.floor(i / 2)}`)
  )

/** So many problems are told. */
const maxProblems = 10

/** Operations that are read from the database at once. */
const pageRows = 1_000

/** So many operations a transaction appends, about. */
const perTransaction = 6

export const run = (options: Options): Effect.Effect<Outcome, DatabaseError | LedgerError> =>
  Effect.scoped(Effect.gen(function*() {
    const { leaseMillis, name, rederivationMillis, scratch } = options
    const naming = { schema: scratch.naming.schema, prefix: `${scratch.naming.prefix ?? ""}${name}_` }
    const folder = path.join(scratch.folder, name)
    yield* Effect.promise(() => fs.mkdir(folder))
    const onScratch = Effect.provideService(SqlClient.SqlClient, scratch.sql)
    yield* onScratch(Migrations.run(naming))
    const repository = yield* onScratch(Sql.make(naming))
    const lanes = lanesFor(options.workers)

    const problems: Array<string> = []
    const accuse = (problem: string) =>
      Effect.sync(() => {
        if (problems.length < maxProblems) problems.push(problem)
      })

    const watched = watch.make()
    const history = yield* notes.history(path.join(folder, "owners"))
    const began = yield* monotonic.now
    const look = Effect.gen(function*() {
      const found = yield* repository.lanes
      const at = yield* monotonic.now
      const changes = watched.observe(at, found)
      yield* history.write(changes.map((change) => `${((at - began) / 1000).toFixed(1)} s ${change}`))
    })
    // A database that is busy is looked at again.
    const watching = yield* look.pipe(
      Effect.catchAll((error) => Effect.logDebug(error.message)),
      Effect.repeat(Schedule.spaced(watch.interval)),
      Effect.interruptible,
      Effect.forkScoped
    )

    const common = { database: scratch.database, schema: naming.schema, prefix: naming.prefix }
    const seed = yield* Random.nextIntBetween(0, 1_000_000)
    const crewed = yield* crew.make({
      tasks: Array.from({ length: options.workers }, (_, i) => ({
        _tag: "Worker",
        ...common,
        seed: seed + 1_000 * i,
        leaseMillis,
        rederivationMillis,
        clockOffsetMillis: options.clockOffsets[i] ?? 0
      })),
      folder,
      watch: watched,
      accuse,
      note: (event) =>
        Effect.flatMap(monotonic.now, (at) => history.write([`${((at - began) / 1000).toFixed(1)} s ${event}`]))
    })

    // Two processes, so that writers compete as applications do.
    const isFile = scratch.database._tag === "Sqlite"
    const shares = [Math.ceil(options.writers / 2), Math.floor(options.writers / 2)].filter((share) => share > 0)
    const pauseMillis = Math.max(
      isFile ? 50 : 200,
      options.millis * options.writers * perTransaction / options.maxOperations
    )
    const writers = yield* Effect.forEach(shares, (share, i) =>
      Effect.gen(function*() {
        const logFile = path.join(folder, `writer-${i}.log`)
        const process = yield* child.start({
          task: {
            _tag: "Writer",
            ...common,
            // Its transactions are long in a server; in a file they keep everybody from writing.
            holdMillis: isFile ? 2 : 50,
            file: path.join(folder, `written-${i}`),
            seed: seed + 500_000 + i,
            writers: share,
            lanes,
            pauseMillis,
            maxOperations: Math.ceil(options.maxOperations / shares.length)
          },
          logFile,
          hear: () => {}
        })
        return { process, logFile }
      }))

    const seen = notes.log(folder)
    // What is slow to start is no fault of anybody.
    const isRunning = Effect.map(
      repository.stats,
      (stats) => stats.delivered > 0 && stats.lanes.every(({ owner }) => owner !== null)
    )
    const isUnderWay = yield* Effect.repeat(isRunning, {
      until: (isRunning) => isRunning,
      schedule: Schedule.spaced("100 millis")
    }).pipe(Effect.timeoutOption("60 seconds"))
    if (isUnderWay._tag === "None") yield* accuse("the workers did not begin to deliver every lane within a minute")
    watched.begin()
    const done = yield* options.faults({
      ...options,
      repository,
      lanes,
      crew: crewed,
      watch: watched,
      isSeen: (id) => Effect.map(seen.look, () => seen.seen.has(id)),
      accuse
    })

    yield* Effect.forEach(writers, ({ logFile, process }) =>
      Effect.gen(function*() {
        yield* process.tell({ _tag: "End" })
        const ending = yield* process.ended
        if (ending !== undefined) yield* accuse(`a writer ${ending}: ${yield* child.lastLine(logFile)}`)
      }), { discard: true })

    // The workers are left alone with what there is: they must get through without help.
    const stats = Effect.map(repository.stats, ({ dead, pending, retrying }) => ({ dead, pending, retrying }))
    const isQuiet = Effect.map(
      stats,
      ({ pending, retrying }) => pending + retrying === 0 && watched.waiting().length === 0
    )
    const isThrough = yield* Effect.repeat(isQuiet, {
      until: (isQuiet) => isQuiet,
      schedule: Schedule.spaced("250 millis")
    }).pipe(Effect.timeoutOption(Duration.millis(60_000 + 3 * leaseMillis)))
    if (isThrough._tag === "None") {
      const { pending, retrying } = yield* stats
      yield* accuse(
        `the workers did not get through by themselves: ${pending} pending, ${retrying} retrying, ` +
          `lanes without an owner: ${watched.waiting().join(", ") || "none"}`
      )
    }
    yield* Fiber.interrupt(watching)
    const endedAt = yield* monotonic.now
    const { longestIdle, longestUnowned, takeovers, worst } = watched.summary(endedAt)
    yield* crewed.end

    yield* Drain.drainOnce({ budget: Duration.millis(30_000 + leaseMillis) }).pipe(
      Effect.provide(Layer.mergeAll(
        Layer.succeed(Repository, repository),
        Layer.scoped(Publisher, log.make(path.join(folder, "seen-drain"), log.wellBehaved)),
        CircuitBreaker.layer
      )),
      Effect.provideService(WorkerConfig, worker.config({ leaseMillis, rederivationMillis }))
    )

    const left = yield* stats
    const stored = yield* storedIn(repository)
    yield* seen.look
    const figures = tally.tally(stored, yield* notes.promised(folder), seen.seen)
    problems.push(...faults.findings(figures))
    if (left.pending + left.retrying + left.dead > 0) {
      yield* accuse(`left: ${left.pending} pending, ${left.retrying} retrying, ${left.dead} dead`)
    }
    if (worst !== undefined && longestIdle > options.boundMillis) {
      const [from, to] = [worst.from - began, worst.to - began].map((millis) => (millis / 1000).toFixed(1))
      yield* accuse(`lane ${worst.lane} had no owner from ${from} s to ${to} s`)
    }
    const verified = yield* Verify.verify({ ledger: undefined }).pipe(
      Effect.provide(Layer.mergeAll(Layer.succeed(Repository, repository), NodeFileSystem.layer, NodePath.layer))
    )
    if (verified.verdict === "tampered") {
      const [first] = [...verified.missing, ...verified.altered, ...verified.surplus]
      yield* accuse(`the receipts do not account for the operations: ${first?.id} ${first?.reason}`)
    }
    return {
      what: done.what,
      tally: figures,
      takeovers,
      longestUnowned,
      starvation: watched.starvation(began, endedAt),
      lateMillis: done.lateMillis,
      left,
      problems
    }
  }))

/** Every operation of the database, by id, with its content hash. */
const storedIn = (repository: Repository["Type"]) =>
  Effect.gen(function*() {
    const stored = new Map<string, string>()
    let after = 0
    while (true) {
      const rows = yield* repository.evidence.operations({ after, limit: pageRows })
      for (const { contentHash, id } of rows) stored.set(id, contentHash ?? "")
      const last = rows.at(-1)
      if (last === undefined) return stored
      after = last.position
    }
  })
