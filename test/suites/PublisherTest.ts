/**
 * What every back-end of `Publisher` keeps.
 */
import { assert, describe, it } from "@effect/vitest"
import { bytesToHex } from "@noble/hashes/utils.js"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { type Message, type Published, Publisher } from "../../src/Publisher.ts"
import type { PublisherError } from "../../src/TrustlogError.ts"
import { idOf, message, messages } from "../messages.ts"

/** A log, made anew for each test, and what can be done to it from outside. */
export interface Subject {
  /** The publisher. It may be built more than once, over the same log. */
  readonly layer: Layer.Layer<Publisher, unknown>
  /** The topic to publish to; `persistent://public/default/operation` by default. */
  readonly topic?: string | undefined
  /** The ids that the log holds, in its order. */
  readonly held: Effect.Effect<ReadonlyArray<string>, unknown>
  /** The log takes nothing and answers nothing until the scope closes. */
  readonly outage: Effect.Effect<void, unknown, Scope.Scope>
  /** The connection is lost in the middle of the next batch, which is one of ten. */
  readonly loss: Effect.Effect<void, unknown>
  /** The log accepts what it is sent and does not answer until the scope closes; `begun` completes once it has some. */
  readonly hang: Effect.Effect<{ readonly begun: Effect.Effect<void> }, unknown, Scope.Scope>
}

/** What a back-end promises beyond the contract. */
export interface Capabilities {
  /** Whether it takes a record once, however often it is sent, and refuses other content under its id. */
  readonly isIdempotent: boolean
  /** Whether what it has acknowledged is there when it is opened again. */
  readonly isDurable: boolean
  /** Whether it has signed states. */
  readonly hasCheckpoints: boolean
  /** The subject refuses messages of more bytes as too large. */
  readonly maxBytes: number
}

/** The topic of the test that runs. */
class Topic extends Context.Reference<Topic>()("effect-trustlog/test/Topic", {
  defaultValue: () => "persistent://public/default/operation"
}) {}

const publish = (batch: ReadonlyArray<Message>): Effect.Effect<Published, PublisherError, Publisher> =>
  Effect.gen(function*() {
    return yield* (yield* Publisher).publish(yield* Topic, batch)
  })

const health = Effect.gen(function*() {
  yield* (yield* Publisher).health(yield* Topic)
})

const tags = (published: Published): ReadonlyArray<string> => published.outcomes.map((outcome) => outcome._tag)

const receipts = (published: Published): ReadonlyArray<string> =>
  published.outcomes.map((outcome) => outcome._tag === "Acknowledged" ? bytesToHex(outcome.messageId) : outcome._tag)

const count = <A>(items: Iterable<A>): number => new Set(items).size

const all = (length: number, tag: string): ReadonlyArray<string> => Array.from({ length }, () => tag)

const ids = (from: number, to: number): ReadonlyArray<string> =>
  Array.from({ length: to - from }, (_, i) => idOf(from + i))

