/**
 * Connections that are cut, stalled, or lost with the answer to a COMMIT.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Memory from "../../src/Publisher/Memory.ts"
import { Repository } from "../../src/Repository.ts"
import * as Trustlog from "../../src/Trustlog.ts"
import { query } from "../servers/Database.ts"
import * as Proxy from "../servers/Proxy.ts"
import * as Server from "../servers/Server.ts"
import { entry } from "../workers.ts"
import type { Before } from "./overheard.ts"
import {
  appending,
  application,
  arrived,
  atWork,
  Crew,
  entries,
  held,
  insist,
  listening,
  quick,
  range,
  repository,
  rest,
  soon,
  until,
  workers
} from "./scene.ts"

const field = (row: unknown, name: string): unknown =>
  typeof row === "object" && row !== null ? Reflect.get(row, name) : undefined

/** Ends every connection to a database, as its administrator may. */
const terminate = (server: Server.Server, url: string) =>
  Effect.gen(function*() {
    const name = new URL(url).pathname.slice(1)
    if (server.dialect === "pg") {
      yield* query(server.url, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${name}'`)
      return
    }
    const rows = yield* query(server.url, `SELECT id FROM information_schema.processlist WHERE db = '${name}'`)
    // Some end by themselves meanwhile.
    yield* Effect.forEach(rows, (row) =>
      Effect.catchAllDefect(query(server.url, `KILL ${field(row, "id") ?? field(row, "ID")}`), () => Effect.void))
  })

describe("connections", () => {
  Server.onEach((server) => {
    it.scopedLive("cut again and again, by the server and on the way, lose nothing", () =>
      Effect.gen(function*() {
        const url = yield* Server.database(server)
        const proxy = yield* Proxy.make(server.url)
        yield* Effect.gen(function*() {
          const { said } = yield* Crew
          const writers = yield* Effect.forEach(range(1, 4), (n) => appending(n * 10_000))
          for (const round of range(1, 12)) {
            yield* Effect.sleep(100 + (round * 37) % 150)
            yield* round % 2 === 0 ? proxy.cut : terminate(server, url)
          }
          // For long enough that everything which looks now and then has met it.
          yield* Effect.zipRight(proxy.refuse, proxy.cut)
          yield* Effect.sleep("700 millis")
          yield* proxy.accept
          const appended = (yield* Effect.forEach(writers, ({ end }) => end)).flat()
          yield* arrived(appended)
          assert.deepStrictEqual(new Set(yield* held), new Set(appended))
          yield* atWork
          assert.isTrue(said.some((line) => line.startsWith("WARN cycle failed")), "it tells of each")
          // Hints from others and to others are as they were.
          const heard = server.dialect === "pg" ? yield* listening(url) : undefined
          const other = Context.get(yield* Layer.build(repository(url)), Repository)
          yield* Effect.sleep(rest)
          yield* other.append([entry(1)])
          const [took] = yield* Effect.timed(arrived([1]))
          assert.isBelow(Duration.toMillis(took), soon)
          yield* insist(2)
          // Of a lane that is delivered here nobody else is told.
          const { append } = yield* Trustlog.Trustlog
          yield* append(entry(3).operation, { lane: "new" })
          if (heard !== undefined) yield* until(Effect.sync(() => heard.length > 0))
        }).pipe(Effect.provide(application(repository(proxy.url(url)), quick)))
      }))

    it.scopedLive("lost with the answer to a COMMIT are an error, and the append is repeated under the same id", () =>
      Effect.gen(function*() {
        const url = yield* Server.database(server)
        const proxy = yield* Proxy.make(server.url)
        let isNext = false
        const before: Before = (statement) => {
          if (!isNext || statement !== "COMMIT") return Effect.void
          isNext = false
          return proxy.mute
        }
        yield* Effect.gen(function*() {
          const { append, evidence, stats, transaction } = yield* Repository
          isNext = true
          const answer = yield* Effect.fork(Effect.flip(transaction(append(entries([1, 2])))))
          yield* until(Effect.map(query(url, "SELECT position FROM operation"), (rows) => rows.length === 2))
          yield* proxy.cut
          const error = yield* Fiber.join(answer)
          assert.deepInclude(error, { _tag: "DatabaseError", reason: "unavailable", isRetryable: true })
          const again = yield* append(entries([1, 2, 3]))
          assert.deepStrictEqual(again.map(({ outcome }) => outcome), ["duplicate", "duplicate", "appended"])
          assert.strictEqual((yield* stats).pending, 3)
          assert.strictEqual((yield* evidence.sizes({ after: 0, limit: 10 })).length, 3)
        }).pipe(Effect.provide(repository(proxy.url(url), { before })))
      }))

    it.scopedLive("that stand still for longer than the lease lose the lanes to others, and get no say when they go on", () =>
      Effect.gen(function*() {
        const url = yield* Server.database(server)
        const proxy = yield* Proxy.make(server.url)
        yield* Effect.gen(function*() {
          const repositories = yield* Repository
          const epoch = Effect.map(
            query(url, "SELECT epoch FROM trustlog_cursor WHERE name = 'lane/operation'"),
            ([row]) => Number(field(row, "epoch"))
          )
          const direct = yield* Layer.build(repository(url))
          const { append } = Context.get(direct, Repository)
          yield* append([entry(1)])
          yield* arrived([1])
          const before = yield* epoch
          yield* proxy.stall
          // Another member, over connections that work, and a log of its own.
          const others = Layer.provideMerge(workers(quick), Memory.layer).pipe(
            Layer.provideMerge(Layer.succeedContext(direct)),
            Layer.build
          )
          const other = yield* others
          yield* append([entry(2)])
          yield* Effect.provide(arrived([2]), other)
          assert.isAbove(yield* epoch, before)
          yield* proxy.resume
          yield* atWork
          yield* append([entry(3), entry(4, { kind: "record" })])
          yield* until(Effect.map(repositories.stats, ({ delivered, pending }) => pending === 0 && delivered === 4))
          assert.notInclude(yield* held, 2)
        }).pipe(Effect.provide(application(repository(proxy.url(url)), quick)))
      }))
  })
})
