/**
 * What every back-end of `Repository` keeps when it purges. It says nothing in SQL that a database may not understand, and
 * waits for no clock.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Migrations from "../../src/Migrations.ts"
import { type Lane, laneOf } from "../../src/Operation.ts"
import * as Receipt from "../../src/Receipt.ts"
import { Repository } from "../../src/Repository.ts"
import * as Sql from "../../src/Repository/Sql.ts"
import { entry, id, uuid } from "../workers.ts"

const lane = laneOf("operation")
const noTime = Duration.zero
const day = Duration.days(1)

/** Signs nothing, and says what it was asked to sign. */
const sign = (statement: { readonly lane: string; readonly sequence: number; readonly purgedAt: string }) =>
  `${statement.lane} ${statement.sequence} ${statement.purgedAt}`

const from = (first: number, count: number) => Array.from({ length: count }, (_, n) => first + n)

const deliver = (of: Lane, limit: number) =>
  Effect.gen(function*() {
    const repository = yield* Repository
    const lease = yield* repository.acquire(of, "a", Duration.seconds(10))
    if (lease === undefined) return yield* Effect.dieMessage(`${of} is held`)
    const { rows } = yield* repository.page(lease, { after: 0, limit, maxBytes: 8_000_000 })
    yield* repository.settle(lease, {
      topic: "topic",
      delivered: rows.map((row) => ({
        position: row.position,
        id: row.id,
        contentHash: row.contentHash ?? "",
        isHashed: true,
        messageId: Uint8Array.of(7)
      })),
      refused: [],
      checkpoint: undefined,
      position: 0,
      late: 0
    })
    yield* repository.release(lease)
  })

/** Operations 1-3 in the lane's first receipt, 4-6 in its second, 7-9 in its third. */
const made = Effect.gen(function*() {
  const repository = yield* Repository
  yield* repository.append(from(1, 9).map((n) => entry(n)))
  for (let n = 0; n < 3; n++) yield* deliver(lane, 3)
})

/** The numbers of the operations that are there. */
const numbers = Effect.gen(function*() {
  const { evidence } = yield* Repository
  const rows = yield* evidence.operations({ after: 0, limit: 1000 })
  return rows.map((row) => Number(`0x${row.id.slice(-12)}`)).sort((a, b) => a - b)
})

const purge = (sequence: number, olderThan: Duration.Duration = noTime, of: Lane = lane) =>
  Effect.flatMap(Repository, (repository) => repository.purge({ lane: of, sequence, olderThan, sign }))

const receiptOf = (sequence: number) =>
  Effect.gen(function*() {
    const { evidence } = yield* Repository
    const [receipt] = yield* evidence.receipts({ lane, after: sequence - 1, limit: 1 })
    if (receipt === undefined) return yield* Effect.dieMessage("no receipt")
    return receipt
  })

/** Something that is not as it was recorded, and what is said of it. */
const spoilt: ReadonlyArray<readonly [what: string, statement: string, problem: RegExp]> = [
  ["a row is gone", "DELETE FROM operation WHERE position = 5", new RegExp(`the row of operation ${uuid(5)} is gone$`)],
  ["two rows are gone", "DELETE FROM operation WHERE position IN (4, 5)", /is gone, and 1 more$/],
  [
    "a row is altered",
    "UPDATE operation SET actor = 'mallory' WHERE position = 5",
    /no longer matches its content hash/
  ],
  [
    "a row has lost its hash",
    "UPDATE operation SET content_hash = NULL WHERE position = 5",
    /has lost its content hash/
  ],
  ["a row says another lane", "UPDATE operation SET lane = 'operation/x' WHERE position = 5", /was delivered in lane/],
  ["a row is only stored", "UPDATE operation SET strategy = 'DbOnly' WHERE position = 5", /is only stored/],
  [
    "a row is pending again",
    "INSERT INTO trustlog_pending (lane, position) VALUES ('operation', 5)",
    new RegExp(`operation ${uuid(5)} is pending as well`)
  ],
  [
    "a row is a dead letter again",
    `INSERT INTO trustlog_retry (position, lane, state, attempts, reason, error, first_failed_at, last_failed_at)
      SELECT position, lane, 'dead', 1, 'rejected', 'no', recorded_at, recorded_at FROM operation WHERE position = 5`,
    /is dead as well/
  ],
  [
    "the receipt is of another topic",
    "UPDATE trustlog_receipt SET topic = 'other' WHERE sequence = 2",
    /is not the one that receipt\/operation\/3 names/
  ],
  [
    "the next receipt follows another",
    `UPDATE trustlog_receipt SET previous = '${"00".repeat(32)}' WHERE sequence = 3`,
    /is not the one that receipt\/operation\/3 names/
  ],
  [
    "the next receipt is gone",
    "DELETE FROM trustlog_receipt WHERE sequence = 3",
    /is not the one that the lane's row names/
  ],
  [
    "the receipt counts more records",
    "UPDATE trustlog_receipt SET count = 4 WHERE sequence = 2",
    /is not the one that receipt\/operation\/3 names/
  ]
]

