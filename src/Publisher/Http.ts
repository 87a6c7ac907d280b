/**
 * Whatever takes records over HTTP: one POST a record, on every runtime, the edge included.
 *
 * What is sent is the envelope's bytes. The header `idempotency-key` is the operation's id, under which a record may come more
 * than once; the others are what messages of Pulsar carry as properties (`internal/pulsar/properties`), and the topic.
 */
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as HttpClient from "@effect/platform/HttpClient"
import type { HttpClientError } from "@effect/platform/HttpClientError"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { type Message, type Outcome, Publisher } from "../Publisher.ts"
import { PublisherError } from "../TrustlogError.ts"
import { type Answer, ofFailure, ofStatus } from "../internal/http/answer.ts"
import * as headers from "../internal/http/headers.ts"
import * as monotonic from "../internal/monotonic.ts"
import { isLocal } from "../internal/serviceUrl.ts"

export interface Options {
  /** Where records are posted to: `https://…`, or `http://…`. */
  readonly url: string
  /** Sent as `authorization: Bearer …`, and asked for at each batch, so that one that is renewed is used from then on. */
  readonly token?: Effect.Effect<Redacted.Redacted<string>, PublisherError> | undefined
  /** So many records of a batch are on their way at once; 8 by default. With 1 they arrive in the order of their lane. */
  readonly concurrency?: number | undefined
  /** Whether records carry the attributes of CloudEvents as headers `ce-…`; off by default. */
  readonly cloudEvents?: boolean | undefined
  /** How long an answer is waited for; 10 seconds by default. */
  readonly patience?: Duration.DurationInput | undefined
  /** How long a batch may take: what cannot be answered by then is sent with another one; 24 seconds by default. */
  readonly sendTimeout?: Duration.DurationInput | undefined
}

/**
 * A publisher that posts records. What the receiver's answer means:
 *
 * - 2xx: the record is stored. `Location`, or else `ETag`, is its receipt; without them the operation's id is
 * - 408, 425, 429, 5xx, and no connection: the receiver is out. `Retry-After` is waited for, five minutes at most
 * - 401, 403, 404, 405, 407, 410, redirects, untrusted certificates: it is not the receiver, or does not let us in
 * - 413: the record is too large for good; 415: `encoding`; 400 and 422: `schema`; every other 4xx: `rejected`
 * - no answer: the record may be stored, and is sent again
 */
