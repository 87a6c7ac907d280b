/**
 * Apache Pulsar 4.0 and newer over its WebSocket interface, which needs no native code. Older brokers let a new subscription begin
 * with what is published from then on: make it before, with `pulsar-admin topics create-subscription -m earliest`.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as PulsarCluster from "../PulsarCluster.ts"
import { Subscriber } from "../Subscriber.ts"
import type { PublisherError } from "../TrustlogError.ts"
import { WebSocketClient } from "../WebSocketClient.ts"
import { admitted } from "../internal/pulsar/admission.ts"
import * as consumers from "../internal/pulsar/consumer.ts"
import * as producers from "../internal/pulsar/producers.ts"
import * as topics from "../internal/pulsar/topic.ts"

export interface Options extends PulsarCluster.Options {
  /**
   * So many messages at most are on their way to us, whose sizes are not known yet, or fewer, as large ones come; 100 by default.
   * Over long distances more are faster.
   */
  readonly window?: number | undefined
  /** The broker's `webSocketMaxTextFrameSize`, 1 MiB by default: dead letters that need more go in parts. */
  readonly maxFrameBytes?: number | undefined
}

/** A subscriber with a connection for each topic that is consumed, and for each that letters are sent to. */
export const make = (
  options: Options
): Effect.Effect<Subscriber["Type"], PublisherError, WebSocketClient | Scope.Scope> =>
  Effect.gen(function*() {
    yield* admitted(options, ["ws:", "wss:"])
    const client = yield* WebSocketClient
    const { maxFrameBytes = 1_048_576, window = 100 } = options
    const producerOf = yield* producers.make({
      cluster: options,
      batching: false,
      window: 100,
      maxFrameBytes,
      sendTimeout: Duration.seconds(30)
    })

    return Subscriber.of({
      open: (subscription) =>
        Effect.flatMap(topics.named(subscription.topic), (topic) =>
          Effect.provideService(
            consumers.open(topic, subscription, { cluster: options, window }),
            WebSocketClient,
            client
          )),
      send: (topic, letters) => Effect.flatMap(producerOf(topic), (producer) => producer.send(letters))
    })
  })

/** Subscribes to a cluster. Fails only where its configuration contradicts itself: a broker that is not there is waited for. */
export const layer = (options: Options): Layer.Layer<Subscriber, PublisherError, WebSocketClient> =>
  Layer.scoped(Subscriber, make(options))
