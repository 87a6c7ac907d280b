/**
 * Hosts that append the same ids at once: no row is lost, none is there twice, and everybody is told what became of theirs.
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as FileSystem from "@effect/platform/FileSystem"
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Sqlite from "../../src/Database/Sqlite.ts"
import { type Appended, type Entry, Repository } from "../../src/Repository.ts"
import type { AppendError } from "../../src/Trustlog.ts"
import { fresh } from "../serverDatabase.ts"
import * as Server from "../servers/Server.ts"
import { entry } from "../workers.ts"
import { entries, hosting, type Isolation, isolations, over, range } from "./scene.ts"

/** Whether two hosts of an isolation that meet at one id are told apart without one of them having to begin again. */
const isSmooth = (server: Server.Server, isolation: Isolation) =>
  isolation === "READ COMMITTED" || (server.dialect === "mysql" && isolation === "REPEATABLE READ")

const append = (batch: ReadonlyArray<Entry>) => Effect.flatMap(Repository, (repository) => repository.append(batch))

const outcomes = (results: ReadonlyArray<Appended>) => results.map(({ outcome }) => outcome)

/** Begins again for as long as somebody else is in the way; tells whether that was needed. */
const insisting = <A, E extends { readonly _tag: string }, R>(effect: Effect.Effect<A, E, R>) => {
  let again = 0
  const isInTheWay = (error: E) => {
    const isLocked = error._tag === "DatabaseError" && "reason" in error && error.reason === "locked"
    if (isLocked) again++
    return isLocked
  }
  return Effect.map(Effect.either(Effect.retry(effect, { while: isInTheWay })), (result) => ({ result, again }))
}

/** Every operation that there is, once, and pending. */
const stored = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const repository = yield* Repository
  const found = yield* repository.evidence.operations({ after: 0, limit: 10_000 })
  assert.isTrue(found.every(({ isPending }) => isPending))
  const [counted] = yield* sql<{ readonly pending: number }>`SELECT count(*) AS pending FROM trustlog_pending`
  assert.strictEqual(Number(counted?.pending), found.length)
  return found.map(({ id }) => Number(`0x${id.slice(-12)}`)).sort((a, b) => a - b)
})

describe("two hosts that append one id at once", () => {
  Server.onEach((server) => {
    for (const isolation of isolations) {
      it.scopedLive(`${isolation}: with the same content one has appended it, and it is a duplicate to the other`, () =>
        Effect.gen(function*() {
          const first = yield* Deferred.make<void>()
          const mayCommit = yield* Deferred.make<void>()
          const one = yield* Effect.fork(
            hosting(isolation)(Effect.gen(function*() {
              const results = yield* append([entry(1)])
              yield* Deferred.succeed(first, undefined)
              yield* Deferred.await(mayCommit)
              return outcomes(results)
            }))
          )
          yield* Deferred.await(first)
          const other = yield* Effect.fork(insisting(hosting(isolation)(append([entry(1)]))))
          // It waits for the first one's end.
          yield* Effect.sleep("200 millis")
          assert.isNull(other.unsafePoll())
          yield* Deferred.succeed(mayCommit, undefined)
          assert.deepStrictEqual(yield* Fiber.join(one), ["appended"])
          const { again, result } = yield* Fiber.join(other)
          assert.deepStrictEqual(outcomes(Either.getOrThrow(result)), ["duplicate"])
          if (isSmooth(server, isolation)) assert.strictEqual(again, 0)
          assert.deepStrictEqual(yield* stored, [1])
        }).pipe(Effect.provide(over(fresh(server)))))

      it.scopedLive(`${isolation}: with other content one has appended it, and it is a conflict to the other`, () =>
        Effect.gen(function*() {
          const host = (actor: string) =>
            insisting(hosting(isolation)(append([entry(1, { actor }), entry(actor === "alice" ? 2 : 3)])))
          const results = yield* Effect.all([host("alice"), host("bob")], { concurrency: "unbounded" })
          const [conflicts, successes] = [
            results.flatMap(({ result }) => Either.isLeft(result) ? [result.left] : []),
            results.flatMap(({ result }) => Either.isRight(result) ? [outcomes(result.right)] : [])
          ]
          assert.deepStrictEqual(successes, [["appended", "appended"]])
          assert.deepInclude(conflicts[0], { _tag: "OperationConflict", reason: "content" })
          if (isSmooth(server, isolation)) assert.deepStrictEqual(results.map(({ again }) => again), [0, 0])
          const [one, another, ...others] = yield* stored
          assert.strictEqual(one, 1)
          assert.include([2, 3], another)
          assert.deepStrictEqual(others, [])
        }).pipe(Effect.provide(over(fresh(server)))))
    }

    it.scopedLive("a duplicate that a host's older snapshot does not show is one, and its transaction goes on", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const elsewhere = yield* Effect.context<Repository>()
        for (const [index, isolation] of (["READ COMMITTED", "REPEATABLE READ"] as const).entries()) {
          const [first, second, third] = [index * 10 + 1, index * 10 + 2, index * 10 + 3]
          const hosted = yield* Effect.either(
            hosting(isolation)(Effect.gen(function*() {
              yield* sql`SELECT count(*) FROM operation`
              yield* Effect.locally(append(entries([first, second])), FiberRef.currentContext, elsewhere)
              const conflict = yield* Effect.flip(append([entry(third), entry(second, { actor: "mallory" })]))
              const results = yield* append(entries([first, third]))
              return [conflict._tag, ...outcomes(results)]
            }))
          )
          if (isSmooth(server, isolation)) {
            assert.deepStrictEqual(Either.getOrThrow(hosted), ["OperationConflict", "duplicate", "appended"])
          } else {
            // PostgreSQL ends such a transaction: the host begins it again.
            assert.deepInclude(Either.getOrThrow(Either.flip(hosted)), { _tag: "DatabaseError", reason: "locked" })
          }
        }
        assert.deepStrictEqual(yield* stored, server.dialect === "pg" ? [1, 2, 3, 11, 12] : [1, 2, 3, 11, 12, 13])
      }).pipe(Effect.provide(over(fresh(server)))))
  })
})

