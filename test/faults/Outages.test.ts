/**
 * Servers that end, are killed, hang, refuse, or are full of others: typed errors, and workers that recover by themselves.
 */
import { assert, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as fs from "node:fs/promises"
import * as os from "node:os"
import * as path from "node:path"
import { Repository } from "../../src/Repository.ts"
import * as Trustlog from "../../src/Trustlog.ts"
import type { DatabaseError, DatabaseReason } from "../../src/TrustlogError.ts"
import { client } from "../serverDatabase.ts"
import { type Dialect, drop, query } from "../servers/Database.ts"
import * as Instance from "../servers/Instance.ts"
import type { Programs } from "../servers/Programs.ts"
import * as Server from "../servers/Server.ts"
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
  quick,
  range,
  repository,
  until
} from "./scene.ts"

interface Kind {
  readonly program: keyof Programs
  readonly dialect: Dialect
  readonly start: (options: Instance.Options) => Effect.Effect<Instance.Instance, never, Scope.Scope>
}

const kinds: ReadonlyArray<Kind> = [
  { program: "postgresql18", dialect: "pg", start: Instance.PostgreSQL },
  { program: "mysql", dialect: "mysql", start: Instance.MySQL },
  { program: "mariadb", dialect: "mysql", start: Instance.MariaDB }
]

/** A server of these tests' own. */
class Own extends Context.Tag("effect-trustlog/test/Own")<Own, Instance.Instance & { readonly dialect: Dialect }>() {}

