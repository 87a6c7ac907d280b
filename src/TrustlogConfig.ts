/**
 * Which database, which log, which key: one shape, read from the environment or given in code, and the layers that follow
 * from it.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import type * as Path from "@effect/platform/Path"
import type { SqlClient } from "@effect/sql/SqlClient"
import * as Config from "effect/Config"
import * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Database from "./Database.ts"
import { type DatabaseUrl, fromText, refusal, type Server } from "./DatabaseUrl.ts"
import type * as Migrations from "./Migrations.ts"
import type { Publisher } from "./Publisher.ts"
import * as LedgerPublisher from "./Publisher/Ledger.ts"
import * as MemoryPublisher from "./Publisher/Memory.ts"
import type { Repository } from "./Repository.ts"
import * as Sql from "./Repository/Sql.ts"
import { DatabaseError, type LedgerError } from "./TrustlogError.ts"
import * as WorkerConfig from "./WorkerConfig.ts"

/** Where operations go: `ledger:<folder>`, or `memory:` in tests. */
export type PublisherUrl =
  | {
    readonly _tag: "Ledger"
    readonly path: string
    /** Records of more bytes are refused; `undefined` refuses none. */
    readonly maxEntryBytes: number | undefined
  }
  | { readonly _tag: "Memory" }

/** Everything that can be configured. */
export interface Shape {
  /** `TRUSTLOG_DATABASE_URL`; `sqlite:trustlog.db` by default. */
  readonly database: DatabaseUrl
  /**
   * `TRUSTLOG_LISTEN_URL`: where to listen for what other processes append, if not at the database's URL; PostgreSQL
   * only. Behind a pooler that hands out connections by transaction, the server itself.
   */
  readonly listen: Server | undefined
  /** `TRUSTLOG_PUBLISHER_URL`; `ledger:trustlog-ledger` by default. */
  readonly publisher: PublisherUrl
  /** `TRUSTLOG_KEY_FILE`: the signing key; `undefined` is `<ledger>.key`, or without a ledger `trustlog.key`. */
  readonly keyFile: string | undefined
  /** `TRUSTLOG_TABLE_PREFIX`: what every table's name begins with; nothing by default. */
  readonly tablePrefix: string
  /** `TRUSTLOG_SCHEMA`: the schema of the tables (on MySQL and MariaDB the database); the connection's own by default. */
  readonly schema: string | undefined
  /**
   * The workers' knobs: `TRUSTLOG_SCAN_INTERVAL`, `TRUSTLOG_PAGE_ROWS`, `TRUSTLOG_LEASE`, `TRUSTLOG_PUBLISH_DEADLINE`
   * and `TRUSTLOG_SHUTDOWN`. A lease is renewed three times before it lapses.
   */
  readonly workers: WorkerConfig.Shape
}

/** The configuration of this process. */
export class TrustlogConfig extends Context.Tag("effect-trustlog/TrustlogConfig")<TrustlogConfig, Shape>() {}

export const defaults: Shape = {
  database: { _tag: "Sqlite", filename: "trustlog.db" },
  listen: undefined,
  publisher: { _tag: "Ledger", path: "trustlog-ledger", maxEntryBytes: undefined },
  keyFile: undefined,
  tablePrefix: "",
  schema: undefined,
  workers: WorkerConfig.defaults
}

/** The file of the signing key. */
export const keyFileOf = (config: Shape): string =>
  config.keyFile ?? (config.publisher._tag === "Ledger" ? `${config.publisher.path}.key` : "trustlog.key")

const ledgerForm = "write ledger:<folder> or ledger:<folder>?maxEntryBytes=<bytes>"

