/**
 * Everything in one layer, with nothing to install and nothing to run: the client, the workers in this process, and the
 * embedded ledger, over the application's own database.
 */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as NodePath from "@effect/platform-node/NodePath"
import type { SqlClient } from "@effect/sql/SqlClient"
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
import type { Repository } from "./Repository.ts"
import * as RepositorySql from "./Repository/Sql.ts"
import * as RetryWorker from "./RetryWorker.ts"
import * as Trustlog from "./Trustlog.ts"
import { DatabaseError, type LedgerError } from "./TrustlogError.ts"

/** Where things are. */
export interface Options {
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
 * The client, both workers and the ledger, over the `SqlClient` of the application. Tables, ledger and key are made where
 * there are none. When the layer's scope closes, what is pending is delivered for a while and the lanes are given back.
 */
export const layer = (
  options: Options = {}
): Layer.Layer<Trustlog.Trustlog | Repository | Publisher, DatabaseError | LedgerError, SqlClient> => {
  const ledger = { path: options.ledger ?? "trustlog-ledger", keyFile: options.keyFile }
  const repository = Layer.provide(
    RepositorySql.layer({ prefix: options.prefix, schema: options.schema }),
    Migrations.layer({ prefix: options.prefix, schema: options.schema })
  )
  const publisher = Layer.unwrapEffect(Effect.as(Ledger.init(ledger), PublisherLedger.layer(ledger))).pipe(
    Layer.provide([NodeFileSystem.layer, NodePath.layer])
  )
  const workers = Layer.provide(Layer.merge(CursorWorker.layer, RetryWorker.layer), [
    CircuitBreaker.layer,
    HostLocal.layer
  ])
  return Layer.provideMerge(Layer.merge(Trustlog.layer, workers), Layer.merge(repository, publisher))
}

/** See `Trustlog.promise`. */
export const open = async (options: Trustlog.PromiseOptions): Promise<Trustlog.PromiseClient> => {
  const runtime = ManagedRuntime.make(Layer.provide(layer(options), databaseOf(options.database ?? "trustlog.db")))
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