/** It asks everybody but its administrator for a password. */
const own = ({ dialect, start }: Kind) =>
  Layer.scoped(
    Own,
    Effect.gen(function*() {
      if (dialect === "mysql") return Object.assign(yield* start({}), { dialect })
      const folder = yield* Effect.acquireRelease(
        Effect.promise(() => fs.mkdtemp(path.join(os.tmpdir(), "trustlog-hba-"))),
        (folder) => Effect.promise(() => fs.rm(folder, { recursive: true }))
      )
      const hba = path.join(folder, "pg_hba.conf")
      yield* Effect.promise(async () => {
        await fs.chmod(folder, 0o755)
        await fs.writeFile(hba, "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
      })
      return Object.assign(yield* start({ settings: { hba_file: hba } }), { dialect })
    })
  )

const database = Effect.flatMap(Own, (own) => Server.database(own))

/** The URL of somebody who may use the tables of a database, and no more. */
const somebody = (url: string, grants: string) =>
  Effect.gen(function*() {
    const { dialect, url: administrator } = yield* Own
    const name = `somebody_${Math.random().toString(36).slice(2, 10)}`
    const theirs = new URL(url)
    theirs.username = name
    theirs.password = "secret"
    if (dialect === "pg") {
      yield* query(
        url,
        `CREATE ROLE ${name} LOGIN PASSWORD 'secret'`,
        `GRANT ${grants} ON ALL TABLES IN SCHEMA public TO ${name}`
      )
    } else {
      yield* query(
        administrator,
        `CREATE USER ${name} IDENTIFIED BY 'secret'`,
        `GRANT ${grants} ON \`${theirs.pathname.slice(1)}\`.* TO ${name}`
      )
    }
    return { name, url: theirs.href }
  })

const isTyped = (error: unknown, reason: DatabaseReason, isRetryable: boolean) =>
  typeof error === "object" && error !== null
    ? assert.deepInclude(error, { _tag: "DatabaseError", reason, isRetryable })
    : assert.fail(`${String(error)} is no error`)

/** Waits until the workers have failed, and tells as what. */
const failing = Effect.gen(function*() {
  const { said, statuses } = yield* Crew
  yield* until(Effect.map(statuses, (all) => all.some(({ failuresInRow }) => failuresInRow > 0)))
  assert.isTrue(said.some((line) => line.startsWith("WARN cycle failed")))
})

/** Appends and delivers again, within the bounds of hints: the next scan would be ten seconds away. */
const recovers = (n: number) =>
  Effect.gen(function*() {
    yield* insist(n)
    yield* arrived([n])
    yield* atWork
    yield* insist(n + 1)
    yield* Effect.timeout(arrived([n + 1]), "5 seconds")
  })

/** Does something when a statement is said for the first time after it was asked to. */
const once = (statement: RegExp) => {
  let armed: Effect.Effect<void> | undefined
  const before: Before = (said) =>
    Effect.suspend(() => {
      if (armed === undefined || !statement.test(said)) return Effect.void
      const action = armed
      armed = undefined
      return action
    })
  return {
    before,
    /** Is done when that has been. */
    does: (action: Effect.Effect<void>) =>
      Effect.map(Effect.makeLatch(), (done) => {
        // Whoever says the statement may lose patience meanwhile.
        armed = Effect.uninterruptible(Effect.zipRight(action, done.open))
        return done.await
      })
  }
}

for (const kind of kinds) {
  Server.having(kind.program, () => {
    layer(own(kind), { excludeTestServices: true })("its server", (it) => {
      it.scoped("restarted in the middle of an append ends that with a typed error, and nothing of it is there", () =>
        Effect.gen(function*() {
          const { start, stop } = yield* Own
          yield* Effect.gen(function*() {
            const { append, evidence, transaction } = yield* Repository
            const error = yield* Effect.flip(transaction(Effect.gen(function*() {
              yield* append(entries([1]))
              yield* stop
              yield* start
              yield* append(entries([2]))
            })))
            isTyped(error, "unavailable", true)
            assert.strictEqual((yield* evidence.sizes({ after: 0, limit: 10 })).length, 0)
            const again = yield* append(entries([1, 2]))
            assert.deepStrictEqual(again.map(({ outcome }) => outcome), ["appended", "appended"])
          }).pipe(Effect.provide(repository(yield* database)))
        }))

      it.scoped("restarted in the middle of a settlement is waited for, and the page is sent again", () =>
        Effect.gen(function*() {
          const { start, stop } = yield* Own
          const settling = once(/DELETE .*trustlog_pending/s)
          yield* Effect.gen(function*() {
            const restarted = yield* settling.does(Effect.zipRight(stop, start))
            yield* insist(1)
            yield* restarted
            yield* recovers(2)
            const { stats } = yield* Repository
            yield* until(Effect.map(stats, ({ delivered, pending }) => delivered === 3 && pending === 0))
            assert.deepStrictEqual((yield* held).filter((n) => n === 1), [1, 1])
          }).pipe(Effect.provide(application(repository(yield* database, { before: settling.before }), quick)))
        }))

      it.scoped("killed while hosts append and workers deliver loses nothing that was committed", () =>
        Effect.gen(function*() {
          const { kill, start } = yield* Own
          yield* Effect.gen(function*() {
            const writers = yield* Effect.forEach(range(1, 4), (n) => appending(n * 10_000))
            for (const _ of range(1, 2)) {
              yield* Effect.sleep("700 millis")
              yield* kill
              yield* failing
              yield* start
            }
            const appended = (yield* Effect.forEach(writers, ({ end }) => end)).flat()
            yield* arrived(appended)
            yield* recovers(1)
          }).pipe(Effect.provide(application(repository(yield* database), quick)))
        }))

      it.scoped("frozen for longer than the lease goes on when it thaws, and so do hosts and workers", () =>
        Effect.gen(function*() {
          const { freeze, thaw } = yield* Own
          yield* Effect.gen(function*() {
            const { said } = yield* Crew
            const writers = yield* Effect.forEach(range(1, 4), (n) => appending(n * 10_000))
            yield* Effect.sleep("500 millis")
            yield* freeze
            yield* Effect.sleep("4 seconds")
            yield* thaw
            const appended = (yield* Effect.forEach(writers, ({ end }) => end)).flat()
            yield* arrived(appended)
            yield* recovers(1)
            assert.isFalse(said.some((line) => line.startsWith("ERROR")))
          }).pipe(Effect.provide(application(repository(yield* database), quick)))
        }))

      it.scoped("gone for good fails connections with a typed error, and workers end when they are told to", () =>
        Effect.gen(function*() {
          const { start, stop } = yield* Own
          const url = yield* database
          yield* Effect.scoped(Effect.gen(function*() {
            const context = yield* Layer.build(
              application(repository(url), { ...quick, shutdown: Duration.seconds(1) })
            )
            yield* Effect.provide(Effect.zipRight(insist(1), arrived([1])), context)
            yield* stop
            yield* Effect.provide(failing, context)
            const { append } = Context.get(context, Trustlog.Trustlog)
            isTyped(yield* Effect.flip(append({ actor: "a", action: "b", target: "c" })), "unavailable", true)
            const connecting: Effect.Effect<never, unknown> = Effect.flip(Effect.scoped(Layer.build(client(url)))).pipe(
              Effect.flatMap((error) => Effect.fail(error))
            )
            const error = yield* Effect.flip(connecting)
            isTyped(error, "unavailable", true)
          })).pipe(Effect.ensuring(start))
        }))

      it.scoped("full of others' connections is waited for", () =>
        Effect.gen(function*() {
          const { dialect, url: administrator } = yield* Own
          const url = yield* database
          yield* Effect.scoped(Layer.build(repository(url)))
          const theirs = yield* somebody(url, "ALL PRIVILEGES")
          const limit = (n: number) =>
            query(
              administrator,
              dialect === "pg"
                ? `ALTER ROLE ${theirs.name} CONNECTION LIMIT ${n}`
                : `ALTER USER ${theirs.name} WITH MAX_USER_CONNECTIONS ${n}`
            )
          yield* limit(3)
          yield* Effect.gen(function*() {
            const { append, transaction } = yield* Repository
            const isHeld = yield* Effect.makeLatch()
            const release = yield* Effect.makeLatch()
            // As many transactions as there may be connections, however often the workers are quicker.
            const holders = yield* Effect.forEach(range(1, 3), () =>
              Effect.fork(Effect.retry(
                transaction(Effect.zipRight(isHeld.open, release.await)),
                Schedule.spaced("20 millis")
              )))
            yield* isHeld.await
            yield* until(Effect.map(Effect.either(append(entries([1]))), (result) => {
              if (result._tag === "Right")
                return false
              isTyped(result.left, "unavailable", true)
              return true
            }))
            yield* failing
            yield* release.open
            yield* Effect.forEach(holders, Fiber.join)
            yield* limit(100)
            yield* recovers(2)
          }).pipe(Effect.provide(application(repository(theirs.url), quick)))
        }))

      it.scoped("that takes no writes is a typed error, and workers go on when it takes them again", () =>
        Effect.gen(function*() {
          const { dialect, url: administrator } = yield* Own
          const url = yield* database
          yield* Effect.scoped(Layer.build(repository(url)))
          const theirs = yield* somebody(url, "SELECT, INSERT, UPDATE, DELETE")
          const readOnly = (is: boolean) =>
            dialect === "pg"
              ? query(
                administrator,
                `ALTER SYSTEM SET default_transaction_read_only = ${is}`,
                "SELECT pg_reload_conf()"
              )
              : query(administrator, `SET GLOBAL read_only = ${is ? 1 : 0}`)
          yield* Effect.gen(function*() {
            const trustlog = yield* Trustlog.Trustlog
            yield* insist(1)
            yield* arrived([1])
            yield* readOnly(true)
            const refused = yield* Effect.retry(
              Effect.flip(trustlog.append({ actor: "a", action: "b", target: "c" })),
              { times: 100 }
            )
            isTyped(refused, "readOnly", false)
            // A worker's transaction says that it writes, which makes an exception on PostgreSQL.
            if (dialect === "mysql") yield* failing
            yield* readOnly(false)
            if (dialect === "pg")
              yield* until(
                Effect.map(
                  Effect.either(trustlog.append({ actor: "a", action: "b", target: "c" })),
                  ({ _tag }) => _tag === "Right"
                )
              )
            yield* recovers(2)
          }).pipe(
            Effect.provide(application(repository(theirs.url), quick)),
            Effect.ensuring(readOnly(false))
          )
        }))

      it.scoped("that does not let us in, or do this, is a typed error", () =>
        Effect.gen(function*() {
          const url = yield* database
          yield* Effect.scoped(Layer.build(repository(url)))
          const reader = yield* somebody(url, "SELECT")
          const stranger = new URL(reader.url)
          stranger.password = "wrong"
          const denied: Effect.Effect<unknown, unknown> = Effect.scoped(Layer.build(client(stranger.href)))
          const error = yield* Effect.flip(denied)
          isTyped(error, "denied", false)
          if (!(error instanceof Error)) return assert.fail("it is an error")
          assert.notInclude(error.message, "wrong")
          yield* Effect.gen(function*() {
            const { append, lanes } = yield* Repository
            assert.strictEqual((yield* lanes).length, 2)
            isTyped(yield* Effect.flip(append(entries([1]))), "denied", false)
          }).pipe(Effect.provide(repository(reader.url)))
          yield* Effect.gen(function*() {
            yield* failing
            const { statuses } = yield* Crew
            assert.isTrue((yield* statuses).every(({ state }) => state !== "stopped"))
          }).pipe(Effect.provide(application(repository(reader.url), quick)))
        }))

      it.scoped("whose database is dropped under running workers is a typed error to them and to hosts", () =>
        Effect.gen(function*() {
          const own = yield* Own
          const url = yield* database
          yield* Effect.gen(function*() {
            const trustlog = yield* Trustlog.Trustlog
            const { statuses } = yield* Crew
            yield* insist(1)
            yield* arrived([1])
            yield* drop(own, new URL(url).pathname.slice(1))
            const append = trustlog.append({ actor: "a", action: "b", target: "c" })
            const missing: Effect.Effect<DatabaseError, unknown, never> = Effect.flip(append).pipe(
              Effect.flatMap((error) => error._tag === "DatabaseError" ? Effect.succeed(error) : Effect.fail(error))
            )
            // What is cut at first is found missing when it is asked for again.
            const error = yield* Effect.repeat(missing, { while: ({ reason }) => reason === "unavailable" })
            isTyped(error, "missing", false)
            yield* failing
            yield* until(
              Effect.map(
                statuses,
                (all) =>
                  ["lanes", "retry"].every((name) =>
                    all.some(({ identity, lastError }) =>
                      identity === name && /DatabaseError: .*(exist|database|Unknown)/.test(lastError ?? "")
                    )
                  )
              )
            )
          }).pipe(Effect.provide(application(repository(url), { ...quick, scanInterval: Duration.seconds(1) })))
        }))
    })
  })
}
