/**
 * What the tests of faults share: workers over a real database, as an application runs them, a log in memory, and what
 * the workers' actors and logs say.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import { assert } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { Client } from "pg"
import type { Status } from "../../src/Actor.ts"
import * as CircuitBreaker from "../../src/CircuitBreaker.ts"
import * as CursorWorker from "../../src/CursorWorker.ts"
import type * as MySQL from "../../src/Database/MySQL.ts"
import { type ActorRef, Host } from "../../src/Host.ts"
import * as HostLocal from "../../src/Host/Local.ts"
import * as Migrations from "../../src/Migrations.ts"
import type { Publisher } from "../../src/Publisher.ts"
import * as Memory from "../../src/Publisher/Memory.ts"
import { type Entry, Repository } from "../../src/Repository.ts"
import * as Sql from "../../src/Repository/Sql.ts"
import * as RetryWorker from "../../src/RetryWorker.ts"
import * as Trustlog from "../../src/Trustlog.ts"
import { DatabaseError } from "../../src/TrustlogError.ts"
import * as WorkerConfig from "../../src/WorkerConfig.ts"
import type { Bracket } from "../../src/internal/dialects/Dialect.ts"
import { dialectOf } from "../../src/internal/dialects/dialectOf.ts"
import * as transaction from "../../src/internal/transaction.ts"
import { client } from "../serverDatabase.ts"
import { query } from "../servers/Database.ts"
import { entry } from "../workers.ts"
import { type Before, overheard } from "./overheard.ts"

/** Waits for as long as it takes until something holds; the test's own limit ends it otherwise. */
export const until = <E, R>(condition: Effect.Effect<boolean, E, R>): Effect.Effect<void, E, R> =>
  Effect.asVoid(Effect.repeat(condition, { until: (holds) => holds, schedule: Schedule.spaced("10 millis") }))

/** The entries with some numbers (see `entry`), in an order. */
export const entries = (numbers: ReadonlyArray<number>): ReadonlyArray<Entry> => numbers.map((n) => entry(n))

/** The numbers from one to another, both included. */
export const range = (first: number, last: number): ReadonlyArray<number> =>
  Array.from({ length: last - first + 1 }, (_, i) => first + i)

/** The repository over a database, whose tables are made if need be. */
export const over = (
  database: Layer.Layer<SqlClient.SqlClient, unknown>
): Layer.Layer<Repository | SqlClient.SqlClient> =>
  Layer.orDie(Layer.provideMerge(Layer.provide(Sql.layer(), Migrations.layer()), database))

export interface RepositoryOptions extends Omit<MySQL.Options, "server"> {
  readonly before?: Before | undefined
}

/** The repository in the database with a URL. */
export const repository = (
  url: string,
  { before, ...options }: RepositoryOptions = {}
): Layer.Layer<Repository | SqlClient.SqlClient> =>
  over(before === undefined ? client(url, options) : overheard(client(url, options), before))

/** Workers that run, as those who operate them see them. */
export class Crew extends Context.Tag("effect-trustlog/test/Crew")<Crew, {
  /** The actors that have not ended by their own decision. */
  readonly statuses: Effect.Effect<ReadonlyArray<Status>>
  /** What has been logged so far. */
  readonly said: ReadonlyArray<string>
}>() {}

/** Both workers, over the repository and the log in context. */
export const workers = (
  config: Partial<WorkerConfig.Shape> = {}
): Layer.Layer<Crew, never, Repository | Publisher> => {
  const said: Array<string> = []
  const refs: Array<ActorRef> = []
  const logger = Logger.make(({ logLevel, message }) => {
    if (logLevel._tag !== "Debug") said.push(`${logLevel.label} ${String(message)}`)
  })
  const host = Layer.effect(
    Host,
    Effect.map(Host, ({ start }) =>
      Host.of({
        start: (actor) => Effect.tap(start(actor), (ref) => Effect.sync(() => refs.push(ref)))
      }))
  )
  const statuses = Effect.map(
    Effect.forEach(refs, ({ status }) => status),
    (all) => all.filter(({ state }) => state !== "stopped")
  )
  return Layer.merge(CursorWorker.layer, RetryWorker.layer).pipe(
    Layer.provideMerge(Layer.succeed(Crew, { statuses: Effect.suspend(() => statuses), said })),
    Layer.provide([CircuitBreaker.layer, Layer.provide(host, HostLocal.layer)]),
    Layer.provide(Layer.succeed(WorkerConfig.WorkerConfig, { ...WorkerConfig.defaults, ...config })),
    Layer.provide(Logger.replace(Logger.defaultLogger, logger))
  )
}

export type Application = Repository | SqlClient.SqlClient | Publisher | Memory.Control | Trustlog.Trustlog | Crew

/** An application with everything in one process: repository, log in memory, client and workers. */
export const application = (
  base: Layer.Layer<Repository | SqlClient.SqlClient>,
  config: Partial<WorkerConfig.Shape> = {}
): Layer.Layer<Application> =>
  Layer.provideMerge(Layer.merge(Trustlog.layer, workers(config)), Layer.merge(base, Memory.layer))