export const make = (
  options: Options
): Effect.Effect<Publisher["Type"], PublisherError, HttpClient.HttpClient> =>
  Effect.gen(function*() {
    const url = yield* admitted(options)
    const client = HttpClient.withTracerDisabledWhen(yield* HttpClient.HttpClient, () => true)
    const { cloudEvents = false, concurrency = 8, token } = options
    const sendTimeout = Duration.toMillis(options.sendTimeout ?? "24 seconds")
    const patience = Math.min(Duration.toMillis(options.patience ?? "10 seconds"), sendTimeout)
    /** Until when the receiver has asked not to be asked, and what it said. */
    let rest: { readonly until: number; readonly error: PublisherError } | undefined

    const rested = Effect.flatMap(monotonic.now, (now) => {
      if (rest !== undefined && rest.until <= now) rest = undefined
      return rest === undefined ? Effect.void : Effect.fail(rest.error)
    })

    const credentials = token === undefined
      ? Effect.succeed({})
      : Effect.map(token, (text) => ({ authorization: `Bearer ${Redacted.value(text)}` }))

    const ask = (request: HttpClientRequest.HttpClientRequest): Effect.Effect<Answer> =>
      client.execute(request).pipe(
        Effect.flatMap((response) =>
          // A connection is free again when the answer has been read.
          Effect.flatMap(Effect.orElseSucceed(response.text, () => ""), (text) =>
            Effect.map(
              Clock.currentTimeMillis,
              (now) => ofStatus({ url, isAuthorized: token !== undefined, now }, response, text)
            ))
        ),
        Effect.catchAll((error: HttpClientError) => Effect.succeed(ofFailure(url, error))),
        Effect.timeoutTo({
          duration: patience,
          onSuccess: (answer) => answer,
          onTimeout: (): Answer => ({
            _tag: "Lost",
            error: new PublisherError({
              reason: "lost",
              problem: `${url}: no answer within ${patience} ms`
            })
          })
        }),
        // A redirect leads to somebody else, and makes a GET of a POST.
        Effect.provideService(FetchHttpClient.RequestInit, { redirect: "manual" }),
        Effect.tap((answer) =>
          answer._tag === "Out" && answer.after !== undefined
            ? Effect.map(monotonic.now, (now) => {
              rest = { until: now + (answer.after ?? 0), error: answer.error }
            })
            : Effect.void
        )
      )

    const send = (topic: string, batch: ReadonlyArray<Message>, authorization: Record<string, string>) =>
      Effect.gen(function*() {
        const began = yield* monotonic.now
        let outage: PublisherError | undefined
        const answers = yield* Effect.forEach(batch, (message) =>
          Effect.gen(function*() {
            const elapsed = (yield* monotonic.now) - began
            if (outage !== undefined || elapsed > sendTimeout - patience) return undefined
            const request = HttpClientRequest.post(url).pipe(
              HttpClientRequest.setHeaders({ ...headers.of(topic, message, cloudEvents), ...authorization }),
              HttpClientRequest.bodyUint8Array(message.bytes, message.contentType)
            )
            const answer = yield* ask(request)
            if (answer._tag === "Out" || answer._tag === "Lost") outage ??= answer.error
            return answer
          }), { concurrency })
        // Nothing that could have been stored has left.
        if (outage !== undefined && answers.every((answer) => answer === undefined || answer._tag === "Out")) {
          return yield* outage
        }
        return {
          outcomes: answers.map((answer, i): Outcome => outcomeOf(answer, batch[i]?.id ?? "", outage)),
          outage,
          checkpoint: undefined
        }
      })

    return Publisher.of({
      publish: (topic, batch) =>
        batch.length === 0
          ? Effect.succeed({ outcomes: [], outage: undefined, checkpoint: undefined })
          : Effect.gen(function*() {
            yield* rested
            return yield* send(topic, batch, yield* credentials)
          }),
      // Who takes POST alone answers to other methods that there is nothing, and is there.
      health: () =>
        Effect.gen(function*() {
          yield* rested
          const answer = yield* ask(
            HttpClientRequest.setHeaders(HttpClientRequest.head(url), yield* credentials)
          )
          if (answer._tag === "Lost") {
            return yield* new PublisherError({
              reason: "unavailable",
              problem: answer.error.problem,
              cause: answer.error
            })
          }
          if (answer._tag === "Out" && !answer.isAboutMethod) return yield* answer.error
        })
    })
  })

/** Posts to a receiver. Fails only where its configuration contradicts itself: a receiver that is not there is waited for. */
export const layer = (options: Options): Layer.Layer<Publisher, PublisherError, HttpClient.HttpClient> =>
  Layer.effect(Publisher, make(options))

// internal

const admitted = ({ token, url }: Options): Effect.Effect<string, PublisherError> =>
  Effect.gen(function*() {
    const refuse = (problem: string) => new PublisherError({ reason: "misconfigured", problem })
    const parsed = URL.canParse(url) ? new URL(url) : undefined
    if (parsed === undefined || !/^https?:$/.test(parsed.protocol)) {
      return yield* refuse("the receiver's URL begins with http:// or https://, and this one does not")
    }
    if (parsed.username !== "" || parsed.password !== "") {
      return yield* refuse(
        "keep secrets out of the receiver's URL: set TRUSTLOG_HTTP_TOKEN or TRUSTLOG_HTTP_TOKEN_FILE"
      )
    }
    if (parsed.protocol === "http:" && token !== undefined && !isLocal(parsed.href)) {
      yield* Effect.logWarning(`the token is sent to ${parsed.origin} without encryption; https:// hides it`)
    }
    return url
  })

const encoder = new TextEncoder()

const outcomeOf = (answer: Answer | undefined, id: string, outage: PublisherError | undefined): Outcome => {
  switch (answer?._tag) {
    case "Stored":
      return { _tag: "Acknowledged", messageId: encoder.encode(answer.receipt ?? id).subarray(0, 255) }
    case "Refused":
      return { _tag: "Refused", reason: answer.reason, error: answer.error }
    case "Out":
    case "Lost":
      return { _tag: "Unknown", error: answer.error.problem }
    default:
      return { _tag: "Unknown", error: outage === undefined ? "not sent: the batch took too long" : "not sent" }
  }
}
