/**
 * This project as an application composes it: the client, and the workers of `trustlog run`, with receipts and content hashes.
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as LogLevel from "effect/LogLevel"
import * as Logger from "effect/Logger"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as CircuitBreaker from "../../src/CircuitBreaker.ts"
import * as CursorWorker from "../../src/CursorWorker.ts"
import * as Database from "../../src/Database.ts"
import * as PostgreSQL from "../../src/Database/PostgreSQL.ts"
import * as DatabaseUrl from "../../src/DatabaseUrl.ts"
import * as HostLocal from "../../src/Host/Local.ts"
import * as Migrations from "../../src/Migrations.ts"
import * as Operation from "../../src/Operation.ts"
import { Publisher } from "../../src/Publisher.ts"
import { Repository } from "../../src/Repository.ts"
import * as RepositorySql from "../../src/Repository/Sql.ts"
import * as RetryWorker from "../../src/RetryWorker.ts"
import * as Trustlog from "../../src/Trustlog.ts"
import { PublisherError } from "../../src/TrustlogError.ts"
import type { Contender, Options, Publish } from "../Contender.ts"
import type { Sample } from "../Sample.ts"

/** A log whose name for a record is short, as a broker's is. */
const acknowledged = { _tag: "Acknowledged", messageId: new Uint8Array(8) } as const

const outage = (cause: unknown) =>
  new PublisherError({ reason: "unavailable", problem: cause instanceof Error ? cause.message : String(cause) })

/** A log over a function. Whether it is well, it says itself when it is sent nothing. */
export const publisher = (publish: Publish): Layer.Layer<Publisher> =>
  Layer.succeed(Publisher, {
    publish: (_, batch) =>
      Effect.map(
        Effect.tryPromise({ try: () => publish(batch.map(({ bytes }) => bytes)), catch: outage }),
        () => ({ outcomes: batch.map(() => acknowledged), outage: undefined, checkpoint: undefined })
      ),
    health: () => Effect.tryPromise({ try: () => publish([]), catch: outage })
  })

/**
 * A log of its own, watched by the task: its time begins when the log is handed the first record, and a record counts when the
 * log has it.
 */
export const watched = <E>(log: Layer.Layer<Publisher, E>, publish: Publish): Layer.Layer<Publisher, E> =>
  Layer.provide(
    Layer.effect(
      Publisher,
      Effect.map(Publisher, ({ health, publish: send }) => ({
        health,
        publish: (topic, batch) =>
          Effect.promise(() => publish([])).pipe(
            Effect.zipRight(send(topic, batch)),
            Effect.tap(({ outcomes }) =>
              Effect.promise(() =>
                publish(batch.flatMap(({ bytes }, i) => outcomes[i]?._tag === "Acknowledged" ? [bytes] : []))
              )
            )
          )
      }))
    ),
    log
  )

/** What an application that only appends gives as its log. */
const nowhere = Layer.succeed(Publisher, { publish: () => Effect.dieMessage("not used"), health: () => Effect.void })

const database = (text: string, maxConnections: number) => {
  const url = Either.getOrThrow(DatabaseUrl.fromText(text))
  return url._tag === "PostgreSQL" ? PostgreSQL.layer({ server: url, maxConnections }) : Database.layer({ url })
}

/** The repository, and the client of the database. */
export const repository = (url: string, maxConnections: number) =>
  Layer.provideMerge(
    Layer.provide(RepositorySql.layer(), Migrations.layer()),
    database(url, maxConnections)
  )

/** The workers of `trustlog run`. */
export const workers = Layer.provide(Layer.merge(CursorWorker.layer, RetryWorker.layer), [
  CircuitBreaker.layer,
  HostLocal.layer
])

export const quiet = Logger.minimumLogLevel(LogLevel.Error)

/** What we deliver to, made for each time that we do; what it is told arrives at the task. */
type Log = (publish: Publish, options: Options) => Layer.Layer<Publisher, unknown>

/** Operations of a lane: the kind that its name begins with, and the rest of the name. */
const inLane = (samples: ReadonlyArray<Sample>, lane: string) => {
  const kind = Operation.kindOfLane(Operation.Lane.make(lane))
  return { operations: samples.map((sample) => ({ ...sample, kind })), options: { lane: lane.split("/")[1] } }
}

export const delivering = (log: Log, note = ""): Contender => ({
  note,
  open: async (url, contenderOptions) => {
    const runtime = ManagedRuntime.make(Layer.mergeAll(
      Layer.provideMerge(
        Trustlog.layer,
        Layer.provideMerge(nowhere, repository(url, contenderOptions.connections + 4))
      ),
      quiet
    ))
    const services = await runtime.runtime()
    const using = <A, E>(use: (client: Trustlog.Trustlog["Type"]) => Effect.Effect<A, E>) =>
      runtime.runPromise(Effect.flatMap(Trustlog.Trustlog, use))
    return {
      append: async (sample) => void await using((client) => client.append(sample)),
      appendAll: async (samples, lane) => {
        const { operations, options } = lane === undefined
          ? { operations: samples, options: {} }
          : inLane(samples, lane)
        await using((client) => client.appendAll(operations, options))
      },
      appendLate: (sample, millis) =>
        using((client) => client.transaction(Effect.zipRight(client.append(sample), Effect.sleep(millis)))),
      left: async () => {
        const { dead, pending, retrying } = await runtime.runPromise(
          Effect.flatMap(Repository, (repository) => repository.stats)
        )
        return { pending: pending + retrying, dead }
      },
      hold: async (isHeld) => {
        await runtime.runPromise(Effect.flatMap(Repository, (repository) => repository.setPaused(isHeld)))
      },
      work: async (publish) => {
        const working = ManagedRuntime.make(
          workers.pipe(
            Layer.provide(log(publish, contenderOptions)),
            Layer.provide(Layer.succeedContext(services.context)),
            Layer.provide(quiet)
          )
        )
        await working.runtime()
        return () => working.dispose()
      },
      close: () => runtime.dispose()
    }
  }
})

export const trustlog = delivering(publisher)
