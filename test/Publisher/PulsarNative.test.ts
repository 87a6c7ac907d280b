/**
 * The publisher over the real native client, against a real broker. The client is the one thing that a machine may lack: where it
 * does not load, this is skipped, and the run says so.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import { afterAll } from "vitest"
import { Publisher } from "../../src/Publisher.ts"
import * as Pulsar from "../../src/Publisher/Pulsar.ts"
import * as PulsarCluster from "../../src/PulsarCluster.ts"
import * as messageId from "../../src/internal/pulsar/messageId.ts"
import { load } from "../../src/internal/pulsar/nativeClient.ts"
import { idOf, message, messages } from "../messages.ts"
import * as Instance from "../servers/Instance.ts"
import { having } from "../servers/Server.ts"
import * as Topic from "../servers/Topic.ts"
import { type Subject, suite } from "../suites/PublisherTest.ts"

const loaded = await Effect.runPromise(Effect.either(load))
if (Either.isLeft(loaded))
  process.stderr.write(`skipped: test/Publisher/PulsarNative.test.ts: ${loaded.left.problem}\n`)

/** Larger records are refused. Batches never are: what is too large as a batch is sent again, out of order. */
const maxBytes = 1_000_000

const scope = Effect.runSync(Scope.make())
afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

/** The file's own broker. A proxy is of no use: what a broker says of itself leads clients around it. */
const broker = Effect.runSync(Effect.cached(
  Scope.extend(Instance.Pulsar({ settings: { maxMessageSize: `${maxBytes}` } }), scope)
))

const options = { patience: "2 seconds", sendTimeout: "2 seconds" } as const

/** A topic of its own. What a test does to the connection it does to a broker that is frozen, and so to all of its topics. */
const subjectOf = (batching: boolean) =>
  Effect.gen(function*() {
    const instance = yield* broker
    const topic = yield* Topic.make(instance)
    let publisher: Publisher["Type"] | undefined
    const connected = Effect.suspend(() => publisher?.health(topic) ?? Effect.void)
    const frozen = Effect.acquireRelease(instance.freeze, () => instance.thaw)
    const subject: Subject = {
      topic,
      layer: Layer.tap(Pulsar.layer({ serviceUrl: instance.serviceUrl, batching, ...options }), (context) =>
        Effect.sync(() => {
          publisher = Context.get(context, Publisher)
        })),
      held: Effect.map(Topic.messages(instance, topic), (held) =>
        held.map(({ key }) =>
          key ?? ""
        )),
      outage: frozen,
      loss: connected.pipe(
        Effect.zipRight(instance.freeze),
        Effect.zipRight(Effect.forkDaemon(Effect.delay(instance.thaw, "4 seconds"))),
        Effect.asVoid
      ),
      // What reaches a broker that hangs cannot be seen until it does not.
      hang: Effect.as(Effect.zipRight(connected, frozen), { begun: Effect.sleep("200 millis") })
    }
    return subject
  })

const withPublisher = <A, E>(
  options: Pulsar.Options,
  body: (publisher: Publisher["Type"]) => Effect.Effect<A, E>
) => Effect.provide(Effect.flatMap(Publisher, body), Pulsar.layer(options))

describe.skipIf(Either.isLeft(loaded))("the native client of Pulsar", () => {
  having("pulsar", () => {
    for (const batching of [false, true]) {
      suite(`Pulsar by its native client${batching ? ", in batches" : ""}`, subjectOf(batching), {
        isIdempotent: false,
        isDurable: true,
        hasCheckpoints: false,
        maxBytes
      })

      it.scopedLive(`receipts are the broker's own names of messages${batching ? ", in batches" : ""}`, () =>
        Effect.gen(function*() {
          const instance = yield* broker
          const topic = yield* Topic.make(instance)
          const { outcomes } = yield* withPublisher(
            { serviceUrl: instance.serviceUrl, batching },
            ({ publish }) => publish(topic, messages(0, 1200))
          )
          const held = yield* Topic.messages(instance, topic)
          assert.deepStrictEqual(held.map(({ key }) => key), Array.from({ length: 1200 }, (_, n) => idOf(n)))
          assert.deepStrictEqual(
            outcomes.map((outcome) => outcome._tag === "Acknowledged" ? messageId.unpack(outcome.messageId) : outcome),
            held.map(({ position: { batchIndex, entry, ledger, partition } }) => ({
              ledger: BigInt(ledger),
              entry: BigInt(entry),
              partition,
              batch: batchIndex
            }))
          )
        }))
    }

    it.scopedLive("what the broker holds is what was sent, with properties that say what it is", () =>
      Effect.gen(function*() {
        const instance = yield* broker
        const topic = yield* Topic.make(instance)
        const sent = message(1, { payload: "☃" })
        yield* withPublisher({ serviceUrl: instance.serviceUrl }, ({ publish }) => publish(topic, [sent]))
        const [held] = yield* Topic.messages(instance, topic)
        assert.strictEqual(held?.key, sent.id)
        assert.deepStrictEqual(held?.payload, sent.bytes)
        assert.deepStrictEqual(held?.properties, {
          "content-type": sent.contentType,
          "schema-version": "1",
          "content-hash": sent.contentHash,
          stream: sent.stream
        })
      }))

    it.scopedLive("who is let in, and who is not, and what is said then", () =>
      Effect.gen(function*() {
        const instance = yield* Instance.Pulsar({ tls: true, tokens: true })
        yield* instance.grant("us", ["produce"])
        const topic = yield* Topic.make(instance)
        const health = (token: string | undefined, caFile: string, serviceUrl = instance.tls.serviceUrl) =>
          withPublisher({
            serviceUrl,
            patience: "3 seconds",
            tls: { caFile },
            ...token === undefined ? {} : { token: PulsarCluster.token(Redacted.make(token)) }
          }, (publisher) => Effect.either(publisher.health(topic)))
        const { ca, foreign } = instance.tls
        assert.isTrue(Either.isRight(yield* health(instance.token("us"), ca)))
        const problemOf = (...args: Parameters<typeof health>) =>
          Effect.map(Effect.flatMap(health(...args), Either.flip), (error) => `${error.reason}: ${error.problem}`)
        assert.match(yield* problemOf(instance.token("them"), ca), /^misconfigured: .* does not let us produce/)
        assert.match(yield* problemOf(instance.token("us", { expiresIn: -60 }), ca), /^misconfigured: .* token expired/)
        assert.match(yield* problemOf("none", ca), /^unavailable: .*TRUSTLOG_PULSAR_TOKEN/)
        assert.match(yield* problemOf(undefined, ca), /^unavailable: .*TRUSTLOG_PULSAR_TOKEN/)
        assert.match(
          yield* problemOf(instance.token("us"), foreign.ca),
          /^unavailable: .*TRUSTLOG_PULSAR_CA_FILE.*certificate verify failed/
        )
        assert.match(
          yield* problemOf(instance.token("us"), ca, instance.tls.serviceUrl.replace("localhost", "127.0.0.1")),
          /^unavailable: .*TRUSTLOG_PULSAR_CA_FILE.*certificate verify failed/
        )
      }))
  })
})
