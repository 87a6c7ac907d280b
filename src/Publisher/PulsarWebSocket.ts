/**
 * Apache Pulsar over its WebSocket interface, which needs no native code: on Node, Bun and Deno with `WebSocketClient/Ws`, and on
 * the edge with `WebSocketClient/Standard`.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { type Message, Publisher } from "../Publisher.ts"
import type * as PulsarCluster from "../PulsarCluster.ts"
import type { PublisherError } from "../TrustlogError.ts"
import type { WebSocketClient } from "../WebSocketClient.ts"
import { admitted } from "../internal/pulsar/admission.ts"
import type { Outgoing } from "../internal/pulsar/producer.ts"
import * as producers from "../internal/pulsar/producers.ts"
import * as properties from "../internal/pulsar/properties.ts"

export interface Options extends PulsarCluster.Options {
  /**
   * Whether the broker puts messages together into one entry: twice as fast, but a batch shares one fate, and goes to one
   * consumer of a Key_Shared subscription. Off by default.
   */
  readonly batching?: boolean | undefined
  /** Whether messages carry the attributes of CloudEvents as properties `ce_…`; off by default. */
  readonly cloudEvents?: boolean | undefined
  /** So many messages of a topic at most are on their way; 500 by default. */
  readonly window?: number | undefined
  /**
   * The broker's `webSocketMaxTextFrameSize`, 1 MiB by default: records that need more, which is above some 780,000 bytes, are
   * refused as too large.
   */
  readonly maxFrameBytes?: number | undefined
  /** How long the broker may try to store a message; 30 seconds by default, which outlasts its restart. */
  readonly sendTimeout?: Duration.DurationInput | undefined
}

/**
 * A publisher with one connection a topic, made when it is needed. A message's key is its operation's id; producers have no
 * name and messages no sequence, by which brokers would drop messages silently.
 */
export const make = (
  options: Options
): Effect.Effect<Publisher["Type"], PublisherError, WebSocketClient | Scope.Scope> =>
  Effect.gen(function*() {
    yield* admitted(options, ["ws:", "wss:"])
    const { batching = false, cloudEvents = false, maxFrameBytes = 1_048_576, window = 500 } = options
    const sendTimeout = Duration.decode(options.sendTimeout ?? "30 seconds")
    const producerOf = yield* producers.make({ cluster: options, batching, window, maxFrameBytes, sendTimeout })

    const outgoing = (message: Message): Outgoing => ({
      key: message.id,
      bytes: message.bytes,
      properties: properties.of(message, cloudEvents)
    })

    return Publisher.of({
      publish: (topic, batch) => Effect.flatMap(producerOf(topic), (producer) => producer.send(batch.map(outgoing))),
      health: (topic) => Effect.flatMap(producerOf(topic), (producer) => producer.health)
    })
  })

/** Publishes to a cluster. Fails only where its configuration contradicts itself: a broker that is not there is waited for. */
export const layer = (options: Options): Layer.Layer<Publisher, PublisherError, WebSocketClient> =>
  Layer.scoped(Publisher, make(options))
