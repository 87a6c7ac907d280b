/**
 * What every back-end of `Subscriber` keeps, and what is built on it.
 */
import { assert, describe, it } from "@effect/vitest"
import { bytesToHex } from "@noble/hashes/utils.js"
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Message } from "../../src/Publisher.ts"
import * as Subscriber from "../../src/Subscriber.ts"
import { PublisherError } from "../../src/TrustlogError.ts"
import { idOf, message, messages } from "../messages.ts"

/** A message as the log holds it. */
export interface Held {
  readonly bytes: Uint8Array
  readonly key: string | undefined
  readonly properties: Readonly<Record<string, string>>
}

/** A log, and what can be done to it from outside. */
export interface Subject {
  /** The subscriber. It may be built more than once, over the same log. */
  readonly layer: Layer.Layer<Subscriber.Subscriber, unknown>
  /** A topic that nobody else has, and that keeps what it was given. */
  readonly topic: Effect.Effect<string>
  /** Publishes, whatever becomes of the subscriber. */
  readonly publish: (topic: string, letters: ReadonlyArray<Subscriber.Letter>) => Effect.Effect<void, unknown>
  /** What a topic holds, in its order; nothing where there is no topic. */
  readonly held: (topic: string) => Effect.Effect<ReadonlyArray<Held>, unknown>
  /** All connections are lost, once. */
  readonly loss: Effect.Effect<void>
  /** There are no connections, until the scope closes. */
  readonly outage: Effect.Effect<void, never, Scope.Scope>
  /** Connections stay open, new ones too, and the log says nothing until the scope closes. */
  readonly hang: Effect.Effect<void, never, Scope.Scope>
}

/** What a back-end promises beyond the contract. */
export interface Capabilities {
  /** Whether a consumer fails when its connection is lost, or hangs; otherwise it connects again by itself. */
  readonly showsLoss: boolean
  /** A message of so many bytes is delivered, and can be a dead letter only in parts. */
  readonly largeBytes: number
}

type Test = Effect.Effect<void, unknown, Subscriber.Subscriber | Scope.Scope>

const letterOf = ({ bytes, id }: Message): Subscriber.Letter => ({ key: id, bytes, properties: { a: "1" } })

const letters = (from: number, to: number): ReadonlyArray<Subscriber.Letter> => messages(from, to).map(letterOf)

const letter = (bytes: Uint8Array | string): Subscriber.Letter => ({
  key: "k",
  bytes: typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes,
  properties: { a: "1" }
})

const ids = (from: number, to: number): ReadonlyArray<string> =>
  Array.from({ length: to - from }, (_, i) => idOf(from + i))

const idsOf = (entries: Iterable<Subscriber.Entry>): ReadonlyArray<string> =>
  Array.from(entries, ({ envelope }) => envelope.id)

const keysOf = (received: Iterable<{ readonly key: string | undefined }>): ReadonlyArray<string> =>
  Array.from(received, ({ key }) => key ?? "")

const textOf = ({ bytes }: { readonly bytes: Uint8Array }): string => new TextDecoder().decode(bytes)

const subscription = (topic: string, options: Partial<Subscriber.Subscription> = {}): Subscriber.Subscription => ({
  topic,
  subscription: "s",
  type: "Shared",
  from: "earliest",
  redeliveryDelay: Duration.millis(200),
  receiveAtMost: { messages: 1000, bytes: 8 * 1024 * 1024 },
  ...options
})

const open = (topic: string, options?: Partial<Subscriber.Subscription>) =>
  Effect.flatMap(Subscriber.Subscriber, (subscriber) => subscriber.open(subscription(topic, options)))

/** Takes until there are so many. */
const take = (consumer: Subscriber.Consumer, count: number) =>
  Effect.gen(function*() {
    const taken: Array<Subscriber.Received> = []
    while (taken.length < count) taken.push(...yield* consumer.take)
    return taken
  })

const send = (topic: string, batch: ReadonlyArray<Subscriber.Letter>) =>
  Effect.flatMap(Subscriber.Subscriber, (subscriber) => subscriber.send(topic, batch))

