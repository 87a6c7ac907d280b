import * as NodeSocket from "@effect/platform-node/NodeSocket"
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import { Publisher } from "../../src/Publisher.ts"
import * as PublisherPulsar from "../../src/Publisher/PulsarWebSocket.ts"
import { type Received, Subscriber, type Type } from "../../src/Subscriber.ts"
import * as PulsarWebSocket from "../../src/Subscriber/PulsarWebSocket.ts"
import type { WebSocketClient } from "../../src/WebSocketClient.ts"
import * as Standard from "../../src/WebSocketClient/Standard.ts"
import * as Ws from "../../src/WebSocketClient/Ws.ts"
import { idOf, messages } from "../messages.ts"
import type { Broker } from "../servers/Broker.ts"
import * as Proxy from "../servers/Proxy.ts"
import * as SharedPulsar from "../servers/SharedPulsar.ts"
import * as Topic from "../servers/Topic.ts"
import { consumerSuite, type Subject, suite } from "../suites/SubscriberTest.ts"

const subjectOf = (broker: Broker, client: Layer.Layer<WebSocketClient>) =>
  Effect.gen(function*() {
    const proxy = yield* Proxy.make(broker.wsUrl)
    const outside = Context.get(
      yield* Layer.build(Layer.provide(PulsarWebSocket.layer({ serviceUrl: broker.wsUrl }), Ws.layer)),
      Subscriber
    )
    const subject: Subject = {
      layer: Layer.provide(
        PulsarWebSocket.layer({ serviceUrl: proxy.url(broker.wsUrl), patience: "2 seconds", maxFrameBytes: 100_000 }),
        client
      ),
      topic: Topic.make(broker),
      publish: (topic, letters) =>
        Effect.map(outside.send(topic, letters), ({ outcomes }) =>
          assert.isTrue(outcomes.every(({ _tag }) => _tag === "Acknowledged"))),
      held: (topic) =>
        Effect.map(
          Effect.zipRight(Topic.create(broker, topic), Topic.messages(broker, topic)),
          (messages) =>
            messages.map(({ key, payload, properties }) => ({ bytes: payload, key, properties }))
        ),
      loss: proxy.cut,
      outage: Effect.acquireRelease(Effect.zipRight(proxy.refuse, proxy.cut), () => proxy.accept),
      hang: Effect.acquireRelease(proxy.stall, () => proxy.resume)
    }
    return subject
  })

SharedPulsar.on((broker) => {
  suite("Pulsar over WebSocket, consumed by the package ws", subjectOf(broker, Ws.layer), {
    showsLoss: true,
    largeBytes: 300_000
  })

  consumerSuite(
    "Pulsar over WebSocket, consumed by WebSockets of the web standard",
    subjectOf(broker, Layer.provide(Standard.layer, NodeSocket.layerWebSocketConstructor))
  )

  describe("Pulsar over WebSocket, consumed", () => {
    const layer = Layer.merge(
      Layer.provide(PulsarWebSocket.layer({ serviceUrl: broker.wsUrl }), Ws.layer),
      Layer.provide(PublisherPulsar.layer({ serviceUrl: broker.wsUrl, batching: true }), Ws.layer)
    )

    const publish = (topic: string, count: number) =>
      Effect.flatMap(Publisher, (publisher) => publisher.publish(topic, messages(0, count)))

    const open = (topic: string, type: Type = "Shared") =>
      Effect.flatMap(Subscriber, (subscriber) =>
        subscriber.open({
          topic,
          subscription: "s",
          type,
          from: "earliest",
          redeliveryDelay: Duration.millis(200),
          receiveAtMost: { messages: 1000, bytes: 1_000_000 }
        }))

    const path = (topic: string) => topic.replace("://", "/")

    /** Waits until so many messages are not acknowledged. */
    const backlogIs = (topic: string, statistics: "stats" | "partitioned-stats", count: number) =>
      Effect.repeat(Effect.orDie(broker.admin("GET", `${path(topic)}/${statistics}`)), {
        until: (stats) => Object(stats).subscriptions.s.msgBacklog === count,
        schedule: Schedule.spaced("20 millis")
      })

    it.scopedLive("messages that share an entry are given again together, and acknowledged one by one", () =>
      Effect.gen(function*() {
        const topic = yield* Topic.make(broker)
        yield* publish(topic, 200)
        const shared = new Set((yield* Topic.messages(broker, topic)).map(({ position }) => position.entry))
        assert.isBelow(shared.size, 200)
        const consumer = yield* open(topic)
        const left = new Set<string>(messages(0, 200).map(({ id }) => id))
        let isFirst = true
        while (left.size > 0) {
          const taken = yield* consumer.take
          const rejected: ReadonlyArray<Received> = isFirst ? taken.slice(0, 1) : []
          const done = taken.slice(rejected.length)
          yield* consumer.reject(rejected)
          yield* consumer.acknowledge(done)
          for (const { key } of done) left.delete(key ?? "")
          isFirst = false
        }
        // What came again with the one that was rejected is to be acknowledged once more.
        yield* Effect.forkScoped(Effect.forever(Effect.flatMap(consumer.take, consumer.acknowledge)))
        yield* backlogIs(topic, "stats", 0)
      }).pipe(Effect.provide(layer)))

    it.scopedLive("what is sent again because another message was rejected is not given twice while it is held", () =>
      Effect.gen(function*() {
        const topic = yield* Topic.make(broker)
        yield* publish(topic, 3)
        const consumer = yield* open(topic, "Exclusive")
        const taken: Array<Received> = []
        while (taken.length < 3) taken.push(...yield* consumer.take)
        yield* consumer.reject(taken.slice(1, 2))
        const again = yield* consumer.take
        assert.deepStrictEqual(again.map(({ key }) => key), [idOf(1)])
        // Nothing is said of the backlog: the broker counts what it sends again anew, and one that is acknowledged meanwhile may
        // stay unacknowledged there until the connection is made again.
        yield* consumer.acknowledge([...taken, ...again])
      }).pipe(Effect.provide(layer)))

    it.scopedLive("a topic with partitions is consumed as a whole", () =>
      Effect.gen(function*() {
        const topic = yield* Topic.unique
        yield* Effect.orDie(broker.admin("PUT", `${path(topic)}/partitions`, 3))
        yield* Topic.subscribe(broker, topic, "kept")
        const { outcomes } = yield* publish(topic, 100)
        const consumer = yield* open(topic)
        const taken: Array<Received> = []
        while (taken.length < 100) taken.push(...yield* consumer.take)
        assert.deepStrictEqual(
          taken.map(({ key }) => key).toSorted(),
          Array.from({ length: 100 }, (_, i) => idOf(i))
        )
        const names = new Map(taken.map(({ key, messageId }) => [key, Buffer.from(messageId).toString("hex")]))
        for (const [i, outcome] of outcomes.entries()) {
          assert.strictEqual(
            outcome._tag === "Acknowledged" && Buffer.from(outcome.messageId).toString("hex"),
            names.get(idOf(i))
          )
        }
        yield* consumer.acknowledge(taken)
        yield* backlogIs(topic, "partitioned-stats", 0)
      }).pipe(Effect.provide(layer)))
  })
})
