/**
 * A disk that is full under a database server.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { randomBytes } from "node:crypto"
import { Repository } from "../../src/Repository.ts"
import type { DatabaseError } from "../../src/TrustlogError.ts"
import * as Instance from "../servers/Instance.ts"
import type { Programs } from "../servers/Programs.ts"
import * as Server from "../servers/Server.ts"
import * as SmallDisk from "../servers/SmallDisk.ts"
import { entry } from "../workers.ts"
import { application, arrived, atWork, held, insist, quick, range, repository, until } from "./scene.ts"

const kinds: ReadonlyArray<{
  readonly program: keyof Programs
  readonly dialect: "pg" | "mysql"
  readonly megabytes: number
  readonly start: (options: Instance.Options) => Effect.Effect<Instance.Instance, never, Scope.Scope>
}> = [
  { program: "postgresql18", dialect: "pg", megabytes: 64, start: Instance.PostgreSQL },
  {
    program: "mysql",
    dialect: "mysql",
    megabytes: 192,
    // With a binary log it says nothing, but waits for room for as long as it takes.
    start: (options) => Instance.MySQL({ ...options, settings: { "skip-log-bin": "1" } })
  },
  { program: "mariadb", dialect: "mysql", megabytes: 192, start: Instance.MariaDB }
]

/** More than there is room for. Each fits into its page: MariaDB does not survive it when one that does not meets a full disk. */
const bulk = range(10_000, 12_500).map((n) => entry(n, { payload: randomBytes(2_200).toString("base64") }))

describe("a full disk", () => {
  Server.having("mount", () => {
    for (const { dialect, megabytes, program, start } of kinds) {
      Server.having(program, () => {
        it.scopedLive("is a typed error, of which nothing is left, and everything goes on once there is room", () =>
          Effect.gen(function*() {
            const dataDirectory = yield* SmallDisk.make({ megabytes })
            const { url } = yield* start({ dataDirectory })
            const database = yield* Server.database({ dialect, url })
            yield* Effect.gen(function*() {
              const { append, evidence, stats } = yield* Repository
              yield* insist(1)
              yield* arrived([1])
              yield* Effect.scoped(Effect.gen(function*() {
                yield* SmallDisk.fill(dataDirectory)
                const failure: Effect.Effect<DatabaseError, unknown> = Effect.flatMap(
                  Effect.flip(append(bulk)),
                  (error) => error._tag === "DatabaseError" ? Effect.succeed(error) : Effect.fail(error)
                )
                assert.deepInclude(yield* failure, { _tag: "DatabaseError", reason: "full", isRetryable: true })
                // Small ones may find a place, or not.
                for (const n of range(2, 21)) yield* Effect.either(append([entry(n)]))
              }))
              assert.strictEqual((yield* evidence.operationsOf([entry(10_000).operation.id])).length, 0)
              yield* Effect.forEach(range(2, 22), insist)
              const again = yield* append(bulk)
              assert.isTrue(again.every(({ outcome }) => outcome === "appended"))
              yield* arrived([...range(1, 22), ...range(10_000, 12_500)])
              assert.strictEqual(new Set(yield* held).size, 22 + bulk.length)
              yield* atWork
              yield* until(Effect.map(stats, ({ pending }) => pending === 0))
              assert.deepInclude(yield* stats, { retrying: 0, dead: 0 })
            }).pipe(Effect.provide(application(repository(database), quick)))
          }))
      })
    }
  })
})
