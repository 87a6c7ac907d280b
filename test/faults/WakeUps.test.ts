/**
 * How soon an append is picked up: by what it says itself, by what the database says, and by looking. The scan that finds
 * everything in the end is ten seconds away.
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as FileSystem from "@effect/platform/FileSystem"
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as PostgreSQL from "../../src/Database/PostgreSQL.ts"
import * as Sqlite from "../../src/Database/Sqlite.ts"
import { type Lane, laneOf } from "../../src/Operation.ts"
import * as Memory from "../../src/Publisher/Memory.ts"
import { Repository } from "../../src/Repository.ts"
import * as Trustlog from "../../src/Trustlog.ts"
import { parsed, pass } from "../serverDatabase.ts"
import { query } from "../servers/Database.ts"
import * as PgBouncer from "../servers/PgBouncer.ts"
import * as Server from "../servers/Server.ts"
import { suite } from "../suites/RepositoryTest.ts"
import { entry } from "../workers.ts"
import { application, arrived, held, listening, over, range, repository, rest, soon, until } from "./scene.ts"

/** An application with workers, once it has nothing to do and has been left alone for a while. */
const resting = (base: Parameters<typeof application>[0]) =>
  Effect.gen(function*() {
    const context = yield* Layer.build(application(base))
    const { append } = Context.get(context, Trustlog.Trustlog)
    yield* append(entry(1_000_000).operation)
    yield* append(entry(1_000_001, { kind: "record" }).operation)
    yield* Effect.provide(arrived([1_000_000, 1_000_001]), context)
    return context
  })

/** Another process on the same database, as far as the database can tell. */
const process = (base: Layer.Layer<Repository | SqlClient.SqlClient>) =>
  Layer.build(Layer.provideMerge(Trustlog.layer, Layer.merge(base, Memory.layer)))

/** Its client. */
const another = (base: Layer.Layer<Repository | SqlClient.SqlClient>) =>
  Effect.map(process(base), (context) => Context.get(context, Trustlog.Trustlog))

/**
 * Appends some operations, the first one after a rest; gives how long each was under way once it had been committed, in
 * milliseconds.
 */
const latencies = (
  context: Context.Context<Memory.Control>,
  append: (n: number) => Effect.Effect<unknown, unknown>,
  numbers: ReadonlyArray<number>
) =>
  Effect.forEach(numbers, (n, i) =>
    Effect.gen(function*() {
      yield* Effect.sleep(i === 0 ? rest : 100)
      yield* append(n)
      const [took] = yield* Effect.timed(Effect.provide(arrived([n]), context))
      return Duration.toMillis(took)
    }))

/** How long it takes until what was appended into a lane that was paused arrives, from when the lane has been resumed. */
const resumed = (
  context: Context.Context<Memory.Control | Repository>,
  other: Context.Context<Repository>,
  lane: Lane | undefined
) =>
  Effect.gen(function*() {
    const { append } = Context.get(context, Repository)
    const { setPaused } = Context.get(other, Repository)
    const n = lane === undefined ? 32 : 31
    yield* setPaused(true, lane)
    yield* append([entry(n)])
    yield* Effect.sleep(rest)
    assert.notInclude(yield* Effect.provide(held, context), n)
    yield* setPaused(false, lane)
    const [took] = yield* Effect.timed(Effect.provide(arrived([n]), context))
    return [Duration.toMillis(took)]
  })

const report = (what: string, took: ReadonlyArray<number>, within = soon) =>
  Effect.gen(function*() {
    yield* Console.log(`${what}: picked up after ${took.map((millis) => millis.toFixed(0)).join(", ")} ms`)
    for (const millis of took) assert.isBelow(millis, within, what)
  })

