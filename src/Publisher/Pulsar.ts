/**
 * Apache Pulsar as a trust log, over its official native client (`pulsar-client`, an optional peer; Node, Bun and Deno).
 * `Publisher/PulsarWebSocket` needs no native code.
 *
 * Messages carry the operation's id as their key, and say in properties what they are (`internal/pulsar/properties`).
 * Producers have no name and their messages no sequence ids, so that no broker drops one as a duplicate: what is sent again
 * after an outage is stored twice, under the same id.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { Publisher } from "../Publisher.ts"
import type * as PulsarCluster from "../PulsarCluster.ts"
import { PublisherError } from "../TrustlogError.ts"
import { type Client, load, type Module } from "../internal/pulsar/nativeClient.ts"
import * as nativeConnection from "../internal/pulsar/nativeConnection.ts"
import * as nativeDelivery from "../internal/pulsar/nativeDelivery.ts"
import * as properties from "../internal/pulsar/properties.ts"

export type { Client, Module } from "../internal/pulsar/nativeClient.ts"

/** How messages are sent. */
export interface SendOptions {
  /** Whether messages that come together are stored as one entry: about three times as many a second. Off by default. */
  readonly batching?: boolean | undefined
  /** Whether messages also carry the attributes of CloudEvents 1.0. Off by default. */
  readonly cloudEvents?: boolean | undefined
  /**
   * How long a batch may be on its way, before what is not answered is unknown and the producer is made anew: 25 seconds by
   * default. Less than the workers' publish deadline, with which the answers that came would be lost as well.
   */
  readonly sendTimeout?: Duration.DurationInput | undefined
  /** So many messages are on their way to a topic at most; 500 by default. */
  readonly window?: number | undefined
}

export interface Options extends PulsarCluster.Options, SendOptions {}

/** Of somebody else's client. */
export interface ClientOptions extends SendOptions {
  /**
   * How long the making of a producer may take: 32 seconds by default, a little more than the client itself waits. With
   * another `operationTimeoutSeconds`, a little more than that.
   */
  readonly patience?: Duration.DurationInput | undefined
}

const makeOver = (
  connection: nativeConnection.Connection<Pick<Client, "createProducer">>,
  { batching = false, cloudEvents = false, sendTimeout = "25 seconds", window = 500 }: SendOptions
): Effect.Effect<Publisher["Type"], never, Scope.Scope> =>
  Effect.map(
    nativeDelivery.make(connection, { batching, mayBeEmpty: false, window, sendTimeout: Duration.decode(sendTimeout) }),
    ({ health, send }) =>
      Publisher.of({
        publish: (topic, batch) =>
          send(
            topic,
            batch.map((message) => ({
              key: message.id,
              bytes: message.bytes,
              properties: properties.of(message, cloudEvents)
            }))
          ),
        health
      })
  )

/** Makes a publisher with a client of its own from the module `pulsar-client`; both are closed with the scope. */
export const make = (
  module: Module,
  options: Options
): Effect.Effect<Publisher["Type"], PublisherError, Scope.Scope> =>
  Effect.flatMap(nativeConnection.make(module, options), (connection) => makeOver(connection, options))

/** Makes a publisher over a client that the host has. Only its producers are closed with the scope. */
export const makeFromClient = (
  client: Pick<Client, "createProducer">,
  options: ClientOptions = {}
): Effect.Effect<Publisher["Type"], never, Scope.Scope> =>
  makeOver(nativeConnection.ofClient(client, options.patience ?? "32 seconds"), options)

/**
 * Publishes to a Pulsar cluster at `pulsar://…` or `pulsar+ssl://…`. Fails where `pulsar-client` is not installed, or where
 * it cannot work: with the URL, or the files of TLS, that are given.
 */
export const layer = (options: Options): Layer.Layer<Publisher, PublisherError> =>
  Layer.scoped(Publisher, Effect.flatMap(load, (module) => make(module, options)))

/** Publishes by a client that the host has, and closes. */
export const layerFromClient = (
  client: Pick<Client, "createProducer">,
  options: ClientOptions = {}
): Layer.Layer<Publisher> => Layer.scoped(Publisher, makeFromClient(client, options))
