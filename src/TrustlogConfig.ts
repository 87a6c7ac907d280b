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
import * as Redacted from "effect/Redacted"
import * as Database from "./Database.ts"
import { type DatabaseUrl, fromText, refusal, type Server } from "./DatabaseUrl.ts"
import type * as Ledger from "./Ledger.ts"
import type * as Migrations from "./Migrations.ts"
import { type Kind, kindOfLane, type Lane } from "./Operation.ts"
import type { Publisher } from "./Publisher.ts"
import * as PublisherUrl from "./PublisherUrl.ts"
import type * as PulsarCluster from "./PulsarCluster.ts"
import type { Repository } from "./Repository.ts"
import type { Keys } from "./Signature.ts"
import type { Subscriber } from "./Subscriber.ts"
import { Topics } from "./Topics.ts"
import { DatabaseError, type KeyError, type LedgerError, PublisherError } from "./TrustlogError.ts"
import * as WorkerConfig from "./WorkerConfig.ts"
import * as keyFiles from "./internal/keyFile.ts"
import * as topicNames from "./internal/pulsar/topic.ts"

/** How a cluster of Apache Pulsar is used, where the log is one. */
export interface Pulsar {
  /**
   * `TRUSTLOG_PULSAR_CA_FILE` (empty or not set: the system's), `TRUSTLOG_PULSAR_CERT_FILE`, `TRUSTLOG_PULSAR_KEY_FILE`,
   * and `TRUSTLOG_PULSAR_ALLOW_INSECURE`, `false` by default.
   */
  readonly tls: PulsarCluster.Tls
  /** `TRUSTLOG_PULSAR_TOKEN`; */
  readonly token: Redacted.Redacted<string> | undefined
  /** or `TRUSTLOG_PULSAR_TOKEN_FILE`, which is read at each connection. */
  readonly tokenFile: string | undefined
  /** `TRUSTLOG_CLOUD_EVENTS`: whether messages, to a receiver over HTTP too, carry the attributes of CloudEvents; `false` by default. */
  readonly cloudEvents: boolean
}

/** How a receiver over HTTP is used, where the log is one. */
export interface Http {
  /** `TRUSTLOG_HTTP_TOKEN`; */
  readonly token: Redacted.Redacted<string> | undefined
  /** or `TRUSTLOG_HTTP_TOKEN_FILE`, which is read at each batch. */
  readonly tokenFile: string | undefined
}

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
  readonly publisher: PublisherUrl.PublisherUrl
  readonly pulsar: Pulsar
  readonly http: Http
  /**
   * `TRUSTLOG_OPERATION_TOPIC` and `TRUSTLOG_RECORD_TOPIC`, by kind; `persistent://public/default/operation` and
   * `persistent://public/default/record` by default. The embedded ledger has no topics; receipts name them all the same.
   */
  readonly topics: Readonly<Record<Kind, string>>
  /** `TRUSTLOG_KEY_FILE`: the signing key; `undefined` is `<ledger>.key`, or without a ledger `trustlog.key`. */
  readonly keyFile: string | undefined
  /** `TRUSTLOG_SIGNING_KEY_FILE`: the Ed25519 key that signs what is delivered; `undefined`, the default, signs nothing. */
  readonly signingKeyFile: string | undefined
  /**
   * `TRUSTLOG_TRUSTED_KEY_FILES`: the public keys, with commas between the files, one of which must have signed whatever is
   * read; none, the default, asks for no signatures.
   */
  readonly trustedKeyFiles: ReadonlyArray<string>
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
  pulsar: {
    tls: { caFile: undefined, certificateFile: undefined, keyFile: undefined, allowInsecure: false },
    token: undefined,
    tokenFile: undefined,
    cloudEvents: false
  },
  http: { token: undefined, tokenFile: undefined },
  topics: { operation: "persistent://public/default/operation", record: "persistent://public/default/record" },
  keyFile: undefined,
  signingKeyFile: undefined,
  trustedKeyFiles: [],
  tablePrefix: "",
  schema: undefined,
  workers: WorkerConfig.defaults
}

/** The file of the signing key. */
export const keyFileOf = (config: Shape): string =>
  config.keyFile ?? (config.publisher._tag === "Ledger" ? `${config.publisher.path}.key` : "trustlog.key")

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

