/**
 * A pause as those who operate `trustlog run` see it: it holds in every process, and over kills and restarts.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { once } from "node:events"
import * as Sqlite from "../src/Database/Sqlite.ts"
import { lines, makeSandbox, type Running, type Sandbox } from "./cli/sandbox.ts"
import { until } from "./faults/scene.ts"
import { query } from "./servers/Database.ts"
import { database, on } from "./servers/Server.ts"

/** Where the operations are: what tells the command line, and statements of the test's own. */
interface Place {
  readonly env: Record<string, string>
  readonly rows: (sql: string) => Effect.Effect<ReadonlyArray<unknown>, unknown>
}

/** Delivered so far, and whether somebody has the lane. */
const lane = ({ rows }: Place, name: string) =>
  Effect.map(
    rows(`SELECT delivered, owner FROM trustlog_cursor WHERE name = 'lane/${name}'`),
    ([row]): { readonly delivered: number; readonly owner: string | null } => ({
      delivered: Number(Object(row).delivered ?? 0),
      owner: Object(row).owner ?? null
    })
  )

const kill = ({ child }: Running) =>
  Effect.promise(async () => {
    const gone = once(child, "exit")
    child.kill("SIGKILL")
    await gone
  })

const test = (placed: (cli: Sandbox) => Effect.Effect<Place, never, Scope.Scope>) =>
  it.scopedLive("holds a lane in every process and over kill -9 and restart, until it is resumed; others flow", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      const place = yield* placed(cli)
      const env = { ...place.env, TRUSTLOG_LEASE: "2s" }
      const start = Effect.tap(cli.start(["run"], { env }), ({ says }) => says("started"))
      const delivered = (name: string, count: number) =>
        until(Effect.map(lane(place, name), (lane) => lane.delivered === count))
      yield* cli.json(0, ["init"], { env })
      const [first, second] = yield* Effect.all([start, start], { concurrency: 2 })
      yield* cli.json(0, ["pause", "record"], { env })
      yield* cli.json(0, ["append"], { env, stdin: lines(0, 30) })
      yield* delivered("operation", 20)
      assert.strictEqual((yield* lane(place, "record")).delivered, 0)

      yield* Effect.all([kill(first), kill(second)])
      yield* cli.json(0, ["append"], { env, stdin: lines(30, 60) })
      const third = yield* start
      yield* delivered("operation", 40)
      // Whoever runs has taken the paused lane as well, and leaves it as it is.
      yield* until(Effect.map(lane(place, "record"), ({ owner }) => owner !== null))
      assert.strictEqual((yield* lane(place, "record")).delivered, 0)
      assert.deepInclude(yield* cli.json(0, ["status"], { env }), { pending: 20, delivered: 40, paused: true })

      yield* cli.json(0, ["resume"], { env })
      const [took] = yield* Effect.timed(delivered("record", 20))
      yield* Console.log(`what was resumed was delivered within ${Duration.toMillis(took).toFixed(0)} ms`)
      third.child.kill("SIGTERM")
      assert.strictEqual((yield* third.ended).code, 0)
      assert.deepInclude(yield* cli.json(0, ["verify"], { env }), { verdict: "complete", delivered: 60 })
    }))

describe("a pause", () => {
  describe("on SQLite", () => {
    test((cli) =>
      Effect.gen(function*() {
        const scope = yield* Effect.scope
        // One connection for as long as the test lasts, made once there is a database.
        const client = yield* Effect.cached(
          Layer.buildWithScope(Sqlite.layer({ filename: cli.file("trustlog.db") }), scope)
        )
        return {
          env: {},
          rows: (sql) => Effect.flatMap(client, (context) => Context.get(context, SqlClient.SqlClient).unsafe(sql))
        }
      })
    )
  })

  on("postgresql-15", (server) => {
    test(() =>
      Effect.map(database(server), (url) => ({
        env: { TRUSTLOG_DATABASE_URL: url },
        rows: (sql) => query(url, sql)
      }))
    )
  })
})
