/**
 * Transactions that the database ends, refuses, or lets wait for too long: the host is told, nothing is half there, and what
 * is left of its transaction goes on or says that it cannot.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import { Repository } from "../../src/Repository.ts"
import { DatabaseError } from "../../src/TrustlogError.ts"
import { fresh } from "../serverDatabase.ts"
import * as Server from "../servers/Server.ts"
import { entry } from "../workers.ts"
import { entries, hosting, over } from "./scene.ts"

const append = (...numbers: ReadonlyArray<number>) =>
  Effect.flatMap(Repository, (repository) => repository.append(entries(numbers)))

/** The numbers of the operations that are there, each pending. */
const stored = Effect.gen(function*() {
  const repository = yield* Repository
  const found = yield* repository.evidence.operations({ after: 0, limit: 10_000 })
  assert.isTrue(found.every(({ isPending }) => isPending))
  return found.map(({ id }) => Number(`0x${id.slice(-12)}`)).sort((a, b) => a - b)
})

/**
 * Two hosts that append the same two operations in opposite order. Each does something when it is the one that the database
 * ends for that, and then commits.
 */
const deadlock = <A, E, R>(onVictim: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const [one, two] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
    const host = (first: number, second: number, mine: Deferred.Deferred<void>, other: Deferred.Deferred<void>) =>
      Effect.either(
        hosting("READ COMMITTED")(Effect.gen(function*() {
          yield* append(first)
          yield* Deferred.succeed(mine, undefined)
          yield* Deferred.await(other)
          return yield* Effect.catchAll(append(second), (error) => Effect.zipRight(onVictim, Effect.fail(error)))
        }))
      )
    return yield* Effect.all([host(1, 2, one, two), host(2, 1, two, one)], { concurrency: "unbounded" })
  })

describe("a deadlock of two hosts", () => {
  Server.onEach((server) => {
    it.scopedLive("is a typed error to one of them, and the other's transaction commits", () =>
      Effect.gen(function*() {
        const ends = yield* deadlock(Effect.void)
        const failures = ends.flatMap((end) => Either.isLeft(end) ? [end.left] : [])
        assert.strictEqual(failures.length, 1)
        assert.deepInclude(failures[0], { _tag: "DatabaseError", reason: "locked", isRetryable: true })
        assert.deepStrictEqual(yield* stored, [1, 2])
      }).pipe(Effect.provide(over(fresh(server)))))

    it.scopedLive("lets nobody who goes on after it believe that what the database has undone is committed", () =>
      Effect.gen(function*() {
        const repository = yield* Repository
        const [one, two] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
        /** It takes its own failures lightly. */
        const host = (first: number, second: number, mine: Deferred.Deferred<void>, other: Deferred.Deferred<void>) =>
          Effect.either(repository.transaction(Effect.gen(function*() {
            yield* append(first)
            yield* Deferred.succeed(mine, undefined)
            yield* Deferred.await(other)
            const second_ = yield* Effect.either(append(second))
            const third = yield* Effect.either(append(first + 10))
            return Either.isRight(second_)
              ? [first, second, first + 10]
              : Either.isRight(third)
              ? [first, first + 10]
              : []
          })))
        const ends = yield* Effect.all([host(1, 2, one, two), host(2, 1, two, one)], { concurrency: "unbounded" })
        const committed = new Set(ends.flatMap((end) => Either.isRight(end) ? end.right : []))
        assert.deepStrictEqual(yield* stored, [...committed].sort((a, b) => a - b))
      }).pipe(Effect.provide(over(fresh(server)))))
  })
})

