import { assert } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Subscriber } from "../../src/Subscriber.ts"
import * as PulsarWebSocket from "../../src/Subscriber/PulsarWebSocket.ts"
import * as Ws from "../../src/WebSocketClient/Ws.ts"
import type { Broker } from "../servers/Broker.ts"
import * as Proxy from "../servers/Proxy.ts"
import * as SharedPulsar from "../servers/SharedPulsar.ts"
import * as Topic from "../servers/Topic.ts"
import { type Subject, suite } from "../suites/SubscriberTest.ts"

const layerAt = (serviceUrl: string) =>
  Layer.provide(PulsarWebSocket.layer({ serviceUrl, patience: "1 second", maxFrameBytes: 100_000 }), Ws.layer)

const subjectOf = (broker: Broker) =>
  Effect.gen(function*() {
    const proxy = yield* Proxy.make(broker.wsUrl)
    const outside = Context.get(
      yield* Layer.build(Layer.provide(PulsarWebSocket.layer({ serviceUrl: broker.wsUrl }), Ws.layer)),
      Subscriber
    )
    const subject: Subject = {
      layer: layerAt(proxy.url(broker.wsUrl).replace(/\/$/, "")),
      topic: Topic.unique,
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
  suite("Pulsar over WebSocket, consumed", subjectOf(broker), { largeBytes: 300_000 })
})
