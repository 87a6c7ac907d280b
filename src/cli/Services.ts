/**
 * What commands have in common: the configured database and log, as they are opened.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import type * as Path from "@effect/platform/Path"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { CircuitBreakers } from "../CircuitBreaker.ts"
import { Lane, OperationId } from "../Operation.ts"
import { Publisher } from "../Publisher.ts"
import type { Repository } from "../Repository.ts"
import { Topics } from "../Topics.ts"
import * as TrustlogConfig from "../TrustlogConfig.ts"
import type { DatabaseError, KeyError, LedgerError, PublisherError } from "../TrustlogError.ts"
import { UsageError } from "./Failure.ts"

/** The repository, in a database that is there. */
export const repository: Layer.Layer<
  Repository,
  DatabaseError,
  TrustlogConfig.TrustlogConfig | FileSystem.FileSystem
> = Layer.provide(TrustlogConfig.layerRepository, TrustlogConfig.layerDatabase())

/** Names a signing key that is not there, and what tells where it is. */
export const explainKey =
  (config: TrustlogConfig.Shape) => <E extends LedgerError | PublisherError>(error: E): E | UsageError =>
    error.reason === "missing" && "path" in error && error.path === TrustlogConfig.keyFileOf(config)
      ? new UsageError({
        problem: `there is no signing key ${error.path}: put it back from its copy, or correct TRUSTLOG_KEY_FILE`
      })
      : error

const publisher = Layer.unwrapEffect(
  Effect.flatMap(TrustlogConfig.TrustlogConfig, (config) =>
    config.publisher._tag === "Memory"
      ? new UsageError({
        problem: "TRUSTLOG_PUBLISHER_URL: a log in memory is lost with the process, so nothing is delivered to it; " +
          "write ledger:<folder>, or ws://<host>:<port> for Apache Pulsar"
      })
      : Effect.succeed(
        Layer.catchAll(TrustlogConfig.layerPublisher, (error) => Layer.fail(explainKey(config)(error)))
      ))
)

const breakers = Layer.unwrapEffect(
  Effect.map(Effect.promise(() => import("../CircuitBreaker.ts")), ({ layer }) => layer)
)

/** Everything that delivers, but for the workers. */
export const delivery: Layer.Layer<
  Repository | Publisher | CircuitBreakers,
  DatabaseError | KeyError | LedgerError | PublisherError | UsageError,
  TrustlogConfig.TrustlogConfig | FileSystem.FileSystem | Path.Path
> = Layer.merge(publisher, breakers).pipe(
  // First: where neither is there, it is the database that is missed.
  Layer.provideMerge(repository),
  Layer.provideMerge(
    Layer.mergeAll(TrustlogConfig.layerWorkers, TrustlogConfig.layerTopics, TrustlogConfig.layerSigner)
  )
)

/** Fails with what is wrong with the log, unless it is waited for. */
export const checkLog = (
  isWaitedFor: (error: PublisherError) => boolean
): Effect.Effect<void, PublisherError, Publisher> =>
  Effect.gen(function*() {
    const publisher = yield* Publisher
    const topicOf = yield* Topics
    yield* Effect.forEach(
      new Set([topicOf(Lane.make("operation")), topicOf(Lane.make("record"))]),
      (topic) =>
        Effect.catchIf(
          publisher.health(topic),
          isWaitedFor,
          (error) => Effect.logWarning(`the log is out: ${error.message}; records wait until it takes them`)
        ),
      { concurrency: "unbounded", discard: true }
    )
  })

/** Lets a signal end it, which gives nothing; other failures stay what they are. */
export const untilSignal = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<Option.Option<A>, E, R> =>
  Effect.flatMap(
    Effect.exit(Effect.interruptible(effect)),
    (exit) => Exit.isFailure(exit) && Cause.isInterruptedOnly(exit.cause) ? Effect.succeedNone : Effect.asSome(exit)
  )

/** The ids that were written on the command line. */
export const ids = (texts: ReadonlyArray<string>): Effect.Effect<ReadonlyArray<OperationId>, UsageError> =>
  Effect.forEach(texts, (text) =>
    Either.mapLeft(
      Schema.decodeUnknownEither(OperationId)(text),
      () =>
        new UsageError({
          problem: `${JSON.stringify(text.slice(0, 100))} is not an operation's id; write a UUID such as ` +
            "01926f3e-7d4c-7b1a-9c55-3f0e6a1b2c3d"
        })
    ))

const total = (name: string) =>
  Effect.map(Metric.snapshot, (pairs) =>
    pairs.reduce(
      (sum, { metricKey, metricState }) =>
        metricKey.name === name && "count" in metricState ? sum + Number(metricState.count) : sum,
      0
    ))

/** What this process has settled so far. */
export const settled: Effect.Effect<{ readonly delivered: number; readonly refused: number }> = Effect.all({
  delivered: total("trustlog_delivered_total"),
  refused: total("trustlog_refused_total")
})
