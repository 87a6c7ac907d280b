/**
 * A client of our own, made as a cluster's options say, and what it may be that it does not get in.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Redacted from "effect/Redacted"
import * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"
import { type Options, type Token, tokenExpiry } from "../../PulsarCluster.ts"
import { PublisherError } from "../../TrustlogError.ts"
import { nextTurn } from "../eventLoop.ts"
import { admitted } from "./admission.ts"
import type { Authentication, Client, Module } from "./nativeClient.ts"
import * as nativeErrors from "./nativeErrors.ts"
import * as nativeTls from "./nativeTls.ts"

/** A client, and who explains its failures. */
export interface Connection<C> {
  readonly client: C
  /** The client answers within this, or never. */
  readonly patience: Duration.Duration
  /** Said before something is asked for: what comes of it then says why it failed. Fails where it cannot succeed. */
  readonly attempt: Effect.Effect<Explanation, PublisherError>
}

/** What an error at the making of a topic's producer or consumer is, for people. */
export type Explanation = (
  error: unknown,
  topic: string,
  right: nativeErrors.Right
) => Effect.Effect<PublisherError>

const tokenSettings = "TRUSTLOG_PULSAR_TOKEN or TRUSTLOG_PULSAR_TOKEN_FILE"

/** The client waits for a token on the thread that also carries its connections. */
const tokenPatience = Duration.seconds(5)

/** The client gives up first, with a name for what it is; where it does not, we do, so much later. */
const grace = Duration.seconds(1)

/** Over a client that somebody else has made, of which nothing is known. */
export const ofClient = <C>(client: C, patience: Duration.DurationInput): Connection<C> => ({
  client,
  patience: Duration.decode(patience),
  attempt: Effect.succeed((error, topic, right) => {
    const { problem, reason } = nativeErrors.ofCreation(error, topic, right)
    return Effect.succeed(new PublisherError({ reason, problem, cause: error }))
  })
})

interface Log {
  /** The client's logger keeps a pointer into the first client of the process, for as long as that lasts. */
  first: Client
  /** The last warnings, and how many there were. */
  readonly warnings: Array<string>
  count: number
}

/** The logs of the modules that are loaded: of each there is one. */
const logs = new WeakMap<Module["Client"], Log>()

/** So many warnings are kept. */
const keptWarnings = 20

const logOf = (module: Module, first: Client): Log => {
  const known = logs.get(module.Client)
  if (known !== undefined) return known
  const log: Log = { first, warnings: [], count: 0 }
  logs.set(module.Client, log)
  module.Client.setLogHandler?.((level, _file, _line, message) => {
    if (level < 2) return
    log.count++
    if (log.warnings.push(message.slice(0, 300)) > keptWarnings) log.warnings.shift()
  })
  return log
}

/** What the client has said since there were so many warnings, each text once. */
const said = (log: Log, since: number): ReadonlyArray<string> => {
  const news = Math.min(log.count - since, log.warnings.length)
  return news === 0 ? [] : [...new Set(log.warnings.slice(-news))].slice(-3)
}

interface Tokens {
  readonly authentication: Authentication | undefined
  /** Reads the token anew. Fails where there never was one. */
  readonly read: Effect.Effect<void, PublisherError>
  readonly last: () => Redacted.Redacted<string> | undefined
  /** Why the token that is used is not the newest. */
  readonly failure: () => PublisherError | undefined
}

const noTokens: Tokens = {
  authentication: undefined,
  read: Effect.void,
  last: () => undefined,
  failure: () => undefined
}

const unreadable = (cause: Cause.Cause<unknown>): PublisherError => {
  const error = Cause.squash(cause)
  return error instanceof PublisherError ? error : new PublisherError({
    reason: "misconfigured",
    problem: `the token cannot be read (${tokenSettings}): ${error instanceof Error ? error.message : String(error)}`,
    cause: error
  })
}

/** A token that stays as it is: one whose effect is its value. */
const constantOf = (token: Token): string | undefined => {
  if (!Exit.isExit(token) || !Exit.isSuccess(token) || !Redacted.isRedacted(token.value)) return undefined
  const text = Redacted.value(token.value)
  return typeof text === "string" ? text : undefined
}

