/**
 * A database and its ledger with everything in them that a verification may meet, made once and copied for every test.
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as LogLevel from "effect/LogLevel"
import * as Logger from "effect/Logger"
import * as Schedule from "effect/Schedule"
import * as fs from "node:fs/promises"
import * as os from "node:os"
import * as path from "node:path"
import * as CircuitBreaker from "../src/CircuitBreaker.ts"
import * as CursorWorker from "../src/CursorWorker.ts"
import * as Sqlite from "../src/Database/Sqlite.ts"
import * as Drain from "../src/Drain.ts"
import * as HostLocal from "../src/Host/Local.ts"
import * as Ledger from "../src/Ledger.ts"
import * as Migrations from "../src/Migrations.ts"
import type { Input } from "../src/Operation.ts"
import { type Outcome, Publisher } from "../src/Publisher.ts"
import * as PublisherLedger from "../src/Publisher/Ledger.ts"
import * as Purge from "../src/Purge.ts"
import { Repository } from "../src/Repository.ts"
import * as RepositorySql from "../src/Repository/Sql.ts"
import { RetryPolicy } from "../src/RetryPolicy.ts"
import * as RetryWorker from "../src/RetryWorker.ts"
import * as Trustlog from "../src/Trustlog.ts"
import * as Verify from "../src/Verify.ts"

/** Where a database and its ledger are. */
export interface World {
  readonly directory: string
  readonly database: string
  readonly ledger: string
}

export const worldIn = (directory: string, database = "trustlog.db"): World => ({
  directory,
  database: path.join(directory, database),
  ledger: path.join(directory, "ledger")
})

const temporary = Effect.acquireRelease(
  Effect.promise(() => fs.mkdtemp(path.join(os.tmpdir(), "trustlog-verify-"))),
  (directory) => Effect.promise(() => fs.rm(directory, { recursive: true, force: true }))
)

/** An empty folder for a database and a ledger. */
export const empty = Effect.map(temporary, (directory) => worldIn(directory))

/** A copy that a test may spoil. */
export const copyOf = (world: World) =>
  Effect.gen(function*() {
    const copy = yield* empty
    // What libsql leaves beside a closed database is empty, and goes when the garbage collector comes.
    const filter = (file: string) => !/-(wal|shm)$/.test(file)
    yield* Effect.promise(() => fs.cp(world.directory, copy.directory, { recursive: true, filter }))
    return copy
  })

/** Another database that delivers into the same ledger. */
export const neighbourOf = (world: World): World => worldIn(world.directory, "neighbour.db")

export const uuid = (n: number): string => `00000000-0000-7000-8000-${n.toString(16).padStart(12, "0")}`

/** What the log does not take: by their actions. */
const refusals: Record<string, Outcome | undefined> = {
  "refused.later": { _tag: "Refused", reason: "rejected", error: "not today" },
  "refused.forever": { _tag: "Refused", reason: "tooLarge", error: "not ever" }
}

const publisherOf = (ledger: Ledger.Ledger): Publisher["Type"] => {
  const publisher = PublisherLedger.make(ledger)
  return {
    ...publisher,
    publish: (topic, batch) =>
      Effect.gen(function*() {
        const refused = batch.map((message) => {
          const [, action = ""] = /"action":"([^"]*)"/.exec(Buffer.from(message.bytes).toString("utf8")) ?? []
          return refusals[action]
        })
        const published = yield* publisher.publish(topic, batch.filter((_, i) => refused[i] === undefined))
        const outcomes = [...published.outcomes]
        return {
          ...published,
          outcomes: refused.map((outcome) => outcome ?? outcomes.shift() ?? { _tag: "Unknown" as const, error: "" })
        }
      })
  }
}