/** Runs the suite over logs that `make` makes, one for each test. */
export const suite = (
  name: string,
  make: Effect.Effect<Subject, unknown, Scope.Scope>,
  capabilities: Capabilities
): void => {
  const test = (title: string, body: (subject: Subject) => Effect.Effect<void, unknown, Publisher | Scope.Scope>) =>
    it.scopedLive(title, () =>
      Effect.flatMap(make, (subject) => {
        const run = Effect.provide(body(subject), subject.layer)
        return subject.topic === undefined ? run : Effect.provideService(run, Topic, subject.topic)
      }))

  describe(name, () => {
    test("acknowledges a message, and holds it", ({ held }) =>
      Effect.gen(function*() {
        const published = yield* publish(messages(1, 2))
        assert.deepStrictEqual(tags(published), ["Acknowledged"])
        assert.isUndefined(published.outage)
        assert.deepStrictEqual(yield* held, ids(1, 2))
      }))

    test("answers an empty batch without sending anything", ({ held }) =>
      Effect.gen(function*() {
        const published = yield* publish([])
        assert.deepStrictEqual(published.outcomes, [])
        assert.isUndefined(published.outage)
        assert.deepStrictEqual(yield* held, [])
      }))

    test("answers a thousand messages in their order, each with a receipt of its own", ({ held }) =>
      Effect.gen(function*() {
        const published = yield* publish(messages(0, 1000))
        assert.deepStrictEqual(tags(published), all(1000, "Acknowledged"))
        assert.strictEqual(count(receipts(published)), 1000)
        for (const outcome of published.outcomes) {
          if (outcome._tag !== "Acknowledged") continue
          assert.isAtLeast(outcome.messageId.length, 1)
          assert.isAtMost(outcome.messageId.length, 255)
        }
        assert.deepStrictEqual(yield* held, ids(0, 1000))
      }))

    test("refuses what is too large for good, and nothing beside it", ({ held }) =>
      Effect.gen(function*() {
        const large = message(2, { payload: "x".repeat(capabilities.maxBytes) })
        const published = yield* publish([message(1), large, message(3)])
        assert.deepStrictEqual(tags(published), ["Acknowledged", "Refused", "Acknowledged"])
        const [, refused] = published.outcomes
        assert.strictEqual(refused?._tag === "Refused" ? refused.reason : refused?._tag, "tooLarge")
        assert.isUndefined(published.outage)
        assert.deepStrictEqual(yield* held, [idOf(1), idOf(3)])
      }))

    test("takes texts of every script, and of none", ({ held }) =>
      Effect.gen(function*() {
        const published = yield* publish([
          message(1, { payload: { "naïve ☃": "𝄞 \u0001 \u2028 \ufffd é" } }),
          message(2, { payload: "" })
        ])
        assert.deepStrictEqual(tags(published), all(2, "Acknowledged"))
        assert.deepStrictEqual(yield* held, ids(1, 3))
      }))

    test("takes the same batch again", ({ held }) =>
      Effect.gen(function*() {
        const first = yield* publish(messages(0, 10))
        const second = yield* publish([...messages(5, 15), ...messages(12, 13)])
        assert.deepStrictEqual(tags(second), all(11, "Acknowledged"))
        assert.strictEqual(count(yield* held), 15)
        if (!capabilities.isIdempotent) return
        assert.deepStrictEqual(yield* held, ids(0, 15))
        assert.deepStrictEqual(receipts(second).slice(0, 5), receipts(first).slice(5))
        assert.strictEqual(receipts(second)[10], receipts(second)[7])
      }))

    if (capabilities.isIdempotent) {
      test("refuses other content under a known id as a conflict, within a batch and later", ({ held }) =>
        Effect.gen(function*() {
          const other = (n: number) => message(n, { payload: "other" })
          const first = yield* publish([message(1), other(1), message(2)])
          assert.deepStrictEqual(tags(first), ["Acknowledged", "Refused", "Acknowledged"])
          const second = yield* publish([other(2), message(3), message(2)])
          assert.deepStrictEqual(tags(second), ["Refused", "Acknowledged", "Acknowledged"])
          const [conflict] = second.outcomes
          assert.strictEqual(conflict?._tag === "Refused" ? conflict.reason : conflict?._tag, "conflict")
          assert.deepStrictEqual(yield* held, ids(1, 4))
        }))

      test("tells the same id in two streams apart", ({ held }) =>
        Effect.gen(function*() {
          const elsewhere = message(1, { stream: "another", payload: 2 })
          assert.deepStrictEqual(tags(yield* publish([message(1), elsewhere])), all(2, "Acknowledged"))
          assert.deepStrictEqual(tags(yield* publish([elsewhere, message(1)])), all(2, "Acknowledged"))
          assert.deepStrictEqual(yield* held, [idOf(1), idOf(1)])
        }))
    }

    if (capabilities.hasCheckpoints) {
      test("names a signed state that includes the batch", () =>
        Effect.gen(function*() {
          const first = yield* publish(messages(0, 3))
          const second = yield* publish(messages(3, 5))
          assert.match(first.checkpoint?.root ?? "", /^[0-9a-f]{64}$/)
          assert.strictEqual((second.checkpoint?.size ?? 0) - (first.checkpoint?.size ?? 0), 2)
        }))
    }

    test("fails when the log is down, having sent nothing, and its health says so", ({ held, outage }) =>
      Effect.gen(function*() {
        yield* Effect.scoped(Effect.gen(function*() {
          yield* outage
          const error = yield* Effect.flip(publish(messages(0, 3)))
          assert.strictEqual(error.reason, "unavailable")
          assert.isTrue(error.isRetryable)
          assert.strictEqual((yield* Effect.flip(health)).reason, "unavailable")
        }))
        assert.deepStrictEqual(yield* held, [])
        yield* health
        assert.deepStrictEqual(tags(yield* publish(messages(0, 3))), all(3, "Acknowledged"))
        assert.deepStrictEqual(yield* held, ids(0, 3))
      }))

    test("tells what it knows when the connection is lost in the middle of a batch", ({ held, loss }) =>
      Effect.gen(function*() {
        yield* loss
        const published = yield* publish(messages(0, 10))
        assert.strictEqual(published.outcomes.length, 10)
        assert.include(tags(published), "Unknown")
        assert.include(["unavailable", "lost"], published.outage?.reason)
        const acknowledged = published.outcomes.filter((outcome) => outcome._tag === "Acknowledged").length
        assert.deepStrictEqual((yield* held).slice(0, acknowledged), ids(0, acknowledged))
        yield* health
        assert.deepStrictEqual(tags(yield* publish(messages(0, 10))), all(10, "Acknowledged"))
        assert.strictEqual(count(yield* held), 10)
        if (capabilities.isIdempotent) assert.strictEqual((yield* held).length, 10)
      }))

    test("can be interrupted while the log does not answer, and goes on when it does", ({ hang, held }) =>
      Effect.gen(function*() {
        yield* Effect.scoped(Effect.gen(function*() {
          const { begun } = yield* hang
          const publishing = yield* Effect.fork(publish(messages(0, 3)))
          yield* begun
          assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(publishing)))
        }))
        assert.deepStrictEqual(tags(yield* publish(messages(0, 5))), all(5, "Acknowledged"))
        assert.strictEqual(count(yield* held), 5)
      }))

    test("takes batches from many fibres at once", ({ held }) =>
      Effect.gen(function*() {
        const published = yield* Effect.forEach(
          Array.from({ length: 40 }, (_, i) => messages(i * 25, (i + 1) * 25)),
          publish,
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(published.flatMap(tags), all(1000, "Acknowledged"))
        assert.strictEqual(count(published.flatMap(receipts)), 1000)
        assert.deepStrictEqual((yield* held).toSorted(), ids(0, 1000))
      }))

    test("leaves nobody waiting when it is closed", ({ held, layer }) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const context = yield* Scope.extend(Layer.build(layer), scope)
        const first = yield* Effect.provide(publish(messages(0, 3)), context)
        const started = yield* Deferred.make<void>()
        const waiting = yield* Effect.fork(
          Effect.forEach(
            Array.from({ length: 50 }, (_, i) => messages(100 + i, 101 + i)),
            (batch) =>
              Effect.zipRight(
                Deferred.succeed(started, undefined),
                Effect.exit(Effect.provide(publish(batch), context))
              ),
            { concurrency: "unbounded" }
          )
        )
        yield* Deferred.await(started)
        yield* Scope.close(scope, Exit.void)
        const exits = yield* Fiber.join(waiting)
        const acknowledged = exits.filter((exit) => Exit.isSuccess(exit) && tags(exit.value)[0] === "Acknowledged")
        if (capabilities.isDurable) {
          assert.isAtLeast((yield* held).length, 3 + acknowledged.length)
          if (!capabilities.isIdempotent) return
          const again = yield* publish(messages(0, 3))
          assert.deepStrictEqual(receipts(again), receipts(first))
        }
      }))
  })
}
