/**
 * A writer process: applications that append in transactions of their own, take their time in them, and change their
 * minds.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as fs from "node:fs"
import { v7 } from "uuid"
import { type Input, kindOfLane, type Lane } from "../../Operation.ts"
import { Publisher } from "../../Publisher.ts"
import * as Sql from "../../Repository/Sql.ts"
import * as Trustlog from "../../Trustlog.ts"
import { type DatabaseError, PublisherError } from "../../TrustlogError.ts"
import * as client from "./client.ts"
import type { Writer } from "./task.ts"

/** The application changed its mind. */
class ChangedMind extends Data.TaggedError("ChangedMind") {}

/** How a transaction ended, as the application was told. */
export type Ending = "committed" | "rolledBack" | "unknown"

/** So often a transaction that the database failed is tried again. */
const maxTries = 10

/** Nothing is sent from here. */
const publisher = Layer.succeed(Publisher, {
  publish: () => new PublisherError({ reason: "misconfigured", problem: "writers have no log" }),
  health: () => Effect.void
})

const operation = (lane: Lane, id: string | undefined): Input => ({
  id,
  kind: kindOfLane(lane),
  actor: "trustlog torture",
  action: "torture.write",
  target: `lane/${lane}`,
  payload: { text: "x".repeat(100) }
})

/** Appends until it is told to end. */
export const run = (task: Writer, isEnding: () => boolean): Effect.Effect<void, DatabaseError> =>
  Effect.scoped(Effect.gen(function*() {
    const trustlog = yield* Trustlog.Trustlog
    const fd = yield* Effect.acquireRelease(
      Effect.sync(() => fs.openSync(task.file, "a")),
      (fd) => Effect.sync(() => fs.closeSync(fd))
    )
    const note = (ending: Ending, ids: ReadonlyArray<string>) =>
      Effect.sync(() => fs.writeSync(fd, ids.map((id) => `${id} ${ending}\n`).join("")))
    let appended = 0

    const transact = Effect.gen(function*() {
      const lane = task.lanes[yield* Random.nextIntBetween(0, task.lanes.length)]
      if (lane === undefined) return
      const [, name] = lane.split("/")
      // An application that gives the ids itself may try a transaction again whose end it does not know.
      const isRepeatable = yield* Random.nextBoolean
      const changesMind = (yield* Random.next) < 0.2
      const size = yield* Random.nextIntBetween(1, 6)
      const parts = Array.from(
        { length: yield* Random.nextIntBetween(1, 4) },
        () => Array.from({ length: size }, () => operation(lane, isRepeatable ? v7() : undefined))
      )
      // Some take much longer than others.
      const hold = (yield* Random.next) < 0.05 ? task.holdMillis * 20 : task.holdMillis
      let ids: Array<string> = []
      const attempt = trustlog.transaction(Effect.gen(function*() {
        ids = []
        for (const part of parts) {
          const results = yield* trustlog.appendAll(part, { lane: name })
          ids.push(...results.map(({ id }) => id))
          yield* Effect.sleep(yield* Random.nextRange(0, hold))
        }
        if (changesMind)
          return yield* new ChangedMind()
      }))
      for (let tries = 1;; tries++) {
        const ended = yield* Effect.either(attempt)
        if (Either.isRight(ended)) {
          appended += ids.length
          return yield* note("committed", ids)
        }
        if (ended.left._tag === "ChangedMind") return yield* note("rolledBack", ids)
        yield* Effect.logWarning(ended.left.message)
        if (ended.left._tag !== "DatabaseError" || !isRepeatable || tries === maxTries) {
          return yield* note("unknown", ids)
        }
        yield* Effect.sleep("200 millis")
      }
    })

    yield* Effect.replicateEffect(
      Effect.gen(function*() {
        while (!isEnding() && appended < task.maxOperations) {
          yield* transact
          yield* Effect.sleep(yield* Random.nextRange(0, task.pauseMillis * 2))
        }
      }),
      task.writers,
      { concurrency: "unbounded", discard: true }
    )
  })).pipe(
    Effect.provide(
      Trustlog.layer.pipe(
        Layer.provide([Sql.layer({ schema: task.schema, prefix: task.prefix }), publisher]),
        Layer.provide(client.layer(task.database, task.writers))
      )
    )
  )