/** The application: client, repository and ledger, without workers. */
export const application = (world: World) => {
  const options = { path: world.ledger }
  const publisher = Layer.scoped(
    Publisher,
    Effect.zipRight(Ledger.init(options), Effect.map(Ledger.make(options), publisherOf))
  )
  const repository = Layer.provideMerge(
    Layer.provide(RepositorySql.layer(), Migrations.layer()),
    Sqlite.layer({ filename: world.database })
  )
  return Trustlog.layer.pipe(
    Layer.provideMerge(Layer.mergeAll(repository, publisher, CircuitBreaker.layer)),
    Layer.provideMerge(NodeContext.layer),
    Layer.orDie
  )
}

/** The repository alone, over a connection of its own. */
export const repository = (world: World) =>
  Layer.provideMerge(RepositorySql.layer(), Sqlite.layer({ filename: world.database })).pipe(
    Layer.provideMerge(NodeContext.layer),
    Layer.orDie
  )

export const verify = (world: World, options: Partial<Verify.Options> = {}) =>
  Effect.provide(Verify.verify({ ledger: world.ledger, ...options }), repository(world))

/** Purges everything that was delivered. */
export const purge = (world: World, options: Partial<Purge.Options> = {}) =>
  Effect.provide(
    Purge.purge({ olderThan: 0, keyFile: `${world.ledger}.key`, ledger: world.ledger, ...options }),
    repository(world)
  )

/** Runs statements that no program of ours would. */
export const sql = (world: World, statement: string, ...params: ReadonlyArray<unknown>) =>
  Effect.provide(
    Effect.flatMap(
      SqlClient.SqlClient,
      (client) => client.unsafe<Record<string, unknown>>(statement, params).withoutTransform
    ),
    Sqlite.layer({ filename: world.database })
  )

/** A field of every kind. */
export const input = (n: number, more: Partial<Input> = {}): Input => ({
  id: uuid(n),
  occurredAt: "2026-11-23T14:50:42.123456Z",
  actor: `user/${n % 7}`,
  action: "file.read",
  target: `file/${n}`,
  source: "web",
  payload: { n, text: "ä\u2028\u{1f600}", list: [1, 0.1, null, true] },
  requestHash: "ab".repeat(32),
  responseHash: "cd".repeat(32),
  clientIp: "192.0.2.1",
  serverIp: "2001:db8::1",
  traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
  ...more
})

/** Numbers from one up to, not including, another. */
export const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i)

/** What plain SQL writes: the columns that it must, and a pending row. */
export const plain = (n: number) =>
  Effect.flatMap(SqlClient.SqlClient, (client) =>
    client.withTransaction(Effect.gen(function*() {
      yield* client`INSERT INTO operation (id, kind, lane, occurred_at, actor, action, target, payload)
        VALUES (${uuid(n)}, 'operation', 'operation', '2026-11-23T14:50:42Z', 'cron', 'cleanup', ${`host/${n}`},
          '{ "b": 2, "a": 1 }')`
      yield* client`INSERT INTO trustlog_pending (lane, position)
        SELECT lane, position FROM operation WHERE id = ${uuid(n)}`
    })))

/** Which numbers are what in the settled world. */
export const numbers = {
  operations: range(1, 301),
  records: range(1001, 1061),
  named: range(2001, 2004),
  large: [3001],
  plain: [4001, 4002],
  stored: [5001, 5002],
  promoted: [5003],
  sent: [6001, 6002],
  neighbour: range(7001, 7011)
} as const