const tokensOf = (module: Module, token: Token): Effect.Effect<Tokens> =>
  Effect.map(Effect.runtime(), (runtime) => {
    let last: Redacted.Redacted<string> | undefined
    let failure: PublisherError | undefined
    const read = token.pipe(
      Effect.filterOrFail(
        (text) => Redacted.value(text) !== "",
        () => new PublisherError({ reason: "misconfigured", problem: `the token is empty (${tokenSettings})` })
      ),
      Effect.timeoutFail({
        duration: tokenPatience,
        onTimeout: () =>
          new PublisherError({
            reason: "unavailable",
            problem: `the token was not to be had within ${Duration.format(tokenPatience)}`
          })
      }),
      Effect.exit,
      Effect.map((exit) => {
        if (Exit.isSuccess(exit)) last = exit.value
        failure = Exit.isSuccess(exit) ? undefined : unreadable(exit.cause)
      })
    )
    // A supplier that throws aborts the process, one that rejects stops the client for ever.
    const supplier = () =>
      Runtime.runPromise(runtime)(Effect.map(read, () => last === undefined ? "" : Redacted.value(last)))
    // Nor does the process end by itself while there is a supplier. A token that stays as it is needs none.
    return {
      authentication: new module.AuthenticationToken({ token: constantOf(token) ?? supplier }),
      read: Effect.flatMap(
        read,
        () => failure !== undefined && last === undefined ? Effect.fail(failure) : Effect.void
      ),
      last: () => last,
      failure: () => failure
    }
  })

/** Makes a client; it connects when something is asked of it. Closed with the scope. */
export const make = (
  module: Module,
  options: Options
): Effect.Effect<Connection<Client>, PublisherError, Scope.Scope> =>
  Effect.gen(function*() {
    yield* admitted(options, ["pulsar:", "pulsar+ssl:"])
    const trust = /^pulsar\+ssl:/i.test(options.serviceUrl) ? yield* nativeTls.check(options.tls ?? {}) : undefined
    const tokens = options.token === undefined ? noTokens : yield* tokensOf(module, options.token)
    const identity = trust?.identity
    // The certificate alone says who we are only to brokers that are told so; beside a token it is for the connection.
    const authentication = tokens.authentication ?? (identity === undefined ? undefined : new module.AuthenticationTls({
      certificatePath: identity.certificateFile,
      privateKeyPath: identity.keyFile
    }))
    // The client counts in whole seconds.
    const seconds = Math.max(1, Math.round(Duration.toSeconds(options.patience ?? "5 seconds")))
    const client = yield* Effect.acquireRelease(
      Effect.try({
        try: () =>
          new module.Client({
            serviceUrl: options.serviceUrl,
            ...authentication === undefined ? {} : { authentication },
            operationTimeoutSeconds: seconds,
            connectionTimeoutMs: seconds * 1000,
            statsIntervalInSeconds: 0,
            logLevel: 2,
            ...trust === undefined ? {} : {
              ...trust.caFile === undefined ? {} : { tlsTrustCertsFilePath: trust.caFile },
              tlsValidateHostname: true,
              tlsAllowInsecureConnection: trust.isInsecure
            },
            ...identity === undefined || tokens.authentication === undefined ? {} : {
              tlsCertificateFilePath: identity.certificateFile,
              tlsPrivateKeyFilePath: identity.keyFile
            }
          }),
        catch: (cause) =>
          new PublisherError({
            reason: "misconfigured",
            problem: `the native client of Pulsar refuses its options: ${nativeErrors.textOf(cause)}`,
            cause
          })
      }),
      (client) => ended(client.close())
    )
    const log = logOf(module, client)

    const explain = (since: number): Explanation => (error, topic, right) =>
      // Its log comes by another way than its errors, and may be a turn behind.
      Effect.map(Effect.zipRight(nextTurn, Clock.currentTimeMillis), (now) => {
        const failure = nativeErrors.ofCreation(error, topic, right)
        const token = tokens.last()
        const expiry = token === undefined ? undefined : tokenExpiry(token)
        const isExpired = failure.isAmbiguous && expiry !== undefined && expiry <= now
        const unread = tokens.failure()
        return new PublisherError({
          reason: isExpired ? "misconfigured" : failure.reason,
          problem: `${options.serviceUrl}: ` + [
            isExpired
              ? `the token expired at ${new Date(expiry).toISOString()}: renew it, and set ${tokenSettings}`
              : failure.problem,
            ...unread === undefined ? [] : [`the token is an older one, for ${unread.problem}`],
            ...said(log, since).map((warning) => `the client says: ${warning}`)
          ].join("; "),
          cause: error
        })
      })

    return {
      client,
      patience: Duration.sum(Duration.seconds(seconds), grace),
      attempt: Effect.map(tokens.read, () => explain(log.count))
    }
  })

/** How long the client may take to close, before it is left to itself. */
const closing = Duration.seconds(2)

/** Waits for what the client closes. That it was closed before, or that the broker did not answer, changes nothing. */
export const ended = (closed: Promise<unknown>): Effect.Effect<void> =>
  Effect.async<void>((resume) => {
    const done = () => resume(Effect.void)
    closed.then(done, done)
  }).pipe(Effect.interruptible, Effect.timeoutOption(closing), Effect.asVoid)
