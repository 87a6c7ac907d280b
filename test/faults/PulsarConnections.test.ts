/**
 * Connections to a broker that are cut, stalled, muted and refused while records flow, and one that nobody uses.
 */
import { assert, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { Repository } from "../../src/Repository.ts"
import * as Trustlog from "../../src/Trustlog.ts"
import type { Broker } from "../servers/Broker.ts"
import * as Instance from "../servers/Instance.ts"
import * as Proxy from "../servers/Proxy.ts"
import * as Server from "../servers/Server.ts"
import * as SharedPulsar from "../servers/SharedPulsar.ts"
import * as Topic from "../servers/Topic.ts"
import { id } from "../workers.ts"
import { append, application, delivered, holdsAll, isSaid, noAttemptUsed } from "./pulsarScene.ts"
import { range, until } from "./scene.ts"

Server.on("postgresql-18", (server) => {
  SharedPulsar.on((broker) => {
    it.scopedLive("connections that are cut, stalled and muted at random moments lose nothing", () =>
      Effect.gen(function*() {
        const topic = yield* Topic.make(broker)
        const proxy = yield* Proxy.make(broker.wsUrl)
        yield* Effect.gen(function*() {
          const numbers = range(1, 30_000)
          const appending = yield* Effect.fork(append(numbers))
          yield* delivered(500)
          const moment = Effect.flatMap(Random.nextIntBetween(50, 600), (ms) => Effect.sleep(Duration.millis(ms)))
          const harm = Effect.gen(function*() {
            yield* moment
            switch (yield* Random.nextIntBetween(0, 4)) {
              case 0:
                return yield* Effect.zipRight(proxy.stall, Effect.zipRight(moment, proxy.resume))
              case 1:
                return yield* Effect.zipRight(proxy.mute, Effect.zipRight(moment, proxy.cut))
              case 2:
                return yield* proxy.refuse.pipe(
                  Effect.zipRight(proxy.cut),
                  Effect.zipRight(moment),
                  Effect.zipRight(proxy.accept)
                )
              default:
                return yield* proxy.cut
            }
          })
          yield* Effect.repeatN(harm, 19).pipe(Effect.withRandom(Random.make("a network")))
          yield* appending.await
          yield* noAttemptUsed
          yield* holdsAll(broker, topic, numbers)
        }).pipe(
          Effect.provide(application(yield* Server.database(server), topic, { serviceUrl: proxy.url(broker.wsUrl) }))
        )
      }))

    it.scopedLive("a connection that is stalled for good is given up, and another one made", () =>
      Effect.gen(function*() {
        const topic = yield* Topic.make(broker)
        const proxy = yield* Proxy.make(broker.wsUrl)
        const url = yield* Server.database(server)
        const options = { serviceUrl: proxy.url(broker.wsUrl), patience: "2 seconds" } as const
        yield* Effect.gen(function*() {
          yield* append(range(1, 100))
          yield* delivered(100)
          yield* proxy.stall
          yield* append(range(101, 200))
          yield* isSaid(/^WARN the log is out: .*(silent|timed out)/)
          yield* proxy.cut
          yield* proxy.resume
          yield* holdsAll(broker, topic, range(1, 200))
        }).pipe(Effect.provide(application(url, topic, options)))
      }))
  })

  const large = (bytes: number) => ({
    id: id(500),
    actor: "alice",
    action: "read",
    target: "file/1",
    payload: "x".repeat(bytes)
  })

  /** Delivers a large record among 999 others, and looks for it among the dead letters. */
  const refusesAlone = (broker: Broker, bytes: number, error: RegExp) =>
    Effect.gen(function*() {
      const topic = yield* Topic.make(broker)
      yield* Effect.gen(function*() {
        const { appendAll } = yield* Trustlog.Trustlog
        const { deadLetter, stats } = yield* Repository
        yield* append(range(1, 499))
        yield* appendAll([large(bytes)])
        yield* append(range(501, 1000))
        yield* delivered(999)
        yield* until(Effect.map(stats, ({ dead }) => dead === 1))
        const letter = yield* deadLetter(id(500))
        assert.strictEqual(letter?.reason, "tooLarge")
        assert.match(letter?.error ?? "", error)
        assert.deepInclude(yield* stats, { delivered: 999, dead: 1, retrying: 0, pending: 0 })
        const held = (yield* Topic.messages(broker, topic)).map(({ key }) => key)
        assert.deepStrictEqual(Array.from(new Set(held)), range(1, 1000).filter((n) => n !== 500).map((n) => id(n)))
      }).pipe(Effect.provide(application(yield* Server.database(server), topic, { serviceUrl: broker.wsUrl })))
    })

  SharedPulsar.on((broker) => {
    it.scopedLive("a record that no frame takes is a dead letter, and 999 others are delivered", () =>
      refusesAlone(broker, 900_000, /make a frame of more than 1048576/))
  })

  Server.having("pulsar", () => {
    it.scopedLive("a record that is larger than the broker takes is a dead letter, and 999 others are delivered", () =>
      Effect.flatMap(
        Instance.Pulsar({ settings: { maxMessageSize: "100000" } }),
        (own) => refusesAlone(own, 150_000, /100000 bytes/)
      ))

    it.scopedLive("a connection that the broker has closed because nobody used it is made again for the next record", () =>
      Effect.gen(function*() {
        const own = yield* Instance.Pulsar({ settings: { webSocketSessionIdleTimeoutMillis: "2000" } })
        const topic = yield* Topic.make(own)
        // Without pings in between, which would keep it open.
        const options = { serviceUrl: own.wsUrl, patience: "1 minute" } as const
        yield* Effect.gen(function*() {
          yield* append([1])
          yield* delivered(1)
          const isConnected = Effect.map(
            own.admin("GET", `${topic.replace("://", "/")}/stats`),
            (stats) => !/"publishers" ?: ?\[ ?\]/.test(JSON.stringify(stats))
          )
          assert.isTrue(yield* isConnected)
          yield* Effect.repeat(isConnected, { while: (is) => is })
          const before = Date.now()
          yield* append([2])
          yield* delivered(2)
          assert.isBelow(Date.now() - before, 2000)
          yield* holdsAll(own, topic, [1, 2])
        }).pipe(Effect.provide(application(yield* Server.database(server), topic, options)))
      }))
  })
})
