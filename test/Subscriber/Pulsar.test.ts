/**
 * Consuming by the native client: over the fake that misbehaves as measured, and over a real broker wherever `pulsar-client` is to
 * be had.
 */
import { assert, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Subscriber } from "../../src/Subscriber.ts"
import * as Pulsar from "../../src/Subscriber/Pulsar.ts"
import * as FakePulsarClient from "../Publisher/FakePulsarClient.ts"
import { type Subject, suite } from "../suites/SubscriberTest.ts"

const serviceUrl = "pulsar://broker:6650"

let topics = 0

const subject = Effect.sync(() => {
  const { broker, lose, module, release } = FakePulsarClient.make({ maxMessageSize: 200_000 })
  const state = (is: typeof broker.state) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        broker.state = is
      }),
      () =>
        Effect.sync(() => {
          broker.state = "up"
          release()
        })
    )
  const subject: Subject = {
    layer: Layer.scoped(Subscriber, Pulsar.make(module, { serviceUrl, patience: "2 seconds" })),
    topic: Effect.sync(() => `persistent://public/default/native-${++topics}`),
    publish: (topic, letters) =>
      Effect.sync(() => {
        for (const { bytes, key, properties } of letters) {
          const id = `(7,${broker.held.length},-1,-1)`
          broker.held.push({ topic, key, data: bytes, properties: { ...properties }, id })
        }
      }),
    held: (topic) =>
      Effect.sync(() =>
        broker.held.filter((held) => held.topic === topic).map(({ data, key, properties }) => ({
          bytes: data,
          key,
          properties
        }))
      ),
    loss: Effect.sync(lose),
    outage: Effect.asVoid(state("down")),
    hang: Effect.asVoid(state("hung"))
  }
  return subject
})

suite("Pulsar's native client, as measured, consumed", subject, { showsLoss: false, largeBytes: 300_000 })

it.scoped("a role that may not consume is told so", () =>
  Effect.gen(function*() {
    const { broker, module } = FakePulsarClient.make()
    broker.creationError = "AuthorizationError"
    const opening = Effect.flatMap(Subscriber, ({ open }) =>
      open({
        topic: "persistent://public/default/a",
        subscription: "s",
        type: "Shared",
        from: "earliest",
        redeliveryDelay: Duration.seconds(1),
        receiveAtMost: { messages: 1, bytes: 1 }
      }))
    const error = yield* Effect.flip(
      Effect.provide(opening, Layer.scoped(Subscriber, Pulsar.make(module, { serviceUrl })))
    )
    assert.strictEqual(error.reason, "misconfigured")
    assert.match(
      error.message,
      /does not let us consume on .*: grant the token's or certificate's role the right to consume/
    )
  }))