/** Looks until it is so. */
const eventually = <A, E, R>(look: Effect.Effect<A, E, R>, isSo: (value: A) => boolean): Effect.Effect<A, E, R> =>
  Effect.repeat(Effect.delay(look, "20 millis"), { until: isSo })

/** Runs a handler beside the test; what it was given can be awaited. */
const running = <E>(
  options: Subscriber.Options,
  handler: (entries: NonEmptyReadonlyArray<Subscriber.Entry>) => Effect.Effect<
    void | ReadonlyArray<Subscriber.Unfit>,
    E
  > = () => Effect.void
) =>
  Effect.gen(function*() {
    const calls: Array<ReadonlyArray<Subscriber.Entry>> = []
    const given = yield* Queue.unbounded<Subscriber.Entry>()
    const fiber = yield* Effect.forkScoped(Subscriber.run(
      { redeliveryDelay: "200 millis", ...options },
      (entries) =>
        Effect.tap(handler(entries), () => {
          calls.push(entries)
          return Queue.offerAll(given, entries)
        })
    ))
    /** Waits for so many more that were handled. */
    const handled = (count: number) => Effect.map(Queue.takeN(given, count), Chunk.toReadonlyArray)
    return { calls, fiber, handled }
  })

type Make = Effect.Effect<Subject, unknown, Scope.Scope>

const testOver = (make: Make) => (title: string, body: (subject: Subject, topic: string) => Test) =>
  it.scopedLive(title, () =>
    Effect.gen(function*() {
      const subject = yield* make
      yield* Effect.provide(body(subject, yield* subject.topic), subject.layer)
    }))

