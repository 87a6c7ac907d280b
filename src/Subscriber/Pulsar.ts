/**
 * Apache Pulsar over its official native client (`pulsar-client`, an optional peer; Node, Bun and Deno).
 * `Subscriber/PulsarWebSocket` needs no native code.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as PulsarCluster from "../PulsarCluster.ts"
import { Subscriber } from "../Subscriber.ts"
import type { PublisherError } from "../TrustlogError.ts"
import { type Client, load, type Module } from "../internal/pulsar/nativeClient.ts"
import * as nativeConnection from "../internal/pulsar/nativeConnection.ts"
import * as nativeConsumer from "../internal/pulsar/nativeConsumer.ts"
import * as nativeDelivery from "../internal/pulsar/nativeDelivery.ts"
import * as topics from "../internal/pulsar/topic.ts"

export type { Client, Module } from "../internal/pulsar/nativeClient.ts"

/** Of somebody else's client. */
export interface ClientOptions {
  /**
   * How long the making of a consumer may take: 32 seconds by default, a little more than the client itself waits. With
   * another `operationTimeoutSeconds`, a little more than that.
   */
  readonly patience?: Duration.DurationInput | undefined
}

const makeOver = (
  connection: nativeConnection.Connection<Pick<Client, "createProducer" | "subscribe">>
): Effect.Effect<Subscriber["Type"], never, Scope.Scope> =>
  Effect.map(
    // Dead letters are few, and each is awaited.
    nativeDelivery.make(connection, {
      batching: false,
      mayBeEmpty: true,
      window: 100,
      sendTimeout: Duration.seconds(25)
    }),
    ({ send }) =>
      Subscriber.of({
        open: (subscription) =>
          Effect.flatMap(topics.named(subscription.topic), (topic) =>
            nativeConsumer.open(connection, topic, subscription)),
        send
      })
  )

/** Makes a subscriber with a client of its own from the module `pulsar-client`; both are closed with the scope. */
export const make = (
  module: Module,
  options: PulsarCluster.Options
): Effect.Effect<Subscriber["Type"], PublisherError, Scope.Scope> =>
  Effect.flatMap(nativeConnection.make(module, options), makeOver)

/**
 * Subscribes to a Pulsar cluster at `pulsar://…` or `pulsar+ssl://…`. Fails where `pulsar-client` is not installed, or where it
 * cannot work: with the URL, or the files of TLS, that are given.
 */
export const layer = (options: PulsarCluster.Options): Layer.Layer<Subscriber, PublisherError> =>
  Layer.scoped(Subscriber, Effect.flatMap(load, (module) => make(module, options)))

/** Subscribes by a client that the host has, and closes. */
export const layerFromClient = (
  client: Pick<Client, "createProducer" | "subscribe">,
  options: ClientOptions = {}
): Layer.Layer<Subscriber> =>
  Layer.scoped(Subscriber, makeOver(nativeConnection.ofClient(client, options.patience ?? "32 seconds")))