describe("a lock that somebody else holds for too long", () => {
  Server.onEach((server) => {
    it.scopedLive("is a typed error that leaves nothing behind, and the host's transaction goes on", () =>
      Effect.gen(function*() {
        const [held, done] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
        const holder = yield* Effect.fork(
          hosting("READ COMMITTED")(Effect.gen(function*() {
            yield* append(2)
            yield* Deferred.succeed(held, undefined)
            yield* Deferred.await(done)
          }))
        )
        yield* Deferred.await(held)
        yield* hosting("READ COMMITTED", 1)(Effect.gen(function*() {
          yield* append(1)
          const error = yield* Effect.flip(append(3, 2, 4))
          assert.deepInclude(error, { _tag: "DatabaseError", reason: "locked", isRetryable: true })
          yield* append(5)
        }))
        yield* Deferred.succeed(done, undefined)
        yield* Fiber.join(holder)
        assert.deepStrictEqual(yield* stored, [1, 2, 5])
      }).pipe(Effect.provide(over(fresh(server)))))
  })
})

describe("a serialisation failure", () => {
  Server.onEach((server) => {
    it.scopedLive("is a typed error, and the transaction succeeds when it is run again", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const elsewhere = yield* Effect.context<Repository>()
        let isFirst = true
        const host = hosting("REPEATABLE READ")(Effect.gen(function*() {
          yield* sql`SELECT count(*) FROM operation`
          if (isFirst) yield* Effect.locally(append(1), FiberRef.currentContext, elsewhere)
          isFirst = false
          return yield* append(1, 2)
        }))
        const error = yield* Effect.flip(host)
        assert.deepInclude(error, { _tag: "DatabaseError", reason: "locked", isRetryable: true })
        assert.deepStrictEqual((yield* host).map(({ outcome }) => outcome), ["duplicate", "appended"])
        assert.deepStrictEqual(yield* stored, [1, 2])
      }).pipe(Effect.provide(over(fresh(server)))))
  }, "pg")

  Server.on("mariadb", (server) => {
    it.scopedLive("where a changed row is an error to an older snapshot, it is a typed one", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const elsewhere = yield* Effect.context<Repository>()
        const host = hosting("REPEATABLE READ")(
          Effect.gen(function*() {
            yield* sql`SET SESSION innodb_snapshot_isolation = ON`.unprepared
            yield* sql`SELECT count(*) FROM operation`
            yield* Effect.locally(append(1), FiberRef.currentContext, elsewhere)
            return yield* append(1, 2)
          }).pipe(Effect.ensuring(Effect.orDie(sql`SET SESSION innodb_snapshot_isolation = DEFAULT`.unprepared)))
        )
        const error = yield* Effect.flip(host)
        assert.deepInclude(error, { _tag: "DatabaseError", reason: "locked", isRetryable: true })
        assert.deepStrictEqual(yield* stored, [1])
      }).pipe(Effect.provide(over(fresh(server)))))
  })
})

describe("a transaction that may not write", () => {
  Server.onEach((server) => {
    it.scopedLive("is a typed error to an append", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const error = yield* Effect.flip(
          hosting("READ COMMITTED")(Effect.gen(function*() {
            // A transaction cannot be changed any more on MySQL: this one is ended, and the next begins.
            yield* sql.onDialectOrElse({
              pg: () => sql`SET TRANSACTION READ ONLY`,
              orElse: () => sql`START TRANSACTION READ ONLY`.unprepared
            })
            return yield* append(1)
          }))
        )
        assert.deepInclude(error, { _tag: "DatabaseError", reason: "readOnly", isRetryable: false })
        assert.deepStrictEqual(yield* stored, [])
      }).pipe(Effect.provide(over(fresh(server)))))
  })
})

describe("a failure inside a host's transaction", () => {
  Server.onEach((server) => {
    it.scopedLive("of a batch leaves nothing of it behind, and the host's own statements stand", () =>
      Effect.gen(function*() {
        const repository = yield* Repository
        yield* append(1)
        yield* repository.transaction(Effect.gen(function*() {
          yield* append(2)
          const error = yield* Effect.flip(repository.append([...entries([3, 4]), entry(1, { actor: "mallory" })]))
          assert.notInstanceOf(error, DatabaseError)
          yield* append(5)
        }))
        assert.deepStrictEqual(yield* stored, [1, 2, 5])
      }).pipe(Effect.provide(over(fresh(server)))))
  })
})
