import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { isSome } from "effect/Option"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/TestClock"
import { OperationId } from "../../src/Operation.ts"
import { type Message, type Published, Publisher } from "../../src/Publisher.ts"
import * as Pulsar from "../../src/Publisher/Pulsar.ts"
import { nextTurn } from "../../src/internal/eventLoop.ts"
import * as messageId from "../../src/internal/pulsar/messageId.ts"
import { idOf, message, messages } from "../messages.ts"
import { type Subject, suite } from "../suites/PublisherTest.ts"
import * as FakePulsarClient from "./FakePulsarClient.ts"

const topic = "persistent://public/default/operation"
const serviceUrl = "pulsar://localhost:6650"

const until = (condition: () => boolean) => Effect.repeat(nextTurn, { until: condition })

const subjectOf = (options: Pulsar.SendOptions) =>
  Effect.sync((): Subject => {
    const { broker, module, release } = FakePulsarClient.make({ maxMessageSize: 5000 })
    const become = (state: FakePulsarClient.Broker["state"]) =>
      Effect.sync(() => {
        broker.state = state
        release()
      })
    return {
      layer: Layer.scoped(Publisher, Pulsar.make(module, { serviceUrl, ...options })),
      held: Effect.sync(() => broker.held.map(({ key }) => key)),
      outage: Effect.acquireRelease(become("down"), () => become("up")),
      loss: Effect.sync(() => {
        broker.answers = 4
      }),
      hang: Effect.as(Effect.acquireRelease(become("silent"), () => become("up")), {
        begun: until(() => broker.held.length > 0)
      })
    }
  })

const capabilities = { isIdempotent: false, isDurable: true, hasCheckpoints: false, maxBytes: 5000 }

suite("Pulsar, by a client that behaves as the native one does", subjectOf({}), capabilities)

suite("Pulsar in batches, by such a client", subjectOf({ batching: true }), capabilities)

const tags = ({ outcomes }: Published) => outcomes.map((outcome) => outcome._tag)

const errors = ({ outcomes }: Published) => outcomes.map((outcome) => "error" in outcome ? outcome.error : "")

const texts = ({ outcomes }: Published) =>
  outcomes.map((outcome) => {
    const id = outcome._tag === "Acknowledged" ? messageId.unpack(outcome.messageId) : undefined
    return id === undefined ? outcome._tag : messageId.format(id)
  })

interface Scene {
  readonly fake: FakePulsarClient.Fake
  readonly broker: FakePulsarClient.Broker
  readonly publisher: Publisher["Type"]
  readonly publish: (batch: ReadonlyArray<Message>) => ReturnType<Publisher["Type"]["publish"]>
}

/** A test with a publisher over a fake. Its clock stands still: only what the fake does goes on. */
const test = (
  title: string,
  body: (scene: Scene) => Effect.Effect<void, unknown, Scope.Scope>,
  options: Partial<Pulsar.Options> = {}
) =>
  it.scoped(title, () =>
    Effect.gen(function*() {
      const fake = FakePulsarClient.make()
      const publisher = yield* Pulsar.make(fake.module, { serviceUrl, ...options })
      yield* body({ fake, broker: fake.broker, publisher, publish: (batch) => publisher.publish(topic, batch) })
    }))

const openProducers = (broker: FakePulsarClient.Broker) => broker.producers.filter(({ isOpen }) => isOpen).length

