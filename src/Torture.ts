/**
 * Torments trustlog in a database of yours, in a place of its own, and counts: worker processes are killed, frozen and cut
 * off, transactions commit late and roll back, clocks are wrong. What was committed must have arrived, nothing else, and
 * no lane may be without an owner for long.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Random from "effect/Random"
import { v4 } from "uuid"
import * as DatabaseUrl from "./DatabaseUrl.ts"
import type { DatabaseError, LedgerError } from "./TrustlogError.ts"
import * as WorkerConfig from "./WorkerConfig.ts"
import * as faults from "./internal/torture/faults.ts"
import * as scenario from "./internal/torture/scenario.ts"
import * as scratch from "./internal/torture/scratch.ts"
import * as watch from "./internal/torture/watch.ts"
import * as worker from "./internal/torture/worker.ts"

export interface Options {
  /** Its tables and its data are not touched; of an SQLite file only the folder is used, for a file beside it. */
  readonly database: DatabaseUrl.DatabaseUrl
  /** How long there are faults, about: 1 by default. */
  readonly minutes?: number | undefined
  /** Worker processes: 4 by default. */
  readonly workers?: number | undefined
  /** Writers at once: 8 by default, 32 from ten minutes on. */
  readonly writers?: number | undefined
  /** Decides what happens by chance; by chance itself by default. */
  readonly seed?: number | undefined
  /** Whether everything is left where it is, for whoever wants to look. */
  readonly keep?: boolean | undefined
  /** How long a lane stays with a process that is not heard of: 10 s by default, less in a short torture. */
  readonly lease?: Duration.Duration | undefined
}

/** From and to, both included, what may be asked for. */
export const limits = { minutes: [0.1, 1_440], workers: [2, 16], writers: [1, 64], seed: [0, 2 ** 31 - 1] } as const

/** What will be done. */
export interface Plan {
  readonly database: DatabaseUrl.DatabaseUrl
  /** What the schema, or the folder of the file, will be called. */
  readonly name: string
  readonly minutes: number
  readonly workers: number
  readonly writers: number
  readonly seed: number
  readonly keep: boolean
  readonly leaseSeconds: number
  /** So many connections to a server at most. */
  readonly connections: number
  /** So many operations are appended at most. */
  readonly maxOperations: number
}

/** The scenarios, in their order. */
export const names = ["late", "crash", "freeze", "cut", "clock"] as const
export type Name = typeof names[number]

/** Seconds. */
export interface Takeovers {
  readonly count: number
  readonly minSeconds: number | null
  readonly medianSeconds: number | null
  readonly maxSeconds: number | null
}

/** What a scenario has shown. */
export interface Scenario {
  readonly name: Name
  /** What was done, in words, or why nothing was. */
  readonly faults: string
  /** Whether this kind of database cannot have this fault, or does not let us make it. */
  readonly skipped: boolean
  /** Operations that were committed. */
  readonly committed: number
  /** Those of them that the log has. */
  readonly delivered: number
  /** Committed, and not in the log: there must be none. */
  readonly lost: number
  /** In the log, and never committed: there must be none. */
  readonly phantom: number
  /** How often the log has something again that it had: that is allowed. */
  readonly duplicated: number
  /** What is left in the database: there must be nothing. */
  readonly pending: number
  readonly retrying: number
  readonly dead: number
  /** From the end of an owner until another has the lane. */
  readonly takeovers: Takeovers
  /** The longest time that a lane had no owner, and how long that may be. */
  readonly unownedSeconds: number
  readonly boundSeconds: number
  /** For how long the machine had no time for one of the processes, in all: what falls into a takeover is set aside. */
  readonly starvedSeconds: number
  /** From the latest commit of a transaction that the cursor had passed to its delivery; `null` without one. */
  readonly lateSeconds: number | null
  /** Why it has failed, in words. */
  readonly problems: ReadonlyArray<string>
  readonly passed: boolean
}

export interface Report {
  /** The database's URL, without secrets. */
  readonly database: string
  /** Where in it the torture was. */
  readonly scratch: string
  /** Whether that is left where it is. */
  readonly kept: boolean
  /** The folder of what the processes noted: it is left where it is when something was wrong. */
  readonly notes: string | null
  readonly seed: number
  readonly leaseSeconds: number
  readonly seconds: number
  readonly scenarios: ReadonlyArray<Scenario>
  readonly passed: boolean
}

/** How the time is shared out. */
const shares: Record<Name, number> = { late: 0.2, crash: 0.3, freeze: 0.2, cut: 0.15, clock: 0.15 }

/** The shortest lease that a busy machine renews in time. */
const shortestLease = 2

/** A server ends the transaction of a process that hangs in it after so long, and until then the lane is locked. */
const hungTransaction = 5

/** What a new owner may need beyond the lease. */
const allowance = 2

/** So many operations a scenario appends at most. */
const maxOperations = 20_000

const isWithin = (value: number, [from, to]: readonly [number, number]) => value >= from && value <= to

