import * as NodeContext from "@effect/platform-node/NodeContext"
import * as FileSystem from "@effect/platform/FileSystem"
import { SqlClient } from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Sqlite from "../../src/Database/Sqlite.ts"
import * as Envelope from "../../src/Envelope.ts"
import * as Ledger from "../../src/Ledger.ts"
import { Publisher } from "../../src/Publisher.ts"
import * as LedgerPublisher from "../../src/Publisher/Ledger.ts"
import * as Faulty from "../FaultyFileSystem.ts"
import { messages } from "../messages.ts"
import { type Subject, suite } from "../suites/PublisherTest.ts"

const folder = Effect.map(
  Effect.flatMap(FileSystem.FileSystem, (fs) => fs.makeTempDirectoryScoped({ prefix: "trustlog-ledger-" })),
  (parent) => `${parent}/ledger`
)

/** Holds the append lock, as another process would. */
const hold = (path: string) =>
  Effect.gen(function*() {
    const sql = Context.get(yield* Layer.build(Sqlite.layer({ filename: `${path}/ledger.db` })), SqlClient)
    const connection = yield* sql.reserve
    yield* connection.executeUnprepared("BEGIN IMMEDIATE", [], undefined)
  })

const held = (path: string) =>
  Effect.gen(function*() {
    const reader = yield* Ledger.read(path)
    assert.deepStrictEqual(Chunk.toReadonlyArray(yield* Stream.runCollect(reader.findings)), [])
    const entries = yield* Stream.runCollect(reader.entries(1, reader.checkpoint.size))
    return Chunk.toReadonlyArray(entries).map((entry) => Either.getOrThrow(Envelope.decode(entry.bytes)).id)
  })

suite(
  "the embedded ledger as a log",
  Effect.gen(function*() {
    const path = yield* folder
    yield* Ledger.init({ path })
    let gate: Faulty.Gate = () => Effect.void
    const files = Layer.provideMerge(Faulty.layer((call) => gate(call)), NodeContext.layer)
    const subject: Subject = {
      layer: Layer.provide(LedgerPublisher.layer({ path, lockWait: "100 millis", maxEntryBytes: 5000 }), files),
      held: Effect.provide(held(path), NodeContext.layer),
      outage: hold(path),
      // The new checkpoint is there, and nobody knows whether it is on the disk.
      loss: Effect.sync(() => {
        let isPublished = false
        gate = (call) => {
          if (call.operation === "rename") isPublished = true
          else if (isPublished) {
            gate = () => Effect.void
            return Effect.fail(Faulty.failure(call))
          }
          return Effect.void
        }
      }),
      hang: Effect.gen(function*() {
        const begun = yield* Deferred.make<void>()
        const released = yield* Deferred.make<void>()
        gate = (call) =>
          call.operation === "rename"
            ? Effect.zipRight(Deferred.succeed(begun, undefined), Deferred.await(released))
            : Effect.void
        yield* Effect.addFinalizer(() => Deferred.succeed(released, undefined))
        return { begun: Deferred.await(begun) }
      })
    }
    return subject
  }).pipe(Effect.provide(NodeContext.layer)),
  { isIdempotent: true, isDurable: true, hasCheckpoints: true, maxBytes: 5000 }
)

describe("the embedded ledger as a log", () => {
  const failing = (code: string) =>
    Effect.gen(function*() {
      const path = yield* folder
      yield* Ledger.init({ path })
      let isFailing = true
      const files = Faulty.layer((call) =>
        isFailing && call.operation === "write" ? Effect.fail(Faulty.failure(call, code)) : Effect.void
      )
      return yield* Effect.gen(function*() {
        const publisher = yield* Publisher
        const error = yield* Effect.flip(publisher.publish("t", messages(0, 3)))
        isFailing = false
        const published = yield* publisher.publish("t", messages(0, 3))
        assert.deepStrictEqual(published.outcomes.map((outcome) => outcome._tag), [
          "Acknowledged",
          "Acknowledged",
          "Acknowledged"
        ])
        assert.strictEqual((yield* held(path)).length, 3)
        return error
      }).pipe(Effect.provide(LedgerPublisher.layer({ path })), Effect.provide(files))
    }).pipe(Effect.provide(NodeContext.layer))

  it.scopedLive("is unavailable while the disk is full, says so, and goes on when it is not", () =>
    Effect.map(failing("ENOSPC"), (error) => {
      assert.strictEqual(error.reason, "unavailable")
      assert.include(error.message, "the disk is full")
    }))

  it.scopedLive("is unavailable while the file system is read-only, and says so", () =>
    Effect.map(failing("EROFS"), (error) => {
      assert.strictEqual(error.reason, "unavailable")
      assert.include(error.message, "the file system is read-only")
    }))

  it.scopedLive("cannot be had where there is no ledger, and says what to do", () =>
    Effect.gen(function*() {
      const path = yield* folder
      const error = yield* Effect.flip(Layer.build(LedgerPublisher.layer({ path })))
      assert.strictEqual(error.reason, "missing")
      assert.include(error.message, "trustlog init")
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scopedLive("shares one checkpoint between batches that come together", () =>
    Effect.gen(function*() {
      const path = yield* folder
      yield* Ledger.init({ path })
      let checkpoints = 0
      const files = Faulty.layer((call) =>
        Effect.sync(() => {
          if (call.operation === "rename") checkpoints++
        })
      )
      yield* Effect.gen(function*() {
        const publisher = yield* Publisher
        const all = yield* Effect.forEach(
          Array.from({ length: 16 }, (_, i) => messages(i * 10, (i + 1) * 10)),
          (batch) => publisher.publish("t", batch),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(all.at(-1)?.checkpoint?.size, 161)
        assert.isAtMost(checkpoints, 2)
      }).pipe(Effect.provide(LedgerPublisher.layer({ path })), Effect.provide(files))
    }).pipe(Effect.provide(NodeContext.layer)))
})
