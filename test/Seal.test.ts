/**
 * The log's side: what a real Pulsar holds, in a ledger of its own.
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as FileSystem from "@effect/platform/FileSystem"
import { SqlClient } from "@effect/sql/SqlClient"
import { assert, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Sqlite from "../src/Database/Sqlite.ts"
import { type Message, Publisher } from "../src/Publisher.ts"
import * as PublisherPulsar from "../src/Publisher/PulsarWebSocket.ts"
import * as Seal from "../src/Seal.ts"
import * as Signature from "../src/Signature.ts"
import { Subscriber } from "../src/Subscriber.ts"
import * as SubscriberPulsar from "../src/Subscriber/PulsarWebSocket.ts"
import * as Ws from "../src/WebSocketClient/Ws.ts"
import { first, second, signed } from "./keys.ts"
import { message, messages } from "./messages.ts"
import { entriesIn, namesOf } from "./sealed.ts"
import * as Proxy from "./servers/Proxy.ts"
import * as SharedPulsar from "./servers/SharedPulsar.ts"
import * as Topic from "./servers/Topic.ts"

const folder = Effect.map(
  Effect.flatMap(FileSystem.FileSystem, (fs) => fs.makeTempDirectoryScoped({ prefix: "trustlog-seal-" })),
  (parent) => `${parent}/ledger`
)

/** Holds the append lock, as another process would. */
const hold = (path: string) =>
  Effect.gen(function*() {
    const sql = Context.get(yield* Layer.build(Sqlite.layer({ filename: `${path}/ledger.db` })), SqlClient)
    const connection = yield* sql.reserve
    yield* connection.executeUnprepared("BEGIN IMMEDIATE", [], undefined)
  })

const until = <A, E, R>(look: Effect.Effect<A, E, R>, isSo: (value: A) => boolean): Effect.Effect<A, E, R> =>
  Effect.repeat(look, { until: isSo, schedule: Schedule.spaced("20 millis") }).pipe(Effect.zipRight(look))

const totalsAre = (seal: Seal.Seal, expected: Partial<Seal.Totals>) =>
  until(seal.totals, (totals) => Object.entries(expected).every(([name, count]) => Object(totals)[name] === count))

/** The names of what was published, as `namesOf` gives those of a ledger. */
const names = (sent: ReadonlyArray<Message>): ReadonlyArray<string> => sent.map(({ id, stream }) => `${stream} ${id}`)

