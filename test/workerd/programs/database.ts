/**
 * What a client over a Durable Object's SQLite does with values, failures and transactions.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as DurableObject from "../../../src/Database/DurableObject.ts"
import { DatabaseError } from "../../../src/TrustlogError.ts"
import { objectOfTest, Objects, worker } from "../worker.ts"

const layer = Layer.unwrapEffect(Effect.sync(() => DurableObject.layer({ storage: objectOfTest().storage })))

const test = <E>(sentence: string, body: (sql: SqlClient.SqlClient) => Effect.Effect<void, E>) =>
  it.scopedLive(sentence, () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TABLE item (id INTEGER PRIMARY KEY, value)`
      yield* body(sql)
    }).pipe(Effect.provide(layer)))

const ids = (sql: SqlClient.SqlClient) =>
  Effect.map(sql<{ readonly id: number }>`SELECT id FROM item ORDER BY id`, (rows) => rows.map(({ id }) => id))

const reasonOf = (error: unknown) =>
  error instanceof SqlError && error.cause instanceof DatabaseError ? error.cause.reason : error

describe("a Durable Object's SQLite", () => {
  test("values come back as they were meant", (sql) =>
    Effect.gen(function*() {
      const date = new Date("2026-11-26T12:00:00.5Z")
      const given = [true, false, 5n, date, undefined, Uint8Array.of(1, 2, 3).subarray(1), -1.5, "ü\u{1f600}", null]
      for (const [id, value] of given.entries()) {
        yield* sql.unsafe("INSERT INTO item VALUES (?, ?)", [id, value])
      }
      const rows = yield* sql<{ readonly value: unknown }>`SELECT value FROM item ORDER BY id`
      assert.deepStrictEqual(
        rows.map(({ value }) => value),
        [1, 0, 5, date.toISOString(), null, Uint8Array.of(2, 3), -1.5, "ü\u{1f600}", null]
      )
      assert.deepStrictEqual(yield* sql`SELECT 1 AS a, 'b' AS b`.values, [[1, "b"]])
    }))

  test("an integer beyond 2^53 is kept, and an error to read as a number", (sql) =>
    Effect.gen(function*() {
      const large = 9_007_199_254_740_993n
      yield* sql`CREATE TABLE large (id INTEGER)`
      yield* sql.unsafe("INSERT INTO large VALUES (?)", [large])
      assert.deepStrictEqual(yield* sql`SELECT CAST(id AS TEXT) AS id FROM large`, [{ id: String(large) }])
      assert.strictEqual(reasonOf(yield* Effect.flip(sql`SELECT id FROM large`)), "unknown")
      yield* sql`INSERT INTO item VALUES (1, ${Number.MAX_SAFE_INTEGER})`
      assert.deepStrictEqual(
        yield* Effect.provideService(sql`SELECT id FROM item`, SqlClient.SafeIntegers, true),
        [{ id: 1n }]
      )
    }))

  test("failures are told by their reasons", (sql) =>
    Effect.gen(function*() {
      yield* sql`INSERT INTO item VALUES (1, 'a')`
      assert.strictEqual(reasonOf(yield* Effect.flip(sql`INSERT INTO item VALUES (1, 'b')`)), "constraint")
      assert.strictEqual(reasonOf(yield* Effect.flip(sql`SELECT * FROM absent`)), "missing")
      assert.strictEqual(reasonOf(yield* Effect.flip(sql`SELEC`)), "unknown")
      assert.strictEqual(reasonOf(yield* Effect.flip(sql`SELECT ${{ a: 1 } as never}`)), "unknown")
    }))

  test("a transaction is kept as a whole, or nothing of it", (sql) =>
    Effect.gen(function*() {
      yield* sql.withTransaction(sql`INSERT INTO item VALUES (1, 'a')`)
      const failed = sql`INSERT INTO item VALUES (2, 'b')`.pipe(Effect.zipRight(Effect.fail("no")), sql.withTransaction)
      assert.strictEqual(yield* Effect.flip(failed), "no")
      const died = sql`INSERT INTO item VALUES (3, 'b')`.pipe(Effect.zipRight(Effect.die("no")), sql.withTransaction)
      assert.strictEqual((yield* Effect.exit(died))._tag, "Failure")
      assert.deepStrictEqual(yield* ids(sql), [1])
    }))

  test("a part of a transaction that fails leaves nothing behind, and the rest is kept", (sql) =>
    Effect.gen(function*() {
      const insert = (id: number) => sql`INSERT INTO item VALUES (${id}, 'a')`
      yield* sql.withTransaction(Effect.gen(function*() {
        yield* insert(1)
        yield* sql.withTransaction(insert(2))
        yield* Effect.flip(
          sql.withTransaction(Effect.gen(function*() {
            yield* insert(3)
            yield* sql.withTransaction(insert(4))
            return yield* Effect.fail("no")
          }))
        )
        yield* sql.withTransaction(insert(5))
      }))
      assert.deepStrictEqual(yield* ids(sql), [1, 2, 5])
    }))

  test("who fails takes along only what is its own, and others wait for the end of a transaction", (sql) =>
    Effect.gen(function*() {
      const [open, end] = yield* Effect.all([Deferred.make<void>(), Deferred.make<void>()])
      const failing = yield* Effect.gen(function*() {
        yield* sql`INSERT INTO item VALUES (1, 'a')`
        yield* Deferred.succeed(open, undefined)
        yield* Deferred.await(end)
        return yield* Effect.fail("no")
      }).pipe(sql.withTransaction, Effect.flip, Effect.fork)
      yield* Deferred.await(open)
      const plain = yield* Effect.fork(sql`INSERT INTO item VALUES (2, 'b')`)
      const other = yield* Effect.fork(sql.withTransaction(sql`INSERT INTO item VALUES (3, 'c')`))
      yield* Effect.yieldNow()
      yield* Deferred.succeed(end, undefined)
      yield* Fiber.join(failing)
      yield* Fiber.join(plain)
      yield* Fiber.join(other)
      assert.deepStrictEqual(yield* ids(sql), [2, 3])
    }))

  test("an interrupted transaction is rolled back, and so is one that was left open", (sql) =>
    Effect.gen(function*() {
      const begun = yield* Deferred.make<void>()
      const fiber = yield* sql`INSERT INTO item VALUES (1, 'a')`.pipe(
        Effect.zipRight(Deferred.succeed(begun, undefined)),
        Effect.zipRight(Effect.never),
        sql.withTransaction,
        Effect.fork
      )
      yield* Deferred.await(begun)
      yield* Fiber.interrupt(fiber)
      yield* Effect.scoped(Effect.gen(function*() {
        const connection = yield* sql.reserve
        yield* connection.executeUnprepared("BEGIN IMMEDIATE", [], undefined)
        yield* connection.executeUnprepared("SAVEPOINT a", [], undefined)
        yield* connection.executeUnprepared("INSERT INTO item VALUES (2, 'b')", [], undefined)
      }))
      assert.deepStrictEqual(yield* ids(sql), [])
    }))

  test("a savepoint stays when it is rolled back to, and is gone when it is released", (sql) =>
    Effect.gen(function*() {
      const failed = yield* Effect.scoped(Effect.gen(function*() {
        const connection = yield* sql.reserve
        const say = (statement: string) => connection.executeUnprepared(statement, [], undefined)
        yield* say("BEGIN")
        yield* say("SAVEPOINT a")
        for (const id of [1, 2]) {
          yield* say(`INSERT INTO item VALUES (${id}, 'a')`)
          yield* say("ROLLBACK TO a")
        }
        yield* say("INSERT INTO item VALUES (3, 'a')")
        yield* say("RELEASE SAVEPOINT a")
        const gone = yield* Effect.flip(say("ROLLBACK TO SAVEPOINT a"))
        yield* say("COMMIT")
        return [gone, yield* Effect.flip(say("COMMIT")), yield* Effect.flip(say("ROLLBACK"))]
      }))
      assert.match(failed.join(), /no such savepoint: a.*no transaction is open.*no transaction is open/s)
      assert.deepStrictEqual(yield* ids(sql), [3])
    }))

  test("a transaction goes on while what is outside waits for its end", (sql) =>
    Effect.gen(function*() {
      // Fibres with so much to do wait for a timer now and then, which does not fire while a transaction is open.
      const others = yield* Effect.fork(Effect.forever(Effect.yieldNow()))
      yield* Effect.repeatN(
        Effect.zipRight(
          Effect.sleep("2 millis"),
          sql.withTransaction(Effect.repeatN(Effect.zipRight(Effect.yieldNow(), sql`SELECT 1`), 100))
        ),
        20
      )
      yield* sql.withTransaction(Effect.sleep("10 millis"))
      yield* Fiber.interrupt(others)
    }))

  test("a stream has every row, in order", (sql) =>
    Effect.gen(function*() {
      yield* sql.withTransaction(
        Effect.forEach(Array.from({ length: 300 }, (_, id) => id), (id) => sql`INSERT INTO item VALUES (${id}, 'a')`)
      )
      const rows = yield* Stream.runCollect(sql<{ readonly id: number }>`SELECT id FROM item ORDER BY id`.stream)
      assert.deepStrictEqual(Array.from(rows, ({ id }) => id), Array.from({ length: 300 }, (_, id) => id))
    }))
})

export { Objects as Tests }
export default worker