describe("What is sent to Pulsar", () => {
  test("carries its id as the key, its bytes without a copy, and says what it is", ({ broker, publish }) =>
    Effect.gen(function*() {
      const sent = message(1, { payload: "☃" })
      yield* publish([sent])
      assert.deepStrictEqual(broker.held, [{
        topic,
        key: sent.id,
        data: Uint8Array.from(sent.bytes),
        properties: {
          "content-type": sent.contentType,
          "schema-version": "1",
          "content-hash": sent.contentHash,
          stream: sent.stream
        },
        id: "(6,0,-1,-1)"
      }])
      assert.strictEqual(broker.given[0]?.data.buffer, sent.bytes.buffer)
    }))

  test(
    "carries the attributes of CloudEvents where they are asked for",
    ({ broker, publish }) =>
      Effect.gen(function*() {
        yield* publish(messages(1, 2))
        assert.strictEqual(broker.held[0]?.properties["ce_id"], idOf(1))
        assert.strictEqual(broker.held[0]?.properties["ce_type"], "file.read")
      }),
    { cloudEvents: true }
  )

  test("is refused where the client would cut it, or send nothing in its place, and nothing beside it is", ({ broker, publish }) =>
    Effect.gen(function*() {
      const whole = message(1)
      const published = yield* publish([
        whole,
        { ...message(2), bytes: new Uint8Array() },
        { ...message(3), contentType: "text/plain\0" },
        { ...message(4), id: OperationId.make(`${idOf(4)}\0`, true) },
        message(5)
      ])
      assert.deepStrictEqual(tags(published), ["Acknowledged", "Refused", "Refused", "Refused", "Acknowledged"])
      for (const outcome of published.outcomes) {
        if (outcome._tag === "Refused") assert.strictEqual(outcome.reason, "encoding")
      }
      assert.isUndefined(published.outage)
      assert.deepStrictEqual(broker.held.map(({ key }) => key), [idOf(1), idOf(5)])
    }))

  test("is not sent at all where nothing of it is fit: no connection is made for it", ({ broker, publish }) =>
    Effect.gen(function*() {
      const published = yield* publish([{ ...message(1), bytes: new Uint8Array() }])
      assert.deepStrictEqual(tags(published), ["Refused"])
      assert.deepStrictEqual(yield* publish([]), { outcomes: [], outage: undefined, checkpoint: undefined })
      assert.deepStrictEqual(broker.producers, [])
    }))

  test("goes to persistent topics with full names only", ({ broker, publisher }) =>
    Effect.gen(function*() {
      for (const name of ["operation", "non-persistent://public/default/operation", "persistent://public/operation"]) {
        const error = yield* Effect.flip(publisher.publish(name, messages(0, 1)))
        assert.strictEqual(error.reason, "misconfigured")
        assert.match(error.problem, /persistent:\/\/<tenant>\/<namespace>\/<topic>/)
        assert.strictEqual((yield* Effect.flip(publisher.health(name))).reason, "misconfigured")
      }
      assert.deepStrictEqual(broker.producers, [])
    }))
})