const measured = (name: string, make: () => Layer.Layer<Repository | SqlClient.SqlClient>) =>
  Effect.gen(function*() {
    const context = yield* resting(make())
    const here = Context.get(context, Trustlog.Trustlog)
    yield* report(
      `${name}, from the same process`,
      yield* latencies(context, (n) => here.append(entry(n).operation), range(1, 5))
    )
    yield* report(
      `${name}, when a transaction commits that was open for a while`,
      yield* latencies(
        context,
        (n) => here.transaction(Effect.zipRight(here.append(entry(n).operation), Effect.sleep(400))),
        range(6, 7)
      )
    )
    const sql = Context.get(context, SqlClient.SqlClient)
    yield* report(
      `${name}, when a transaction of the client's own commits that was open for a while`,
      yield* latencies(
        context,
        (n) => sql.withTransaction(Effect.zipRight(here.append(entry(n).operation), Effect.sleep(400))),
        range(8, 9)
      )
    )
    const other = yield* process(make())
    const there = Context.get(other, Trustlog.Trustlog)
    yield* report(
      `${name}, from another process`,
      yield* latencies(context, (n) => there.append(entry(n).operation), range(11, 15))
    )
    yield* report(`${name}, when another process resumes its lane`, yield* resumed(context, other, laneOf("operation")))
    yield* report(`${name}, when another process resumes every lane`, yield* resumed(context, other, undefined))
    yield* report(
      `${name}, from another process into a new lane`,
      yield* latencies(context, (n) => there.append(entry(n).operation, { lane: `new-${n}` }), range(21, 22)),
      // Those who deliver look for new lanes every second.
      5_000
    )
  })

// They mostly wait.
describe.concurrent("an append", () => {
  Server.onEach((server) => {
    it.scopedLive("is picked up at once, from the same process and from others", () =>
      Effect.gen(function*() {
        const url = yield* Server.database(server)
        yield* measured(server.name, () => repository(url))
      }))
  })

  it.scopedLive("sqlite: is picked up at once, from the same process and from others", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const filename = `${yield* fs.makeTempDirectoryScoped({ prefix: "trustlog-faults-" })}/trustlog.db`
      yield* measured("sqlite", () => over(Sqlite.layer({ filename })))
    }).pipe(Effect.provide(NodeContext.layer)))
})

const listeners = (url: string) =>
  Effect.map(
    query(
      url,
      "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN \"trustlog_%'"
    ),
    (rows) => rows.map((row) => typeof row === "object" && row !== null ? Number(Reflect.get(row, "pid")) : 0)
  )

