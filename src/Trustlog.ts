/**
 * What an application calls.
 */
import * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as FiberRef from "effect/FiberRef"
import * as Layer from "effect/Layer"
import * as Envelope from "./Envelope.ts"
import { type Input, type Lane, Operation, type OperationId, timestampOf } from "./Operation.ts"
import { messageOf, type Outcome, Publisher } from "./Publisher.ts"
import { type Appended, type Entry, Repository, type Stats } from "./Repository.ts"
import { Signer } from "./Signer.ts"
import { type Name, Strategy } from "./Strategy.ts"
import { Topics } from "./Topics.ts"
import {
  type DatabaseError,
  type InvalidOperation,
  type OperationConflict,
  PublisherError,
  Rejected
} from "./TrustlogError.ts"
import { laneFor, validated } from "./internal/stated.ts"
import { isTraced } from "./internal/tracing.ts"

/** What an append may say of its entries. */
export interface AppendOptions {
  /** Instead of the layer's strategy. */
  readonly strategy?: Name | undefined
  /** A name makes the entries' lane `<kind>/<name>`, delivered on its own: per tenant, or per shard. */
  readonly lane?: string | undefined
}

/** What became of an appended operation; `sent` (strategy TrustlogOnly) has no row, and so no position. */
export type Result = Appended | { readonly id: OperationId; readonly outcome: "sent" }

/** Everything that can keep an operation from being recorded. */
export type AppendError = InvalidOperation | OperationConflict | DatabaseError | PublisherError | Rejected

/**
 * Records operations. `append` takes part in the transaction that the caller has open on the same `SqlClient`; if that
 * commits, the operation reaches the log or is visibly a dead letter, and if it rolls back nothing is sent.
 */
export class Trustlog extends Context.Tag("effect-trustlog/Trustlog")<Trustlog, {
  /**
   * Records one operation. Idempotent by id: the same content again is a `duplicate`; other content fails with
   * `OperationConflict`.
   */
  readonly append: (operation: Input, options?: AppendOptions) => Effect.Effect<Result, AppendError>
  /**
   * Records a batch: all of it or, on any failure, none (with TrustlogOnly each is sent on its own, and those before the
   * first failure are in the log). Results are in the order of the batch. At most `Repository.maxBatch`.
   */
  readonly appendAll: (
    operations: ReadonlyArray<Input>,
    options?: AppendOptions
  ) => Effect.Effect<ReadonlyArray<Result>, AppendError>
  /**
   * Runs an effect in one database transaction and wakes the workers once it has committed. Inside another transaction it
   * is a savepoint of that one.
   */
  readonly transaction: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | DatabaseError, R>
  /** Delivers operations after all that were only stored. */
  readonly promote: Repository["Type"]["promote"]
  readonly promoteRange: Repository["Type"]["promoteRange"]
  readonly stats: Effect.Effect<Stats, DatabaseError>
}>() {}

/** What a message that was not acknowledged means to the one who waits for it. */
const failureOf = (
  id: OperationId,
  outcome: Outcome | undefined,
  outage: PublisherError | undefined
): PublisherError | Rejected | undefined => {
  switch (outcome?._tag) {
    case "Acknowledged":
      return undefined
    case "Refused":
      return new Rejected({ id, reason: outcome.reason, error: outcome.error })
    default:
      return outage ??
        new PublisherError({
          reason: "lost",
          problem: `the log did not answer for operation ${id}; it may hold it: append it again with the same id`
        })
  }
}

/** The lanes that the transaction which is open has appended to. */
const appended = FiberRef.unsafeMake<Set<Lane> | undefined>(undefined)