/** Runs that part of the suite that is about consumers alone, over logs that `make` makes, one for each test. */
export const consumerSuite = (name: string, make: Make, showsLoss = true): void => {
  const test = testOver(make)

  describe(name, () => {
    test(
      "gives what was published, in its order and with all that is beside it",
      ({ publish }, topic) =>
        Effect.gen(function*() {
          const before = Date.now()
          yield* publish(topic, letters(0, 300))
          const received = yield* take(yield* open(topic), 300)
          assert.deepStrictEqual(keysOf(received), ids(0, 300))
          assert.deepStrictEqual(received.map(textOf), letters(0, 300).map(textOf))
          assert.strictEqual(new Set(received.map(({ messageId }) => bytesToHex(messageId))).size, 300)
          for (const { properties, publishedAt, redeliveryCount } of received) {
            assert.deepStrictEqual(properties, { a: "1" })
            assert.isTrue(publishedAt >= before - 1000 && publishedAt <= Date.now() + 1000)
            assert.strictEqual(redeliveryCount, 0)
          }
        })
    )

    test("names a message as its publisher heard that it is called", (_, topic) =>
      Effect.gen(function*() {
        const { outcomes } = yield* send(topic, letters(0, 3))
        const received = yield* take(yield* open(topic), 3)
        assert.deepStrictEqual(
          received.map(({ messageId }) => bytesToHex(messageId)),
          outcomes.map((outcome) => outcome._tag === "Acknowledged" ? bytesToHex(outcome.messageId) : outcome._tag)
        )
      }))

    test("gives empty messages, and bytes that are no text", ({ publish }, topic) =>
      Effect.gen(function*() {
        const all = Uint8Array.from({ length: 256 }, (_, i) => i)
        yield* publish(topic, [letter(""), letter(all)])
        const [empty, bytes] = yield* take(yield* open(topic), 2)
        assert.strictEqual(empty?.bytes.length, 0)
        assert.deepStrictEqual(bytes?.bytes, all)
      }))

    test(
      "gives what was acknowledged to nobody again, and the rest to the next one",
      ({ publish }, topic) =>
        Effect.gen(function*() {
          yield* publish(topic, letters(0, 20))
          yield* Effect.scoped(Effect.gen(function*() {
            const consumer = yield* open(topic)
            const received = yield* take(consumer, 20)
            yield* consumer.acknowledge(received.filter((_, i) => i % 2 === 0))
          }))
          const again = yield* take(yield* open(topic), 10)
          assert.deepStrictEqual(keysOf(again), ids(0, 20).filter((_, i) => i % 2 === 1))
        })
    )

    test("is closed when the log has read what was acknowledged", ({ hang, publish }, topic) =>
      Effect.gen(function*() {
        yield* publish(topic, letters(0, 20))
        const scope = yield* Scope.make()
        const consumer = yield* Scope.extend(open(topic), scope)
        const received = yield* take(consumer, 20)
        const hanging = yield* Scope.make()
        yield* Scope.extend(hang, hanging)
        yield* consumer.acknowledge(received)
        const closing = yield* Effect.fork(Scope.close(scope, Exit.void))
        yield* Effect.sleep("200 millis")
        assert.isTrue(Option.isNone(yield* Fiber.poll(closing)))
        yield* Scope.close(hanging, Exit.void)
        yield* Fiber.join(closing)
        yield* publish(topic, letters(20, 21))
        assert.deepStrictEqual(keysOf(yield* take(yield* open(topic), 1)), ids(20, 21))
      }))

    test(
      "gives what was rejected again, after the delay, and counts that where it is shared",
      ({ publish }, topic) =>
        Effect.gen(function*() {
          yield* publish(topic, letters(0, 2))
          const consumer = yield* open(topic)
          const [first, second] = yield* take(consumer, 2)
          assert.isDefined(first)
          assert.isDefined(second)
          const rejectedAt = performance.now()
          yield* consumer.reject([first])
          yield* consumer.acknowledge([second])
          const again = yield* take(consumer, 1)
          assert.deepStrictEqual(again.map(({ key, redeliveryCount }) => [key, redeliveryCount]), [[first.key, 1]])
          assert.isAtLeast(performance.now() - rejectedAt, 150)
          yield* consumer.acknowledge(again)
        })
    )

    test("begins a new subscription with the first message, or the next one, and goes on with one that is there", (
      { publish },
      topic
    ) =>
      Effect.gen(function*() {
        yield* publish(topic, letters(0, 2))
        const earliest = yield* open(topic, { subscription: "everything" })
        const latest = yield* open(topic, { subscription: "from-now-on", from: "latest" })
        yield* publish(topic, letters(2, 4))
        assert.deepStrictEqual(keysOf(yield* take(earliest, 4)), ids(0, 4))
        assert.deepStrictEqual(keysOf(yield* take(latest, 2)), ids(2, 4))
      }))

    test("gives so many at once at most, and of large ones fewer", ({ publish }, topic) =>
      Effect.gen(function*() {
        const large = Array.from({ length: 20 }, () => letter(new Uint8Array(30_000)))
        yield* publish(topic, [...letters(0, 60), ...large])
        const chunks = (receiveAtMost: Subscriber.AtMost) =>
          Effect.gen(function*() {
            const consumer = yield* open(topic, { subscription: JSON.stringify(receiveAtMost), receiveAtMost })
            const chunks: Array<ReadonlyArray<Subscriber.Received>> = []
            // What has come meanwhile would be given at once.
            while (chunks.flat().length < 80) chunks.push(yield* Effect.delay(consumer.take, "20 millis"))
            return chunks
          })
        const sizes = (yield* chunks({ messages: 7, bytes: 10_000_000 })).map(({ length }) => length)
        assert.strictEqual(Math.max(...sizes), 7)
        for (const chunk of yield* chunks({ messages: 1000, bytes: 100_000 })) {
          assert.isAtMost(chunk.reduce((sum, { bytes }) => sum + bytes.length, 0), 100_000)
        }
        assert.deepStrictEqual(
          (yield* chunks({ messages: 1000, bytes: 1 })).map(({ length }) => length),
          Array.from({ length: 80 }, () => 1)
        )
      }))

    test("shares a topic between consumers, gives a key to one of them, or all to one until it is gone", (
      { publish },
      topic
    ) =>
      Effect.gen(function*() {
        const pair = (type: Subscriber.Type) =>
          Effect.gen(function*() {
            const [first, second] = [yield* Scope.make(), yield* Scope.make()]
            const queues = [yield* Queue.unbounded<string>(), yield* Queue.unbounded<string>()] as const
            for (const [i, scope] of [first, second].entries()) {
              const consumer = yield* Scope.extend(open(topic, { subscription: type, type }), scope)
              const work = Effect.flatMap(consumer.take, (received) =>
                Effect.zipRight(
                  consumer.acknowledge(received),
                  Queue.offerAll(queues[i] ?? queues[0], keysOf(received))
                ))
              yield* Effect.forkIn(Effect.forever(work), scope)
            }
            yield* Effect.addFinalizer(() =>
              Effect.zipRight(Scope.close(first, Exit.void), Scope.close(second, Exit.void))
            )
            return { first, second, queues }
          })
        const shared = yield* pair("Shared")
        const keyed = yield* pair("KeyShared")
        const failover = yield* pair("Failover")
        for (let round = 0; round < 10; round++) yield* publish(topic, letters(0, 20))
        const both = ({ queues }: typeof shared, count: number) =>
          Effect.gen(function*() {
            const seen: [Array<string>, Array<string>] = [[], []]
            yield* eventually(
              Effect.gen(function*() {
                for (const i of [0, 1] as const) seen[i].push(...yield* Queue.takeAll(queues[i]))
                return seen[0].length + seen[1].length
              }),
              (total) => total >= count
            )
            return seen
          })
        const [a, b] = yield* both(shared, 200)
        assert.strictEqual(a.length + b.length, 200)
        assert.isTrue(a.length > 0 && b.length > 0)
        const [c, d] = yield* both(keyed, 200)
        assert.strictEqual(c.length + d.length, 200)
        assert.isFalse(c.some((key) => d.includes(key)))
        const [e, f] = yield* both(failover, 200)
        assert.deepStrictEqual([e.length, f.length].toSorted((x, y) => x - y), [0, 200])
        yield* Scope.close(e.length > 0 ? failover.first : failover.second, Exit.void)
        // Pulsar before 4.0.13 may forget to tell the new consumer of what was published while it changed, until there is more.
        yield* Effect.forkScoped(Effect.repeat(publish(topic, letters(50, 51)), Schedule.spaced("200 millis")))
        const [g, h] = yield* both(failover, 1)
        assert.deepStrictEqual(new Set([...g, ...h]), new Set(ids(50, 51)))
      }))

    test("refuses a second consumer where one shall be alone", (_, topic) =>
      Effect.gen(function*() {
        yield* Effect.scoped(Effect.gen(function*() {
          yield* open(topic, { type: "Exclusive" })
          const error = yield* Effect.flip(open(topic, { type: "Exclusive" }))
          assert.strictEqual(error.reason, "unavailable")
        }))
        yield* eventually(Effect.exit(Effect.scoped(open(topic, { type: "Exclusive" }))), Exit.isSuccess)
      }))

    if (showsLoss) {
      test(
        "tells that a connection is lost, and drops acknowledgements for what came over it",
        ({ loss, publish }, topic) =>
          Effect.gen(function*() {
            yield* publish(topic, letters(0, 5))
            const first = yield* open(topic)
            const received = yield* take(first, 5)
            yield* loss
            assert.strictEqual((yield* Effect.flip(first.take)).reason, "lost")
            yield* first.acknowledge(received)
            yield* first.reject(received)
            const second = yield* open(topic)
            const again = yield* take(second, 5)
            yield* second.acknowledge(received)
            assert.deepStrictEqual(keysOf(again), ids(0, 5))
          })
      )
    }

    test("fails to subscribe while the log is down", ({ outage }, topic) =>
      Effect.gen(function*() {
        yield* Effect.scoped(Effect.gen(function*() {
          yield* outage
          assert.strictEqual((yield* Effect.flip(open(topic))).reason, "unavailable")
        }))
        yield* open(topic)
      }))

    if (showsLoss) {
      test(
        "notices a log that hangs, and takes a quiet topic for no such log",
        ({ hang, publish }, topic) =>
          Effect.gen(function*() {
            const consumer = yield* open(topic)
            const first = yield* Effect.fork(consumer.take)
            yield* Effect.sleep("3500 millis")
            yield* publish(topic, letters(0, 1))
            yield* Fiber.join(first)
            yield* Effect.scoped(Effect.gen(function*() {
              yield* hang
              assert.strictEqual((yield* Effect.flip(consumer.take)).reason, "lost")
            }))
          })
      )
    }
  })
}

