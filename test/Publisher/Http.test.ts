import * as NodeContext from "@effect/platform-node/NodeContext"
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as FileSystem from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { type Published, Publisher } from "../../src/Publisher.ts"
import * as Http from "../../src/Publisher/Http.ts"
import * as TrustlogConfig from "../../src/TrustlogConfig.ts"
import { examine } from "../../src/internal/doctor/log.ts"
import { idOf, message, messages } from "../messages.ts"
import * as Receiver from "../servers/Receiver.ts"
import { type Subject, suite } from "../suites/PublisherTest.ts"

const topic = "persistent://public/default/operation"

const maxBytes = 5_000

const layer = (options: Http.Options) => Layer.provide(Http.layer(options), FetchHttpClient.layer)

suite(
  "a receiver over HTTP",
  Effect.gen(function*() {
    const receiver = yield* Receiver.make
    const stored = (status: number) => status < 300
    const kept: Array<string> = []
    const limited = (each: Receiver.Received): Receiver.Fate => ({ status: each.body.length > maxBytes ? 413 : 204 })
    const keep = (each: Receiver.Received, fate: Receiver.Fate) => {
      if (each.method === "POST" && (typeof fate === "string" || stored(fate.status))) kept.push(each.id)
      return fate
    }
    receiver.answer((each) => keep(each, limited(each)))
    let losses = 0
    const subject: Subject = {
      layer: layer({ url: receiver.url }),
      // It files records by their ids.
      held: Effect.sync(() => kept.toSorted()),
      outage: receiver.down,
      loss: Effect.sync(() => {
        receiver.answer((each) => keep(each, each.method === "POST" && ++losses === 5 ? "lost" : limited(each)))
      }),
      hang: Effect.as(
        Effect.acquireRelease(
          Effect.sync(() => receiver.answer((each) => keep(each, "hung"))),
          () => Effect.sync(() => receiver.answer((each) => keep(each, limited(each))))
        ),
        { begun: receiver.until(1) }
      )
    }
    return subject
  }),
  { isIdempotent: false, isDurable: false, hasCheckpoints: false, maxBytes }
)

const test = (
  sentence: string,
  body: (
    receiver: Receiver.Receiver,
    publisher: Publisher["Type"]
  ) => Effect.Effect<void, unknown>,
  options: Partial<Http.Options> = {}
) =>
  it.scopedLive(sentence, () =>
    Effect.gen(function*() {
      const receiver = yield* Receiver.make
      yield* Effect.flatMap(Publisher, (publisher) => body(receiver, publisher)).pipe(
        Effect.provide(layer({ url: receiver.url, ...options }))
      )
    }))

const tags = ({ outcomes }: Published) => outcomes.map(({ _tag }) => _tag)

const receiptOf = ({ outcomes: [outcome] }: Published) =>
  outcome?._tag === "Acknowledged" ? Buffer.from(outcome.messageId).toString() : outcome?._tag