describe.concurrent("PostgreSQL's notifications", () => {
  Server.onEach((server) => {
    it.scopedLive("are few however much is appended, and name the lanes", () =>
      Effect.gen(function*() {
        const url = yield* Server.database(server)
        const { append } = yield* another(repository(url))
        const heard = yield* listening(url)
        const [took] = yield* Effect.timed(Effect.forEach(
          range(1, 1_000),
          (n) => append(entry(n).operation, n % 2 === 0 ? { lane: "even" } : {}),
          { concurrency: 8 }
        ))
        yield* until(Effect.sync(() => heard.length > 0))
        yield* Effect.sleep("100 millis")
        const millis = Duration.toMillis(took)
        yield* Console.log(`${server.name}: ${heard.length} notifications of 1,000 appends in ${Math.round(millis)} ms`)
        assert.isAtMost(heard.length, millis / 5 + 10)
        assert.isBelow(heard.length, 900)
        assert.deepStrictEqual(
          new Set(heard.flatMap((payload) => payload.split(","))),
          new Set<string>([laneOf("operation"), laneOf("operation", "even")])
        )
      }))

    it.scopedLive("say nothing of lanes that are delivered by the process that appends", () =>
      Effect.gen(function*() {
        const url = yield* Server.database(server)
        const context = yield* resting(repository(url))
        const { append } = Context.get(context, Trustlog.Trustlog)
        const heard = yield* listening(url)
        yield* Effect.forEach(range(1, 20), (n) => append(entry(n).operation), { concurrency: 2 })
        // Nobody has this one yet.
        yield* append(entry(21).operation, { lane: "new" })
        yield* until(Effect.sync(() => heard.length > 0))
        assert.deepStrictEqual(heard, [laneOf("operation", "new")])
      }))

    it.scopedLive("tell what may not have been committed yet", () =>
      Effect.gen(function*() {
        const url = yield* Server.database(server)
        const context = yield* process(repository(url))
        const { append } = Context.get(context, Trustlog.Trustlog)
        const sql = Context.get(context, SqlClient.SqlClient)
        const heard = yield* listening(url)
        yield* sql.withTransaction(
          Effect.zipRight(append(entry(1).operation), until(Effect.sync(() => heard.length > 0)))
        )
        yield* append(entry(2).operation)
        yield* until(Effect.sync(() => heard.length > 1))
        assert.deepStrictEqual(heard, [`${laneOf("operation")}?`, laneOf("operation")])
      }))

    it.scopedLive("are listened to for as long as the application lives, and no longer", () =>
      Effect.gen(function*() {
        const url = yield* Server.database(server)
        yield* Effect.scoped(Effect.gen(function*() {
          yield* resting(repository(url))
          assert.strictEqual((yield* listeners(url)).length, 1)
        }))
        yield* until(Effect.map(listeners(url), (left) => left.length === 0))
      }))

    it.scopedLive("are not relied upon: without the connection that listens an append is found, and it comes back", () =>
      Effect.gen(function*() {
        const url = yield* Server.database(server)
        const context = yield* resting(repository(url))
        const { append } = yield* another(repository(url))
        const before = yield* listeners(url)
        assert.strictEqual(before.length, 1)
        yield* Effect.sleep(rest)
        yield* query(url, `SELECT pg_terminate_backend(${before[0]})`)
        yield* append(entry(1).operation)
        const [took] = yield* Effect.timed(Effect.provide(arrived([1]), context))
        assert.deepStrictEqual(yield* listeners(url), [], "it has not come back yet")
        yield* report(`${server.name}, without the connection that listens`, [Duration.toMillis(took)])
        yield* until(Effect.map(listeners(url), (now) => now.length === 1 && now[0] !== before[0]))
        yield* report(
          `${server.name}, with the connection that came back`,
          yield* latencies(context, (n) => append(entry(n).operation), range(3, 5))
        )
      }))
  }, "pg")
})

Server.having("pgbouncer", () => {
  Server.on("postgresql-15", (server) => {
    const pooled = Effect.flatMap(
      Server.database(server),
      (url) => Effect.map(PgBouncer.make(url, { poolSize: 8 }), (through) => ({ url, through }))
    )

    suite("the repository behind PgBouncer in transaction mode", {
      client: Layer.unwrapScoped(Effect.map(pooled, ({ through }) => PostgreSQL.layer({ server: parsed(through) }))),
      pass
    })

    describe.concurrent("an append behind PgBouncer", () => {
      it.scopedLive("is found by looking, since nothing can be listened to", () =>
        Effect.gen(function*() {
          const { through, url } = yield* pooled
          const context = yield* resting(repository(through))
          const { append } = yield* another(repository(through))
          yield* report(
            "behind PgBouncer, from another process",
            yield* latencies(context, (n) => append(entry(n).operation), range(1, 4))
          )
          assert.deepStrictEqual(yield* listeners(url), [])
        }))

      it.scopedLive("is heard of where the server itself is listened to", () =>
        Effect.gen(function*() {
          const { through, url } = yield* pooled
          const base = () => over(PostgreSQL.layer({ server: parsed(through), listen: parsed(url) }))
          const context = yield* resting(base())
          const { append } = yield* another(base())
          assert.strictEqual((yield* listeners(url)).length, 1)
          yield* report(
            "behind PgBouncer, listening to the server",
            yield* latencies(context, (n) => append(entry(n).operation), range(1, 4))
          )
        }))
    })
  })
})
