/**
 * Whether the database can be reached, holds our tables, lets us do what delivery does, agrees about the time, and whether anybody
 * delivers.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import { SqlClient } from "@effect/sql/SqlClient"
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as DatabaseUrl from "../../DatabaseUrl.ts"
import { fromUnknown, Lane } from "../../Operation.ts"
import { Repository, type Stats } from "../../Repository.ts"
import * as TrustlogConfig from "../../TrustlogConfig.ts"
import { DatabaseError } from "../../TrustlogError.ts"
import { dialectOf } from "../dialects/dialectOf.ts"
import { type Finding, ofClock, ok, problem, warning } from "./finding.ts"

const isLocal = /^(localhost|127\.|::1$|\/)/

const protection = (url: DatabaseUrl.DatabaseUrl): ReadonlyArray<Finding> => {
  if (url._tag === "Sqlite" || isLocal.test(url.host)) return []
  switch (url.tls.mode) {
    case "disable":
      return [warning(
        "database connection",
        `is not encrypted: anybody between here and ${url.host} can read and change what is recorded; ask for verify-full in ` +
          "TRUSTLOG_DATABASE_URL"
      )]
    case "require":
      return [warning(
        "database connection",
        "is encrypted, and whoever answers is believed; ask for verify-full in TRUSTLOG_DATABASE_URL"
      )]
    default:
      return [ok("database connection", `is encrypted, and the server's certificate is verified (${url.tls.mode})`)]
  }
}

/** Ends the transaction that it happens in. */
class RolledBack extends Data.TaggedError("RolledBack") {}

const permitted = ok("database rights", "operations can be recorded, and workers can work")

/** Does what applications and workers do to the tables, and takes it back. */
const rights = Effect.gen(function*() {
  const { append, register, transaction, unregister } = yield* Repository
  const operation = yield* fromUnknown({ actor: "trustlog doctor", action: "look", target: "rights" })
  const member = `doctor/${operation.id}`
  yield* transaction(Effect.gen(function*() {
    yield* append([{ operation, lane: Lane.make("operation"), strategy: "DbAndTrustlog", isIdNew: true }])
    yield* register(member, Duration.minutes(1))
    yield* unregister(member)
    return yield* new RolledBack()
  }))
}).pipe(
  Effect.as(permitted),
  Effect.catchTags({
    RolledBack: () => Effect.succeed(permitted),
    DatabaseError: (error) =>
      Effect.succeed(problem(
        "database rights",
        `${error.message}: this user needs SELECT, INSERT, UPDATE and DELETE on the tables (sql/README.md)`
      )),
    InvalidOperation: (error) => Effect.die(error),
    OperationConflict: (error) => Effect.die(error)
  })
)

const clock = Effect.gen(function*() {
  const sql = (yield* SqlClient).withoutTransforms()
  const dialect = yield* dialectOf(sql)
  const epoch = dialect.timestamp("1970-01-01T00:00:00.000000Z")
  const before = yield* Clock.currentTimeMillis
  const [row] = yield* Effect.mapError(
    sql<{ readonly now: number }>`SELECT ${dialect.seconds(epoch, yield* dialect.time(0))} AS now`,
    (cause) => new DatabaseError({ reason: dialect.classify(cause), problem: dialect.describe(cause), cause })
  )
  const after = yield* Clock.currentTimeMillis
  return ofClock("database clock", "the database's clock", Number(row?.now) * 1000, before, after)
})

const delivery = (stats: Stats): ReadonlyArray<Finding> => {
  const { breaker, dead, lanes, oldestPendingSeconds, paused, pending } = stats
  const isOwned = lanes.every(({ owner, pending }) => owner !== null || pending === 0)
  return [
    pending > 0 && !isOwned
      ? problem(
        "delivery",
        `${pending} operations wait, and no process delivers all of them: start \`trustlog run\``
      )
      : oldestPendingSeconds > 300
      ? warning(
        "delivery",
        `the oldest of ${pending} operations has waited for ${Math.round(oldestPendingSeconds / 60)} min: ` +
          "see what `trustlog run` logs"
      )
      : ok("delivery", pending === 0 ? "nothing waits" : `${pending} operations wait, and are being delivered`),
    ...breaker === "closed"
      ? []
      : [
        warning(
          "circuit breaker",
          "is open: a process that delivers has found the log out; it goes on when the log is back"
        )
      ],
    ...paused ? [warning("delivery", "is paused in some lanes: `trustlog resume` lets it go on")] : [],
    ...dead === 0
      ? []
      : [warning("dead letters", `${dead} operations were refused for good: see \`trustlog dead-letters list\``)]
  ]
}

export const examine = (
  config: TrustlogConfig.Shape
): Effect.Effect<ReadonlyArray<Finding>, never, TrustlogConfig.TrustlogConfig | FileSystem.FileSystem> => {
  const name = DatabaseUrl.describe(config.database)
  const server = Effect.gen(function*() {
    const sql = yield* SqlClient
    yield* dialectOf(sql)
    const tables = yield* Effect.either(
      Effect.gen(function*() {
        const { stats } = yield* Repository
        return [ok("database tables", "are there, and of this version"), yield* rights, ...delivery(yield* stats)]
      }).pipe(Effect.provide(TrustlogConfig.layerRepository))
    )
    return [
      ok("database", `${name} answers`),
      ...config.database._tag === "Sqlite" ? [] : [yield* clock],
      ...Either.getOrElse(tables, (error): ReadonlyArray<Finding> => [problem("database tables", error.message)])
    ]
  }).pipe(Effect.provide(TrustlogConfig.layerDatabase()))
  return Effect.map(Effect.either(server), (found) => [
    ...Either.getOrElse(found, (error): ReadonlyArray<Finding> => [problem("database", `${name}: ${error.message}`)]),
    ...protection(config.database)
  ])
}