/** What the log holds, as the numbers of `entry`, in the order of arrival. */
export const held: Effect.Effect<ReadonlyArray<number>, never, Memory.Control> = Effect.flatMap(
  Memory.Control,
  (control) => Effect.map(control.held, (all) => all.map(({ message }) => Number(`0x${message.id.slice(-12)}`)))
)

/** Waits until the log holds all of some numbers. */
export const arrived = (numbers: Iterable<number>): Effect.Effect<void, never, Memory.Control> => {
  const missing = new Set(numbers)
  return until(Effect.map(held, (all) => {
    for (const n of all) missing.delete(n)
    return missing.size === 0
  }))
}

/** Fails unless every actor is at work again: none has ended, and none is failing. */
export const atWork: Effect.Effect<void, never, Crew> = Effect.gen(function*() {
  const { statuses } = yield* Crew
  yield* until(Effect.map(statuses, (all) => all.every(({ failuresInRow }) => failuresInRow === 0)))
  const identities = (yield* statuses).map(({ identity }) => identity)
  assert.includeMembers(identities, ["lanes", "retry"])
})

export type Isolation = "READ COMMITTED" | "REPEATABLE READ" | "SERIALIZABLE"
export const isolations: ReadonlyArray<Isolation> = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]

/** A host's transaction: its isolation, and how long it waits for locks, in seconds. */
export const hosting = (isolation: Isolation, lockWait = 5) => <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const { classify, describe } = yield* dialectOf(sql)
    const bracket: Bracket = sql.onDialectOrElse({
      pg: (): Bracket => ({
        begin: [
          `BEGIN ISOLATION LEVEL ${isolation}; SET LOCAL lock_timeout = '${lockWait}s'; ` +
          "SET LOCAL deadlock_timeout = '50ms'"
        ],
        end: []
      }),
      mysql: (): Bracket => ({
        begin: [
          `SET SESSION innodb_lock_wait_timeout = ${lockWait}; ` +
          `SET TRANSACTION ISOLATION LEVEL ${isolation}; START TRANSACTION`
        ],
        end: ["SET SESSION innodb_lock_wait_timeout = DEFAULT"]
      }),
      orElse: (): Bracket => ({ begin: ["BEGIN IMMEDIATE"], end: [] })
    })
    return yield* transaction.own(
      sql,
      bracket,
      (error) => new DatabaseError({ reason: classify(error), problem: describe(error), cause: error })
    )(effect)
  })

/** What the tests do not wait for. */
export const quick: Partial<WorkerConfig.Shape> = {
  lease: Duration.seconds(2),
  leaseRenewal: Duration.millis(500),
  laneScan: Duration.millis(500)
}

/** Appends one operation, again under the same id for as long as the database cannot take it. */
export const insist = (n: number): Effect.Effect<Trustlog.Result, Trustlog.AppendError, Trustlog.Trustlog> =>
  Effect.flatMap(Trustlog.Trustlog, (trustlog) =>
    Effect.retry(trustlog.append(entry(n).operation), {
      while: (error) => error._tag === "DatabaseError" && error.isRetryable,
      schedule: Schedule.spaced("50 millis")
    }))

/** Appends operations one by one, from a number on, until it is told to end; gives the numbers. */
export const appending = (first: number): Effect.Effect<
  { readonly end: Effect.Effect<ReadonlyArray<number>, Trustlog.AppendError> },
  never,
  Trustlog.Trustlog | Scope.Scope
> =>
  Effect.gen(function*() {
    let isEnding = false
    const appended: Array<number> = []
    const fiber = yield* Effect.forkScoped(Effect.whileLoop({
      while: () => !isEnding,
      body: () => Effect.delay(insist(first + appended.length), "5 millis"),
      step: () => void appended.push(first + appended.length)
    }))
    return {
      end: Effect.suspend(() => {
        isEnding = true
        return Effect.as(Fiber.join(fiber), appended)
      })
    }
  })

/** Far more milliseconds than a hint takes, and far fewer than a scan. */
export const soon = 2_000

/** So many milliseconds after the last one, the looks that follow an append are further apart than `soon`. */
export const rest = 4_300

/** A LISTEN of the test's own on PostgreSQL: what it has heard so far. */
export const listening = (url: string): Effect.Effect<ReadonlyArray<string>, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(async () => {
        const [row] = await Effect.runPromise(query(url, "SELECT value FROM trustlog_cursor WHERE name = 'stream'"))
        const stream = typeof row === "object" && row !== null ? String(Reflect.get(row, "value")) : ""
        const client = new Client({ connectionString: url })
        const heard: Array<string> = []
        client.on("notification", ({ payload = "" }) => heard.push(payload))
        await client.connect()
        await client.query(`LISTEN "trustlog_${stream}"`)
        return { client, heard }
      }),
      ({ client }) => Effect.promise(() => client.end())
    ),
    ({ heard }) => heard
  )
