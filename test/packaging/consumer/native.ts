/**
 * What somebody may write who has a client of Apache Pulsar already: its own types are taken.
 */
import * as Publisher from "effect-trustlog/Publisher/Pulsar"
import * as Subscriber from "effect-trustlog/Subscriber/Pulsar"
import * as Pulsar from "pulsar-client"

const client = new Pulsar.Client({ serviceUrl: "pulsar://127.0.0.1:6650" })

export const publisher = Publisher.layerFromClient(client)
export const subscriber = Subscriber.layerFromClient(client)
