/**
 * Everything in one layer: the client, the workers in this process, and the log, over the application's own database. The log is
 * the embedded ledger, with nothing to install and nothing to run, or any other.
 */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as NodePath from "@effect/platform-node/NodePath"
import type { SqlClient } from "@effect/sql/SqlClient"
import * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as CircuitBreaker from "./CircuitBreaker.ts"
import * as CursorWorker from "./CursorWorker.ts"
import * as Database from "./Database.ts"
import * as DatabaseUrl from "./DatabaseUrl.ts"
import * as HostLocal from "./Host/Local.ts"
import * as Ledger from "./Ledger.ts"
import * as Migrations from "./Migrations.ts"
import type { Publisher } from "./Publisher.ts"
import * as PublisherLedger from "./Publisher/Ledger.ts"
import * as PublisherUrl from "./PublisherUrl.ts"
import type { Repository } from "./Repository.ts"
import * as RepositorySql from "./Repository/Sql.ts"
import * as RetryWorker from "./RetryWorker.ts"
import * as Trustlog from "./Trustlog.ts"
import * as TrustlogConfig from "./TrustlogConfig.ts"
import { DatabaseError, type LedgerError, PublisherError } from "./TrustlogError.ts"

/** Where things are. */
export interface Options<E = never, R = never> {
  /** The log, in place of the embedded ledger: `PulsarWebSocket.layer({ … })`, say. */
  readonly publisher?: Layer.Layer<Publisher, E, R> | undefined
  /** The ledger's folder, made where there is none; `trustlog-ledger` by default. */
  readonly ledger?: string | undefined
  /** The file of the ledger's signing key; `<ledger>.key` by default. */
  readonly keyFile?: string | undefined
  /** What every table's name begins with; none by default. */
  readonly prefix?: string | undefined
  /** The schema of the tables (on MySQL and MariaDB the database); the connection's own by default. */
  readonly schema?: string | undefined
}

/**
 * The client, both workers and the log, over the `SqlClient` of the application. Tables, ledger and key are made where
 * there are none. When the layer's scope closes, what is pending is delivered for a while and the lanes are given back.
 */
export const layer = <E = never, R = never>(
  options: Options<E, R> = {}
): Layer.Layer<Trustlog.Trustlog | Repository | Publisher, DatabaseError | LedgerError | E, SqlClient | R> => {
  const repository = Layer.provide(
    RepositorySql.layer({ prefix: options.prefix, schema: options.schema }),
    Migrations.layer({ prefix: options.prefix, schema: options.schema })
  )
  const publisher: Layer.Layer<Publisher, LedgerError | E, R> = options.publisher ?? layerLedger(options)
  const workers = Layer.provide(Layer.merge(CursorWorker.layer, RetryWorker.layer), [
    CircuitBreaker.layer,
    HostLocal.layer
  ])
  return Layer.provideMerge(Layer.merge(Trustlog.layer, workers), Layer.merge(repository, publisher))
}

const platform = Layer.merge(NodeFileSystem.layer, NodePath.layer)

const layerLedger = (options: Pick<Options, "ledger" | "keyFile">): Layer.Layer<Publisher, LedgerError> => {
  const ledger = { path: options.ledger ?? "trustlog-ledger", keyFile: options.keyFile }
  return Layer.unwrapEffect(Effect.as(Ledger.init(ledger), PublisherLedger.layer(ledger))).pipe(Layer.provide(platform))
}

/** See `Trustlog.promise`. */
export const open = async (options: Trustlog.PromiseOptions): Promise<Trustlog.PromiseClient> => {
  const publisher = options.publisher === undefined ? layerLedger(options) : publisherOf(options.publisher)
  const runtime = ManagedRuntime.make(
    Layer.provide(layer({ ...options, publisher }), databaseOf(options.database ?? "trustlog.db"))
  )
  const use = <A, E>(f: (trustlog: Trustlog.Trustlog["Type"]) => Effect.Effect<A, E>): Promise<A> =>
    runtime.runPromise(Effect.flatMap(Trustlog.Trustlog, (trustlog) => Effect.either(f(trustlog)))).then((result) => {
      if (result._tag === "Left") throw result.left
      return result.right
    })
  // Building the layer now makes what is wrong with it show here, and not at the first append.
  const built = await Effect.runPromise(Effect.either(runtime.runtimeEffect))
  if (built._tag === "Left") throw built.left
  return {
    append: (operation, options) => use((trustlog) => trustlog.append(operation, options)),
    appendAll: (operations, options) => use((trustlog) => trustlog.appendAll(operations, options)),
    stats: () => use((trustlog) => trustlog.stats),
    close: () => runtime.dispose()
  }
}

/** A URL, or the path of a file. */
const databaseOf = (text: string): Layer.Layer<SqlClient, DatabaseError> => {
  if (!/^[a-z]{2,}:/i.test(text)) return Database.layer({ url: { _tag: "Sqlite", filename: text } })
  return Either.match(DatabaseUrl.fromText(text), {
    onLeft: (problem) => Layer.fail(new DatabaseError({ reason: "unknown", problem: `database: ${problem}` })),
    onRight: (url) => Database.layer({ url })
  })
}

/** The log with a URL, as the environment says that it is used. */
const publisherOf = (text: string): Layer.Layer<Publisher, LedgerError | PublisherError> =>
  Either.match(PublisherUrl.fromText(text), {
    onLeft: (problem) => Layer.fail(new PublisherError({ reason: "misconfigured", problem: `publisher: ${problem}` })),
    onRight: (publisher) =>
      TrustlogConfig.layerPublisher.pipe(
        Layer.provide(TrustlogConfig.layerFromEnv({ publisher })),
        Layer.provide(platform),
        Layer.catchAll((error) =>
          Layer.fail(
            ConfigError.isConfigError(error)
              ? new PublisherError({ reason: "misconfigured", problem: String(error), cause: error })
              : error
          )
        )
      )
  })
