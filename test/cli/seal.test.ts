import * as NodeContext from "@effect/platform-node/NodeContext"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as fs from "node:fs/promises"
import { type Message, Publisher } from "../../src/Publisher.ts"
import * as PulsarWebSocket from "../../src/Publisher/PulsarWebSocket.ts"
import * as Ws from "../../src/WebSocketClient/Ws.ts"
import { message, messages } from "../messages.ts"
import { entriesIn, namesOf } from "../sealed.ts"
import * as Instance from "../servers/Instance.ts"
import * as Server from "../servers/Server.ts"
import * as SharedPulsar from "../servers/SharedPulsar.ts"
import * as Topic from "../servers/Topic.ts"
import { makeSandbox, type Sandbox } from "./sandbox.ts"

const publish = (options: PulsarWebSocket.Options, topic: string, batch: ReadonlyArray<Message>) =>
  Effect.flatMap(Publisher, (publisher) => publisher.publish(topic, batch)).pipe(
    Effect.tap(({ outcomes }) => assert.isTrue(outcomes.every(({ _tag }) => _tag === "Acknowledged"))),
    Effect.provide(Layer.provide(PulsarWebSocket.layer(options), Ws.layer))
  )

/** How many entries the sandbox's ledger has, the birth record included, by its checkpoint. */
const size = (cli: Sandbox) =>
  Effect.promise(() =>
    fs.readFile(cli.file("ledger/checkpoint"), "utf8").then((text) => Number(text.split("\n")[1]), () => 0)
  )

const hasMoreThan = (cli: Sandbox, count: number) =>
  Effect.repeat(size(cli), { until: (size) => size > count, schedule: Schedule.spaced("2 millis") })

const namesIn = (cli: Sandbox) => Effect.map(Effect.provide(entriesIn(cli.file("ledger")), NodeContext.layer), namesOf)

const names = (sent: ReadonlyArray<Message>): ReadonlyArray<string> => sent.map(({ id, stream }) => `${stream} ${id}`)