/** Runs the suite over logs that `make` makes, one for each test. */
export const suite = (name: string, make: Make, { largeBytes, showsLoss }: Capabilities): void => {
  const test = testOver(make)
  consumerSuite(name, make, showsLoss)

  describe(name, () => {
    describe("run", () => {
      test(
        "hands on envelopes with what is known of them, and acknowledges what was handled",
        ({ publish }, topic) =>
          Effect.gen(function*() {
            const [sent] = messages(7, 8)
            assert.isDefined(sent)
            yield* publish(topic, [letterOf(sent)])
            const { fiber, handled } = yield* running({ topics: [topic], subscription: "s" })
            const [entry] = yield* handled(1)
            assert.deepInclude(entry, {
              topic,
              key: sent.id,
              properties: { a: "1" },
              keyId: undefined,
              isSigned: false
            })
            assert.deepStrictEqual(entry?.bytes, sent.bytes)
            assert.deepInclude(entry?.envelope, { id: sent.id, contentHash: sent.contentHash, action: "file.read" })
            yield* Fiber.interrupt(fiber)
            yield* publish(topic, letters(8, 9))
            const again = yield* take(yield* open(topic), 1)
            assert.deepStrictEqual(keysOf(again), ids(8, 9))
          })
      )

      test(
        "consumes several topics, each in its order, and a call has entries of one",
        ({ publish, topic: another }, topic) =>
          Effect.gen(function*() {
            const other = yield* another
            yield* publish(topic, letters(0, 100))
            yield* publish(other, letters(100, 200))
            const { calls, handled } = yield* running({ topics: [topic, other], subscription: "s" })
            const entries = yield* handled(200)
            assert.deepStrictEqual(idsOf(entries.filter((entry) => entry.topic === topic)), ids(0, 100))
            assert.deepStrictEqual(idsOf(entries.filter((entry) => entry.topic === other)), ids(100, 200))
            for (const call of calls) assert.strictEqual(new Set(call.map((entry) => entry.topic)).size, 1)
          })
      )

      test(
        "has what could not be handled come again, each alone, so that one fails nobody else",
        ({ held, publish }, topic) =>
          Effect.gen(function*() {
            yield* publish(topic, letters(0, 20))
            const poison = idOf(13)
            const failed: Array<ReadonlyArray<string>> = []
            const { calls, handled } = yield* running(
              { topics: [topic], subscription: "s", maxRedeliveries: 2, deadLetterTopic: `${topic}-dead` },
              (entries) => {
                if (!idsOf(entries).includes(poison)) return Effect.void
                failed.push(idsOf(entries))
                return new PublisherError({ reason: "unavailable", problem: "the handler's words" })
              }
            )
            const entries = yield* handled(19)
            assert.deepStrictEqual(idsOf(entries).toSorted(), ids(0, 20).filter((id) => id !== poison))
            const [dead] = yield* eventually(held(`${topic}-dead`), ({ length }) => length > 0)
            assert.deepStrictEqual(dead?.bytes, message(13).bytes)
            assert.deepInclude(dead?.properties, {
              a: "1",
              "trustlog-reason": "failed",
              "trustlog-error": "could not be handled: the handler's words",
              "trustlog-subscription": "s",
              REAL_TOPIC: topic
            })
            const [company = [], ...alone] = failed
            assert.deepStrictEqual(alone, [[poison], [poison]])
            for (const call of calls.filter((call) => idsOf(call).some((id) => company.includes(id)))) {
              assert.strictEqual(call.length, 1)
            }
            yield* publish(topic, letters(20, 25))
            assert.deepStrictEqual(idsOf(yield* handled(5)), ids(20, 25))
          })
      )

      test("condemns nothing for what failed together with it", ({ held, publish }, topic) =>
        Effect.gen(function*() {
          yield* publish(topic, letters(0, 20))
          const { handled } = yield* running(
            { topics: [topic], subscription: "s", maxRedeliveries: 0 },
            (entries) =>
              idsOf(entries).includes(idOf(13))
                ? new PublisherError({ reason: "unavailable", problem: "the handler's words" })
                : Effect.void
          )
          assert.strictEqual(new Set(idsOf(yield* handled(19))).size, 19)
          const dead = yield* eventually(held(`${topic}-s-DLQ`), ({ length }) => length > 0)
          assert.deepStrictEqual(keysOf(dead), [idOf(13)])
        }))

      test(
        "sends on what the handler calls unfit, and acknowledges the others of the call",
        ({ held, publish }, topic) =>
          Effect.gen(function*() {
            yield* publish(topic, letters(0, 10))
            const told: Array<Subscriber.DeadLetter> = []
            const { fiber, handled } = yield* running(
              {
                topics: [topic],
                subscription: "s",
                onDeadLetters: (letters) => Effect.sync(() => void told.push(...letters))
              },
              (entries) =>
                Effect.succeed(
                  entries
                    .filter(({ envelope }) => envelope.id === idOf(4))
                    .map((entry) => ({ entry, reason: "conflict", error: "is another\u0000 one" }))
                )
            )
            yield* handled(10)
            const [dead, ...others] = yield* eventually(held(`${topic}-s-DLQ`), ({ length }) => length > 0)
            assert.strictEqual(others.length, 0)
            assert.deepStrictEqual(dead?.bytes, message(4).bytes)
            assert.strictEqual(dead?.key, idOf(4))
            assert.deepInclude(dead?.properties, { "trustlog-reason": "conflict", "trustlog-error": "is another  one" })
            yield* eventually(Effect.sync(() => told), ({ length }) => length > 0)
            assert.deepStrictEqual(told.map(({ deadLetterTopic, reason }) => [deadLetterTopic, reason]), [
              [`${topic}-s-DLQ`, "conflict"]
            ])
            yield* Fiber.interrupt(fiber)
            yield* publish(topic, letters(10, 11))
            assert.deepStrictEqual(keysOf(yield* take(yield* open(topic), 1)), ids(10, 11))
          })
      )

      test(
        "sends on what is no envelope, untouched, and goes on with the others",
        ({ held, publish }, topic) =>
          Effect.gen(function*() {
            const [good] = messages(1, 2)
            assert.isDefined(good)
            const text = textOf(good)
            const bad = [
              "",
              "garbage",
              "{}",
              "null",
              Uint8Array.of(0xff, 0xfe, 0, 0x80),
              text.replace(`"v":1`, `"v":2`),
              `${text}\n`,
              text.replace(`"actor"`, ` "actor"`),
              text.slice(0, -1)
            ].map(letter)
            yield* publish(topic, bad.flatMap((one, i) => [one, ...letters(i, i + 1)]))
            const { fiber, handled } = yield* running({ topics: [topic], subscription: "s" })
            assert.deepStrictEqual(idsOf(yield* handled(bad.length)), ids(0, bad.length))
            const dead = yield* eventually(held(`${topic}-s-DLQ`), ({ length }) => length >= bad.length)
            assert.deepStrictEqual(dead.map(({ bytes }) => bytes), bad.map(({ bytes }) => bytes))
            for (const { properties } of dead) {
              assert.deepInclude(properties, { a: "1", "trustlog-reason": "malformed", REAL_TOPIC: topic })
              assert.match(properties["ORIGIN_MESSAGE_ID"] ?? "", /^\d+:\d+/)
              assert.notStrictEqual(properties["trustlog-error"] ?? "", "")
            }
            yield* Fiber.interrupt(fiber)
            yield* publish(topic, letters(20, 21))
            assert.deepStrictEqual(keysOf(yield* take(yield* open(topic), 1)), ids(20, 21))
          })
      )

      test("sends on what is too large for one message in parts", ({ held, publish }, topic) =>
        Effect.gen(function*() {
          const large = Uint8Array.from({ length: largeBytes }, (_, i) => i % 251)
          yield* publish(topic, [letter(large), ...letters(0, 1)])
          const { handled } = yield* running({ topics: [topic], subscription: "s" })
          yield* handled(1)
          const parts = yield* eventually(held(`${topic}-s-DLQ`), ([first, ...others]) => {
            const count = Number(first?.properties["trustlog-part"]?.split("/")[1])
            return count > 1 && others.length + 1 >= count
          })
          assert.deepStrictEqual(
            parts.map(({ properties }) => properties["trustlog-part"]),
            parts.map((_, i) => `${i + 1}/${parts.length}`)
          )
          assert.deepStrictEqual(Uint8Array.from(parts.flatMap(({ bytes }) => Array.from(bytes))), large)
          assert.strictEqual(
            new Set(parts.map(({ key, properties }) => `${key} ${properties["ORIGIN_MESSAGE_ID"]}`)).size,
            1
          )
        }))

      test(
        "keeps what the dead-letter topic does not take, and stops nobody for it",
        ({ held, publish }, topic) =>
          Effect.gen(function*() {
            const subscriber = yield* Subscriber.Subscriber
            const hangs = yield* Deferred.make<void>()
            const problem = new PublisherError({ reason: "misconfigured", problem: "no right to produce" })
            let tries = 0
            let isOut = true
            const layer = Layer.succeed(Subscriber.Subscriber, {
              ...subscriber,
              send: (topic, letters) => {
                tries++
                return isOut ? Effect.zipRight(Deferred.await(hangs), problem) : subscriber.send(topic, letters)
              }
            })
            yield* publish(topic, [letter("bad"), ...letters(0, 50)])
            const { handled } = yield* Effect.provide(running({ topics: [topic], subscription: "s" }), layer)
            assert.deepStrictEqual(idsOf(yield* handled(50)), ids(0, 50))
            yield* Deferred.succeed(hangs, undefined)
            yield* eventually(Effect.sync(() => tries), (count) => count >= 3)
            yield* publish(topic, letters(50, 60))
            assert.deepStrictEqual(idsOf(yield* handled(10)), ids(50, 60))
            isOut = false
            const dead = yield* eventually(held(`${topic}-s-DLQ`), ({ length }) => length > 0)
            assert.deepStrictEqual(dead.map(textOf), ["bad"])
          })
      )

      test(
        "goes on after connections were lost, and has everything handled",
        ({ loss, publish }, topic) =>
          Effect.gen(function*() {
            yield* publish(topic, letters(0, 300))
            const seen = new Set<string>()
            let calls = 0
            yield* running(
              { topics: [topic], subscription: "s", receiveAtMost: { messages: 20 } },
              (entries) =>
                Effect.gen(function*() {
                  if (++calls % 4 === 0 && calls <= 12) yield* loss
                  for (const id of idsOf(entries)) seen.add(id)
                })
            )
            yield* eventually(Effect.sync(() => seen.size), (size) => size === 300)
            assert.isAtLeast(calls, 12)
          })
      )

      test("waits for a log that is down, and says so once", ({ outage, publish }, topic) =>
        Effect.gen(function*() {
          yield* publish(topic, letters(0, 3))
          const said: Array<string> = []
          const logger = Logger.replace(
            Logger.defaultLogger,
            Logger.make(({ message }) => {
              said.push(String(message))
            })
          )
          const down = yield* Scope.make()
          yield* Scope.extend(outage, down)
          const { handled } = yield* Effect.provide(running({ topics: [topic], subscription: "s" }), logger)
          yield* eventually(Effect.sync(() => said), ({ length }) => length > 0)
          // It tries several times in a second.
          yield* Effect.sleep("1 second")
          yield* Scope.close(down, Exit.void)
          assert.deepStrictEqual(idsOf(yield* handled(3)), ids(0, 3))
          assert.strictEqual(said.length, 2)
          assert.include(said[0], `${topic} is not consumed`)
          assert.strictEqual(said[1], `${topic} is consumed again`)
        }))

      test(
        "interrupted, waits for a call that has begun where it shall, and acknowledges it",
        ({ publish }, topic) =>
          Effect.gen(function*() {
            yield* publish(topic, letters(0, 1))
            const begun = yield* Deferred.make<void>()
            const { fiber } = yield* running(
              { topics: [topic], subscription: "s", finishesCalls: true },
              // It goes on after the interruption has come to it.
              () =>
                Effect.zipRight(
                  Deferred.succeed(begun, undefined),
                  Effect.asVoid(Effect.exit(Effect.interruptible(Effect.never)))
                )
            )
            yield* Deferred.await(begun)
            yield* Fiber.interrupt(fiber)
            yield* publish(topic, letters(1, 2))
            assert.deepStrictEqual(keysOf(yield* take(yield* open(topic), 1)), ids(1, 2))
          })
      )

      test("interrupted, leaves what was not handled for the next one", ({ publish }, topic) =>
        Effect.gen(function*() {
          yield* publish(topic, letters(0, 1))
          const begun = yield* Deferred.make<void>()
          const { fiber } = yield* running(
            { topics: [topic], subscription: "s" },
            () => Effect.zipRight(Deferred.succeed(begun, undefined), Effect.never)
          )
          yield* Deferred.await(begun)
          yield* Fiber.interrupt(fiber)
          assert.deepStrictEqual(keysOf(yield* take(yield* open(topic), 1)), ids(0, 1))
        }))

      test("fails at once where its options contradict themselves", (_, topic) =>
        Effect.gen(function*() {
          const wrong: ReadonlyArray<readonly [Partial<Subscriber.Options>, RegExp]> = [
            [{ topics: [] }, /no topic/],
            [{ topics: ["operation"] }, /full name/],
            [{ topics: [topic.replace("persistent:", "non-persistent:")] }, /memory only/],
            [{ subscription: "" }, /subscription/],
            [{ subscription: "a/b" }, /subscription/],
            [{ deadLetterTopic: topic }, /dead-letter topic/],
            [{ deadLetterTopic: "dead" }, /full name/],
            [{ maxRedeliveries: -1 }, /maxRedeliveries/],
            [{ receiveAtMost: { messages: 0 } }, /receiveAtMost/]
          ]
          for (const [options, problem] of wrong) {
            const all = { topics: [topic], subscription: "s", ...options }
            const error = yield* Effect.flip(Subscriber.run(all, () => Effect.void))
            assert.strictEqual(error.reason, "misconfigured")
            assert.match(error.message, problem)
            assert.match((yield* Effect.flip(Stream.runDrain(Subscriber.stream(all)))).message, problem)
          }
        }))
    })

    describe("stream", () => {
      test("has entries that its reader acknowledges or rejects", ({ held, publish }, topic) =>
        Effect.gen(function*() {
          yield* publish(topic, [...letters(0, 10), letter("bad")])
          const options = {
            topics: [topic],
            subscription: "s",
            redeliveryDelay: "200 millis",
            maxRedeliveries: 1
          } as const
          const seen: Array<string> = []
          yield* Subscriber.stream(options).pipe(
            Stream.tap((entry) => {
              seen.push(entry.envelope.id)
              return entry.envelope.id === idOf(3) ? entry.reject : entry.acknowledge
            }),
            Stream.take(11),
            Stream.runDrain
          )
          assert.deepStrictEqual(seen, [...ids(0, 10), idOf(3)])
          const dead = yield* eventually(held(`${topic}-s-DLQ`), ({ length }) => length >= 2)
          assert.deepStrictEqual(dead.map(({ properties }) => properties["trustlog-reason"]).toSorted(), [
            "failed",
            "malformed"
          ])
          yield* publish(topic, letters(10, 11))
          assert.deepStrictEqual(keysOf(yield* take(yield* open(topic), 1)), ids(10, 11))
        }))
    })
  })
}