SharedPulsar.on((broker) => {
  const publish = (topic: string, batch: ReadonlyArray<Message>) =>
    Effect.flatMap(Publisher, (publisher) => publisher.publish(topic, batch)).pipe(
      Effect.tap(({ outcomes }) => assert.isTrue(outcomes.every(({ _tag }) => _tag === "Acknowledged")))
    )

  /** Publishes what no publisher of ours would. */
  const publishRaw = (topic: string, texts: ReadonlyArray<string | Uint8Array>) =>
    Effect.flatMap(Subscriber, (subscriber) =>
      subscriber.send(
        topic,
        texts.map((text) => ({ key: "", bytes: typeof text === "string" ? Buffer.from(text) : text, properties: {} }))
      ))

  const layer = Layer.mergeAll(
    Layer.provide(PublisherPulsar.layer({ serviceUrl: broker.wsUrl }), Ws.layer),
    Layer.provide(SubscriberPulsar.layer({ serviceUrl: broker.wsUrl }), Ws.layer),
    NodeContext.layer
  )

  const test = (
    title: string,
    body: (
      topic: string,
      path: string
    ) => Effect.Effect<void, unknown, Publisher | Subscriber | NodeContext.NodeContext | Scope.Scope>
  ) =>
    it.scopedLive(title, () =>
      Effect.gen(function*() {
        yield* body(yield* Topic.make(broker), yield* folder)
      }).pipe(Effect.provide(layer)))

  /** Seals beside the test. */
  const sealing = (path: string, topics: ReadonlyArray<string>, options: Partial<Seal.Options> = {}) =>
    Effect.gen(function*() {
      const seal = yield* Seal.make({ ledger: { path }, topics, ...options })
      const fiber = yield* Effect.forkScoped(seal.run)
      return { ...seal, fiber }
    })

  /** How many messages a subscription has not acknowledged. */
  const backlog = (topic: string) =>
    Effect.map(
      Effect.orDie(broker.admin("GET", `${topic.replace("://", "/")}/stats`)),
      (stats) => Number(Object(stats).subscriptions?.[Seal.defaultSubscription]?.msgBacklog)
    )

  test(
    "takes both topics into a ledger, each message once and in its order, and acknowledges it",
    (topic, path) =>
      Effect.gen(function*() {
        const record = yield* Topic.make(broker)
        yield* publish(topic, messages(0, 1200))
        yield* publish(record, messages(1200, 1500))
        const seal = yield* sealing(path, [topic, record])
        yield* totalsAre(seal, { received: 1500, appended: 1500, duplicates: 0, deadLettered: 0 })
        const held = namesOf(yield* entriesIn(path))
        assert.deepStrictEqual(held.toSorted(), names(messages(0, 1500)))
        const operations = new Set(names(messages(0, 1200)))
        assert.deepStrictEqual(held.filter((name) => operations.has(name)), [...operations])
        yield* until(Effect.all([backlog(topic), backlog(record)]), ([a, b]) => a + b === 0)
        yield* publish(topic, messages(1500, 1501))
        yield* totalsAre(seal, { appended: 1501 })
      })
  )

  test("takes two applications into one ledger, which may use the same ids", (topic, path) =>
    Effect.gen(function*() {
      const other = yield* Topic.make(broker)
      const another = Array.from({ length: 50 }, (_, i) => message(i, { stream: "another", payload: i }))
      yield* publish(topic, messages(0, 50))
      yield* publish(other, another)
      const seal = yield* sealing(path, [topic, other])
      yield* totalsAre(seal, { received: 100, appended: 100 })
      assert.deepStrictEqual(
        namesOf(yield* entriesIn(path)).toSorted(),
        names([...messages(0, 50), ...another]).toSorted()
      )
    }))

  test("has what was published twice once", (topic, path) =>
    Effect.gen(function*() {
      yield* publish(topic, [...messages(0, 20), ...messages(10, 30)])
      const seal = yield* sealing(path, [topic])
      yield* totalsAre(seal, { received: 40, appended: 30, duplicates: 10 })
      assert.deepStrictEqual(namesOf(yield* entriesIn(path)), names(messages(0, 30)))
    }))

  test(
    "sends on what is no envelope, and what contradicts the ledger, and takes the rest",
    (topic, path) =>
      Effect.gen(function*() {
        const text = Buffer.from(message(7).bytes).toString()
        const strange = [
          "garbage",
          "",
          Uint8Array.of(0xc3, 0x28),
          text.replace(`"v":1`, `"v":9`),
          new Uint8Array(600_000).fill(120)
        ]
        const other = message(3, { payload: "other" })
        yield* publishRaw(topic, strange)
        yield* publish(topic, [...messages(0, 10), other, ...messages(10, 20)])
        const dead = yield* Topic.make(broker)
        const seal = yield* sealing(path, [topic], { deadLetterTopic: dead })
        yield* totalsAre(seal, { received: 26, appended: 20, duplicates: 0, deadLettered: 6 })
        assert.deepStrictEqual(namesOf(yield* entriesIn(path)), names(messages(0, 20)))
        const letters = yield* Topic.messages(broker, dead)
        assert.deepStrictEqual(
          letters.map(({ payload }) => Buffer.from(payload).toString("hex")).toSorted(),
          [...strange, other.bytes].map((bytes) => Buffer.from(bytes).toString("hex")).toSorted()
        )
        assert.deepStrictEqual(letters.map(({ properties }) => properties["trustlog-reason"]).toSorted(), [
          "conflict",
          ...strange.map(() => "malformed")
        ])
        const conflict = letters.find(({ properties }) => properties["trustlog-reason"] === "conflict")
        assert.match(conflict?.properties["trustlog-error"] ?? "", /other content under this id, as entry 4/)
        yield* until(backlog(topic), (count) => count === 0)
      })
  )

  test(
    "keeps signed envelopes as they were sent, and with trusted keys takes no others",
    (topic, path) =>
      Effect.gen(function*() {
        const good = messages(0, 10).map((sent) => signed(sent, first))
        yield* publish(topic, [...good, message(10), signed(message(11), second)])
        const seal = yield* Effect.provide(sealing(path, [topic]), Signature.layerTrustedKeys([first.publicPem]))
        yield* totalsAre(seal, { received: 12, appended: 10, deadLettered: 2 })
        assert.deepStrictEqual(
          (yield* entriesIn(path)).map(({ bytes }) => new Uint8Array(bytes)),
          good.map(({ bytes }) => new Uint8Array(bytes))
        )
        const letters = yield* Topic.messages(broker, `${topic}-trustlog-seal-DLQ`)
        assert.deepStrictEqual(
          letters.map(({ key, properties }) => [key, properties["trustlog-reason"]]),
          [[message(10).id, "unsigned"], [message(11).id, "unknownKey"]]
        )
      })
  )

  test("goes on after its connections were cut again and again", (topic, path) =>
    Effect.gen(function*() {
      const proxy = yield* Proxy.make(broker.wsUrl)
      const through = Layer.provide(
        SubscriberPulsar.layer({ serviceUrl: proxy.url(broker.wsUrl) }),
        Ws.layer
      )
      const seal = yield* Effect.provide(
        sealing(path, [topic]),
        Layer.succeed(Subscriber, Context.get(yield* Layer.build(through), Subscriber))
      )
      for (let round = 0; round < 4; round++) {
        yield* publish(topic, messages(round * 100, (round + 1) * 100))
        yield* until(seal.totals, ({ appended }) => appended > round * 100)
        yield* proxy.cut
      }
      yield* totalsAre(seal, { appended: 400 })
      assert.deepStrictEqual(namesOf(yield* entriesIn(path)).toSorted(), names(messages(0, 400)))
    }))

  test(
    "waits for a ledger that takes nothing, and acknowledges nothing meanwhile",
    (topic, path) =>
      Effect.gen(function*() {
        const said: Array<string> = []
        const logger = Logger.replace(
          Logger.defaultLogger,
          Logger.make(({ message }) => {
            said.push(String(message))
          })
        )
        const seal = yield* Effect.provide(
          sealing(path, [topic], { ledger: { path, lockWait: "20 millis" } }),
          logger
        )
        yield* publish(topic, messages(0, 10))
        yield* totalsAre(seal, { appended: 10 })
        yield* Effect.scoped(Effect.gen(function*() {
          yield* hold(path)
          yield* publish(topic, messages(10, 20))
          yield* until(
            Effect.sync(() => said),
            (lines) => lines.some((line) => line.includes("ledger takes nothing now"))
          )
          yield* until(backlog(topic), (count) => count === 10)
          assert.deepInclude(yield* seal.totals, { appended: 10 })
        }))
        yield* totalsAre(seal, { appended: 20, duplicates: 0 })
        yield* until(backlog(topic), (count) => count === 0)
        assert.deepStrictEqual(namesOf(yield* entriesIn(path)), names(messages(0, 20)))
      })
  )

  test("ends when the ledger is not the one that it was", (topic, path) =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      yield* publish(topic, messages(0, 5))
      const seal = yield* sealing(path, [topic])
      yield* totalsAre(seal, { appended: 5 })
      yield* fs.writeFileString(`${path}/checkpoint`, "something else")
      yield* publish(topic, messages(5, 6))
      const exit = yield* Fiber.await(seal.fiber)
      assert.include(Exit.isFailure(exit) && exit.cause._tag === "Fail" && exit.cause.error, { reason: "inconsistent" })
      assert.strictEqual(yield* backlog(topic), 1)
    }))

  test(
    "shares its work with another one, and goes on without it; one ledger has everything once",
    (topic, path) =>
      Effect.gen(function*() {
        const both = [yield* sealing(path, [topic]), yield* sealing(path, [topic])] as const
        const appended = Effect.map(
          Effect.all(both.map(({ totals }) => totals)),
          (totals) => totals.map(({ appended }) => appended)
        )
        const sum = Effect.map(appended, (counts) => counts.reduce((a, b) => a + b))
        // It may be that both are not connected yet.
        for (let at = 0; Math.min(...yield* appended) === 0; at += 50) {
          yield* publish(topic, messages(at, at + 50))
          yield* until(sum, (count) => count === at + 50)
        }
        const before = yield* sum
        yield* Fiber.interrupt(both[0].fiber)
        yield* publish(topic, messages(before, before + 100))
        yield* until(sum, (count) => count === before + 100)
        const auditor = yield* sealing(path, [topic], { subscription: "auditor" })
        yield* totalsAre(auditor, { received: before + 100, appended: 0, duplicates: before + 100 })
        assert.deepStrictEqual(namesOf(yield* entriesIn(path)).toSorted(), names(messages(0, before + 100)))
      })
  )
})