/** Everything delivered that is to be. */
export const makeSettled = (world: World) =>
  Effect.gen(function*() {
    const neighbour = neighbourOf(world)
    yield* Effect.gen(function*() {
      const trustlog = yield* Trustlog.Trustlog
      yield* trustlog.appendAll(numbers.neighbour.map((n) => input(n)))
      yield* Drain.drainOnce()
    }).pipe(Effect.provide(application(neighbour)))
    yield* Effect.gen(function*() {
      const trustlog = yield* Trustlog.Trustlog
      for (let at = 0; at < numbers.operations.length; at += 100) {
        yield* trustlog.appendAll(numbers.operations.slice(at, at + 100).map((n) => input(n)))
        yield* trustlog.appendAll(
          numbers.records.slice(at / 5, at / 5 + 20).map((n) => input(n, { kind: "record", payload: null }))
        )
        yield* trustlog.append(input(2001 + at / 100), { lane: "eu" })
        yield* Drain.drainOnce()
      }
      yield* trustlog.append(input(3001, { payload: "x".repeat(70_000) }))
      for (const n of numbers.plain) yield* plain(n)
      yield* trustlog.appendAll([...numbers.stored, ...numbers.promoted].map((n) => input(n)), { strategy: "DbOnly" })
      const [last] = yield* trustlog.appendAll(numbers.promoted.map((n) => input(n)))
      if (last?.outcome !== "promoted") return yield* Effect.dieMessage("not promoted")
      yield* trustlog.appendAll(numbers.sent.map((n) => input(n)), { strategy: "TrustlogOnly" })
      yield* Drain.drainOnce()
    }).pipe(Effect.provide(application(world)))
  })

/** What is on its way besides, in the unsettled world: plain SQL wrote the last of the pending ones. */
export const waiting = {
  retrying: [8001, 8002],
  dead: [8011, 8012],
  pending: [8021, 8022, 8023],
  promoted: [8031]
} as const

/** The settled world, and something in every state. */
export const makeUnsettled = (world: World) =>
  Effect.gen(function*() {
    const trustlog = yield* Trustlog.Trustlog
    yield* trustlog.appendAll(waiting.retrying.map((n) => input(n, { action: "refused.later" })))
    yield* trustlog.appendAll(waiting.dead.map((n) => input(n, { action: "refused.forever" })))
    yield* Drain.drainOnce()
    yield* trustlog.appendAll(waiting.pending.slice(0, 2).map((n) => input(n)))
    yield* plain(8023)
    yield* trustlog.appendAll(waiting.promoted.map((n) => input(n)), { strategy: "DbOnly" })
    yield* trustlog.appendAll(waiting.promoted.map((n) => input(n)))
  }).pipe(Effect.provide(application(world)))

/** The application with both workers beside it. Retries come at once, and give up soon. */
const workers = (world: World) =>
  Layer.merge(CursorWorker.layer, RetryWorker.layer).pipe(
    Layer.provide([
      HostLocal.layer,
      Layer.succeed(RetryPolicy, {
        schedule: Schedule.intersect(Schedule.spaced("20 millis"), Schedule.recurs(2))
      })
    ]),
    Layer.provideMerge(application(world))
  )

/** Appends something of every sort, over and over, while workers deliver it. */
export const bustle = (world: World): Effect.Effect<never> =>
  Effect.gen(function*() {
    const trustlog = yield* Trustlog.Trustlog
    const { replay, deadLetters } = yield* Repository
    let n = 0
    const next = (count: number, more: Partial<Input> = {}) =>
      Array.from({ length: count }, () => {
        const { id: _, ...made } = input(n++, more)
        return made
      })
    while (true) {
      yield* trustlog.appendAll(next(30))
      yield* trustlog.appendAll(next(3, { kind: "record" }), { lane: `lane-${n % 3}` })
      yield* trustlog.appendAll(next(2, { action: "refused.later" }))
      yield* trustlog.appendAll(next(1, { action: "refused.forever" }))
      yield* trustlog.appendAll(next(1), { strategy: "TrustlogOnly" })
      const stored = yield* trustlog.appendAll(next(4), { strategy: "DbOnly" })
      yield* trustlog.promote(stored.slice(0, 2).map((result) => result.id))
      yield* plain(100_000_000 + n)
      const letters = yield* deadLetters({ after: 0, limit: 3 })
      yield* replay(letters.map((letter) => letter.id))
      yield* Effect.sleep("5 millis")
    }
  }).pipe(Effect.provide(workers(world)), Effect.provide(Logger.minimumLogLevel(LogLevel.Error)), Effect.orDie)