/** Builds the client over the repository, and over the publisher that TrustlogOnly entries are sent to. */
export const make: Effect.Effect<Trustlog["Type"], never, Repository | Publisher> = Effect.gen(function*() {
  const repository = yield* Repository
  const publisher = yield* Publisher
  const signer = yield* Signer
  const topicOf = yield* Topics
  const strategyOfLayer = yield* Strategy

  const send = (operations: ReadonlyArray<Operation>, name: string | undefined) =>
    Effect.gen(function*() {
      const now = timestampOf(yield* Clock.currentTimeMillis)
      const sealed = yield* Either.all(operations.map((operation) =>
        Either.flatMap(laneFor(operation, name), (lane) =>
          Either.map(
            Envelope.seal(repository.stream, operation, now, { isStored: false }),
            (encoded) => ({ encoded, topic: topicOf(lane) })
          ))
      ))
      // Runs of one topic, so that what is sent stays in the caller's order.
      for (
        const run of Arr.isNonEmptyReadonlyArray(sealed)
          ? Arr.groupWith(sealed, (a, b) =>
            a.topic === b.topic)
          : []
      ) {
        const signed = yield* signer.sign(run.map(({ encoded }) => encoded))
        const messages = Arr.zipWith(run, signed, ({ encoded }, bytes) =>
          messageOf(repository.stream, encoded, bytes, signer.contentType))
        const { outage, outcomes } = yield* publisher.publish(run[0].topic, messages)
        for (const [i, { id }] of messages.entries()) {
          const failure = failureOf(id, outcomes[i], outage)
          if (failure !== undefined)
            return yield* failure
        }
      }
      return operations.map(({ id }): Result => ({ id, outcome: "sent" }))
    })

  // Each append runs this: a generator, and what it yields, would be a good part of what a single one costs.
  const store = (entries: ReadonlyArray<Entry>) =>
    Effect.flatMap(repository.append(entries), (results) => {
      const lanes = new Set<Lane>()
      for (const [i, { lane, strategy }] of entries.entries()) {
        if (strategy === "DbAndTrustlog" && results[i]?.outcome !== "duplicate") lanes.add(lane)
      }
      return lanes.size === 0 ? Effect.succeed(results) : Effect.flatMap(FiberRef.get(appended), (committing) => {
        if (committing === undefined) return Effect.as(repository.wake(Array.from(lanes)), results)
        for (const lane of lanes) committing.add(lane)
        return Effect.succeed(results)
      })
    })

  const appending: Trustlog["Type"]["appendAll"] = (inputs, { lane: name, strategy = strategyOfLayer } = {}) => {
    const operations = validated(inputs)
    if (Either.isLeft(operations)) return Effect.fail(operations.left)
    if (strategy === "TrustlogOnly") return send(operations.right, name)
    const entries = Either.all(
      operations.right.map((operation, i) =>
        Either.map(laneFor(operation, name), (lane): Entry => ({
          operation,
          lane,
          strategy,
          isIdNew: !(inputs[i] instanceof Operation) && inputs[i]?.id === undefined
        }))
      )
    )
    return Either.isLeft(entries) ? Effect.fail(entries.left) : store(entries.right)
  }

  const appendAll: Trustlog["Type"]["appendAll"] = (inputs, options) =>
    Effect.withFiberRuntime((fiber) =>
      isTraced(fiber)
        ? Effect.withSpan(Effect.suspend(() => appending(inputs, options)), "Trustlog.append", {
          // Where it was called from is in the caller's spans, and costs as much as the rest of it.
          captureStackTrace: false,
          attributes: { "trustlog.batch": inputs.length }
        })
        : appending(inputs, options)
    )

  return Trustlog.of({
    append: (operation, options) =>
      Effect.flatMap(
        appendAll([operation], options),
        ([result]) =>
          result === undefined ? Effect.dieMessage("an append of one operation has one result") : Effect.succeed(result)
      ),
    appendAll,
    transaction: (effect) =>
      Effect.suspend(() => {
        const lanes = new Set<Lane>()
        return repository.transaction(Effect.locally(effect, appended, lanes)).pipe(
          Effect.tap(() => lanes.size === 0 ? Effect.void : repository.wake(Array.from(lanes)))
        )
      }),
    promote: (ids) => Effect.tap(repository.promote(ids), () => repository.wake()),
    promoteRange: (range) => Effect.tap(repository.promoteRange(range), () => repository.wake()),
    stats: repository.stats
  })
})

/** The client. */
export const layer: Layer.Layer<Trustlog, never, Repository | Publisher> = Layer.effect(Trustlog, make)

/** Where the Promise face keeps things. */
export interface PromiseOptions {
  /** An SQLite file, or a URL: `postgres://…`, `mysql://…`, `sqlite:<file>` (see `DatabaseUrl`). `trustlog.db` by default. */
  readonly database?: string | undefined
  /** The ledger's folder; `trustlog-ledger` by default. */
  readonly ledger?: string | undefined
  /**
   * The URL of another log: `ws://…`, `wss://…`, `pulsar://…` or `pulsar+ssl://…` (see `PublisherUrl`). Certificates, token and
   * the like are the environment's, as for the program `trustlog`.
   */
  readonly publisher?: string | undefined
  readonly keyFile?: string | undefined
  readonly prefix?: string | undefined
  readonly schema?: string | undefined
}

/** The client for applications that do not use Effect. Its promises are rejected with the errors of `TrustlogError`. */
export interface PromiseClient {
  readonly append: (operation: Input, options?: AppendOptions) => Promise<Result>
  readonly appendAll: (operations: ReadonlyArray<Input>, options?: AppendOptions) => Promise<ReadonlyArray<Result>>
  readonly stats: () => Promise<Stats>
  /** Delivers what is pending for a while, gives everything back, and closes the database. */
  readonly close: () => Promise<void>
}

/**
 * Opens everything in this process: client, workers and the embedded ledger over a database. A transaction of the
 * application's own needs the Effect face, or the SQL of `sql/README.md`.
 */
export const promise = async (options: PromiseOptions = {}): Promise<PromiseClient> => {
  // Loaded when it is asked for: importing this module must not bring file systems and drivers to edge runtimes.
  const embedded = await import("./Embedded.ts")
  return embedded.open(options)
}