/** Reads `ledger:<folder>`, `ledger:<folder>?maxEntryBytes=<bytes>` or `memory:`. */
export const publisherUrl = (text: string): Either.Either<PublisherUrl, string> => {
  if (/^(pulsar(\+ssl)?|wss?):/i.test(text)) {
    return Either.left(refusal(text, `this version delivers to the embedded ledger: ${ledgerForm}`))
  }
  if (/^memory:$/i.test(text)) return Either.right({ _tag: "Memory" })
  const match = /^ledger:(?:\/\/(?=\/))?([^?]+)(?:\?(.*))?$/i.exec(text)
  const path = match?.[1]?.replace(/(.)\/+$/, "$1")
  const query = match?.[2]
  const maxEntryBytes = query === undefined ? undefined : /^maxEntryBytes=([1-9]\d{0,14})$/.exec(query)?.[1]
  if (path === undefined || /^\/\/[^/]/.test(path) || (query !== undefined && maxEntryBytes === undefined)) {
    return Either.left(refusal(text, ledgerForm))
  }
  return Either.right({
    _tag: "Ledger",
    path,
    maxEntryBytes: maxEntryBytes === undefined ? undefined : Number(maxEntryBytes)
  })
}

const units: Record<string, Duration.Unit> = { ms: "millis", s: "seconds", m: "minutes", h: "hours", d: "days" }

/** Reads a duration greater than zero, such as `500ms`, `30s`, `5m`, `2h` or `1d`. */
export const duration = (text: string): Either.Either<Duration.Duration, string> => {
  const match = /^(\d{1,9}(?:\.\d{1,6})?) ?(ms|s|m|h|d)$/.exec(text)
  const unit = units[match?.[2] ?? ""]
  const amount = Number(match?.[1])
  return unit === undefined || !(amount > 0)
    ? Either.left(refusal(text, "write a number and a unit, such as 500ms, 30s, 5m, 2h or 1d"))
    : Either.right(Duration.decode(`${amount} ${unit}`))
}

const rows = (text: string): Either.Either<number, string> =>
  /^[1-9]\d{0,3}$/.test(text) ? Either.right(Number(text)) : Either.left(refusal(text, "write a number from 1 to 9999"))

const prefix = (text: string): Either.Either<string, string> =>
  /^([A-Za-z_][A-Za-z0-9_]{0,31})?$/.test(text) ? Either.right(text) : Either.left(
    refusal(text, "write a letter or underscore, then up to 31 letters, digits and underscores")
  )

const schema = (text: string): Either.Either<string, string> =>
  /^[A-Za-z_][A-Za-z0-9_]{0,62}$/.test(text) ? Either.right(text) : Either.left(
    refusal(text, "write a letter or underscore, then up to 62 letters, digits and underscores")
  )

const listenUrl = (text: string): Either.Either<Server, string> =>
  Either.flatMap(fromText(text), (url) =>
    url._tag === "PostgreSQL"
      ? Either.right(url)
      : Either.left(refusal(text, "only PostgreSQL is listened to: write postgres://…, or leave it unset")))

const notEmpty = (text: string): Either.Either<string, string> =>
  text === "" ? Either.left(refusal(text, "write the path of a file, or leave it unset")) : Either.right(text)

/** The errors name the variable in their text: whoever prints one may show nothing else. */
const read = <A>(name: string, description: string, parse: (text: string) => Either.Either<A, string>) =>
  Config.string(name).pipe(
    Config.mapOrFail((text) =>
      Either.mapLeft(parse(text), (problem) => ConfigError.InvalidData([], `${name}: ${problem}`))
    ),
    Config.withDescription(description)
  )

const { workers } = defaults

