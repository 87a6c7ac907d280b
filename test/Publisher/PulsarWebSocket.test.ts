import * as NodeSocket from "@effect/platform-node/NodeSocket"
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { Publisher } from "../../src/Publisher.ts"
import * as PulsarWebSocket from "../../src/Publisher/PulsarWebSocket.ts"
import * as Standard from "../../src/WebSocketClient/Standard.ts"
import * as Ws from "../../src/WebSocketClient/Ws.ts"
import * as messageIds from "../../src/internal/pulsar/messageId.ts"
import { idOf, message, messages } from "../messages.ts"
import * as SharedPulsar from "../servers/SharedPulsar.ts"
import * as Topic from "../servers/Topic.ts"
import { suite } from "../suites/PublisherTest.ts"
import * as pulsarSubject from "./pulsarSubject.ts"

const clients = [
  ["the package ws", Ws.layer],
  ["WebSockets of the web standard", Layer.provide(Standard.layer, NodeSocket.layerWebSocketConstructor)]
] as const

SharedPulsar.on((broker) => {
  for (const [name, client] of clients) {
    suite(
      `Pulsar over WebSocket, by ${name}`,
      pulsarSubject.make(broker, broker.wsUrl, (serviceUrl) =>
        Layer.provide(
          PulsarWebSocket.layer({ serviceUrl, patience: "3 seconds", maxFrameBytes: 20_000 }),
          client
        )),
      { isIdempotent: false, isDurable: true, hasCheckpoints: false, maxBytes: 15_000 }
    )
  }

  const publisher = (options: Partial<PulsarWebSocket.Options> = {}) =>
    Layer.provide(PulsarWebSocket.layer({ serviceUrl: broker.wsUrl, ...options }), Ws.layer)

  it.scopedLive("a message is what was sent, under its id, with properties that say what it is", () =>
    Effect.gen(function*() {
      const topic = yield* Topic.make(broker)
      const sent = message(1, { payload: "☃" })
      const traced = {
        ...sent,
        entry: { ...sent.entry, action: "a\n%", traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" }
      }
      yield* Effect.provide(Effect.flatMap(Publisher, ({ publish }) => publish(topic, [sent])), publisher())
      yield* Effect.provide(
        Effect.flatMap(Publisher, ({ publish }) => publish(topic, [traced])),
        publisher({ cloudEvents: true })
      )
      const [plain, event] = yield* Topic.messages(broker, topic)
      assert.strictEqual(plain?.key, sent.id)
      assert.deepStrictEqual(plain?.payload, sent.bytes)
      const properties = {
        "content-type": "application/vnd.trustlog.envelope+json",
        "schema-version": "1",
        "content-hash": sent.contentHash,
        stream: sent.stream
      }
      assert.deepStrictEqual(plain?.properties, properties)
      assert.deepStrictEqual(event?.properties, {
        ...properties,
        traceparent: traced.entry.traceparent,
        ce_specversion: "1.0",
        ce_id: sent.id,
        ce_source: `urn:uuid:${sent.stream}`,
        ce_type: "a%0A%25",
        ce_subject: "file/1",
        ce_time: sent.entry.occurredAt
      })
    }))

  for (const batching of [false, true]) {
    it.scopedLive(`receipts are the broker's own names of messages, ${batching ? "in batches" : "by themselves"}`, () =>
      Effect.gen(function*() {
        const topic = yield* Topic.make(broker)
        const { outcomes } = yield* Effect.provide(
          Effect.flatMap(Publisher, ({ publish }) => publish(topic, messages(0, 1200))),
          publisher({ batching })
        )
        const held = yield* Topic.messages(broker, topic)
        assert.deepStrictEqual(held.map(({ key }) => key), Array.from({ length: 1200 }, (_, n) => idOf(n)))
        assert.deepStrictEqual(
          outcomes.map((outcome) => outcome._tag === "Acknowledged" ? messageIds.unpack(outcome.messageId) : outcome),
          held.map(({ position: { batchIndex, entry, ledger, partition } }) => ({
            ledger: BigInt(ledger),
            entry: BigInt(entry),
            partition,
            batch: batchIndex
          }))
        )
        assert.strictEqual(new Set(held.map(({ position }) => position.entry)).size < 1200, batching)
      }))
  }

  it.scopedLive("one that is larger than a frame is refused alone, among 999 that are delivered", () =>
    Effect.gen(function*() {
      const topic = yield* Topic.make(broker)
      const batch = messages(0, 1000).with(500, message(500, { payload: "x".repeat(800_000) }))
      const { outage, outcomes } = yield* Effect.provide(
        Effect.flatMap(Publisher, ({ publish }) => publish(topic, batch)),
        publisher()
      )
      assert.isUndefined(outage)
      assert.strictEqual(outcomes.filter(({ _tag }) => _tag === "Acknowledged").length, 999)
      const refused = outcomes[500]
      if (refused?._tag !== "Refused") return assert.fail(refused?._tag)
      assert.strictEqual(refused.reason, "tooLarge")
      assert.match(refused.error, /make a frame of more than 1048576/)
      assert.strictEqual((yield* Topic.messages(broker, topic)).length, 999)
    }))

  it.scopedLive("the largest that fits a frame is delivered", () =>
    Effect.gen(function*() {
      const topic = yield* Topic.make(broker)
      const { outcomes } = yield* Effect.provide(
        Effect.flatMap(Publisher, ({ publish }) => publish(topic, [message(1, { payload: "x".repeat(785_500) })])),
        publisher()
      )
      assert.deepStrictEqual(outcomes.map(({ _tag }) => _tag), ["Acknowledged"])
    }))

  it.scopedLive("a topic whose name is none is a mistake that is named, and so is one that may not be made", () =>
    Effect.gen(function*() {
      const { health } = yield* Publisher
      const unnamed = yield* Effect.flip(health("operation"))
      assert.strictEqual(unnamed.reason, "misconfigured")
      assert.match(unnamed.message, /"operation" has no full name; write persistent:/)
      yield* Effect.orDie(
        broker.admin("PUT", "namespaces/public/closed").pipe(
          Effect.catchIf(({ status }) => status === 409, () => Effect.void)
        )
      )
      yield* Effect.orDie(
        broker.admin("POST", "namespaces/public/closed/autoTopicCreation", { allowAutoTopicCreation: false })
      )
      const closed = yield* Effect.flip(health("persistent://public/closed/none"))
      assert.strictEqual(closed.reason, "misconfigured")
      assert.match(closed.message, /there is no topic persistent:\/\/public\/closed\/none.*TRUSTLOG_OPERATION_TOPIC/)
    }).pipe(Effect.provide(publisher())))

  it.scopedLive("a configuration that contradicts itself is refused before anything is sent", () =>
    Effect.gen(function*() {
      const refused = (options: Partial<PulsarWebSocket.Options>) =>
        Effect.map(
          Effect.flip(Effect.scoped(Layer.build(publisher(options)))),
          (error) => Schema.decodeUnknownSync(Schema.Struct({ problem: Schema.String }))(error).problem
        )
      assert.match(yield* refused({ serviceUrl: "http://broker" }), /begins with ws:\/\/ or wss:\/\//)
      assert.match(yield* refused({ tls: { caFile: "ca.pem" } }), /write wss:\/\/ in TRUSTLOG_PUBLISHER_URL/)
      assert.match(
        yield* refused({ serviceUrl: "wss://broker", tls: { certificateFile: "a.pem" } }),
        /set both of TRUSTLOG_PULSAR_CERT_FILE and TRUSTLOG_PULSAR_KEY_FILE/
      )
    }))
})
