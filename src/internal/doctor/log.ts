/**
 * Whether the log takes records: each topic of a cluster, with the certificates, the token and the clocks that this rests on, the
 * embedded ledger, or a receiver over HTTP.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import type * as Path from "@effect/platform/Path"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { X509Certificate } from "node:crypto"
import { Publisher } from "../../Publisher.ts"
import * as PublisherUrl from "../../PublisherUrl.ts"
import * as PulsarCluster from "../../PulsarCluster.ts"
import * as TrustlogConfig from "../../TrustlogConfig.ts"
import type { PublisherError } from "../../TrustlogError.ts"
import * as tlsFiles from "../pulsar/tlsFiles.ts"
import { isLocal } from "../serviceUrl.ts"
import { type Finding, ofClock, ofExpiry, ok, problem, warning } from "./finding.ts"
import * as peers from "./peer.ts"

const readFile = (path: string) => Effect.flatMap(FileSystem.FileSystem, (fs) => Effect.either(fs.readFile(path)))

const subjects = { ca: "trusted certificates", cert: "client certificate", key: "client key" } as const

/** The files of TLS, and what is wrong with them. */
const files = (tls: PulsarCluster.Tls) =>
  Effect.gen(function*() {
    const findings: Array<Finding> = []
    const read: { ca?: Buffer; cert?: Buffer; key?: Buffer } = {}
    for (const { material, path, setting } of tlsFiles.given(tls)) {
      const subject = subjects[material]
      const content = yield* readFile(path)
      if (Either.isLeft(content)) {
        findings.push(problem(subject, `${path} cannot be read: correct ${setting}, or who may read it`))
        continue
      }
      read[material] = Buffer.from(content.right)
      if (material === "key") continue
      const expiry = yield* Effect.either(
        Effect.try(() => Date.parse(new X509Certificate(Buffer.from(content.right)).validTo))
      )
      findings.push(
        Either.isLeft(expiry)
          ? problem(subject, `${path} holds no certificate in PEM: correct ${setting}`)
          : yield* ofExpiry(subject, expiry.right, 14, `renew ${path}`)
      )
    }
    return { findings, material: read }
  })

const token = (cluster: PulsarCluster.Options): Effect.Effect<ReadonlyArray<Finding>> => {
  if (cluster.token === undefined) return Effect.succeed([])
  return Effect.matchEffect(cluster.token, {
    onFailure: (error) => Effect.succeed([problem("token", error.message)]),
    onSuccess: (text) => {
      const expiry = PulsarCluster.tokenExpiry(text)
      return expiry === undefined
        ? Effect.succeed([ok("token", "does not say that it expires")])
        : Effect.map(
          ofExpiry(
            "token",
            expiry,
            1,
            "renew TRUSTLOG_PULSAR_TOKEN, or the file that TRUSTLOG_PULSAR_TOKEN_FILE names"
          ),
          (finding) => [finding]
        )
    }
  })
}

const trust = ({ serviceUrl, tls = {} }: PulsarCluster.Options): ReadonlyArray<Finding> => {
  if (/^(wss|pulsar\+ssl):/.test(serviceUrl)) {
    return tls.allowInsecure === true
      ? [warning(
        "broker's certificate",
        "is not looked at, because TRUSTLOG_PULSAR_ALLOW_INSECURE is set: anybody in between can read, withhold and acknowledge " +
          "records; unset it, and name the CA in TRUSTLOG_PULSAR_CA_FILE"
      )]
      : []
  }
  return isLocal(serviceUrl) ? [] : [warning(
    "connection to the broker",
    "is not encrypted: anybody in between can read, withhold and acknowledge records; use wss:// or pulsar+ssl://"
  )]
}

const peer = ({ serviceUrl, token }: PulsarCluster.Options, material: peers.Material) =>
  Effect.gen(function*() {
    const text = token === undefined ? undefined : Option.getOrUndefined(yield* Effect.option(token))
    const before = yield* Clock.currentTimeMillis
    const shown = yield* peers.ask(serviceUrl, material, text)
    const after = yield* Clock.currentTimeMillis
    return [
      // It is told to the second.
      ...shown?.time === undefined
        ? []
        : [ofClock("broker's clock", "the broker's clock", shown.time, before - 1000, after)],
      ...shown?.validUntil === undefined
        ? []
        : [yield* ofExpiry("broker's certificate", shown.validUntil, 14, "have it renewed")]
    ]
  })

/** The publisher of the configuration, or why there is none. */
const publisher: Effect.Effect<
  Either.Either<Publisher["Type"], Finding>,
  never,
  TrustlogConfig.TrustlogConfig | FileSystem.FileSystem | Path.Path | Scope.Scope
> = Effect.map(
  Effect.either(Layer.build(TrustlogConfig.layerPublisher)),
  Either.mapBoth({
    onLeft: (error) => problem("log", error.message),
    onRight: (context) => Context.get(context, Publisher)
  })
)

const verdict = (subject: string, health: Effect.Effect<void, PublisherError>, well: string): Effect.Effect<Finding> =>
  Effect.match(health, {
    onFailure: (error) => problem(subject, error.message),
    onSuccess: () => ok(subject, well)
  })

const cluster = (config: TrustlogConfig.Shape, url: PublisherUrl.PulsarUrl) =>
  Effect.gen(function*() {
    const options = yield* TrustlogConfig.clusterOf(url, config.pulsar)
    const { findings, material } = yield* files(options.tls ?? {})
    const built = yield* publisher
    const topics = Array.from(new Set(Object.values(config.topics)))
    return [
      ...findings,
      ...yield* token(options),
      ...trust(options),
      ...yield* peer(options, material),
      ...Either.isLeft(built)
        ? [built.left]
        : yield* Effect.forEach(
          topics,
          (topic) => verdict(`topic ${topic}`, built.right.health(topic), "lets us produce"),
          { concurrency: "unbounded" }
        )
    ]
  })

const ledger = (path: string) =>
  Effect.gen(function*() {
    const built = yield* publisher
    return [
      Either.isLeft(built)
        ? built.left
        : yield* verdict("ledger", built.right.health("ledger"), `${path} takes entries, and is what was signed last`)
    ]
  })

const receiver = (url: string) =>
  Effect.gen(function*() {
    const built = yield* publisher
    return [
      ...url.startsWith("https:") || isLocal(url) ? [] : [warning(
        "connection to the receiver",
        "is not encrypted: anybody in between can read, withhold and acknowledge records; use https://"
      )],
      Either.isLeft(built) ? built.left : yield* verdict("receiver", built.right.health(""), `${url} answers`)
    ]
  })

export const examine = (config: TrustlogConfig.Shape): Effect.Effect<
  ReadonlyArray<Finding>,
  never,
  TrustlogConfig.TrustlogConfig | FileSystem.FileSystem | Path.Path
> => {
  const { publisher } = config
  if (PublisherUrl.isPulsar(publisher)) return Effect.scoped(cluster(config, publisher))
  if (publisher._tag === "Ledger") return Effect.scoped(ledger(publisher.path))
  if (publisher._tag === "Http") return Effect.scoped(receiver(publisher.url))
  return Effect.succeed([
    problem("log", "is in memory and lost with the process: set TRUSTLOG_PUBLISHER_URL to a ledger or a cluster")
  ])
}