/** The numbers of what was appended, each as often as it was said to be. */
const appendedBy = (all: ReadonlyArray<ReadonlyArray<Appended>>) =>
  all.flat().filter(({ outcome }) => outcome === "appended").map(({ id }) => Number(`0x${id.slice(-12)}`)).sort((
    a,
    b
  ) => a - b)

describe("batches that overlap", () => {
  Server.onEach((server) => {
    for (const isolation of isolations) {
      it.scopedLive(`${isolation}: each operation is appended by one of them, and a duplicate to the other`, () =>
        Effect.gen(function*() {
          const hosts = yield* Effect.forEach(
            [range(1, 60), range(40, 100)],
            (numbers) => insisting(hosting(isolation)(append(entries(numbers)))),
            { concurrency: "unbounded" }
          )
          const results = hosts.map(({ result }) => Either.getOrThrow(result))
          assert.deepStrictEqual(results.map((all) => all.map(({ id }) => Number(`0x${id.slice(-12)}`))), [
            [...range(1, 60)],
            [...range(40, 100)]
          ])
          assert.deepStrictEqual(appendedBy(results), [...range(1, 100)])
          if (isSmooth(server, isolation)) assert.deepStrictEqual(hosts.map(({ again }) => again), [0, 0])
          assert.deepStrictEqual(yield* stored, [...range(1, 100)])
        }).pipe(Effect.provide(over(fresh(server)))))
    }
  })
})

/** Many batches of ids from a small pool, in no order, at once. */
const crowd = <R>(
  hosts: ReadonlyArray<(batch: ReadonlyArray<Entry>) => Effect.Effect<ReadonlyArray<Appended>, AppendError, R>>,
  { isSorted = false, pool = 200 }: { readonly isSorted?: boolean; readonly pool?: number } = {}
) =>
  Effect.gen(function*() {
    const seed = yield* Random.nextInt
    const all = yield* Effect.forEach(
      range(1, 24),
      (n) =>
        Effect.gen(function*() {
          // One of them alone, now and then: where a single statement does it, it takes another way.
          const size = n % 3 === 0 ? 1 : 20
          const numbers = Array.from(yield* Random.shuffle(range(1, pool))).slice(0, size)
          if (isSorted) numbers.sort((a, b) => a - b)
          const host = hosts[n % hosts.length]
          if (host === undefined) return yield* Effect.dieMessage("there is one")
          const { result } = yield* insisting(host(entries(numbers)))
          return { numbers, results: Either.getOrThrow(result) }
        }).pipe(Effect.withRandom(Random.make(seed + n))),
      { concurrency: 16 }
    )
    const wanted = [...new Set(all.flatMap(({ numbers }) => numbers))].sort((a, b) => a - b)
    const what = `seed ${seed}`
    assert.deepStrictEqual(appendedBy(all.map(({ results }) => results)), wanted, `each is appended once; ${what}`)
    assert.deepStrictEqual(yield* stored, wanted, what)
    const positions = new Map<string, number>()
    for (const { id, position } of all.flatMap(({ results }) => results)) {
      assert.strictEqual(position, positions.get(id) ?? position, `everybody is told the same position; ${what}`)
      positions.set(id, position)
    }
  })

describe("many parallel batches of the same ids in no order", () => {
  Server.onEach((server) => {
    it.scopedLive("lose no row, and each outcome is true", () =>
      // In order on PostgreSQL: it would look for a deadlock after a second only.
      crowd([append], { isSorted: server.dialect === "pg" }).pipe(
        Effect.provide(over(fresh(server, { maxConnections: 16 })))
      ))

    for (const isolation of isolations) {
      it.scopedLive(`${isolation}: lose no row, and each outcome is true`, () =>
        Effect.gen(function*() {
          const context = yield* Effect.context<Repository | SqlClient.SqlClient>()
          yield* crowd([(batch) => Effect.provide(hosting(isolation)(append(batch)), context)])
        }).pipe(Effect.provide(over(fresh(server, { maxConnections: 16 })))))
    }
  })

  it.scopedLive("sqlite, over several connections: lose no row, and each outcome is true", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const filename = `${yield* fs.makeTempDirectoryScoped({ prefix: "trustlog-faults-" })}/trustlog.db`
      const databases = yield* Effect.forEach(range(1, 3), () => Layer.build(over(Sqlite.layer({ filename }))))
      const [one] = databases
      if (one === undefined) return assert.fail("there are three")
      yield* crowd(databases.map((context) => Context.get(context, Repository).append)).pipe(Effect.provide(one))
    }).pipe(Effect.provide(NodeContext.layer)))
})
