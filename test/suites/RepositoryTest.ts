/**
 * What every back-end of `Repository` keeps.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Migrations from "../../src/Migrations.ts"
import { type Input, type Lane, laneOf, Operation } from "../../src/Operation.ts"
import * as OperationModule from "../../src/Operation.ts"
import * as Receipt from "../../src/Receipt.ts"
import { type Delivered, type Entry, type Lease, Repository, type Row } from "../../src/Repository.ts"
import * as Sql from "../../src/Repository/Sql.ts"
import type { DatabaseError } from "../../src/TrustlogError.ts"
import * as json from "../../src/internal/json.ts"

const operationLane = laneOf("operation")
const recordLane = laneOf("record")

const uuid = (n: number): string => `00000000-0000-7000-8000-${n.toString(16).padStart(12, "0")}`

const operation = (input: Partial<Input> = {}): Operation =>
  Either.getOrThrowWith(
    OperationModule.fromUnknown({ actor: "alice", action: "read", target: "file/1", ...input }),
    (error) => error
  )

const entry = (n: number, options: Partial<Entry> & { readonly input?: Partial<Input> } = {}): Entry => ({
  operation: operation({ id: uuid(n), ...options.input }),
  lane: options.lane ?? operationLane,
  strategy: options.strategy ?? "DbAndTrustlog"
})

const ttl = Duration.seconds(10)
const everything = { after: 0, limit: 1000, maxBytes: 8_000_000 }

const lease = (lane: Lane = operationLane, owner = "a"): Effect.Effect<Lease, DatabaseError, Repository> =>
  Effect.flatMap(
    Repository,
    (repository) =>
      Effect.flatMap(
        repository.acquire(lane, owner, ttl),
        (found) => found === undefined ? Effect.dieMessage(`${lane} is held`) : Effect.succeed(found)
      )
  )

const delivered = (row: Row, n = 7): Delivered => ({
  position: row.position,
  id: row.id,
  contentHash: row.contentHash ?? "",
  isHashed: true,
  messageId: Uint8Array.of(n)
})

const settlement = (delivered: ReadonlyArray<Delivered>, position = 0) => ({
  topic: "topic",
  delivered,
  refused: [],
  checkpoint: undefined,
  position,
  late: 0
})

const refusal = (position: number, delay = Duration.minutes(1)) => ({
  position,
  reason: "rejected" as const,
  error: "no",
  delay
})

const death = (position: number) => ({ ...refusal(position), delay: undefined })

/** A kind of database. */
export interface Target {
  /** A client of a database that holds nothing, made anew each time. */
  readonly client: Layer.Layer<SqlClient.SqlClient, unknown>
  /** Lets so many seconds pass for the database, or sets its clock back. */
  readonly pass: (seconds: number) => Effect.Effect<unknown, unknown, SqlClient.SqlClient>
}

/** How many operations there are. */
const operations = Effect.flatMap(
  Repository,
  ({ evidence }) => Effect.map(evidence.sizes({ after: 0, limit: 10_000 }), (found) => found.length)
)

/** A time that was measured while other things were going on. */
const isAbout = (actual: number | undefined, expected: number) =>
  assert.approximately(actual ?? Number.NaN, expected, 5_000)