describe("a publisher over HTTP", () => {
  test(
    "sends the envelope's bytes under the operation's id, with what messages carry beside them",
    (receiver, publisher) =>
      Effect.gen(function*() {
        const sent = message(1, { payload: "ü" })
        yield* publisher.publish(topic, [sent])
        const [received] = receiver.received
        assert.strictEqual(received?.body, Buffer.from(sent.bytes).toString())
        assert.deepInclude(received?.headers, {
          "content-type": "application/vnd.trustlog.envelope+json",
          "content-length": String(sent.bytes.length),
          "idempotency-key": idOf(1),
          "content-hash": sent.contentHash,
          "schema-version": "1",
          stream: sent.stream,
          topic
        })
        assert.notProperty(received?.headers, "traceparent")
        assert.notProperty(received?.headers, "authorization")
        assert.notProperty(received?.headers, "ce-id")
      })
  )

  test(
    "carries the attributes of CloudEvents, the record's trace and the token, where it is told to",
    (receiver, publisher) =>
      Effect.gen(function*() {
        const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        const plain = message(1)
        const entry = { ...plain.entry, action: "datei lesen", target: "50 % \"ü\"", traceparent }
        // A span of our own is not the record's.
        yield* Effect.withSpan(publisher.publish(topic, [{ ...plain, entry }]), "ours")
        const [received] = receiver.received
        assert.deepInclude(received?.headers, {
          "ce-specversion": "1.0",
          "ce-id": idOf(1),
          "ce-source": `urn:uuid:${plain.stream}`,
          "ce-type": "datei%20lesen",
          "ce-subject": "50%20%25%20%22%C3%BC%22",
          "ce-time": "2026-11-23T14:50:42.000000Z",
          traceparent,
          authorization: "Bearer secret"
        })
      }),
    { cloudEvents: true, token: Effect.succeed(Redacted.make("secret")) }
  )

  test(
    "keeps the receiver's name for a record, or else the operation's id, as its receipt",
    (receiver, publisher) =>
      Effect.gen(function*() {
        assert.strictEqual(receiptOf(yield* publisher.publish(topic, messages(1, 2))), idOf(1))
        receiver.answer(() => ({ status: 201, headers: { etag: "\"7\"" } }))
        assert.strictEqual(receiptOf(yield* publisher.publish(topic, messages(1, 2))), "\"7\"")
        receiver.answer(() => ({ status: 201, headers: { etag: "\"7\"", location: `/records/${"x".repeat(300)}` } }))
        assert.strictEqual(receiptOf(yield* publisher.publish(topic, messages(1, 2))), `/records/${"x".repeat(246)}`)
      })
  )

  for (
    const [status, reason] of [
      [400, "schema"],
      [409, "rejected"],
      [413, "tooLarge"],
      [415, "encoding"],
      [422, "schema"],
      [451, "rejected"]
    ] as const
  ) {
    test(`takes ${status} for a refusal of the record: ${reason}`, (receiver, publisher) =>
      Effect.gen(function*() {
        receiver.answer(({ id }) => id === idOf(2) ? { status, text: "not\nthis" } : undefined)
        const published = yield* publisher.publish(topic, messages(1, 4))
        assert.deepStrictEqual(tags(published), ["Acknowledged", "Refused", "Acknowledged"])
        assert.deepInclude(published.outcomes[1], { reason, error: `the receiver refuses it (${status}): not this` })
        assert.isUndefined(published.outage)
        yield* publisher.health(topic)
      }))
  }

  for (
    const [status, reason, isSeenByHealth] of [
      [301, "misconfigured", true],
      [307, "misconfigured", true],
      [401, "misconfigured", true],
      [403, "misconfigured", true],
      [404, "misconfigured", false],
      [405, "misconfigured", false],
      [408, "unavailable", true],
      [425, "unavailable", true],
      [429, "unavailable", true],
      [500, "unavailable", true],
      [501, "unavailable", false],
      [503, "unavailable", true]
    ] as const
  ) {
    test(`takes ${status} for a receiver that is out: ${reason}`, (receiver, publisher) =>
      Effect.gen(function*() {
        const elsewhere = receiver.url.replace("/records", "/elsewhere")
        receiver.answer(() => ({ status, headers: { location: elsewhere } }))
        const error = yield* Effect.flip(publisher.publish(topic, messages(1, 30)))
        assert.strictEqual(error.reason, reason)
        assert.include(error.problem, `(${status})`)
        assert.include(error.problem, receiver.url)
        assert.isAtMost(receiver.received.length, 8)
        assert.strictEqual((yield* Effect.either(publisher.health(topic)))._tag, isSeenByHealth ? "Left" : "Right")
      }))
  }

  test("leaves a receiver alone for as long as it asks for", (receiver, publisher) =>
    Effect.gen(function*() {
      receiver.answer(() => ({ status: 503, headers: { "retry-after": "1" } }))
      const began = yield* Clock.currentTimeMillis
      yield* Effect.flip(publisher.publish(topic, messages(1, 2)))
      receiver.answer(() => undefined)
      assert.include((yield* Effect.flip(publisher.publish(topic, messages(1, 2)))).problem, "(503)")
      yield* Effect.flip(publisher.health(topic))
      assert.strictEqual(receiver.received.length, 1)
      yield* Effect.retry(publisher.health(topic), { while: () => true })
      assert.isAtLeast((yield* Clock.currentTimeMillis) - began, 990)
      yield* publisher.publish(topic, messages(1, 2))
    }))

  test(
    "tells what was stored before the receiver went out, and sends nothing more",
    (receiver, publisher) =>
      Effect.gen(function*() {
        receiver.answer(({ id }) => id === idOf(3) ? { status: 503 } : undefined)
        const published = yield* publisher.publish(topic, messages(1, 20))
        assert.deepStrictEqual(tags(published).slice(0, 4), ["Acknowledged", "Acknowledged", "Unknown", "Unknown"])
        assert.strictEqual(published.outage?.reason, "unavailable")
        assert.strictEqual(receiver.received.length, 3)
      }),
    { concurrency: 1 }
  )

  test(
    "does not know what became of a record that is not answered for too long",
    (receiver, publisher) =>
      Effect.gen(function*() {
        receiver.answer(() => "hung")
        const published = yield* publisher.publish(topic, messages(1, 3))
        assert.deepStrictEqual(tags(published), ["Unknown", "Unknown"])
        assert.strictEqual(published.outage?.reason, "lost")
        assert.match(published.outage?.problem ?? "", /no answer within 50 ms$/)
        assert.strictEqual((yield* Effect.flip(publisher.health(topic))).reason, "unavailable")
        yield* receiver.release
      }),
    { patience: "50 millis" }
  )

  test("leaves what there is no time for to another batch", (receiver, publisher) =>
    Effect.gen(function*() {
      const published = yield* publisher.publish(topic, messages(1, 10_000))
      assert.isUndefined(published.outage)
      const acknowledged = published.outcomes.filter(({ _tag }) => _tag === "Acknowledged").length
      assert.isAtLeast(acknowledged, 1)
      assert.isAtMost(receiver.received.length, 9_998)
      assert.deepInclude(published.outcomes.at(-1), { _tag: "Unknown", error: "not sent: the batch took too long" })
    }), { sendTimeout: "2300 millis", patience: "2 seconds" })

  it.effect("a receiver whose name nobody knows is out, and may be there later", () =>
    Effect.gen(function*() {
      const publisher = yield* Publisher
      const error = yield* Effect.flip(publisher.publish(topic, messages(1, 3)))
      assert.deepInclude(error, { reason: "unavailable", isRetryable: true })
      assert.include(error.problem, "no connection to the receiver")
    }).pipe(Effect.provide(layer({ url: "http://receiver.invalid/" }))))

  it.scopedLive("is the log that the environment names, with its token's file; doctor asks it as well", () =>
    Effect.gen(function*() {
      const receiver = yield* Receiver.make
      const fs = yield* FileSystem.FileSystem
      const tokenFile = yield* fs.makeTempFileScoped()
      yield* fs.writeFileString(tokenFile, "first\n")
      const environment = ConfigProvider.fromMap(
        new Map(Object.entries({ TRUSTLOG_PUBLISHER_URL: receiver.url, TRUSTLOG_HTTP_TOKEN_FILE: tokenFile }))
      )
      const config = Layer.provide(TrustlogConfig.layerFromEnv(), Layer.setConfigProvider(environment))
      yield* Effect.gen(function*() {
        const publisher = yield* Publisher
        yield* publisher.publish(topic, messages(1, 2))
        yield* fs.writeFileString(tokenFile, "second")
        yield* publisher.publish(topic, messages(2, 3))
        assert.deepStrictEqual(receiver.received.map(({ headers }) => headers.authorization), [
          "Bearer first",
          "Bearer second"
        ])
        const examined = Effect.flatMap(TrustlogConfig.TrustlogConfig, examine)
        assert.deepInclude((yield* examined)[0], { subject: "receiver", verdict: "ok" })
        receiver.answer(() => ({ status: 401 }))
        const [finding] = yield* examined
        assert.deepInclude(finding, { subject: "receiver", verdict: "problem" })
        assert.match(finding?.words ?? "", /does not accept the token \(401\): correct TRUSTLOG_HTTP_TOKEN or/)
      }).pipe(Effect.provide(Layer.provideMerge(TrustlogConfig.layerPublisher, config)))
    }).pipe(Effect.provide(NodeContext.layer)))

  it.effect("a configuration that contradicts itself is refused", () =>
    Effect.gen(function*() {
      for (const url of ["ftp://receiver/", "receiver", "https://me:hidden@receiver/"]) {
        const error = yield* Effect.flip(Layer.build(layer({ url })))
        assert.strictEqual(error.reason, "misconfigured")
        assert.notInclude(error.problem, "hidden")
      }
    }).pipe(Effect.scoped))
})
