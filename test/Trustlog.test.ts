import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as fs from "node:fs/promises"
import * as os from "node:os"
import * as path from "node:path"
import * as Envelope from "../src/Envelope.ts"
import * as Memory from "../src/Publisher/Memory.ts"
import { Repository } from "../src/Repository.ts"
import { Strategy } from "../src/Strategy.ts"
import * as Trustlog from "../src/Trustlog.ts"
import { database, held, uuid } from "./workers.ts"

const layer = Layer.provideMerge(Trustlog.layer, Layer.merge(database, Memory.layer))

const test = <E>(
  sentence: string,
  body: Effect.Effect<void, E, Trustlog.Trustlog | Repository | SqlClient.SqlClient | Memory.Control>
) => it.effect(sentence, () => Effect.provide(body, layer))

/** How many operations there are. */
const operations = Effect.flatMap(
  Repository,
  ({ evidence }) => Effect.map(evidence.sizes({ after: 0, limit: 1000 }), (found) => found.length)
)

const read = { actor: "alice", action: "read", target: "file/1" }

describe("append", () => {
  test(
    "takes part in a transaction that is open on the host's client, whoever opened it",
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const trustlog = yield* Trustlog.Trustlog
      yield* sql`CREATE TABLE invoice (id INTEGER PRIMARY KEY)`
      const approve = Effect.zipRight(sql`INSERT INTO invoice (id) VALUES (1)`, trustlog.append(read))
      for (const transaction of [trustlog.transaction, sql.withTransaction]) {
        yield* Effect.flip(transaction(Effect.zipRight(approve, Effect.fail("no"))))
        assert.strictEqual(yield* operations, 0)
      }
      yield* trustlog.transaction(approve)
      yield* Effect.flip(trustlog.transaction(approve))
      assert.strictEqual(yield* operations, 1)
      assert.include(yield* trustlog.stats, { pending: 1 })
    })
  )

  test(
    "inside an inner transaction that fails leaves the outer one as it was",
    Effect.gen(function*() {
      const trustlog = yield* Trustlog.Trustlog
      yield* trustlog.transaction(Effect.gen(function*() {
        yield* trustlog.append({ ...read, id: uuid(1) })
        yield* Effect.either(
          trustlog.transaction(Effect.zipRight(trustlog.append({ ...read, id: uuid(2) }), Effect.fail("no")))
        )
        yield* trustlog.append({ ...read, id: uuid(3) })
      }))
      const found = yield* (yield* Repository).evidence.operations({ after: 0, limit: 9 })
      assert.deepStrictEqual(found.map((row) => row.id), [uuid(1), uuid(3)])
    })
  )

  test(
    "names the field that is not accepted, and its index in a batch",
    Effect.gen(function*() {
      const trustlog = yield* Trustlog.Trustlog
      const one = yield* Effect.flip(trustlog.append({ ...read, clientIp: "300.1.1.1" }))
      assert.include(one, { _tag: "InvalidOperation", field: "clientIp", reason: "format" })
      const many = yield* Effect.flip(trustlog.appendAll([read, { ...read, payload: { at: [new Date()] } }]))
      assert.include(many, { _tag: "InvalidOperation", field: "[1].payload.at[0]", reason: "type" })
      const lane = yield* Effect.flip(trustlog.append(read, { lane: "no spaces" }))
      assert.include(lane, { _tag: "InvalidOperation", field: "lane", reason: "format" })
      assert.strictEqual(yield* operations, 0)
    })
  )

  test(
    "puts entries into lanes by kind, and by the name that the host gives",
    Effect.gen(function*() {
      const trustlog = yield* Trustlog.Trustlog
      yield* trustlog.appendAll([read, { ...read, kind: "record" }])
      yield* trustlog.append(read, { lane: "tenant-7" })
      const { lanes } = yield* trustlog.stats
      assert.deepStrictEqual(lanes.map(({ lane, pending }) => [lane, pending]), [
        ["operation", 1],
        ["operation/tenant-7", 1],
        ["record", 1]
      ])
    })
  )

  test(
    "wakes the workers, but not for duplicates",
    Effect.gen(function*() {
      const repository = yield* Repository
      const trustlog = yield* Trustlog.Trustlog
      const hints: Array<string> = []
      yield* Effect.scoped(Effect.gen(function*() {
        yield* Effect.forkScoped(Stream.runForEach(
          repository.wakeUps,
          ({ isCommitted, lane }) => Effect.sync(() => hints.push(`${lane}${isCommitted ? "" : ", uncommitted"}`))
        ))
        const settle = Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))
        yield* settle
        yield* Effect.zipRight(trustlog.append({ ...read, id: uuid(1) }), settle)
        assert.deepStrictEqual(hints, ["operation"])
        yield* Effect.zipRight(trustlog.append({ ...read, id: uuid(1) }), settle)
        assert.strictEqual(hints.length, 1)
        // When it has committed, and not before.
        yield* trustlog.transaction(Effect.gen(function*() {
          yield* trustlog.append({ ...read, id: uuid(2) })
          yield* settle
          assert.strictEqual(hints.length, 1)
        }))
        yield* settle
        assert.deepStrictEqual(hints, ["operation", "operation"])
        yield* Effect.flip(
          trustlog.transaction(Effect.zipRight(trustlog.append({ ...read, id: uuid(3) }), Effect.fail("no")))
        )
        yield* Effect.zipRight(trustlog.transaction(Effect.void), settle)
        assert.strictEqual(hints.length, 2)
        // Nobody says when a transaction commits that the host has begun on its client.
        const sql = yield* SqlClient.SqlClient
        yield* Effect.zipRight(sql.withTransaction(trustlog.append({ ...read, id: uuid(4) })), settle)
        assert.deepStrictEqual(hints.slice(2), ["operation, uncommitted"])
      }))
    })
  )
})