/** Reads the configuration; what is not set has its default, what is wrong is named with the form that is accepted. */
export const config: Config.Config<Shape> = Config.map(
  Config.all({
    database: Config.withDefault(
      read("TRUSTLOG_DATABASE_URL", "Where operations are kept: sqlite:<file>, postgres://… or mysql://…", fromText),
      defaults.database
    ),
    listen: Config.option(
      read("TRUSTLOG_LISTEN_URL", "Where PostgreSQL is listened to, if not at the database's URL", listenUrl)
    ),
    publisher: Config.withDefault(
      read("TRUSTLOG_PUBLISHER_URL", "Where operations are delivered: ledger:<folder>", publisherUrl),
      defaults.publisher
    ),
    keyFile: Config.option(read("TRUSTLOG_KEY_FILE", "The file of the signing key", notEmpty)),
    tablePrefix: Config.withDefault(
      read("TRUSTLOG_TABLE_PREFIX", "What every table's name begins with", prefix),
      defaults.tablePrefix
    ),
    schema: Config.option(read("TRUSTLOG_SCHEMA", "The schema of the tables", schema)),
    scanInterval: Config.withDefault(
      read("TRUSTLOG_SCAN_INTERVAL", "How often an idle worker looks", duration),
      workers.scanInterval
    ),
    pageRows: Config.withDefault(
      read("TRUSTLOG_PAGE_ROWS", "How many operations are sent at once", rows),
      workers.pageRows
    ),
    lease: Config.withDefault(
      read("TRUSTLOG_LEASE", "How long a lane stays with a process that is not heard of", duration),
      workers.lease
    ),
    publishDeadline: Config.withDefault(
      read("TRUSTLOG_PUBLISH_DEADLINE", "How long the log may take to answer a batch", duration),
      workers.publishDeadline
    ),
    shutdown: Config.withDefault(
      read("TRUSTLOG_SHUTDOWN", "How long a process that is told to end goes on delivering", duration),
      workers.shutdown
    )
  }),
  ({
    database,
    keyFile,
    lease,
    listen,
    pageRows,
    publishDeadline,
    publisher,
    scanInterval,
    schema,
    shutdown,
    tablePrefix
  }) => ({
    database,
    listen: Option.getOrUndefined(listen),
    publisher,
    keyFile: Option.getOrUndefined(keyFile),
    tablePrefix,
    schema: Option.getOrUndefined(schema),
    workers: {
      ...workers,
      scanInterval,
      pageRows,
      backlogPageRows: Math.max(workers.backlogPageRows, pageRows),
      lease,
      leaseRenewal: Duration.times(lease, 0.3),
      publishDeadline,
      shutdown
    }
  })
)

/** The defaults, but for what is given. */
export const layer = (options: Partial<Shape> = {}): Layer.Layer<TrustlogConfig> =>
  Layer.succeed(TrustlogConfig, { ...defaults, ...options })

/** The environment's, but for what is given. */
export const layerFromEnv = (options: Partial<Shape> = {}): Layer.Layer<TrustlogConfig, ConfigError.ConfigError> =>
  Layer.effect(TrustlogConfig, Effect.map(config, (fromEnv) => ({ ...fromEnv, ...options })))

/**
 * The configured database. A file that is not there is made only with `canCreate`: a mistyped path would look like an
 * empty database, and whatever is in the real one would go undelivered without a word.
 */
export const layerDatabase = (
  options: { readonly canCreate?: boolean | undefined } = {}
): Layer.Layer<SqlClient, DatabaseError, TrustlogConfig | FileSystem.FileSystem> =>
  Layer.unwrapEffect(Effect.gen(function*() {
    const { database: url, listen } = yield* TrustlogConfig
    if (url._tag === "Sqlite" && options.canCreate !== true) {
      const fs = yield* FileSystem.FileSystem
      if (!(yield* Effect.orElseSucceed(fs.exists(url.filename), () => true))) {
        return yield* new DatabaseError({
          reason: "missing",
          problem: `there is no database ${url.filename}: run \`trustlog init\`, or correct TRUSTLOG_DATABASE_URL`
        })
      }
    }
    return Database.layer({ url, listen })
  }))

/** What the configured tables are called. */
export const namingOf = ({ schema, tablePrefix }: Shape): Migrations.Options => ({ prefix: tablePrefix, schema })

/** The repository in the configured database, whose tables `Migrations.run` has made. */
export const layerRepository: Layer.Layer<Repository, DatabaseError, TrustlogConfig | SqlClient> = Layer
  .unwrapEffect(Effect.map(TrustlogConfig, (config) => Sql.layer(namingOf(config))))

/** The configured log. */
export const layerPublisher: Layer.Layer<
  Publisher,
  LedgerError,
  TrustlogConfig | FileSystem.FileSystem | Path.Path
> = Layer.unwrapEffect(Effect.map(TrustlogConfig, (config) =>
  config.publisher._tag === "Memory"
    ? MemoryPublisher.layer
    : LedgerPublisher.layer({
      path: config.publisher.path,
      maxEntryBytes: config.publisher.maxEntryBytes,
      keyFile: keyFileOf(config)
    })))

/** The configured knobs of the workers. */
export const layerWorkers: Layer.Layer<never, never, TrustlogConfig> = Layer.effect(
  WorkerConfig.WorkerConfig,
  Effect.map(TrustlogConfig, (config) => config.workers)
)