/** Decides what will be done; in words what is wrong with what was asked for. */
export const plan = (options: Options): Either.Either<Plan, string> => {
  const { database, keep = false, minutes = 1, workers = 4 } = options
  const { writers = minutes >= 10 ? 32 : 8 } = options
  const seed = options.seed ?? Math.floor(Math.random() * 1_000_000)
  const given = { minutes, workers, writers, seed }
  for (const name of ["minutes", "workers", "writers", "seed"] as const) {
    const [from, to] = limits[name]
    if (!isWithin(given[name], [from, to]) || (name !== "minutes" && !Number.isInteger(given[name]))) {
      return Either.left(`${name}: write ${name === "minutes" ? "a number" : "a whole number"} from ${from} to ${to}`)
    }
  }
  const asked = Duration.toSeconds(options.lease ?? WorkerConfig.defaults.lease)
  return Either.right({
    database,
    name: `trustlog_torture_${v4().replaceAll("-", "").slice(0, 12)}`,
    ...given,
    keep,
    leaseSeconds: Math.min(asked, Math.max(shortestLease, minutes * 60 / 12)),
    connections: database._tag === "Sqlite"
      ? 0
      : workers * (worker.maxConnections + 1) + writers + 2 + scratch.maxConnections,
    maxOperations: maxOperations * names.length
  })
}

const seconds = (millis: number): number => Math.round(millis) / 1000

const report = (name: Name, outcome: scenario.Outcome, boundMillis: number): Scenario => {
  const { lateMillis, left, longestUnowned, problems, takeovers, tally } = outcome
  const extreme = (of: (...numbers: ReadonlyArray<number>) => number, numbers: ReadonlyArray<number>) =>
    numbers.length === 0 ? null : seconds(of(...numbers))
  const middle = watch.median(takeovers)
  return {
    name,
    faults: outcome.what,
    skipped: false,
    committed: tally.committed,
    delivered: tally.delivered,
    lost: tally.lost.length,
    phantom: tally.phantom.length,
    duplicated: tally.duplicated,
    ...left,
    takeovers: {
      count: takeovers.length,
      minSeconds: extreme(Math.min, takeovers),
      medianSeconds: middle === null ? null : seconds(middle),
      maxSeconds: extreme(Math.max, takeovers)
    },
    unownedSeconds: seconds(longestUnowned),
    boundSeconds: seconds(boundMillis),
    starvedSeconds: seconds(outcome.starvation),
    lateSeconds: extreme(Math.max, lateMillis ?? []),
    problems,
    passed: problems.length === 0
  }
}

const skipped = (name: Name, why: string, boundMillis: number): Scenario => ({
  ...report(name, {
    what: why,
    tally: { committed: 0, delivered: 0, lost: [], phantom: [], duplicated: 0 },
    takeovers: [],
    longestUnowned: 0,
    starvation: 0,
    lateMillis: undefined,
    left: { pending: 0, retrying: 0, dead: 0 },
    problems: []
  }, boundMillis),
  skipped: true
})

/** How far it has come. */
export interface Progress {
  readonly name: Name
  /** Set when the scenario is over. */
  readonly result: Scenario | undefined
}

/**
 * Does it. Whatever it has made is removed at the end, however that comes about, and its processes are gone. Fails when
 * the database cannot be reached, or what is needed cannot be made in it; what trustlog does wrong is in the report.
 */
export const run = (
  plan: Plan,
  onProgress: (progress: Progress) => Effect.Effect<void> = () => Effect.void
): Effect.Effect<Report, DatabaseError | LedgerError> =>
  Effect.scoped(Effect.gen(function*() {
    const place = yield* scratch.make(plan)
    const leaseMillis = plan.leaseSeconds * 1000
    const isFile = plan.database._tag === "Sqlite"
    const [took, scenarios] = yield* Effect.timed(Effect.forEach(names, (name) =>
      Effect.gen(function*() {
        yield* onProgress({ name, result: undefined })
        const held = name === "freeze" && !isFile ? Math.max(plan.leaseSeconds, hungTransaction) : plan.leaseSeconds
        const boundMillis = (held + allowance) * 1000
        const fault = faultsOf(name, place, isFile)
        const result = typeof fault === "string"
          ? skipped(name, fault, boundMillis)
          : report(
            name,
            yield* scenario.run({
              name,
              scratch: place,
              faults: fault,
              clockOffsets: name === "clock" ? faults.clockOffsets : [],
              millis: plan.minutes * 60_000 * shares[name],
              leaseMillis,
              rederivationMillis: Math.min(leaseMillis, Duration.toMillis(WorkerConfig.defaults.rederivation)),
              boundMillis,
              workers: plan.workers,
              writers: plan.writers,
              maxOperations
            }),
            boundMillis
          )
        yield* onProgress({ name, result })
        return result
      })))
    const passed = scenarios.every(({ passed }) => passed)
    if (!passed) yield* place.keepFolder
    return {
      database: DatabaseUrl.describe(plan.database),
      scratch: place.description,
      kept: plan.keep,
      notes: passed && !plan.keep ? null : place.folder,
      seed: plan.seed,
      leaseSeconds: plan.leaseSeconds,
      seconds: seconds(Duration.toMillis(took)),
      scenarios,
      passed
    }
  })).pipe(Effect.withRandom(Random.make(plan.seed)))

/** The faults of a scenario, or in words why there are none. */
const faultsOf = (name: Name, place: scratch.Scratch, isFile: boolean): faults.Faults | string => {
  switch (name) {
    case "late":
      return isFile ? faults.writersOnly : faults.late
    case "crash":
      return faults.crash
    case "freeze":
      // A file has nobody who would end the transaction of a process that hangs.
      return process.platform === "win32"
        ? "this system cannot freeze a process"
        : faults.freeze(isFile ? ["publish"] : ["publish", "settle"])
    case "cut":
      return typeof place.connections === "string" ? place.connections : faults.cut
    case "clock":
      return isFile ? "the clock of a file is that of the process which uses it" : faults.clock
  }
}