/** Runs the suite over a kind of database. */
export const suite = (name: string, { client, pass }: Target): void => {
  const layer = Layer.orDie(Layer.provideMerge(Layer.provide(Sql.layer(), Migrations.layer()), client))

  const test = <E>(
    sentence: string,
    body: Effect.Effect<void, E, Repository | SqlClient.SqlClient | Scope.Scope>
  ) => it.scoped(sentence, () => Effect.provide(body, layer))

  describe(`${name}: transactions`, () => {
    test(
      "leave nothing with the fibre that runs them, however many those are",
      Effect.gen(function*() {
        const repository = yield* Repository
        const held = yield* lease()
        // What is set by another fibre, or restored by it, is kept on top of what was there.
        const depth = Effect.map(
          Effect.getFiberRefs,
          ({ locals }) => Math.max(...Array.from(locals.values(), (values) => values.length))
        )
        const round = (n: number) =>
          Effect.gen(function*() {
            yield* repository.append([entry(n), entry(n + 1)])
            yield* repository.transaction(repository.append([entry(n + 2)]))
            yield* repository.page(held, everything)
            yield* repository.renew(held, Duration.minutes(1))
          })
        yield* round(1)
        const before = yield* depth
        for (let n = 10; n < 60; n += 10) yield* round(n)
        assert.strictEqual(yield* depth, before)
      })
    )
  })

  describe(`${name}: append`, () => {
    test(
      "an operation is stored with every field and becomes pending",
      Effect.gen(function*() {
        const repository = yield* Repository
        const stated = {
          id: uuid(1),
          occurredAt: "2026-11-23T15:50:42.123456+01:00",
          source: "billing",
          payload: { b: [1, null, "ü\u{1f600}"], a: { ["__proto__"]: 1.5 } },
          requestHash: "AB".repeat(32),
          responseHash: "cd".repeat(32),
          clientIp: "2001:DB8::1",
          serverIp: "::ffff:192.0.2.1",
          traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        }
        const results = yield* repository.append([entry(1, { input: stated })])
        assert.deepStrictEqual(results.map((r) => ({ ...r })), [{
          id: operation({ id: uuid(1) }).id,
          position: 1,
          outcome: "appended"
        }])
        const page = yield* repository.page(yield* lease(), everything)
        const [row] = yield* repository.evidence.operations({ after: 0, limit: 9 })
        assert.deepStrictEqual(page.rows.map((pending) => ({ ...row, ...pending })), row === undefined ? [] : [row])
        assert.deepInclude(Object.fromEntries(Object.entries(row ?? {})), {
          position: 1,
          occurredAt: "2026-11-23T14:50:42.123456Z",
          kind: "operation",
          lane: "operation",
          strategy: "DbAndTrustlog",
          actor: "alice",
          source: "billing",
          payload: "{\"a\":{\"__proto__\":1.5},\"b\":[1,null,\"ü\u{1f600}\"]}",
          payloadBytes: 45,
          requestHash: "ab".repeat(32),
          clientIp: "2001:db8::1",
          serverIp: "::ffff:192.0.2.1"
        })
      })
    )

    test(
      "what the caller's transaction rolls back is neither stored nor pending",
      Effect.gen(function*() {
        const repository = yield* Repository
        const sql = yield* SqlClient.SqlClient
        const exit = yield* Effect.exit(
          repository.transaction(Effect.zipRight(repository.append([entry(1)]), Effect.fail("changed my mind")))
        )
        assert.deepStrictEqual(exit, Exit.fail("changed my mind"))
        yield* Effect.either(sql.withTransaction(Effect.zipRight(repository.append([entry(2)]), Effect.fail("no"))))
        assert.strictEqual(yield* operations, 0)
        assert.strictEqual((yield* repository.stats).pending, 0)
      })
    )

    test(
      "a batch keeps apart what its entries say, whatever they hold, and what neighbours share or lack",
      Effect.gen(function*() {
        const repository = yield* Repository
        const inputs: ReadonlyArray<Partial<Input>> = [
          { actor: "NULL", source: "null", payload: "a\nb\\n" },
          { actor: "NULL" },
          { actor: "{\"a\",b}\\", action: "\\\"", payload: { "line\n\"feed\"": ["\t\u2028", null, {}] } },
          { actor: "\n,\"\"", source: " ", payload: "" },
          { actor: "\n,\"\"", source: " " },
          { clientIp: "::1" },
          { payload: [] }
        ]
        const entries = inputs.map((input, n) => entry(n + 1, { input }))
        yield* repository.append(entries)
        const { rows } = yield* repository.page(yield* lease(), everything)
        assert.deepStrictEqual(
          rows.map(({ action, actor, clientIp, payload, source }) => [actor, action, source, payload, clientIp]),
          entries.map(({ operation: { action, actor, clientIp, payload, source } }) => [
            actor,
            action,
            source,
            payload === null ? null : json.canonical(payload),
            clientIp
          ])
        )
      })
    )

    test(
      "the same content again is a duplicate, though the time that was left out has passed",
      Effect.gen(function*() {
        const repository = yield* Repository
        yield* repository.append([entry(1)])
        yield* pass(3600)
        const [again] = yield* repository.append([entry(1)])
        assert.strictEqual(again?.outcome, "duplicate")
        assert.strictEqual(again?.position, 1)
        const twice = yield* repository.append([entry(2), entry(2)])
        assert.deepStrictEqual(twice.map((r) => r.outcome), ["appended", "duplicate"])
        assert.strictEqual((yield* repository.stats).pending, 2)
      })
    )

    test(
      "other content, another time, another kind or another lane is a conflict that stores nothing of the batch",
      Effect.gen(function*() {
        const repository = yield* Repository
        yield* repository.append([entry(1)])
        const conflicts = [
          entry(1, { input: { actor: "mallory" } }),
          entry(1, { input: { occurredAt: "2020-01-01T00:00:00Z" } }),
          entry(1, { input: { payload: {} } }),
          entry(1, { input: { kind: "record" } })
        ]
        for (const conflict of conflicts) {
          // Even a caller that goes on with its transaction gets nothing of the batch.
          const result = yield* repository.transaction(Effect.either(repository.append([entry(2), conflict, entry(3)])))
          assert.strictEqual(Either.isLeft(result) && result.left._tag, "OperationConflict")
          assert.strictEqual(yield* operations, 1)
        }
        const elsewhere = yield* Effect.flip(repository.append([entry(1, { lane: laneOf("operation", "other") })]))
        assert.include(elsewhere, { _tag: "OperationConflict", reason: "lane" })
      })
    )

    test(
      "an operation that was only stored is not pending, and becomes so once when it is appended for delivery",
      Effect.gen(function*() {
        const repository = yield* Repository
        yield* repository.append([entry(1, { strategy: "DbOnly" })])
        assert.strictEqual((yield* repository.stats).pending, 0)
        const outcomes = [
          ...(yield* repository.append([entry(1, { strategy: "DbOnly" })])),
          ...(yield* repository.append([entry(1), entry(1)])),
          ...(yield* repository.append([entry(1)]))
        ].map((r) => r.outcome)
        assert.deepStrictEqual(outcomes, ["duplicate", "promoted", "duplicate", "duplicate"])
        assert.strictEqual((yield* repository.stats).pending, 1)
        const [row] = yield* repository.evidence.operations({ after: 0, limit: 1 })
        assert.strictEqual(row?.strategy, "DbOnly")
      })
    )

    test(
      "promotion tells apart what it made pending and what it left alone",
      Effect.gen(function*() {
        const repository = yield* Repository
        yield* repository.append([entry(1, { strategy: "DbOnly" }), entry(2), entry(3, { strategy: "DbOnly" })])
        const ids = [1, 2, 3, 4, 1].map((n) => operation({ id: uuid(n) }).id)
        const first = yield* repository.promote(ids.slice(0, 2))
        assert.deepStrictEqual(first.map((r) => r.outcome), ["promoted", "notDbOnly"])
        const second = yield* repository.promote(ids)
        assert.deepStrictEqual(
          second.map((r) => r.outcome),
          ["alreadyPromoted", "notDbOnly", "promoted", "unknown", "alreadyPromoted"]
        )
        assert.strictEqual((yield* repository.stats).pending, 3)
      })
    )

    test(
      "a range of positions is promoted once, its ends included",
      Effect.gen(function*() {
        const repository = yield* Repository
        yield* repository.append([1, 2, 3, 4].map((n) => entry(n, { strategy: "DbOnly" })))
        assert.strictEqual(yield* repository.promoteRange({ from: 2, to: 3 }), 2)
        assert.strictEqual(yield* repository.promoteRange({ from: 1, to: 3 }), 1)
        assert.strictEqual((yield* repository.stats).pending, 3)
      })
    )

    test(
      "a batch keeps the order of its results and is bounded",
      Effect.gen(function*() {
        const repository = yield* Repository
        const batch = Array.from({ length: 5000 }, (_, n) => entry(n, { input: { payload: "😀".repeat(n % 50) } }))
        const results = yield* repository.append(batch)
        assert.deepStrictEqual(results.map((r) => r.position), batch.map((_, n) => n + 1))
        assert.deepStrictEqual(yield* repository.append([]), [])
        const tooMany = yield* Effect.flip(repository.append(Array.from({ length: 10_001 }, (_, n) => entry(n))))
        assert.include(tooMany, { _tag: "InvalidOperation", reason: "tooLarge" })
        const megabytes = Array.from({ length: 17 }, (_, n) => entry(n, { input: { payload: "x".repeat(4_000_000) } }))
        const tooLarge = yield* Effect.flip(repository.append(megabytes))
        assert.include(tooLarge, { _tag: "InvalidOperation", reason: "tooLarge" })
        assert.strictEqual(yield* operations, 5000)
      })
    )
  })

  describe(`${name}: lanes and leases`, () => {
    test(
      "a lane has one owner until its lease lapses, and each owner a newer epoch",
      Effect.gen(function*() {
        const repository = yield* Repository
        const first = yield* lease()
        assert.isFalse(first.isRecovered)
        assert.isUndefined(yield* repository.acquire(operationLane, "b", ttl))
        yield* pass(9)
        yield* repository.renew(first, ttl)
        yield* pass(9)
        assert.isUndefined(yield* repository.acquire(operationLane, "b", ttl))
        yield* pass(1)
        const second = yield* lease(operationLane, "b")
        assert.isTrue(second.isRecovered)
        assert.isAbove(second.epoch, first.epoch)
        const lost = yield* Effect.flip(repository.renew(first, ttl))
        assert.strictEqual(lost._tag, "LeaseLost")
      })
    )

    test(
      "a lapsed lease that nobody took may be renewed, and one that was given back may be taken at once",
      Effect.gen(function*() {
        const repository = yield* Repository
        const first = yield* lease()
        yield* pass(3600)
        yield* repository.renew(first, ttl)
        yield* repository.release(first)
        const second = yield* lease(operationLane, "b")
        assert.isFalse(second.isRecovered)
        yield* repository.release(first)
        assert.isUndefined(yield* repository.acquire(operationLane, "c", ttl))
      })
    )

    test(
      "a clock that is set back keeps nobody from the lanes of one that died",
      Effect.gen(function*() {
        const repository = yield* Repository
        yield* pass(36_000)
        yield* lease()
        yield* repository.register("a", ttl)
        yield* pass(-32_400)
        assert.isTrue((yield* repository.lanes).every(({ owner }) => owner === null))
        assert.strictEqual(yield* repository.register("b", ttl), 1)
        assert.isTrue((yield* lease(operationLane, "b")).isRecovered)
        assert.isUndefined(yield* repository.acquire(operationLane, "c", ttl))
      })
    )

    test(
      "lanes are found by what is pending, and their owners by unlapsed leases",
      Effect.gen(function*() {
        const repository = yield* Repository
        const lanes = ["a", "b", "c"].map((tenant) => laneOf("record", tenant))
        yield* repository.append(
          lanes.flatMap((lane, i) => [1, 2, 3].map((n) => entry(i * 10 + n, { lane, input: { kind: "record" } })))
        )
        yield* lease(recordLane)
        const found = yield* repository.lanes
        assert.sameMembers(found.map((r) => r.lane), [operationLane, recordLane, ...lanes])
        assert.deepStrictEqual(found.filter((r) => r.owner !== null), [{ lane: recordLane, owner: "a" }])
        yield* pass(11)
        assert.isTrue((yield* repository.lanes).every((r) => r.owner === null))
      })
    )

    test(
      "members are counted while they are heard of",
      Effect.gen(function*() {
        const repository = yield* Repository
        assert.strictEqual(yield* repository.register("a", ttl), 1)
        assert.strictEqual(yield* repository.register("b", ttl), 2)
        yield* pass(6)
        assert.strictEqual(yield* repository.register("b", ttl), 2)
        yield* pass(6)
        assert.strictEqual(yield* repository.register("b", ttl), 1)
        yield* repository.unregister("b")
        assert.strictEqual(yield* repository.register("c", ttl), 1)
      })
    )
  })

  describe(`${name}: many at once`, () => {
    const together = { concurrency: "unbounded" } as const
    const owners = Array.from({ length: 8 }, (_, n) => `owner-${n}`)

    test(
      "of those that take a lane at once, one has it",
      Effect.gen(function*() {
        const repository = yield* Repository
        const lanes = Array.from({ length: 5 }, (_, n) => laneOf("operation", `tenant-${n}`))
        for (const lane of lanes) {
          const taken = yield* Effect.forEach(owners, (owner) => repository.acquire(lane, owner, ttl), together)
          assert.strictEqual(taken.filter((lease) => lease !== undefined).length, 1)
        }
      })
    )

    test(
      "members that register at once all count, and clear away those that are gone",
      Effect.gen(function*() {
        const repository = yield* Repository
        yield* Effect.forEach(owners, (owner) => repository.register(`old-${owner}`, ttl), together)
        yield* pass(11)
        yield* Effect.forEach(owners, (owner) => repository.register(owner, ttl), together)
        const counts = yield* Effect.forEach(owners, (owner) => repository.register(owner, ttl), together)
        assert.deepStrictEqual(new Set(counts), new Set([owners.length]))
      })
    )

    test(
      "an id that several append at once is recorded once",
      Effect.gen(function*() {
        const repository = yield* Repository
        for (let round = 0; round < 5; round++) {
          const outcomes = yield* Effect.forEach(
            owners,
            () => repository.append([entry(round * 10 + 1), entry(round * 10 + 2)]),
            together
          )
          const appended = outcomes.flat().filter(({ outcome }) => outcome === "appended")
          assert.deepStrictEqual(appended.map(({ id }) => id).sort(), [uuid(round * 10 + 1), uuid(round * 10 + 2)])
          assert.isTrue(outcomes.flat().every(({ outcome }) => outcome === "appended" || outcome === "duplicate"))
        }
        assert.strictEqual(yield* operations, 10)
        assert.strictEqual((yield* repository.stats).pending, 10)
      })
    )

    test(
      "claims hold different retries, and a dead letter that several replay is pending once",
      Effect.gen(function*() {
        const repository = yield* Repository
        yield* repository.append(Array.from({ length: 60 }, (_, n) => entry(n + 1)))
        const held = yield* lease()
        const { rows } = yield* repository.page(held, everything)
        yield* repository.settle(held, {
          ...settlement([], 60),
          refused: rows.map(({ position }) => position > 50 ? death(position) : refusal(position))
        })
        yield* pass(61)
        const claims = yield* Effect.forEach(
          owners,
          () =>
            repository.claimRetries({ limit: 5, maxBytes: 8_000_000, timeToLive: Duration.minutes(1), excluded: [] }),
          together
        )
        const claimed = claims.flatMap((claim) => claim?.rows.map(({ position }) => position) ?? [])
        assert.strictEqual(claimed.length, 40)
        assert.strictEqual(new Set(claimed).size, 40)
        const ids = rows.filter(({ position }) => position > 50).map(({ id }) => id)
        const replayed = yield* Effect.forEach(owners, () => repository.replay(ids), together)
        assert.strictEqual(replayed.flat().length, 10)
        assert.include(yield* repository.stats, { pending: 10, dead: 0 })
      })
    )
  })

  describe(`${name}: pages and settling`, () => {
    test(
      "a page holds pending rows of its lane in the order of their positions, bounded by rows and bytes",
      Effect.gen(function*() {
        const repository = yield* Repository
        yield* repository.append(
          [1, 2, 3, 4, 5].map((n) =>
            entry(n, { lane: n === 3 ? laneOf("operation", "x") : operationLane, input: { payload: "x".repeat(998) } })
          )
        )
        const held = yield* lease()
        const positions = (options: Partial<typeof everything>) =>
          Effect.map(repository.page(held, { ...everything, ...options }), (page) => ({
            positions: page.rows.map((row) => row.position),
            isFull: page.isFull
          }))
        assert.deepStrictEqual(yield* positions({}), { positions: [1, 2, 4, 5], isFull: false })
        assert.deepStrictEqual(yield* positions({ limit: 2 }), { positions: [1, 2], isFull: true })
        assert.deepStrictEqual(yield* positions({ limit: 2, after: 2 }), { positions: [4, 5], isFull: true })
        assert.deepStrictEqual(yield* positions({ maxBytes: 2000 }), { positions: [1, 2], isFull: true })
        assert.deepStrictEqual(yield* positions({ maxBytes: 1 }), { positions: [1], isFull: true })
        assert.deepStrictEqual(yield* positions({ after: 5 }), { positions: [], isFull: false })
        yield* repository.append([
          entry(6),
          entry(7, { input: { payload: "x".repeat(1500) } }),
          entry(8),
          entry(9, { input: { payload: "x".repeat(1500) } }),
          entry(10, { input: { payload: "x".repeat(9000) } })
        ])
        const bounds = { limit: 5, maxBytes: 2000 }
        assert.deepStrictEqual(yield* positions({ after: 5, ...bounds }), { positions: [6], isFull: true })
        const { rows } = yield* repository.page(held, { after: 6, ...bounds })
        assert.deepStrictEqual(rows.map(({ payload, position }) => [position, payload?.length]), [
          [7, 1502],
          [8, rows[1]?.payload?.length],
          [9, 1502]
        ])
        assert.deepStrictEqual(yield* positions({ after: 6, ...bounds }), { positions: [7, 8, 9], isFull: true })
        assert.deepStrictEqual(yield* positions({ after: 7, ...bounds }), { positions: [8], isFull: true })
        assert.deepStrictEqual(yield* positions({ after: 9, ...bounds }), { positions: [10], isFull: false })
      })
    )

    test(
      "settling takes exactly the rows it names off the pending ones and chains a receipt",
      Effect.gen(function*() {
        const repository = yield* Repository
        yield* repository.append([1, 2, 3, 4].map((n) => entry(n)))
        const held = yield* lease()
        const { rows } = yield* repository.page(held, everything)
        const checkpoint = { size: 9, root: "ee".repeat(32) }
        yield* repository.settle(held, {
          ...settlement(rows.filter((row) => row.position % 2 === 0).map((row) => delivered(row)), 3),
          checkpoint,
          refused: [refusal(1), death(3)]
        })
        assert.deepStrictEqual((yield* repository.page(held, everything)).rows, [])
        yield* repository.append([entry(5)])
        const [fifth] = (yield* repository.page(held, everything)).rows
        yield* repository.settle(held, settlement(fifth === undefined ? [] : [delivered(fifth)], 5))
        const [first, second] = yield* repository.evidence.receipts({ lane: "operation", after: 0, limit: 10 })
        if (first === undefined || second === undefined) return assert.fail("two receipts are there")
        assert.include(first, { sequence: 1, previous: Receipt.genesis, count: 2, firstPosition: 2, lastPosition: 4 })
        assert.deepStrictEqual(first.ledger, checkpoint)
        assert.include(second, { sequence: 2, previous: Receipt.hash(first), count: 1 })
        const leaves = Either.getOrThrow(Receipt.open(first))
        assert.deepStrictEqual(leaves.map((leaf) => leaf.position), [2, 4])
        assert.deepStrictEqual((yield* repository.evidence.heads).find((head) => head.lane === "operation"), {
          lane: "operation",
          head: Receipt.hash(second),
          delivered: 3
        })
        assert.include(yield* repository.stats, { pending: 0, retrying: 1, dead: 1, delivered: 3 })
      })
    )

    test(
      "whoever has lost the lane reads no page and settles nothing",
      Effect.gen(function*() {
        const repository = yield* Repository
        yield* repository.append([entry(1)])
        const old = yield* lease()
        const { rows } = yield* repository.page(old, everything)
        yield* pass(11)
        yield* lease(operationLane, "b")
        const verbs = [
          repository.settle(old, settlement(rows.map((row) => delivered(row)))),
          repository.page(old, everything),
          repository.markInFlight(old, 1),
          repository.countLoss(old, "lost"),
          repository.setBreaker(old, "open")
        ]
        for (const verb of verbs) assert.strictEqual((yield* Effect.flip(verb))._tag, "LeaseLost")
        assert.include(yield* repository.stats, { pending: 1, delivered: 0, breaker: "closed" })
      })
    )

    test(
      "few records at a time are settled as many are: receipts chain on, whoever wrote the last, and only while the lane is held",
      Effect.gen(function*() {
        const repository = yield* Repository
        const other = yield* Sql.make()
        yield* repository.append([1, 2, 3, 4, 5].map((n) => entry(n)))
        const held = yield* lease()
        const next = (after: number) =>
          Effect.map(
            repository.page(held, { ...everything, after, limit: 1, isCaughtUp: true }),
            ({ rows }) => rows.map((row) => delivered(row))
          )
        const settle = (after: number) =>
          Effect.flatMap(next(after), (rows) => repository.settle(held, settlement(rows, after + 1)))
        const now = repository.evidence.snapshot(repository.evidence.now)
        const before = yield* now
        yield* settle(0)
        yield* settle(1)
        yield* settle(2)
        // Another process may deliver what is retried of the lane, and so write receipts of it.
        yield* other.settle(held, settlement(yield* next(3), 4))
        assert.include(yield* repository.stats, { pending: 1, delivered: 4 })
        const receipts = yield* repository.evidence.receipts({ lane: "operation", after: 0, limit: 10 })
        const times = [before, ...receipts.map(({ deliveredAt }) => deliveredAt), yield* now]
        assert.deepStrictEqual(times, times.toSorted())
        const late = yield* next(4)
        yield* pass(11)
        yield* lease(operationLane, "b")
        const lost = yield* Effect.flip(repository.settle(held, settlement(late, 5)))
        assert.strictEqual(lost._tag, "LeaseLost")
        assert.include(yield* repository.stats, { pending: 1, delivered: 4 })
        assert.deepStrictEqual(
          receipts.map(({ count, firstPosition, sequence }) => [sequence, firstPosition, count]),
          [[1, 1, 1], [2, 2, 1], [3, 3, 1], [4, 4, 1]]
        )
        assert.deepStrictEqual(
          receipts.map(({ previous }) => previous),
          [Receipt.genesis, ...receipts.slice(0, -1).map((receipt) => Receipt.hash(receipt))]
        )
      })
    )

    test(
      "what another process has settled of a lane in between, and a settlement of nothing, do no harm",
      Effect.gen(function*() {
        const repository = yield* Repository
        const other = yield* Sql.make()
        yield* repository.append([1, 2, 3, 4].map((n) => entry(n)))
        const held = yield* lease()
        for (const n of [1, 2, 3, 4]) {
          const { rows } = yield* repository.page(held, { ...everything, limit: 1, isCaughtUp: true })
          const writer = n === 3 ? other : repository
          yield* writer.settle(held, settlement(rows.map((row) => delivered(row)), n))
          yield* repository.settle(held, settlement([], n))
        }
        assert.include(yield* repository.stats, { pending: 0, delivered: 4 })
        const receipts = yield* repository.evidence.receipts({ lane: "operation", after: 0, limit: 10 })
        assert.deepStrictEqual(receipts.map(({ sequence }) => sequence), [1, 2, 3, 4])
      })
    )

    test(
      "the lower bound is derived from what is pending",
      Effect.gen(function*() {
        const repository = yield* Repository
        yield* repository.append([entry(1), entry(2), entry(3)])
        const held = yield* lease()
        const { rows } = yield* repository.page(held, everything)
        yield* repository.settle(held, settlement(rows.slice(0, 2).map((row) => delivered(row)), 2))
        assert.strictEqual(yield* repository.lowerBound(held, 99), 2)
        yield* repository.settle(held, settlement(rows.slice(2).map((row) => delivered(row)), 3))
        assert.strictEqual(yield* repository.lowerBound(held, 99), 99)
        yield* repository.release(held)
        yield* repository.append([entry(4, { strategy: "DbOnly" })])
        assert.include(yield* lease(), { position: 3, reached: 3 })
      })
    )

    test(
      "the third loss of the record in flight moves it to retry, and a settled one makes it forgotten",
      Effect.gen(function*() {
        const repository = yield* Repository
        yield* repository.append([entry(1), entry(2)])
        const held = yield* lease()
        const { rows } = yield* repository.page(held, everything)
        const lose = (position: number) =>
          Effect.zipRight(repository.markInFlight(held, position), repository.countLoss(held, "connection lost"))
        assert.isFalse(yield* lose(1))
        assert.isFalse(yield* lose(1))
        yield* repository.settle(held, settlement(rows.slice(0, 1).map((row) => delivered(row)), 1))
        assert.isFalse(yield* lose(2))
        assert.isFalse(yield* lose(2))
        assert.isTrue(yield* lose(2))
        assert.include(yield* repository.stats, { pending: 0, retrying: 1 })
        const claim = yield* repository.claimRetries({ limit: 9, maxBytes: 9e6, timeToLive: ttl, excluded: [] })
        assert.deepStrictEqual(claim?.rows.map((r) => [r.position, r.attempts, r.reason]), [[2, 0, "suspect"]])
      })
    )

    test(
      "a takeover counts the record that was in flight, and a lease that was given back does not",
      Effect.gen(function*() {
        const repository = yield* Repository
        yield* repository.append([entry(1)])
        for (const owner of ["a", "b", "c"]) {
          const held = yield* lease(operationLane, owner)
          yield* repository.markInFlight(held, 1)
          yield* repository.release(held)
        }
        assert.strictEqual((yield* repository.stats).pending, 1)
        for (const owner of ["d", "e", "f"]) {
          yield* repository.markInFlight(yield* lease(operationLane, owner), 1)
          yield* pass(11)
          assert.strictEqual((yield* repository.stats).pending, 1)
        }
        yield* lease(operationLane, "g")
        assert.include(yield* repository.stats, { pending: 0, retrying: 1 })
      })
    )

    test(
      "a paused lane has no pages until it is resumed",
      Effect.gen(function*() {
        const repository = yield* Repository
        yield* repository.append([entry(1)])
        const held = yield* lease()
        assert.strictEqual(yield* repository.setPaused(true, operationLane), 1)
        assert.deepStrictEqual(yield* repository.page(held, everything), { rows: [], isFull: false, isPaused: true })
        assert.isTrue((yield* repository.stats).paused)
        assert.strictEqual(yield* repository.setPaused(false), 1)
        assert.strictEqual((yield* repository.page(held, everything)).rows.length, 1)
      })
    )

    test(
      "all lanes that are paused are those too that come to be later, until all are resumed",
      Effect.gen(function*() {
        const repository = yield* Repository
        const named = laneOf("operation", "new")
        const paused = Effect.map(
          repository.stats,
          ({ lanes }) => lanes.flatMap((lane) => lane.paused ? [lane.lane] : []).sort()
        )
        const isPaused = (lane: Lane) =>
          Effect.map(
            Effect.flatMap(lease(lane), (held) => repository.page(held, everything)),
            (page) => page.isPaused
          )
        const old = yield* lease()
        assert.strictEqual(yield* repository.setPaused(true), 1)
        assert.strictEqual(yield* repository.setPaused(true), 0)
        assert.include(yield* repository.stats, { paused: true, newLanesPaused: true })
        yield* repository.append([entry(1, { lane: named }), entry(2, { lane: recordLane, input: { kind: "record" } })])
        // They have no row yet.
        assert.deepStrictEqual(yield* paused, [operationLane, named, recordLane])
        assert.isTrue(yield* isPaused(named))
        assert.strictEqual(yield* repository.setPaused(false, named), 1)
        assert.strictEqual(yield* repository.setPaused(false, operationLane), 1)
        assert.isFalse((yield* repository.page(old, everything)).isPaused)
        assert.deepStrictEqual(yield* paused, [recordLane])
        assert.isTrue(yield* isPaused(recordLane))
        assert.strictEqual(yield* repository.setPaused(false), 1)
        assert.deepStrictEqual(yield* paused, [])
        assert.isFalse(yield* isPaused(laneOf("operation", "newer")))
        assert.include(yield* repository.stats, { paused: false, newLanesPaused: false })
      })
    )

    test(
      "a lane that there is not cannot be paused, and is named; one of which only rows are known can",
      Effect.gen(function*() {
        const repository = yield* Repository
        const named = laneOf("record", "tenant")
        const refused = yield* Effect.flip(repository.setPaused(true, named))
        assert.include(refused, { _tag: "UnknownLane", lane: named })
        assert.include(refused.message, "there is no lane record/tenant")
        assert.isTrue((yield* Effect.flip(repository.setPaused(false, named)))._tag === "UnknownLane")
        yield* repository.append([entry(1, { lane: named, input: { kind: "record" } })])
        assert.strictEqual(yield* repository.setPaused(true, named), 1)
        assert.strictEqual(yield* repository.setPaused(true, recordLane), 1)
        assert.deepStrictEqual(
          (yield* repository.stats).lanes.map(({ lane, paused }) => [lane, paused]),
          [[recordLane, true], [named, true]]
        )
      })
    )

    test(
      "a lane that is made while all are being paused is paused",
      Effect.gen(function*() {
        const repository = yield* Repository
        const names = Array.from({ length: 8 }, (_, n) => laneOf("operation", `n${n}`))
        yield* repository.append(names.map((name, n) => entry(n, { lane: name })))
        yield* Effect.all(
          [...names.map((name) => repository.acquire(name, "a", ttl)), repository.setPaused(true)],
          { concurrency: "unbounded", discard: true }
        )
        const { lanes } = yield* repository.stats
        assert.deepStrictEqual(lanes.map(({ paused }) => paused), names.map(() => true))
      })
    )
  })

  describe(`${name}: retries and dead letters`, () => {
    const refused = (count: number, reason: "rejected" | "schema" = "rejected") =>
      Effect.gen(function*() {
        const repository = yield* Repository
        yield* repository.append(Array.from({ length: count }, (_, n) => entry(n + 1)))
        const held = yield* lease()
        const { rows } = yield* repository.page(held, everything)
        yield* repository.settle(held, {
          ...settlement([], count),
          refused: rows.map((row) => ({ ...refusal(row.position), reason }))
        })
        return { repository, held }
      })

    const options = { limit: 100, maxBytes: 8_000_000, timeToLive: Duration.minutes(1), excluded: [] }

    test(
      "a retry is claimed when it is due, once, and again when its claim has lapsed: alone",
      Effect.gen(function*() {
        const { repository } = yield* refused(2)
        isAbout(yield* repository.nextRetryIn, 60_000)
        assert.isUndefined(yield* repository.claimRetries(options))
        yield* pass(60)
        const first = yield* repository.claimRetries(options)
        assert.strictEqual(first?.rows.length, 2)
        assert.isUndefined(yield* repository.claimRetries(options))
        isAbout(yield* repository.nextRetryIn, 60_000)
        yield* pass(60)
        const second = yield* repository.claimRetries(options)
        assert.deepStrictEqual(second?.rows.map((r) => [r.position, r.isLapsed, r.reason]), [[1, true, "rejected"]])
        yield* pass(60)
        const third = yield* repository.claimRetries(options)
        assert.deepStrictEqual(third?.rows.map((r) => [r.position, r.isLapsed, r.reason]), [[2, true, "rejected"]])
        const fourth = yield* repository.claimRetries(options)
        assert.deepStrictEqual(fourth?.rows.map((r) => [r.position, r.isLapsed, r.reason]), [[1, true, "suspect"]])
      })
    )

    test(
      "a renewed claim does not lapse",
      Effect.gen(function*() {
        const { repository } = yield* refused(1)
        yield* pass(60)
        const claim = yield* repository.claimRetries(options)
        if (claim === undefined) return assert.fail("it is due")
        yield* pass(50)
        yield* repository.renewClaim(claim, Duration.minutes(1))
        yield* pass(50)
        assert.isUndefined(yield* repository.claimRetries(options))
      })
    )

    test(
      "settling a claim counts refusals, gives back the rest untouched, and leaves alone what somebody else claimed",
      Effect.gen(function*() {
        const { repository } = yield* refused(4)
        yield* pass(60)
        const claim = yield* repository.claimRetries(options)
        if (claim === undefined) return assert.fail("they are due")
        const [one] = claim.rows
        const counts = yield* repository.settleRetries(claim, {
          topic: "topic",
          checkpoint: undefined,
          delivered: one === undefined ? [] : [delivered(one)],
          refused: [refusal(2, Duration.minutes(2)), death(3)],
          returned: [{ position: 4, isSuspect: false }]
        })
        assert.deepStrictEqual(counts, { delivered: 1, refused: 2, dead: 1 })
        assert.include(yield* repository.stats, { retrying: 2, dead: 1, delivered: 1 })
        const next = yield* repository.claimRetries(options)
        assert.deepStrictEqual(next?.rows.map((r) => [r.position, r.attempts]), [[4, 1]])
        const stale = yield* repository.settleRetries(claim, {
          topic: "topic",
          checkpoint: undefined,
          delivered: claim.rows.map((row) => delivered(row)),
          refused: [],
          returned: []
        })
        assert.deepStrictEqual(stale, { delivered: 0, refused: 0, dead: 0 })
        yield* pass(120)
        yield* repository.claimRetries(options)
        const second = yield* repository.claimRetries(options)
        assert.deepStrictEqual(second?.rows.map((r) => [r.position, r.attempts]), [[2, 2]])
      })
    )

    test(
      "retries are held while their lane is paused, its breaker open, or it is excluded",
      Effect.gen(function*() {
        const { held, repository } = yield* refused(1)
        yield* pass(60)
        yield* repository.setPaused(true)
        assert.isUndefined(yield* repository.claimRetries(options))
        yield* repository.setPaused(false)
        yield* repository.setBreaker(held, "open")
        assert.isUndefined(yield* repository.claimRetries(options))
        yield* repository.setBreaker(held, "half-open")
        assert.isUndefined(yield* repository.claimRetries({ ...options, excluded: [operationLane] }))
        assert.strictEqual((yield* repository.claimRetries(options))?.rows.length, 1)
      })
    )

    test(
      "a claim holds rows of one lane and is bounded by bytes",
      Effect.gen(function*() {
        const { repository } = yield* refused(3)
        const other = yield* lease(recordLane)
        yield* repository.append([entry(9, { lane: recordLane, input: { kind: "record" } })])
        const { rows } = yield* repository.page(other, everything)
        yield* repository.settle(other, { ...settlement([]), refused: rows.map((row) => refusal(row.position)) })
        yield* pass(60)
        const sizes: ReadonlyArray<ReadonlyArray<unknown>> = [
          yield* repository.claimRetries({ ...options, limit: 2 }),
          yield* repository.claimRetries(options),
          yield* repository.claimRetries(options)
        ].map((claim) => [claim?.lane, claim?.rows.length])
        assert.deepStrictEqual(sizes, [["operation", 2], ["operation", 1], ["record", 1]])
      })
    )

    test(
      "dead letters are listed with what was refused, and replayed from the beginning",
      Effect.gen(function*() {
        const repository = yield* Repository
        yield* repository.append([entry(1), entry(2), entry(3)])
        const held = yield* lease()
        yield* repository.settle(held, {
          ...settlement([], 3),
          refused: [death(1), refusal(2), death(3)]
        })
        const letters = yield* repository.deadLetters({ after: 0, limit: 10 })
        assert.deepStrictEqual(letters.map((l) => [l.position, l.attempts, l.reason, l.error]), [
          [1, 1, "rejected", "no"],
          [3, 1, "rejected", "no"]
        ])
        assert.deepStrictEqual((yield* repository.deadLetters({ after: 1, limit: 10 })).map((l) => l.position), [3])
        assert.isUndefined(yield* repository.deadLetter(operation({ id: uuid(2) }).id))
        const replayed = yield* repository.replay([1, 2, 9].map((n) => operation({ id: uuid(n) }).id))
        assert.deepStrictEqual(replayed.map((l) => l.position), [1])
        assert.include(yield* repository.stats, { pending: 1, retrying: 1, dead: 1 })
        assert.strictEqual(yield* repository.lowerBound(held, 3), 0)
      })
    )
  })

  describe(`${name}: evidence and figures`, () => {
    test(
      "figures tell each lane's backlog and its age",
      Effect.gen(function*() {
        const repository = yield* Repository
        yield* repository.append([entry(1)])
        yield* pass(90)
        yield* repository.append([entry(2), entry(3, { lane: laneOf("record", "x"), input: { kind: "record" } })])
        const stats = yield* repository.stats
        assert.include(stats, { pending: 3, breaker: "closed", paused: false })
        assert.approximately(stats.oldestPendingSeconds, 90, 5)
        assert.deepStrictEqual(stats.lanes.map((l) => [l.lane, l.pending, Math.round(l.lagSeconds / 90)]), [
          ["operation", 2, 1],
          ["record/x", 1, 0]
        ])
      })
    )

    test(
      "evidence tells the time by the clock that receipts are written by, in their form",
      Effect.gen(function*() {
        const repository = yield* Repository
        yield* repository.append([entry(1)])
        const held = yield* lease()
        const { rows } = yield* repository.page(held, everything)
        yield* repository.settle(held, settlement(rows.map((row) => delivered(row))))
        yield* pass(5)
        const [receipt] = yield* repository.evidence.receipts({ lane: "operation", after: 0, limit: 1 })
        const now = yield* repository.evidence.snapshot(repository.evidence.now)
        assert.match(now, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/)
        assert.approximately(Date.parse(now) - Date.parse(receipt?.deliveredAt ?? ""), 5_000, 4_900)
      })
    )

    test(
      "evidence tells what accounts for each row, and rows that speak of nothing",
      Effect.gen(function*() {
        const repository = yield* Repository
        const sql = yield* SqlClient.SqlClient
        yield* repository.append([entry(1), entry(2), entry(3, { strategy: "DbOnly" }), entry(4)])
        const held = yield* lease()
        yield* repository.settle(held, { ...settlement([]), refused: [refusal(2)] })
        yield* repository.promoteRange({ from: 3, to: 3 })
        const found = yield* repository.evidence.operations({ after: 0, limit: 10 })
        assert.deepStrictEqual(
          found.map((row) => [row.position, row.isPending, row.retryState, row.retryLane, row.isPromoted]),
          [
            [1, true, null, null, false],
            [2, false, "waiting", "operation", false],
            [3, true, null, null, true],
            [4, true, null, null, false]
          ]
        )
        assert.deepStrictEqual((yield* repository.evidence.operationsAt([2, 99])).map((r) => r.position), [2])
        assert.deepStrictEqual((yield* repository.evidence.operationsOf([uuid(4)])).map((r) => r.position), [4])
        yield* sql`DELETE FROM operation WHERE position IN (1, 2)`
        yield* sql`UPDATE operation SET lane = 'record' WHERE position = 4`
        const orphans = yield* repository.evidence.orphans(10)
        assert.deepStrictEqual(orphans.map((o) => [o.position, o.table]), [[1, "pending"], [4, "pending"], [
          2,
          "retry"
        ]])
        assert.strictEqual((yield* repository.evidence.orphans(1)).length, 1)
      })
    )

    test(
      "a repository says what is wrong with a database that has no tables, or whose tables are gone",
      Effect.gen(function*() {
        const repository = yield* Repository
        const sql = yield* SqlClient.SqlClient
        const missing = yield* Effect.flip(Sql.make({ prefix: "other_" }))
        assert.strictEqual(missing.reason, "missing")
        yield* sql`DROP VIEW trustlog_status`
        yield* sql`DROP TABLE operation`
        const gone = yield* Effect.flip(repository.append([entry(1)]))
        assert.include(gone, { _tag: "DatabaseError", reason: "missing" })
      })
    )
  })
}