describe("the command seal", () => {
  it.scopedLive("says what is wrong with how it is called, and makes no ledger then", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      const pulsar = { env: { TRUSTLOG_PUBLISHER_URL: "ws://127.0.0.1:1" } }
      const cases = [
        [["seal", "--ledger", "l"], {}, /TRUSTLOG_PUBLISHER_URL: only a log .* write ws:\/\//],
        [["seal"], pulsar, /--ledger/],
        [
          ["seal", "--ledger", "l"],
          { env: { ...pulsar.env, TRUSTLOG_TRUSTED_KEY_FILES: "none.pem" } },
          /TRUSTLOG_TRUSTED_KEY_FILES: none\.pem/
        ],
        [["seal", "--ledger", "l", "--topic", "operation"], pulsar, /"operation" has no full name/],
        [["seal", "--ledger", "l", "--subscription", "a/b"], pulsar, /cannot name a subscription/],
        [["seal", "--ledger", "l", "--dead-letter-topic", "dead"], pulsar, /"dead" has no full name/]
      ] as const
      yield* Effect.forEach(cases, ([args, options, problem]) =>
        Effect.map(cli.run(args, options), ({ code, stderr, stdout }) => {
          assert.strictEqual(code, 2, stderr)
          assert.match(stderr, problem)
          assert.strictEqual(stdout, "")
        }), { concurrency: 2, discard: true })
      assert.deepStrictEqual(yield* cli.list, [])
    }))

  SharedPulsar.on((broker) => {
    const env = { TRUSTLOG_PUBLISHER_URL: broker.wsUrl }
    const cluster = { serviceUrl: broker.wsUrl }
    const args = (topic: string) => ["seal", "--ledger", "ledger", "--topic", topic]

    it.scopedLive("takes the configured topics, needs no database, and ends on SIGTERM with what it did", () =>
      Effect.gen(function*() {
        const cli = yield* makeSandbox
        const [operation, record] = [yield* Topic.make(broker), yield* Topic.make(broker)]
        yield* publish(cluster, operation, messages(0, 50))
        yield* publish(cluster, record, [...messages(50, 60), message(50, { payload: "other" }), ...messages(0, 5)])
        const topics = { TRUSTLOG_OPERATION_TOPIC: operation, TRUSTLOG_RECORD_TOPIC: record }
        const ended = yield* Effect.scoped(Effect.gen(function*() {
          const { child, ended, says } = yield* cli.start(["seal", "--ledger", "ledger", "--json"], {
            env: { ...env, ...topics }
          })
          yield* says("started")
          yield* says("went to")
          yield* hasMoreThan(cli, 60)
          child.kill("SIGTERM")
          return yield* ended
        }))
        assert.strictEqual(ended.code, 0, ended.stderr)
        const totals = JSON.parse(ended.stdout)
        assert.deepStrictEqual(Object.keys(totals), ["received", "appended", "duplicates", "deadLettered"])
        assert.deepInclude(totals, { appended: 60, deadLettered: 1 })
        assert.match(
          ended.stderr,
          /WARN 1 of .* went to .*-trustlog-seal-DLQ, the first .* because it was refused: .*\(conflict\)/
        )
        assert.deepStrictEqual((yield* namesIn(cli)).toSorted(), names(messages(0, 60)))
        assert.deepStrictEqual((yield* cli.list).toSorted(), ["ledger", "ledger.key"])
        // What was acknowledged does not come again.
        yield* publish(cluster, record, messages(60, 61))
        const again = yield* cli.start(["seal", "--ledger", "ledger"], { env: { ...env, ...topics } })
        yield* hasMoreThan(cli, 61)
        again.child.kill("SIGINT")
        const { stdout } = yield* again.ended
        assert.match(stdout, /^ended: (\d+) received, 1 appended, \d+ already there, 0 dead letters\n$/)
      }))

    it.scopedLive("loses nothing and has nothing twice when it is killed again and again", () =>
      Effect.gen(function*() {
        const cli = yield* makeSandbox
        const topic = yield* Topic.make(broker)
        yield* publish(cluster, topic, messages(0, 4000))
        // Appended and acknowledged is a hundred at a time, within some milliseconds.
        for (const [count, delay] of [[0, 0], [1, 7], [800, 10], [1500, 14], [2200, 18]] as const) {
          yield* Effect.scoped(Effect.gen(function*() {
            const { child, ended } = yield* cli.start(args(topic), { env })
            yield* hasMoreThan(cli, count)
            yield* Effect.sleep(delay)
            child.kill("SIGKILL")
            assert.strictEqual((yield* ended).signal, "SIGKILL")
          }))
        }
        const { child, ended } = yield* cli.start(args(topic), { env })
        yield* hasMoreThan(cli, 4000)
        child.kill("SIGTERM")
        assert.strictEqual((yield* ended).code, 0)
        assert.deepStrictEqual((yield* namesIn(cli)).toSorted(), names(messages(0, 4000)))
      }))

    it.scopedLive("ends with exit code 3 when the ledger refuses to sign, and with 2 when it is another's", () =>
      Effect.gen(function*() {
        const cli = yield* makeSandbox
        const topic = yield* Topic.make(broker)
        yield* publish(cluster, topic, messages(0, 3))
        const { ended } = yield* cli.start(args(topic), { env })
        yield* hasMoreThan(cli, 3)
        yield* cli.write("ledger/checkpoint", "something else")
        yield* publish(cluster, topic, messages(3, 4))
        const inconsistent = yield* ended
        assert.strictEqual(inconsistent.code, 3, inconsistent.stderr)
        assert.match(inconsistent.stderr, /nothing is signed over it/)
        yield* Effect.promise(() => fs.mkdir(cli.file("foreign")))
        yield* cli.write("foreign/note.txt", "")
        const foreign = yield* cli.run(["seal", "--ledger", "foreign", "--topic", topic], { env })
        assert.strictEqual(foreign.code, 2)
        assert.match(foreign.stderr, /holds no ledger; choose another/)
      }))
  })

  Server.having("pulsar", () => {
    it.scopedLive("names the right that it lacks and the role's setting, and goes on when it is granted", () =>
      Effect.gen(function*() {
        const cli = yield* makeSandbox
        const own = yield* Instance.Pulsar({ tokens: true })
        const topic = yield* Topic.make(own)
        const admin = { serviceUrl: own.wsUrl, token: Effect.succeed(Redacted.make(own.token("admin"))) }
        const grant = (topic: string, action: string) =>
          Effect.orDie(own.admin("POST", `${topic.replace("://", "/")}/permissions/auditor`, [action]))
        yield* publish(admin, topic, [...messages(0, 5), message(3, { payload: "other" })])
        const { child, ended, says } = yield* cli.start(["seal", "--ledger", "ledger", "--topic", topic], {
          env: { TRUSTLOG_PUBLISHER_URL: own.wsUrl, TRUSTLOG_PULSAR_TOKEN: own.token("auditor") }
        })
        yield* says("grant the token's or certificate's role the right to consume there")
        const dead = `${topic}-trustlog-seal-DLQ`
        yield* Topic.create(own, dead)
        yield* grant(dead, "produce")
        yield* grant(topic, "consume")
        yield* hasMoreThan(cli, 5)
        yield* says(`1 of ${topic} went to ${dead}`)
        child.kill("SIGTERM")
        const { code, stderr } = yield* ended
        assert.strictEqual(code, 0)
        assert.match(stderr, /does not let us consume on persistent:.* \(403\)/)
        assert.deepStrictEqual(yield* namesIn(cli), names(messages(0, 5)))
        const without = yield* cli.start(["seal", "--ledger", "ledger", "--topic", topic], {
          env: { TRUSTLOG_PUBLISHER_URL: own.wsUrl }
        })
        yield* without.says("set TRUSTLOG_PULSAR_TOKEN or TRUSTLOG_PULSAR_TOKEN_FILE")
        without.child.kill("SIGTERM")
        assert.strictEqual((yield* without.ended).code, 0)
      }))
  })
})
