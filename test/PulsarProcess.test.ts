/**
 * `trustlog run` as processes, between PostgreSQL and a Pulsar, which are killed one after the other.
 */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Publisher } from "../src/Publisher.ts"
import { Repository } from "../src/Repository.ts"
import * as Trustlog from "../src/Trustlog.ts"
import { makeSandbox } from "./cli/sandbox.ts"
import { range, repository, until } from "./faults/scene.ts"
import * as Instance from "./servers/Instance.ts"
import * as Server from "./servers/Server.ts"
import * as Topic from "./servers/Topic.ts"
import { entry, uuid } from "./workers.ts"

/** Four lanes, of which two have names. */
const lanes = [
  { kind: "operation", lane: undefined },
  { kind: "record", lane: undefined },
  { kind: "operation", lane: "a" },
  { kind: "record", lane: "b" }
] as const

const perLane = 4000

const nowhere = Layer.succeed(Publisher, {
  publish: () => Effect.dieMessage("whoever appends here does not deliver"),
  health: () => Effect.void
})

Server.on("postgresql-18", (server) => {
  Server.having("pulsar", () => {
    it.scopedLive("two processes on four lanes lose nothing when each of them and the broker are killed", () =>
      Effect.gen(function*() {
        const cli = yield* makeSandbox
        const own = yield* Instance.Pulsar()
        const url = yield* Server.database(server)
        const topics = { operation: yield* Topic.make(own), record: yield* Topic.make(own) }
        const env = {
          TRUSTLOG_DATABASE_URL: url,
          TRUSTLOG_PUBLISHER_URL: own.wsUrl,
          TRUSTLOG_OPERATION_TOPIC: topics.operation,
          TRUSTLOG_RECORD_TOPIC: topics.record,
          TRUSTLOG_LEASE: "3s"
        }
        yield* cli.json(0, ["init"], { env })
        yield* Effect.gen(function*() {
          const { appendAll } = yield* Trustlog.Trustlog
          const { stats } = yield* Repository
          for (const [n, { kind, lane }] of lanes.entries()) {
            for (let at = 0; at < perLane; at += 1000) {
              const numbers = range(n * perLane + at + 1, n * perLane + at + 1000)
              yield* appendAll(numbers.map((number) => entry(number, { kind }).operation), { lane })
            }
          }
          const start = Effect.tap(cli.start(["run"], { env }), (running) => running.says("started"))
          const delivered = (count: number) => until(Effect.map(stats, (now) => now.delivered >= count))
          const kill = (
            running: { readonly child: { kill(signal: "SIGKILL"): boolean }; readonly ended: Effect.Effect<unknown> }
          ) => Effect.zipRight(Effect.sync(() => running.child.kill("SIGKILL")), running.ended)

          const first = yield* start
          const second = yield* start
          yield* delivered(1000)
          yield* kill(first)
          const third = yield* start
          yield* delivered(5000)
          yield* own.kill
          yield* kill(second)
          const fourth = yield* start
          yield* own.start
          yield* delivered(9000)
          yield* kill(third)
          yield* until(Effect.map(stats, ({ undelivered }) => undelivered === 0))
          const { dead, retrying } = yield* stats
          assert.deepStrictEqual({ dead, retrying }, { dead: 0, retrying: 0 })
          assert.strictEqual((yield* stats).delivered, lanes.length * perLane)
          yield* Effect.sync(() => fourth.child.kill("SIGTERM"))
          assert.strictEqual((yield* fourth.ended).code, 0)
        }).pipe(Effect.provide(Layer.provideMerge(Trustlog.layer, Layer.merge(repository(url), nowhere))))
        for (const kind of ["operation", "record"] as const) {
          const held = new Set((yield* Topic.messages(own, topics[kind])).map(({ key }) => key))
          const expected = lanes.flatMap((lane, n) =>
            lane.kind === kind ? range(n * perLane + 1, (n + 1) * perLane).map(uuid) : []
          )
          assert.deepStrictEqual(expected.filter((id) => !held.has(id)), [])
          assert.strictEqual(held.size, expected.length)
        }
        assert.include(yield* cli.json(0, ["verify"], { env }), {
          verdict: "complete",
          delivered: lanes.length * perLane,
          ledgerSize: null
        })
      }))
  })
})
