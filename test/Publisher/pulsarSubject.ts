/**
 * A topic of a real Pulsar as a subject of the conformance suite: reached through a proxy, which does to the connection what a
 * network does.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { Publisher } from "../../src/Publisher.ts"
import type { Broker } from "../servers/Broker.ts"
import * as Proxy from "../servers/Proxy.ts"
import * as Topic from "../servers/Topic.ts"
import type { Subject } from "../suites/PublisherTest.ts"

/** Asks again and again until the answer is yes. */
const until = <E, R>(isSo: Effect.Effect<boolean, E, R>): Effect.Effect<void, E, R> =>
  Effect.asVoid(Effect.repeat(isSo, { until: (is) => is, schedule: Schedule.spaced("20 millis") }))

/** A topic of its own, behind a proxy to the URL of the interface that the publisher uses. */
export const make = (
  broker: Broker,
  url: string,
  layerTo: (url: string) => Layer.Layer<Publisher, unknown>
): Effect.Effect<Subject, never, Scope.Scope> =>
  Effect.gen(function*() {
    const topic = yield* Topic.make(broker)
    const proxy = yield* Proxy.make(url)
    const scope = yield* Effect.scope
    const held = Effect.map(Topic.messages(broker, topic), (messages) => messages.map(({ key }) => key ?? ""))
    const isBegun = Effect.map(held, (ids) => ids.length > 0)
    let publisher: Publisher["Type"] | undefined
    const health = Effect.suspend(() => publisher?.health(topic) ?? Effect.void)
    return {
      topic,
      // It is connected before the test begins, so that what a test does to connections is done to its own.
      layer: Layer.tap(layerTo(proxy.url(url)), (context) => {
        publisher = Context.get(context, Publisher)
        return publisher.health(topic)
      }),
      held,
      outage: Effect.acquireRelease(
        Effect.zipRight(
          Effect.zipRight(proxy.refuse, proxy.cut),
          until(Effect.map(Effect.either(health), ({ _tag }) => _tag === "Left"))
        ),
        () => proxy.accept
      ),
      loss: proxy.mute.pipe(
        Effect.zipRight(Effect.forkIn(Effect.zipRight(until(isBegun), proxy.cut), scope)),
        Effect.asVoid
      ),
      hang: Effect.as(Effect.acquireRelease(proxy.mute, () => proxy.resume), { begun: until(isBegun) })
    }
  })
