/**
 * Transactions with a beginning of the dialect's choice and a commit whose failure is an error. The client's own
 * `withTransaction` has neither: its begin is fixed, and a failing COMMIT is a defect that no caller can handle.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import { SqlError } from "@effect/sql/SqlError"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { identity } from "effect/Function"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { DatabaseError } from "../TrustlogError.ts"
import type { Bracket } from "./dialects/Dialect.ts"

/** Runs an effect in a transaction. Only the transaction's own failures are typed here: the effect's stay as they are. */
export type Run<F = DatabaseError> = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | F, R>

/**
 * Connections whose transaction the database has ended (MySQL does so on a deadlock), and on what failure. Whoever catches
 * that failure and goes on would write outside any transaction, and commit nothing of what went before. Only clients that
 * make an object for each transaction are remembered so: those of SQLite use one for all.
 */
const ended = new WeakMap<Connection, SqlError>()

/** Fails when the database has ended the transaction. */
const isOpen = <F>(connection: Connection, onFailure: (error: SqlError) => F): Effect.Effect<void, F> =>
  Effect.suspend(() => {
    const error = ended.get(connection)
    return error === undefined ? Effect.void : Effect.fail(onFailure(error))
  })

/**
 * A connection of one's own until the scope closes. That of PostgreSQL's client is lost to its pool if it comes to a fibre
 * that was interrupted while it waited: so another fibre takes it, and gives it back. Both, because what is released by another
 * fibre than acquired it leaves something in that one's references, for as long as it lives.
 */
const reserve = (sql: SqlClient.SqlClient): Effect.Effect<Connection, SqlError, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const taken = yield* Deferred.make<Connection, SqlError>()
      const done = yield* Deferred.make<void>()
      const finish = Deferred.succeed(done, undefined)
      const keeper = yield* Effect.forkDaemon(
        Effect.scoped(Effect.zipRight(Effect.intoDeferred(sql.reserve, taken), Deferred.await(done)))
      )
      const connection = yield* Effect.onError(restore(Deferred.await(taken)), () => finish)
      yield* Effect.addFinalizer(() => Effect.zipRight(finish, Fiber.await(keeper)))
      return connection
    })
  )

/** Transactions on connections of their own: they never join an ambient one. */
export const own = <F>(
  sql: SqlClient.SqlClient,
  { begin, end }: Bracket,
  onFailure: (error: SqlError) => F
): Run<F> =>
(effect) =>
  Effect.uninterruptibleMask((restore) =>
    Effect.scoped(Effect.gen(function*() {
      const connection = yield* Effect.mapError(restore(reserve(sql)), onFailure)
      const execute = (statement: string) =>
        Effect.mapError(connection.executeUnprepared(statement, [], undefined), onFailure)
      // It closes before the connection is given back. One that is lost has nothing to be put right.
      yield* Effect.addFinalizer(() =>
        Effect.forEach(end, (statement) => Effect.catchAll(execute(statement), quietly), { discard: true })
      )
      // A begin may wait for as long as a client cares to, and whoever is interrupted meanwhile does not.
      for (const statement of begin) yield* Effect.onError(restore(execute(statement)), () => rollback(execute))
      const exit = yield* Effect.exit(
        restore(Effect.provideService(effect, SqlClient.TransactionConnection, [connection, 0]))
      )
      // A commit that fails may leave the transaction open, which would poison the connection for whoever is next.
      yield* Exit.isSuccess(exit)
        ? Effect.zipRight(isOpen(connection, onFailure), Effect.mapError(commit(connection), onFailure)).pipe(
          Effect.tapError(() => rollback(execute))
        )
        : rollback(execute)
      return yield* exit
    }))
  )

/** PostgreSQL answers to the COMMIT of a transaction in which a statement has failed that it rolled back, as a success. */
const commit = (connection: Connection): Effect.Effect<void, SqlError> =>
  Effect.flatMap(
    connection.executeRaw("COMMIT", []),
    (result) =>
      typeof result === "object" && result !== null && "command" in result && result.command === "ROLLBACK"
        ? new SqlError({ cause: new Error("a statement in it had failed, so the database rolled it back") })
        : Effect.void
  )

const quietly = (error: unknown) => Effect.logDebug("not needed any more", error)

// Databases end a transaction themselves on some failures (a full disk, a lost connection); then there is none to roll
// back, and the failure that led here is the one that counts.
const rollback = <F>(execute: (statement: string) => Effect.Effect<unknown, F>) =>
  Effect.catchAll(execute("ROLLBACK"), quietly)

/** A part of an ambient transaction that leaves nothing behind when it fails. */
const savepoint = <F>(
  [connection, depth]: readonly [connection: Connection, depth: number],
  { endsOnFailure = false }: Bracket,
  onFailure: (error: SqlError) => F
): Run<F> =>
(effect) =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const execute = (statement: string) =>
        Effect.mapError(connection.executeUnprepared(statement, [], undefined), onFailure)
      const name = `trustlog_${depth + 1}`
      yield* isOpen(connection, onFailure)
      yield* restore(execute(`SAVEPOINT ${name}`))
      const exit = yield* Effect.exit(
        restore(Effect.provideService(effect, SqlClient.TransactionConnection, [connection, depth + 1]))
      )
      if (Exit.isSuccess(exit)) {
        yield* execute(`RELEASE SAVEPOINT ${name}`)
        return exit.value
      }
      // Where the database has ended the whole transaction, there is no savepoint any more.
      yield* Effect.catchAll(execute(`ROLLBACK TO SAVEPOINT ${name}`), (error) => {
        if (endsOnFailure) ended.set(connection, new SqlError({ cause: Cause.squash(exit.cause) }))
        return quietly(error)
      })
      return yield* exit
    })
  )

/** Joins the ambient transaction as a savepoint, so that a failure leaves nothing behind, or opens an own one. */
export const joining = <F>(
  sql: SqlClient.SqlClient,
  bracket: Bracket,
  onFailure: (error: SqlError) => F
): Run<F> => {
  const open = own(sql, bracket, onFailure)
  return (effect) =>
    Effect.flatMap(
      Effect.serviceOption(SqlClient.TransactionConnection),
      (ambient) => Option.isNone(ambient) ? open(effect) : savepoint(ambient.value, bracket, onFailure)(effect)
    )
}

/** An SQLite client with outermost transactions of ours in place of its own. Inner ones stay its savepoints. */
export const withOwn = <C extends SqlClient.SqlClient>(client: C, begin: string): C => {
  const outermost = own(client, { begin: [begin], end: [] }, identity)
  const joining = client.withTransaction
  return Object.assign(client, {
    withTransaction: <R, E, A>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError, R> =>
      Effect.flatMap(
        Effect.serviceOption(SqlClient.TransactionConnection),
        (ambient) =>
          Option.isSome(ambient) ? joining(effect) : Effect.withSpan(outermost(effect), "sql.transaction", {
            kind: "client",
            captureStackTrace: false,
            attributes: { "db.system.name": "sqlite" }
          })
      )
  })
}