/** Runs the suite over a client of a database that holds nothing, made anew each time. */
export const suite = (name: string, client: Layer.Layer<SqlClient.SqlClient, unknown>): void => {
  const layer = Layer.orDie(Layer.provideMerge(Layer.provide(Sql.layer(), Migrations.layer()), client))

  const test = <E>(
    sentence: string,
    body: Effect.Effect<void, E, Repository | SqlClient.SqlClient>
  ) => it.live(sentence, () => Effect.provide(body, layer))

  describe(`${name}: purge`, () => {
    test(
      "the rows of one receipt go, and the receipt says when, under a signature of what it says",
      Effect.gen(function*() {
        const repository = yield* Repository
        yield* made
        const before = yield* receiptOf(2)
        assert.deepStrictEqual(yield* purge(2), { _tag: "Purged", operations: 3 })
        assert.deepStrictEqual(yield* numbers, [1, 2, 3, 7, 8, 9])
        const { purgeSignature, purgedAt, ...after } = yield* receiptOf(2)
        assert.deepStrictEqual({ ...after, purgedAt: null, purgeSignature: null }, before)
        assert.match(purgedAt ?? "", /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/)
        assert.strictEqual(purgeSignature, `operation 2 ${purgedAt}`)
        assert.isTrue(Either.isRight(Receipt.open(yield* receiptOf(2))))
        assert.include(yield* repository.stats, { delivered: 9, purged: 3 })
      })
    )

    test(
      "the lane's last receipt goes as well, and the next one follows it",
      Effect.gen(function*() {
        const repository = yield* Repository
        yield* made
        assert.deepStrictEqual(yield* purge(3), { _tag: "Purged", operations: 3 })
        yield* repository.append([entry(10)])
        yield* deliver(lane, 3)
        assert.strictEqual((yield* receiptOf(4)).previous, Receipt.hash(yield* receiptOf(3)))
        assert.deepStrictEqual(yield* purge(4), { _tag: "Purged", operations: 1 })
      })
    )

    test(
      "what is younger than the period stays, and so does what was purged before",
      Effect.gen(function*() {
        yield* made
        assert.deepStrictEqual(yield* purge(1, day), { _tag: "NotDue" })
        assert.deepStrictEqual(yield* purge(1, Duration.infinity), { _tag: "NotDue" })
        assert.strictEqual((yield* numbers).length, 9)
        yield* purge(1)
        const { purgedAt } = yield* receiptOf(1)
        assert.deepStrictEqual(yield* purge(1), { _tag: "NotDue" })
        assert.strictEqual((yield* receiptOf(1)).purgedAt, purgedAt)
        assert.deepInclude(yield* purge(99), { _tag: "Refused", problem: "is not there any more" })
      })
    )

    test(
      "what is pending, retried, dead or only stored stays, whatever its age",
      Effect.gen(function*() {
        const repository = yield* Repository
        yield* made
        yield* repository.append([11, 12, 13].map((n) => entry(n)))
        const lease = yield* repository.acquire(lane, "a", Duration.seconds(10))
        if (lease === undefined) return yield* Effect.dieMessage("held")
        const refusal = { reason: "rejected" as const, error: "no" }
        yield* repository.settle(lease, {
          topic: "topic",
          delivered: [],
          refused: [
            { ...refusal, position: 10, delay: Duration.minutes(1) },
            { ...refusal, position: 11, delay: undefined }
          ],
          checkpoint: undefined,
          position: 0,
          late: 0
        })
        yield* repository.append([{ ...entry(14), strategy: "DbOnly" }])
        for (const { lane } of yield* repository.evidence.heads) {
          const { due } = yield* repository.purgeable({ lane, after: 0, olderThan: noTime, limit: 100 })
          for (const sequence of due) yield* repository.purge({ lane, sequence, olderThan: noTime, sign })
        }
        assert.deepStrictEqual(yield* numbers, [11, 12, 13, 14])
        assert.include(yield* repository.stats, { pending: 1, retrying: 1, dead: 1, purged: 9 })
      })
    )

    test(
      "a promoted operation goes with its promotion",
      Effect.gen(function*() {
        const repository = yield* Repository
        const sql = yield* SqlClient.SqlClient
        yield* repository.append([{ ...entry(1), strategy: "DbOnly" }, { ...entry(2), strategy: "DbOnly" }])
        yield* repository.promote([id(2)])
        yield* deliver(lane, 3)
        assert.deepStrictEqual(yield* purge(1), { _tag: "Purged", operations: 1 })
        assert.deepStrictEqual(yield* numbers, [1])
        assert.deepStrictEqual(yield* sql`SELECT position FROM trustlog_promotion`, [])
        assert.deepStrictEqual(yield* repository.evidence.orphans(10), [])
      })
    )

    for (const [what, statement, problem] of spoilt) {
      test(
        `nothing of a receipt goes when ${what}`,
        Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          yield* made
          yield* sql.unsafe(statement)
          const before = yield* numbers
          const outcome = yield* purge(2)
          assert.match(outcome._tag === "Refused" ? outcome.problem : outcome._tag, problem)
          assert.deepStrictEqual(yield* numbers, before)
          assert.deepInclude(yield* receiptOf(2), { purgedAt: null, purgeSignature: null })
          assert.deepStrictEqual(yield* purge(1), { _tag: "Purged", operations: 3 })
        })
      )
    }

    test(
      "a lane's last receipt stays when the lane's row names another, or is gone",
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* made
        yield* sql`UPDATE trustlog_cursor SET value = ${Receipt.genesis} WHERE name = 'lane/operation'`
        const refused = { _tag: "Refused", problem: "is not the one that the lane's row names" } as const
        assert.deepStrictEqual(yield* purge(3), refused)
        yield* sql`DELETE FROM trustlog_cursor WHERE name = 'lane/operation'`
        assert.deepStrictEqual(yield* purge(3), refused)
        assert.strictEqual((yield* numbers).length, 9)
      })
    )

    test(
      "of many purges of one receipt at once, one purges it and all the others find it purged",
      Effect.gen(function*() {
        const repository = yield* Repository
        yield* made
        const outcomes = yield* Effect.all([1, 2, 3, 2, 1, 2, 3, 2, 1].map((sequence) => purge(sequence)), {
          concurrency: "unbounded"
        })
        assert.deepStrictEqual(outcomes.map(({ _tag }) => _tag).sort(), [
          ...Array.from({ length: 6 }, () => "NotDue"),
          ...Array.from({ length: 3 }, () => "Purged")
        ])
        assert.deepStrictEqual(yield* numbers, [])
        assert.include(yield* repository.stats, { purged: 9 })
      })
    )

    test(
      "a purge that fails before its end leaves everything as it was",
      Effect.gen(function*() {
        const repository = yield* Repository
        yield* made
        const exit = yield* Effect.exit(repository.purge({
          lane,
          sequence: 2,
          olderThan: noTime,
          sign: () => {
            throw new Error("no key")
          }
        }))
        assert.strictEqual(exit._tag, "Failure")
        assert.strictEqual((yield* numbers).length, 9)
        assert.deepInclude(yield* receiptOf(2), { purgedAt: null, purgeSignature: null })
        assert.deepStrictEqual(yield* purge(2), { _tag: "Purged", operations: 3 })
      })
    )

    test(
      "receipts that are due are found in pages, by lane",
      Effect.gen(function*() {
        const { append, purgeable } = yield* Repository
        yield* made
        const eu = laneOf("operation", "eu")
        yield* append([entry(10, {}, eu)])
        yield* deliver(eu, 3)
        yield* purge(2)
        const look = (after: number, limit: number, olderThan = noTime) => purgeable({ lane, after, limit, olderThan })
        assert.deepStrictEqual(yield* look(0, 2), { due: [1], last: 2 })
        assert.deepStrictEqual(yield* look(2, 2), { due: [3], last: undefined })
        assert.deepStrictEqual(yield* look(0, 3), { due: [1, 3], last: 3 })
        assert.deepStrictEqual(yield* look(3, 3), { due: [], last: undefined })
        assert.deepStrictEqual(yield* look(0, 9, day), { due: [], last: undefined })
        assert.deepStrictEqual(yield* purgeable({ lane: eu, after: 0, limit: 9, olderThan: noTime }), {
          due: [1],
          last: undefined
        })
        assert.deepStrictEqual(yield* purge(1, noTime, eu), { _tag: "Purged", operations: 1 })
      })
    )

    test(
      "an id is not known any more, and may be appended again",
      Effect.gen(function*() {
        const { append } = yield* Repository
        yield* made
        yield* purge(1)
        const [appended] = yield* append([entry(2, { actor: "bob" })])
        assert.deepInclude(appended, { outcome: "appended", position: 10 })
      })
    )
  })
}