describe("a strategy", () => {
  test(
    "is the layer's, unless the call says otherwise",
    Effect.gen(function*() {
      const stored = yield* Effect.provide(
        Trustlog.make,
        Layer.provideMerge(Layer.succeed(Strategy, "DbOnly"), Memory.layer)
      )
      yield* stored.append({ ...read, id: uuid(1) })
      yield* stored.append({ ...read, id: uuid(2) }, { strategy: "DbAndTrustlog" })
      assert.include(yield* stored.stats, { pending: 1 })
      const [promoted] = yield* stored.promote([(yield* stored.append({ ...read, id: uuid(1) })).id])
      assert.strictEqual(promoted?.outcome, "promoted")
      assert.include(yield* stored.stats, { pending: 2 })
    })
  )

  test(
    "TrustlogOnly sends at once, says so in the envelope, and stores nothing",
    Effect.gen(function*() {
      const trustlog = yield* Trustlog.Trustlog
      const control = yield* Memory.Control
      const results = yield* trustlog.appendAll(
        [{ ...read, id: uuid(1) }, { ...read, id: uuid(2), kind: "record" }, { ...read, id: uuid(3) }],
        { strategy: "TrustlogOnly" }
      )
      assert.deepStrictEqual(results.map((result) => result.outcome), ["sent", "sent", "sent"])
      assert.deepStrictEqual(yield* held, [1, 2, 3])
      const [first] = yield* control.held
      const envelope = Envelope.decode(first?.message.bytes ?? new Uint8Array())
      assert.strictEqual(envelope._tag === "Right" && envelope.right.isStored, false)
      assert.strictEqual(yield* operations, 0)
    })
  )

  test(
    "TrustlogOnly fails typed: refused, out, or lost on the way",
    Effect.gen(function*() {
      const trustlog = yield* Trustlog.Trustlog
      const control = yield* Memory.Control
      const send = (n: number) => Effect.flip(trustlog.append({ ...read, id: uuid(n) }, { strategy: "TrustlogOnly" }))
      yield* control.refuse(uuid(1), "schema")
      yield* control.breakOn(uuid(2))
      assert.include(yield* send(1), { _tag: "Rejected", reason: "schema", id: uuid(1) })
      assert.include(yield* send(2), { _tag: "PublisherError", reason: "lost" })
      yield* control.outage(true)
      assert.include(yield* send(3), { _tag: "PublisherError", reason: "unavailable" })
    })
  )
})

describe("the Promise face", () => {
  const inFolder = async (body: (folder: string) => Promise<void>) => {
    const folder = await fs.mkdtemp(path.join(os.tmpdir(), "trustlog-promise-"))
    try {
      await body(folder)
    } finally {
      await fs.rm(folder, { recursive: true })
    }
  }

  it("appends, delivers before it has closed, and opens again", () =>
    inFolder(async (folder) => {
      const options = { database: path.join(folder, "app.db"), ledger: path.join(folder, "ledger") }
      const first = await Trustlog.promise(options)
      assert.include(await first.append({ ...read, id: uuid(1) }), { outcome: "appended", position: 1 })
      assert.strictEqual((await first.appendAll([read, read])).length, 2)
      await first.close()
      const second = await Trustlog.promise(options)
      assert.include(await second.append({ ...read, id: uuid(1) }), { outcome: "duplicate" })
      assert.include(await second.stats(), { pending: 0, delivered: 3 })
      await second.close()
    }))

  it("rejects with the typed errors themselves", () =>
    inFolder(async (folder) => {
      const rejection = (promise: Promise<unknown>): Promise<unknown> => promise.then(() => undefined, (error) => error)
      const missing = await rejection(Trustlog.promise({ database: path.join(folder, "no", "app.db") }))
      assert.include(missing, { _tag: "DatabaseError", reason: "unavailable" })
      const trustlog = await Trustlog.promise({
        database: path.join(folder, "app.db"),
        ledger: path.join(folder, "ledger")
      })
      const invalid = await rejection(trustlog.append({ ...read, actor: "" }))
      assert.include(invalid, { _tag: "InvalidOperation", field: "actor" })
      await trustlog.close()
    }))
})