const files = (text: string): Either.Either<ReadonlyArray<string>, string> => {
  const paths = text.split(",").map((path) => path.trim())
  return paths.includes("")
    ? Either.left(refusal(text, "write the paths of files with commas between them, or leave it unset"))
    : Either.right(paths)
}

/** The errors name the variable in their text: whoever prints one may show nothing else. */
const read = <A>(name: string, description: string, parse: (text: string) => Either.Either<A, string>) =>
  Config.string(name).pipe(
    Config.mapOrFail((text) =>
      Either.mapLeft(parse(text), (problem) => ConfigError.InvalidData([], `${name}: ${problem}`))
    ),
    Config.withDescription(description)
  )

const topic = (text: string): Either.Either<string, string> => Either.map(topicNames.parse(text), topicNames.format)

const flag = (text: string): Either.Either<boolean, string> =>
  /^(true|false)$/i.test(text)
    ? Either.right(text.toLowerCase() === "true")
    : Either.left(refusal(text, "write true or false"))

/** A file that may be left out by giving nothing. */
const file = (name: string, description: string) =>
  Config.map(
    Config.option(Config.withDescription(Config.string(name), description)),
    (path) => Option.getOrUndefined(path) === "" ? undefined : Option.getOrUndefined(path)
  )

/** A token, or the file that holds it. */
const token = (name: string): Config.Config<Http> =>
  Config.all({
    token: Config.option(Config.redacted(name).pipe(Config.withDescription("The token that says who we are"))),
    tokenFile: file(`${name}_FILE`, "The file that holds the token")
  }).pipe(
    Config.mapOrFail(({ token, tokenFile }) => {
      const text = Option.getOrUndefined(token)
      const hasToken = text !== undefined && Redacted.value(text) !== ""
      return hasToken && tokenFile !== undefined
        ? Either.left(
          ConfigError.InvalidData([], `${name} and ${name}_FILE are both set: unset the one that is not to be used`)
        )
        : Either.right({ token: hasToken ? text : undefined, tokenFile })
    })
  )

const pulsar: Config.Config<Pulsar> = Config.all({
  caFile: file("TRUSTLOG_PULSAR_CA_FILE", "The certificates that are trusted; the system's by default"),
  certificateFile: file("TRUSTLOG_PULSAR_CERT_FILE", "The client certificate (mutual TLS)"),
  keyFile: file("TRUSTLOG_PULSAR_KEY_FILE", "The client certificate's key"),
  allowInsecure: Config.withDefault(
    read("TRUSTLOG_PULSAR_ALLOW_INSECURE", "Whether whoever answers is believed", flag),
    false
  ),
  token: token("TRUSTLOG_PULSAR_TOKEN"),
  cloudEvents: Config.withDefault(
    read("TRUSTLOG_CLOUD_EVENTS", "Whether messages carry the attributes of CloudEvents", flag),
    false
  )
}).pipe(
  Config.map(({ allowInsecure, caFile, certificateFile, cloudEvents, keyFile, token }) => ({
    tls: { caFile, certificateFile, keyFile, allowInsecure },
    ...token,
    cloudEvents
  }))
)