describe("A receipt of Pulsar", () => {
  test("is that of its message, although the client answers the last one first", ({ broker, publish }) =>
    Effect.gen(function*() {
      const published = yield* publish(messages(0, 500))
      assert.deepStrictEqual(texts(published), Array.from({ length: 500 }, (_, i) => `6:${i}`))
      assert.deepStrictEqual(broker.held.map(({ key }) => key), messages(0, 500).map(({ id }) => id))
    }))

  test("names the message within its batch", ({ publish }) =>
    Effect.gen(function*() {
      assert.deepStrictEqual(texts(yield* publish(messages(0, 3))), ["6:0:-1:0", "6:1:-1:1", "6:2:-1:2"])
    }), { batching: true })

  test("is that of the last chunk of a message in chunks", ({ broker, publish }) =>
    Effect.gen(function*() {
      broker.ids.set(idOf(1), "(16,12,-1,-1);(16,14,-1,-1)")
      assert.deepStrictEqual(texts(yield* publish(messages(1, 2))), ["16:14"])
    }))

  test("is none where a broker has dropped the message as a duplicate, or the client says what nobody understands", ({ broker, publish }) =>
    Effect.gen(function*() {
      broker.ids.set(idOf(1), "(-1,-1,-1,-1)").set(idOf(2), "soon")
      const published = yield* publish(messages(0, 4))
      assert.deepStrictEqual(tags(published), ["Acknowledged", "Unknown", "Unknown", "Acknowledged"])
      assert.match(errors(published)[1] ?? "", /duplicate/)
      assert.match(errors(published)[2] ?? "", /none of Pulsar's: soon/)
    }))
})

describe("A producer of Pulsar", () => {
  test("is made with what the client does not do by itself", ({ broker, publish }) =>
    Effect.gen(function*() {
      yield* publish(messages(0, 1))
      assert.deepStrictEqual(broker.producers[0]?.options, {
        topic,
        sendTimeoutMs: 25_000,
        maxPendingMessages: 501,
        maxPendingMessagesAcrossPartitions: 5_010_000,
        blockIfQueueFull: false,
        messageRoutingMode: "RoundRobinDistribution",
        hashingScheme: "JavaStringHash",
        batchingEnabled: false,
        batchingMaxPublishDelayMs: 1
      })
    }))

  test("is made once for a topic, for all who come at first, and kept", ({ broker, publish, publisher }) =>
    Effect.gen(function*() {
      const all = yield* Effect.forEach(messages(0, 20), (one) => publish([one]), { concurrency: "unbounded" })
      assert.deepStrictEqual(all.flatMap(tags), all.map(() => "Acknowledged"))
      yield* publish(messages(20, 21))
      assert.strictEqual(broker.producers.length, 1)
      yield* publisher.publish("persistent://public/default/record", messages(0, 1))
      assert.strictEqual(broker.producers.length, 2)
    }))

  test("is there for those who wait for it, also when the one who came first has left", ({ broker, publish }) =>
    Effect.gen(function*() {
      const first = yield* Effect.fork(publish(messages(0, 1)))
      yield* Effect.yieldNow()
      const second = yield* Effect.fork(publish(messages(1, 2)))
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(first)
      assert.deepStrictEqual(tags(yield* Fiber.join(second)), ["Acknowledged"])
      assert.strictEqual(broker.producers.length, 1)
      assert.deepStrictEqual(broker.held.map(({ key }) => key), [idOf(1)])
    }))

  test("that could not be made is tried again", ({ broker, publish }) =>
    Effect.gen(function*() {
      broker.creationError = "BrokerMetadataError"
      const error = yield* Effect.flip(publish(messages(0, 1)))
      assert.strictEqual(error.reason, "unavailable")
      assert.match(error.problem, /BrokerMetadataError/)
      broker.creationError = undefined
      assert.deepStrictEqual(tags(yield* publish(messages(0, 1))), ["Acknowledged"])
    }))

  test("that the client never finishes to make is not waited for, and closed if it comes after all", (scene) =>
    Effect.gen(function*() {
      const { broker, publish } = scene
      broker.isCreationStuck = true
      const waiting = yield* Effect.fork(Effect.flip(publish(messages(0, 1))))
      yield* until(() => broker.stuck.length > 0)
      yield* TestClock.adjust("10 seconds")
      const error = yield* Fiber.join(waiting)
      assert.strictEqual(error.reason, "unavailable")
      assert.match(error.problem, /TimeOut/)
      broker.isCreationStuck = false
      assert.deepStrictEqual(tags(yield* publish(messages(0, 1))), ["Acknowledged"])
      for (const finish of broker.stuck) finish()
      yield* until(() => broker.producers.length === 2)
      yield* until(() => openProducers(broker) === 1)
    }))

  test("is replaced when it has lost its connection and a new one can be made", ({ broker, publish }) =>
    Effect.gen(function*() {
      yield* publish(messages(0, 1))
      broker.state = "down"
      const error = yield* Effect.flip(publish(messages(1, 2)))
      assert.strictEqual(error.reason, "unavailable")
      broker.state = "up"
      // The client connects again by itself.
      assert.deepStrictEqual(tags(yield* publish(messages(1, 2))), ["Acknowledged"])
      assert.strictEqual(broker.producers.length, 1)
      for (const producer of broker.producers) producer.isLost = true
      assert.deepStrictEqual(tags(yield* publish(messages(2, 3))), ["Acknowledged"])
      assert.strictEqual(broker.producers.length, 2)
      assert.strictEqual(openProducers(broker), 1)
    }))

  test("never has more on its way than the window, however many send", ({ broker, publish }) =>
    Effect.gen(function*() {
      const all = yield* Effect.forEach(
        Array.from({ length: 30 }, (_, i) => messages(i * 10, (i + 1) * 10)),
        publish,
        { concurrency: "unbounded" }
      )
      assert.isTrue(all.flatMap(tags).every((tag) => tag === "Acknowledged"))
      assert.strictEqual(broker.producers[0]?.mostPending, 7)
    }), { window: 7 })

  test("has 8 MiB on their way at most, or one message", ({ broker, publish }) =>
    Effect.gen(function*() {
      broker.maxMessageSize = Infinity
      const mebibyte = 1024 * 1024
      const large = (mebibytes: number, n: number): Message => ({
        ...message(n),
        bytes: new Uint8Array(mebibytes * mebibyte)
      })
      assert.deepStrictEqual(tags(yield* publish([3, 3, 3, 3, 3].map(large))), Array(5).fill("Acknowledged"))
      assert.strictEqual(broker.producers[0]?.mostBytes, 6 * mebibyte)
      assert.deepStrictEqual(tags(yield* publish([1, 9, 1].map(large))), Array(3).fill("Acknowledged"))
      assert.strictEqual(broker.producers[0]?.mostBytes, 9 * mebibyte)
    }))
})

describe("Pulsar's health", () => {
  test("keeps the producer that it made where there was none", ({ broker, publish, publisher }) =>
    Effect.gen(function*() {
      yield* publisher.health(topic)
      yield* publish(messages(0, 1))
      assert.strictEqual(broker.producers.length, 1)
    }))

  test("makes another producer, and closes it, where there is one", ({ broker, publish, publisher }) =>
    Effect.gen(function*() {
      yield* publish(messages(0, 1))
      yield* publisher.health(topic)
      assert.strictEqual(broker.producers.length, 2)
      yield* until(() => openProducers(broker) === 1)
      assert.isTrue(broker.producers[0]?.isOpen)
      assert.deepStrictEqual(tags(yield* publish(messages(1, 2))), ["Acknowledged"])
    }))

  test("is bad on a broker that hangs, which the client takes to be connected", ({ broker, publish, publisher }) =>
    Effect.gen(function*() {
      yield* publish(messages(0, 1))
      broker.state = "hung"
      assert.isTrue(broker.producers[0]?.isConnected())
      const error = yield* Effect.flip(publisher.health(topic))
      assert.strictEqual(error.reason, "unavailable")
      broker.state = "up"
      yield* publisher.health(topic)
    }))

  test("sends nothing", ({ broker, publisher }) =>
    Effect.gen(function*() {
      yield* publisher.health(topic)
      assert.deepStrictEqual(broker.given, [])
    }))
})

describe("Of messages on their way to Pulsar", () => {
  test("all are unknown when the client gives up the oldest, and a new producer takes the next", ({ broker, publish }) =>
    Effect.gen(function*() {
      broker.answers = 2
      const published = yield* publish(messages(0, 4))
      assert.deepStrictEqual(tags(published).toSorted(), ["Acknowledged", "Acknowledged", "Unknown", "Unknown"])
      assert.strictEqual(published.outage?.reason, "lost")
      assert.match(published.outage?.problem ?? "", /2 of the records sent to .* have no answer: TimeOut/)
      assert.deepStrictEqual(tags(yield* publish(messages(2, 4))), ["Acknowledged", "Acknowledged"])
      assert.strictEqual(broker.producers.length, 2)
      assert.isFalse(broker.producers[0]?.isOpen)
    }))

  test("those before one that the client connects again for are stored, and the rest unknown after the time-out", ({ broker, publish }) =>
    Effect.gen(function*() {
      broker.poison.add(idOf(2))
      const publishing = yield* Effect.fork(publish(messages(0, 5)))
      yield* until(() => broker.given.length === 5)
      yield* TestClock.adjust("10 seconds")
      const behind = yield* Effect.fork(publish(messages(5, 7)))
      yield* until(() => broker.given.length === 7)
      yield* TestClock.adjust("14 seconds")
      assert.isFalse(isSome(yield* Fiber.poll(publishing)))
      yield* TestClock.adjust("1 seconds")
      const published = yield* Fiber.join(publishing)
      assert.deepStrictEqual(tags(published), ["Acknowledged", "Acknowledged", "Unknown", "Unknown", "Unknown"])
      assert.strictEqual(published.outage?.reason, "lost")
      assert.match(published.outage?.problem ?? "", /no answer within 25s/)
      // Whoever waited behind it waits no more.
      const others = yield* Fiber.join(behind)
      assert.deepStrictEqual(tags(others), ["Unknown", "Unknown"])
      assert.strictEqual(others.outage?.reason, "lost")
      assert.isFalse(broker.producers[0]?.isOpen)
      assert.deepStrictEqual(tags(yield* publish(messages(3, 5))), ["Acknowledged", "Acknowledged"])
      assert.deepStrictEqual(broker.held.map(({ key }) => key), [0, 1, 3, 4].map(idOf))
    }))

  test(
    "what was not given to a producer that is given up was not sent: that is said",
    ({ broker, publish }) =>
      Effect.gen(function*() {
        broker.poison.add(idOf(0))
        const publishing = yield* Effect.fork(publish(messages(0, 3)))
        const behind = yield* Effect.fork(Effect.flip(publish(messages(3, 5))))
        yield* until(() => broker.given.length === 2)
        yield* TestClock.adjust("25 seconds")
        assert.deepStrictEqual(tags(yield* Fiber.join(publishing)), ["Unknown", "Unknown", "Unknown"])
        assert.strictEqual((yield* Fiber.join(behind)).reason, "unavailable")
        assert.strictEqual(broker.given.length, 2)
      }),
    { window: 2 }
  )

  test("one that the broker does not take harms no other", ({ broker, publish }) =>
    Effect.gen(function*() {
      broker.sendErrors.set(idOf(1), "ChecksumError").set(idOf(2), "MessageTooBig").set(idOf(3), "InvalidMessage")
      const published = yield* publish(messages(0, 5))
      assert.deepStrictEqual(tags(published), ["Acknowledged", "Refused", "Refused", "Refused", "Acknowledged"])
      assert.deepStrictEqual(
        published.outcomes.flatMap((outcome) => outcome._tag === "Refused" ? [outcome.reason] : []),
        ["rejected", "tooLarge", "rejected"]
      )
      assert.isUndefined(published.outage)
      assert.strictEqual(openProducers(broker), 1)
    }))

  test("one that the log cannot take now is unknown, and the log out", ({ broker, publish }) =>
    Effect.gen(function*() {
      for (
        const [name, reason] of [
          ["ProducerBlockedQuotaExceededError", "unavailable"],
          ["ResultProducerFenced", "misconfigured"],
          ["TopicTerminated", "misconfigured"],
          ["ResultDisconnected", "lost"],
          ["SomethingNew", "lost"]
        ] as const
      ) {
        broker.sendErrors.set(idOf(1), name)
        const published = yield* publish(messages(0, 2))
        assert.deepStrictEqual(tags(published), ["Acknowledged", "Unknown"])
        assert.strictEqual(published.outage?.reason, reason)
      }
    }))

  test("several failures are one outage: what people must cure, before what a message may have caused", ({ broker, publish }) =>
    Effect.gen(function*() {
      broker.sendErrors.set(idOf(0), "BrokerPersistenceError").set(idOf(1), "TimeOut")
      assert.strictEqual((yield* publish(messages(0, 2))).outage?.reason, "lost")
      broker.sendErrors.set(idOf(2), "AuthorizationError")
      assert.strictEqual((yield* publish(messages(0, 3))).outage?.reason, "misconfigured")
    }))

  test("those of a batch that is too large are sent again alone, and only the one that is too large is refused", ({
    broker,
    publish
  }) =>
    Effect.gen(function*() {
      broker.maxMessageSize = 2000
      const published = yield* publish([
        message(0),
        message(1, { payload: "x".repeat(1200) }),
        message(2, { payload: "x".repeat(3000) }),
        message(3)
      ])
      assert.deepStrictEqual(tags(published), ["Acknowledged", "Acknowledged", "Refused", "Acknowledged"])
      assert.isUndefined(published.outage)
      assert.deepStrictEqual(broker.producers.map(({ options }) => options.batchingEnabled), [true, false])
      yield* until(() => openProducers(broker) === 1)
      assert.deepStrictEqual(broker.held.map(({ key }) => key), [0, 1, 3].map(idOf))
    }), { batching: true })

  test("those that cannot be sent again alone are unknown", ({ broker, publish }) =>
    Effect.gen(function*() {
      broker.maxMessageSize = 1000
      yield* publish(messages(0, 1))
      broker.creationError = "TopicNotFound"
      const published = yield* publish([message(1, { payload: "x".repeat(800) }), message(2)])
      assert.deepStrictEqual(tags(published), ["Unknown", "Unknown"])
      assert.strictEqual(published.outage?.reason, "misconfigured")
    }), { batching: true })

  test("those that nobody waits for any more hold up nothing", ({ broker, publish }) =>
    Effect.gen(function*() {
      broker.poison.add(idOf(0))
      const publishing = yield* Effect.fork(publish(messages(0, 3)))
      yield* until(() => broker.given.length === 3)
      yield* Fiber.interrupt(publishing)
      yield* until(() => openProducers(broker) === 0)
      assert.deepStrictEqual(tags(yield* publish(messages(1, 3))), ["Acknowledged", "Acknowledged"])
    }))

  test("those of others are not given up with them", ({ broker, fake, publish, publisher }) =>
    Effect.gen(function*() {
      yield* publisher.health(topic)
      broker.state = "hung"
      const left = yield* Effect.fork(publish(messages(0, 3)))
      const staying = yield* Effect.fork(publish(messages(3, 5)))
      yield* until(() => broker.held.length === 5)
      yield* Fiber.interrupt(left)
      broker.state = "up"
      fake.release()
      assert.deepStrictEqual(tags(yield* Fiber.join(staying)), ["Acknowledged", "Acknowledged"])
      // What it was given by those who left might have been why nobody was answered.
      assert.isFalse(broker.producers[0]?.isOpen)
      assert.deepStrictEqual(tags(yield* publish(messages(5, 6))), ["Acknowledged"])
    }))

  test("those that were never given to the client are forgotten when nobody waits for them", ({
    broker,
    fake,
    publish,
    publisher
  }) =>
    Effect.gen(function*() {
      yield* publisher.health(topic)
      broker.state = "hung"
      const first = yield* Effect.fork(publish(messages(0, 2)))
      const second = yield* Effect.fork(publish(messages(2, 4)))
      yield* until(() => broker.held.length === 2)
      yield* Fiber.interrupt(second)
      broker.state = "up"
      fake.release()
      assert.deepStrictEqual(tags(yield* Fiber.join(first)), ["Acknowledged", "Acknowledged"])
      assert.deepStrictEqual(tags(yield* publish(messages(4, 5))), ["Acknowledged"])
      assert.deepStrictEqual(broker.held.map(({ key }) => key), [0, 1, 4].map(idOf))
      assert.strictEqual(broker.producers.length, 1)
    }), { window: 2 })
})

describe("When Pulsar's publisher is closed", () => {
  const opened = (options: Pulsar.SendOptions = {}) =>
    Effect.gen(function*() {
      const fake = FakePulsarClient.make()
      const scope = yield* Scope.make()
      const publisher = yield* Scope.extend(Pulsar.make(fake.module, { serviceUrl, ...options }), scope)
      return { fake, broker: fake.broker, publisher, close: Scope.close(scope, Exit.void) }
    })

  it.effect("its client is, and its producers, once what is on its way is answered", () =>
    Effect.gen(function*() {
      const { broker, close, publisher } = yield* opened()
      yield* publisher.health(topic)
      const publishing = yield* Effect.fork(publisher.publish(topic, messages(0, 3)))
      yield* until(() => broker.given.length === 3)
      yield* close
      assert.deepStrictEqual(tags(yield* Fiber.join(publishing)), Array(3).fill("Acknowledged"))
      assert.strictEqual(openProducers(broker), 0)
      assert.deepStrictEqual(broker.clients.map(({ isClosed }) => isClosed), [true])
    }))

  it.effect("those who wait for a broker that hangs are told soon that nobody knows, and later ones that it is closed", () =>
    Effect.gen(function*() {
      const { broker, close, publisher } = yield* opened({ window: 2 })
      yield* publisher.health(topic)
      broker.state = "hung"
      const publishing = yield* Effect.fork(publisher.publish(topic, messages(0, 3)))
      const behind = yield* Effect.fork(Effect.flip(publisher.publish(topic, messages(3, 5))))
      const making = yield* Effect.fork(Effect.flip(publisher.health("persistent://public/default/record")))
      yield* until(() => broker.held.length === 2)
      const closing = yield* Effect.fork(close)
      yield* Effect.repeat(TestClock.adjust("1 seconds"), { until: () => Effect.map(Fiber.poll(closing), isSome) })
      const published = yield* Fiber.join(publishing)
      assert.deepStrictEqual(tags(published), ["Unknown", "Unknown", "Unknown"])
      assert.strictEqual((yield* Fiber.join(behind)).reason, "unavailable")
      assert.match((yield* Fiber.join(making)).problem, /closed/)
      assert.match((yield* Effect.flip(publisher.publish(topic, messages(0, 1)))).problem, /closed/)
      assert.match((yield* Effect.flip(publisher.health(topic))).problem, /closed/)
    }))

  it.effect("a producer that comes too late is closed as well", () =>
    Effect.gen(function*() {
      const { broker, close, publisher } = yield* opened()
      broker.isCreationStuck = true
      const making = yield* Effect.fork(Effect.flip(publisher.health(topic)))
      yield* until(() => broker.stuck.length > 0)
      yield* close
      assert.match((yield* Fiber.join(making)).problem, /closed/)
    }))

  it.effect("the client of a host is not, only the producers made with it", () =>
    Effect.gen(function*() {
      const { broker, module } = FakePulsarClient.make()
      const client = new module.Client({
        serviceUrl,
        operationTimeoutSeconds: 30,
        connectionTimeoutMs: 10_000,
        statsIntervalInSeconds: 0,
        logLevel: 2
      })
      const layer = Pulsar.layerFromClient(client)
      const late = yield* Effect.scoped(Effect.gen(function*() {
        const publisher = yield* Effect.provide(Publisher, yield* Layer.build(layer))
        assert.deepStrictEqual(tags(yield* publisher.publish(topic, messages(0, 2))), ["Acknowledged", "Acknowledged"])
        broker.isCreationStuck = true
        const late = yield* Effect.forkDaemon(Effect.flip(publisher.health("persistent://public/default/record")))
        yield* until(() => broker.stuck.length > 0)
        return late
      }))
      assert.match((yield* Fiber.join(late)).problem, /closed/)
      for (const finish of broker.stuck) finish()
      yield* until(() => broker.producers.length === 2 && openProducers(broker) === 0)
      assert.isFalse(broker.clients[0]?.isClosed)
      yield* Effect.promise(() => client.close())
    }))

  it.effect("that somebody else has closed the client does not matter", () =>
    Effect.gen(function*() {
      const { broker, close, publisher } = yield* opened()
      yield* publisher.publish(topic, messages(0, 1))
      for (const producer of broker.producers) yield* Effect.promise(() => producer.close())
      yield* close
      assert.strictEqual(openProducers(broker), 0)
    }))
})
