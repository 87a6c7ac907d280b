/**
 * Processes that are frozen for longer than their lease, and thaw when others have their lanes.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { laneOf } from "../../src/Operation.ts"
import { Repository } from "../../src/Repository.ts"
import { query } from "../servers/Database.ts"
import * as Server from "../servers/Server.ts"
import { id } from "../workers.ts"
import { start } from "./child.ts"
import { entries, hosting, range, repository, until } from "./scene.ts"

const lane = laneOf("operation")

/** Longer than a database lets a transaction idle (5 s), so that this is what ends first. */
const lease = 6_000

/** The lane's row, as the database has it. */
const row = (url: string) =>
  Effect.map(
    query(url, "SELECT epoch, delivered, position FROM trustlog_cursor WHERE name = 'lane/operation'"),
    ([row]) => {
      const field = (name: string) => typeof row === "object" && row !== null ? Number(Reflect.get(row, name)) : 0
      return { epoch: field("epoch"), delivered: field("delivered"), position: field("position") }
    }
  )

/** Two workers that share the lanes: the first halts at a place with two operations and is frozen there. */
const frozen = (url: string, place: string) =>
  Effect.gen(function*() {
    const { append, evidence, lanes, stats } = yield* Repository
    const owners = Effect.map(lanes, (all) => new Set(all.map(({ owner }) => owner)))
    const first = yield* start("haltingWorker", url, place, `${lease}`)
    yield* until(Effect.map(owners, (all) => all.size === 1 && !all.has(null)))
    const second = yield* start("haltingWorker", url, "nowhere", `${lease}`)
    yield* until(Effect.map(owners, (all) => all.size === 2 && !all.has(null)))

    yield* append(entries([1, 2]))
    yield* first.said(`at ${place}`)
    yield* first.freeze
    const { epoch } = yield* row(url)
    const [took, sent] = yield* Effect.timed(second.said("publishing"))
    yield* until(Effect.map(stats, ({ delivered }) => delivered === 2))
    assert.deepStrictEqual(yield* row(url), { epoch: epoch + 1, delivered: 2, position: 2 })

    yield* first.thaw
    yield* first.tell("go")
    // It says what it notices when it wakes up.
    yield* first.said("WARN")
    yield* append(entries([3, 4]))
    yield* until(Effect.map(stats, ({ delivered }) => delivered === 4))
    const receipts = yield* evidence.receipts({ lane, after: 0, limit: 10 })
    assert.deepStrictEqual(receipts.map(({ sequence }) => sequence), range(1, receipts.length))
    assert.strictEqual(receipts.reduce((sum, { count }) => sum + count, 0), 4, "each has one receipt")
    return { took: Duration.toMillis(took), sent }
  })

// They mostly wait.
describe.concurrent("a worker that is frozen for longer than its lease", () => {
  Server.onEach((server) => {
    it.scopedLive("while it publishes changes nothing when it wakes up: another has delivered", () =>
      Effect.gen(function*() {
        const url = yield* Server.database(server)
        const { sent, took } = yield* Effect.provide(frozen(url, "publishing"), repository(url))
        // In single file, since one of them may be why the first worker was lost.
        assert.strictEqual(sent, id(1))
        yield* Console.log(`${server.name}: taken over ${Math.round(took)} ms after the freeze while publishing`)
        assert.isBelow(took, lease + 2_000)
      }))

    it.scopedLive("inside a settlement has it undone by the database, and the lane goes on", () =>
      Effect.gen(function*() {
        const url = yield* Server.database(server)
        const { took } = yield* Effect.provide(frozen(url, "settling"), repository(url))
        yield* Console.log(`${server.name}: taken over ${Math.round(took)} ms after the freeze inside a settlement`)
        assert.isBelow(took, lease + 2_000)
      }))

    it.scopedLive("leaves no renewal that is given the lane's row by the end of its settlement, to hold it anew", () =>
      Effect.gen(function*() {
        const url = yield* Server.database(server)
        const base = repository(url)
        const held = yield* Effect.provide(
          Effect.flatMap(Repository, ({ acquire }) => acquire(lane, "a", Duration.minutes(1))),
          base
        )
        if (held === undefined) return yield* Effect.dieMessage("nobody has it")
        yield* Effect.gen(function*() {
          const { renew, setBreaker } = yield* Repository
          const sql = yield* SqlClient.SqlClient
          // What else waits for the row is patient: it gets it when the renewal has given up.
          const patient = yield* hosting("READ COMMITTED")(Effect.gen(function*() {
            yield* sql`SELECT name FROM trustlog_cursor WHERE name = 'lane/operation' FOR UPDATE`
            const patient = yield* Effect.forkDaemon(setBreaker(held, "open"))
            for (const _ of range(1, 2)) {
              const refusal = yield* Effect.flip(renew(held, Duration.minutes(1)))
              assert.deepInclude(refusal, { _tag: "DatabaseError", reason: "locked" })
            }
            return patient
          }))
          yield* Fiber.join(patient)
          yield* renew(held, Duration.minutes(1))
        }).pipe(Effect.provide(base))
      }))
  })
})
