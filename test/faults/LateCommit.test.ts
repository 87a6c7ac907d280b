/**
 * Transactions that insert first and commit last, behind a cursor that has passed them.
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as FileSystem from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Sqlite from "../../src/Database/Sqlite.ts"
import * as Memory from "../../src/Publisher/Memory.ts"
import { Repository } from "../../src/Repository.ts"
import * as Trustlog from "../../src/Trustlog.ts"
import { defaults } from "../../src/WorkerConfig.ts"
import { fresh } from "../serverDatabase.ts"
import * as Server from "../servers/Server.ts"
import { uuid } from "../workers.ts"
import { application, arrived, entries, held, over, range, until, workers } from "./scene.ts"

/** The kinds of databases with writers that do not wait for each other. */
const onEachKind = (suites: (server: Server.Server) => void) => {
  for (const name of ["postgresql-18", "mysql", "mariadb"] as const) Server.on(name, suites)
}

const operation = (n: number) => ({ id: uuid(n), actor: "alice", action: "read", target: "file/1" })

// They mostly wait.
describe.concurrent("a transaction that inserted first and commits 15 seconds after the cursor has passed it", () => {
  onEachKind((server) => {
    it.scopedLive("is delivered within one re-derivation, and counted as late", () =>
      Effect.gen(function*() {
        const trustlog = yield* Trustlog.Trustlog
        const { stats } = yield* Repository
        const inserted = yield* Deferred.make<void>()
        const committing = yield* Deferred.make<void>()
        const slow = yield* Effect.fork(trustlog.transaction(
          trustlog.append(operation(1)).pipe(
            Effect.zipRight(Deferred.succeed(inserted, undefined)),
            Effect.zipRight(Deferred.await(committing))
          )
        ))
        yield* Deferred.await(inserted)
        yield* trustlog.append(operation(2))
        yield* until(
          Effect.map(stats, ({ lanes }) => lanes.some(({ lane, position }) => lane === "operation" && position >= 2))
        )
        // The lane goes on meanwhile, so that its bound, which trails the head by two seconds, passes as well.
        for (const n of range(3, 33)) {
          yield* Effect.sleep("500 millis")
          yield* trustlog.append(operation(n))
        }
        yield* arrived(range(2, 33))
        assert.notInclude(yield* held, 1)
        yield* Deferred.succeed(committing, undefined)
        yield* Fiber.join(slow)
        const [took] = yield* Effect.timed(arrived([1]))
        yield* Console.log(`${server.name}: delivered ${Math.round(Duration.toMillis(took))} ms after its late commit`)
        assert.isBelow(Duration.toMillis(took), Duration.toMillis(defaults.rederivation) + 2_000)
        yield* until(
          Effect.map(stats, ({ lanes }) => lanes.some(({ late, lane }) => lane === "operation" && late === 1))
        )
      }).pipe(Effect.provide(application(over(fresh(server))))))
  })
})

/**
 * Writers with random delays that roll some of their transactions back, and what they have committed. A batch is
 * appended in two parts, so that transactions overlap in many ways.
 */
const write = (repository: Repository["Type"], writer: number, count: number, longest: number) =>
  Effect.gen(function*() {
    const committed: Array<number> = []
    for (let done = 0; done < count;) {
      const size = Math.min(yield* Random.nextIntBetween(1, 120), count - done)
      const first = (writer + 1) * 1_000_000 + done
      const batch = entries(range(first, first + size - 1)).map((one) => ({ ...one, isIdNew: true }))
      const half = yield* Random.nextIntBetween(0, size)
      const isRolledBack = (yield* Random.next) < 0.15
      // Now and then for longer than the bound trails behind the head.
      const isSlow = (yield* Random.next) < 0.03
      const pause = Effect.flatMap(Random.nextIntBetween(0, isSlow ? longest : 25), (millis) => Effect.sleep(millis))
      const transaction = yield* Effect.either(repository.transaction(Effect.gen(function*() {
        yield* repository.append(batch.slice(0, half))
        yield* pause
        yield* repository.append(batch.slice(half))
        yield* pause
        if (isRolledBack) return yield* Effect.fail("changed my mind")
      })))
      if (Either.isRight(transaction)) committed.push(...range(first, first + size - 1))
      else assert.strictEqual(transaction.left, "changed my mind")
      done += size
    }
    return committed
  })

/** Exactly what was committed has arrived, and everything at least once. */
const arrivedExactly = (
  repositories: ReadonlyArray<Repository["Type"]>,
  writers: number,
  operations: number,
  longest: number
) =>
  Effect.gen(function*() {
    const seed = yield* Random.nextInt
    const committed = new Set(
      (yield* Effect.forEach(
        range(0, writers - 1),
        (writer) => {
          const repository = repositories[writer % repositories.length]
          return repository === undefined
            ? Effect.dieMessage("there is one")
            : Effect.withRandom(
              write(repository, writer, Math.ceil(operations / writers), longest),
              Random.make(seed + writer)
            )
        },
        { concurrency: "unbounded" }
      )).flat()
    )
    yield* arrived(committed)
    const all = yield* held
    const delivered = new Set(all)
    assert.deepStrictEqual([...delivered].filter((n) => !committed.has(n)), [], "nothing that was rolled back")
    assert.strictEqual(delivered.size, committed.size)
    const [repository] = repositories
    if (repository === undefined) return
    yield* until(Effect.map(repository.stats, ({ pending }) => pending === 0))
    const { delivered: counted, lanes } = yield* repository.stats
    assert.strictEqual(counted, committed.size, "each was settled once")
    const late = lanes.reduce((sum, lane) => sum + lane.late, 0)
    yield* Console.log(`${committed.size} of ${operations} committed (seed ${seed}), sent ${all.length}, late ${late}`)
  })

const quick = { rederivation: Duration.seconds(1) }

describe("concurrent writers with random delays and rollbacks", () => {
  onEachKind((server) => {
    it.scopedLive("32 of them, 50,000 operations: exactly what was committed arrives", () =>
      Effect.flatMap(Repository, (repository) => arrivedExactly([repository], 32, 50_000, 2_500)).pipe(
        Effect.provide(application(over(fresh(server, { maxConnections: 40 })), quick))
      ))
  })

  it.scopedLive("sqlite: 8 of them over 4 connections, 4,000 operations: exactly what was committed arrives", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const filename = `${yield* fs.makeTempDirectoryScoped({ prefix: "trustlog-faults-" })}/trustlog.db`
      const database = () => over(Sqlite.layer({ filename }))
      const repositories = yield* Effect.forEach(
        range(1, 4),
        () => Effect.map(Layer.build(database()), (context) => Context.get(context, Repository))
      )
      yield* arrivedExactly(repositories, 8, 4_000, 50).pipe(
        Effect.provide(Layer.provideMerge(workers(quick), Layer.merge(database(), Memory.layer)))
      )
    }).pipe(Effect.provide(NodeContext.layer)))
})