const http: Config.Config<Http> = token("TRUSTLOG_HTTP_TOKEN")

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
      read(
        "TRUSTLOG_PUBLISHER_URL",
        "Where operations are delivered: ledger:<folder>, ws://…, wss://…, pulsar://…, pulsar+ssl://… or https://…",
        PublisherUrl.fromText
      ),
      defaults.publisher
    ),
    pulsar,
    http,
    topics: Config.all({
      operation: Config.withDefault(
        read("TRUSTLOG_OPERATION_TOPIC", "The topic of operations", topic),
        defaults.topics.operation
      ),
      record: Config.withDefault(read("TRUSTLOG_RECORD_TOPIC", "The topic of records", topic), defaults.topics.record)
    }),
    keyFile: Config.option(read("TRUSTLOG_KEY_FILE", "The file of the signing key", notEmpty)),
    signingKeyFile: Config.option(
      read("TRUSTLOG_SIGNING_KEY_FILE", "The file of the key that signs what is delivered", notEmpty)
    ),
    trustedKeyFiles: Config.withDefault(
      read("TRUSTLOG_TRUSTED_KEY_FILES", "Files of the keys that must have signed what is read", files),
      defaults.trustedKeyFiles
    ),
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
    http,
    keyFile,
    lease,
    listen,
    pageRows,
    publishDeadline,
    publisher,
    pulsar,
    scanInterval,
    schema,
    shutdown,
    signingKeyFile,
    tablePrefix,
    topics,
    trustedKeyFiles
  }) => ({
    database,
    listen: Option.getOrUndefined(listen),
    publisher,
    pulsar,
    http,
    topics,
    keyFile: Option.getOrUndefined(keyFile),
    signingKeyFile: Option.getOrUndefined(signingKeyFile),
    trustedKeyFiles,
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
  .unwrapEffect(Effect.gen(function*() {
    const config = yield* TrustlogConfig
    const Sql = yield* Effect.promise(() => import("./Repository/Sql.ts"))
    return Sql.layer(namingOf(config))
  }))

/** The configured token, if there is one. */
export const tokenOf = (
  { token, tokenFile }: Http,
  setting = "TRUSTLOG_HTTP_TOKEN_FILE"
): Effect.Effect<PulsarCluster.Token | undefined, never, FileSystem.FileSystem> =>
  Effect.flatMap(Effect.promise(() => import("./PulsarCluster.ts")), (PulsarCluster) =>
    tokenFile === undefined
      ? Effect.succeed(token && PulsarCluster.token(token))
      : PulsarCluster.tokenFile(tokenFile, setting))

/** How the configured cluster is reached. */
export const clusterOf = (
  { serviceUrl }: PublisherUrl.PulsarUrl,
  pulsar: Pulsar
): Effect.Effect<PulsarCluster.Options, never, FileSystem.FileSystem> =>
  Effect.map(
    tokenOf(pulsar, "TRUSTLOG_PULSAR_TOKEN_FILE"),
    (token) => ({ serviceUrl, tls: pulsar.tls, token })
  )

const layerPulsar = (url: PublisherUrl.PulsarUrl, { pulsar, workers: { publishDeadline } }: Shape) =>
  Layer.unwrapEffect(Effect.gen(function*() {
    const cluster = yield* clusterOf(url, pulsar)
    const { batching, maxFrameBytes } = url
    const { cloudEvents } = pulsar
    if (url._tag === "Pulsar") {
      const native = yield* Effect.promise(() => import("./Publisher/Pulsar.ts"))
      // Answers that came are lost with a publish that its worker has given up.
      return native.layer({ ...cluster, batching, cloudEvents, sendTimeout: Duration.times(publishDeadline, 0.8) })
    }
    const [{ layer }, client] = yield* Effect.promise(() =>
      Promise.all([import("./Publisher/PulsarWebSocket.ts"), import("./WebSocketClient/Ws.ts")])
    )
    return Layer.provide(
      layer({ ...cluster, batching, maxFrameBytes, cloudEvents }),
      client.layer
    )
  }))

const layerMemory = Layer.unwrapEffect(
  Effect.map(Effect.promise(() => import("./Publisher/Memory.ts")), ({ layer }) => layer)
)

const layerHttp = ({ url }: PublisherUrl.HttpUrl, { http, pulsar, workers: { publishDeadline } }: Shape) =>
  Layer.unwrapEffect(Effect.gen(function*() {
    const [receiver, client] = yield* Effect.promise(() =>
      Promise.all([import("./Publisher/Http.ts"), import("@effect/platform/FetchHttpClient")])
    )
    const { cloudEvents } = pulsar
    const sendTimeout = Duration.times(publishDeadline, 0.8)
    return Layer.provide(
      receiver.layer({ url, cloudEvents, sendTimeout, token: yield* tokenOf(http) }),
      client.layer
    )
  }))

const layerLedger = (options: Ledger.Options) =>
  Layer.unwrapEffect(
    Effect.map(Effect.promise(() => import("./Publisher/Ledger.ts")), ({ layer }) => layer(options))
  )

type Log = Layer.Layer<Publisher, LedgerError | PublisherError, FileSystem.FileSystem | Path.Path>

/**
 * The configured log, whose code is loaded when it is asked for. A cluster that cannot be reached is no failure of the layer:
 * records wait for it.
 */
export const layerPublisher: Layer.Layer<
  Publisher,
  LedgerError | PublisherError,
  TrustlogConfig | FileSystem.FileSystem | Path.Path
> = Layer.unwrapEffect(Effect.map(TrustlogConfig, (config): Log => {
  const { publisher } = config
  switch (publisher._tag) {
    case "Memory":
      return layerMemory
    case "Ledger":
      return layerLedger({
        path: publisher.path,
        maxEntryBytes: publisher.maxEntryBytes,
        keyFile: keyFileOf(config)
      })
    case "Http":
      return layerHttp(publisher, config)
    default:
      return layerPulsar(publisher, config)
  }
}))

/** What consumes the configured log, which must be one that several can read. */
export const layerSubscriber: Layer.Layer<
  Subscriber,
  PublisherError,
  TrustlogConfig | FileSystem.FileSystem
> = Layer.unwrapEffect(Effect.gen(function*() {
  const { publisher, pulsar } = yield* TrustlogConfig
  if (!PublisherUrl.isPulsar(publisher)) {
    return yield* new PublisherError({
      reason: "misconfigured",
      problem:
        "TRUSTLOG_PUBLISHER_URL: only a log that several can read can be consumed; write ws://<host>:<port> or " +
        "wss://<host>:<port> (Apache Pulsar over WebSocket), or pulsar://<host>:<port> or pulsar+ssl://<host>:<port> (its native client)"
    })
  }
  const cluster = yield* clusterOf(publisher, pulsar)
  if (publisher._tag === "Pulsar") {
    const native = yield* Effect.promise(() => import("./Subscriber/Pulsar.ts"))
    return native.layer(cluster)
  }
  const [{ layer }, client] = yield* Effect.promise(() =>
    Promise.all([import("./Subscriber/PulsarWebSocket.ts"), import("./WebSocketClient/Ws.ts")])
  )
  return Layer.provide(layer({ ...cluster, maxFrameBytes: publisher.maxFrameBytes }), client.layer)
}))

/** The configured topics of operations and of records. */
export const layerTopics: Layer.Layer<never, never, TrustlogConfig> = Layer.effect(
  Topics,
  Effect.map(TrustlogConfig, ({ topics }) => (lane: Lane) => topics[kindOfLane(lane)])
)

/** The configured knobs of the workers. */
export const layerWorkers: Layer.Layer<never, never, TrustlogConfig> = Layer.effect(
  WorkerConfig.WorkerConfig,
  Effect.map(TrustlogConfig, (config) => config.workers)
)

/** Uses the key in a file; what is wrong with it is told with the variable that names the file. */
const withKey = <A>(variable: string, file: string, use: (pem: string) => Effect.Effect<A, KeyError>) =>
  Effect.mapError(Effect.flatMap(keyFiles.read(file), use), keyFiles.about(`${variable}: ${file}`))

/** Signs with the configured key. */
export const layerSigner: Layer.Layer<never, KeyError, TrustlogConfig | FileSystem.FileSystem> = Layer.unwrapEffect(
  Effect.map(Effect.promise(() => import("./Signer.ts")), (Signer) =>
    Layer.effect(
      Signer.Signer,
      Effect.flatMap(TrustlogConfig, ({ signingKeyFile: file }) =>
        file === undefined
          ? Effect.succeed(Signer.none)
          : withKey("TRUSTLOG_SIGNING_KEY_FILE", file, (pem) => Signer.makeEd25519({ key: Redacted.make(pem) })))
    ))
)

/** Trusts the configured keys. */
export const layerTrustedKeys: Layer.Layer<never, KeyError, TrustlogConfig | FileSystem.FileSystem> = Layer
  .unwrapEffect(
    Effect.map(Effect.promise(() => import("./Signature.ts")), (Signature) =>
      Layer.effect(
        Signature.TrustedKeys,
        Effect.flatMap(TrustlogConfig, ({ trustedKeyFiles: files }) =>
          files.length === 0
            ? Effect.succeed<Keys>(new Map())
            : Effect.flatMap(
              Effect.forEach(
                files,
                (file) => withKey("TRUSTLOG_TRUSTED_KEY_FILES", file, (pem) => Signature.publicKey(pem))
              ),
              Signature.trust
            ))
      ))
  )
