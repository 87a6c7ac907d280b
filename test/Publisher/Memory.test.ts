import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Publisher } from "../../src/Publisher.ts"
import * as Memory from "../../src/Publisher/Memory.ts"
import { idOf, messages } from "../messages.ts"
import { type Subject, suite } from "../suites/PublisherTest.ts"

const topic = "t"

suite(
  "the log in memory",
  Effect.gen(function*() {
    const context = yield* Layer.build(Memory.layerWith({ maxBytes: 5000 }))
    const control = Context.get(context, Memory.Control)
    const held = Effect.map(control.held, (all) => all.map((each) => each.message.id))
    const subject: Subject = {
      layer: Layer.succeedContext(context),
      held,
      outage: Effect.acquireRelease(control.outage(true), () => control.outage(false)),
      loss: control.answerOnly(4),
      hang: Effect.as(Effect.acquireRelease(control.hang(true), () => control.hang(false)), {
        begun: Effect.repeat(Effect.yieldNow(), { until: () => Effect.map(control.calls, (calls) => calls.length > 0) })
      })
    }
    return subject
  }),
  { isIdempotent: false, isDurable: false, hasCheckpoints: false, maxBytes: 5000 }
)

describe("the control of the log in memory", () => {
  const test = (
    title: string,
    body: (
      control: Memory.Control["Type"],
      publisher: Publisher["Type"]
    ) => Effect.Effect<void, unknown>
  ) =>
    it.effect(
      title,
      () =>
        Effect.flatMap(Effect.all([Memory.Control, Publisher]), ([control, publisher]) => body(control, publisher))
          .pipe(
            Effect.provide(Memory.layer)
          )
    )

  test("refuses the record it is told to, until it shall accept it", (control, publisher) =>
    Effect.gen(function*() {
      yield* control.refuse(idOf(1), "schema")
      const first = yield* publisher.publish(topic, messages(0, 3))
      assert.deepStrictEqual(first.outcomes.map((outcome) => outcome._tag), ["Acknowledged", "Refused", "Acknowledged"])
      assert.isUndefined(first.outage)
      yield* control.accept(idOf(1))
      const second = yield* publisher.publish(topic, messages(1, 2))
      assert.deepStrictEqual(second.outcomes.map((outcome) => outcome._tag), ["Acknowledged"])
    }))

  test(
    "loses the connection at the record it is told to, each time, and is well otherwise",
    (control, publisher) =>
      Effect.gen(function*() {
        yield* control.breakOn(idOf(1))
        for (let i = 0; i < 2; i++) {
          const published = yield* publisher.publish(topic, messages(0, 3))
          assert.deepStrictEqual(published.outcomes.map((outcome) => outcome._tag), [
            "Acknowledged",
            "Unknown",
            "Unknown"
          ])
          assert.strictEqual(published.outage?.reason, "lost")
          yield* publisher.health(topic)
        }
        assert.deepStrictEqual((yield* control.held).map((held) => held.message.id), [idOf(0), idOf(0)])
      })
  )

  test(
    "answers only so many of the next batch, and all of the one after it",
    (control, publisher) =>
      Effect.gen(function*() {
        yield* control.answerOnly(1)
        const first = yield* publisher.publish(topic, messages(0, 3))
        assert.deepStrictEqual(first.outcomes.map((outcome) => outcome._tag), ["Acknowledged", "Unknown", "Unknown"])
        const second = yield* publisher.publish(topic, messages(1, 3))
        assert.deepStrictEqual(second.outcomes.map((outcome) => outcome._tag), ["Acknowledged", "Acknowledged"])
      })
  )

  test("remembers its calls and the topics", (control, publisher) =>
    Effect.gen(function*() {
      yield* publisher.publish("a", messages(0, 2))
      yield* publisher.publish("b", messages(2, 3))
      assert.deepStrictEqual(yield* control.calls, [
        { topic: "a", ids: [idOf(0), idOf(1)] },
        { topic: "b", ids: [idOf(2)] }
      ])
      assert.deepStrictEqual((yield* control.held).map((held) => held.topic), ["a", "a", "b"])
    }))
})
