/**
 * Transactions with a beginning of the dialect's choice and a commit whose failure is an error. The client's own
 * `withTransaction` has neither: its begin is fixed, and a failing COMMIT is a defect that no caller can handle.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type { DatabaseError } from "../TrustlogError.ts"

/** Runs an effect in a transaction. Only the transaction's own failures are typed here: the effect's stay as they are. */
export type Run<F = DatabaseError> = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | F, R>

/** Transactions on connections of their own: they never join an ambient one. */
export const own = <F>(
  sql: SqlClient.SqlClient,
  begin: ReadonlyArray<string>,
  onFailure: (error: SqlError) => F
): Run<F> =>
(effect) =>
  Effect.uninterruptibleMask((restore) =>
    Effect.scoped(Effect.gen(function*() {
      const connection = yield* Effect.mapError(restore(sql.reserve), onFailure)
      const execute = (statement: string) =>
        Effect.mapError(connection.executeUnprepared(statement, [], undefined), onFailure)
      // A begin may wait for as long as a client cares to, and whoever is interrupted meanwhile does not.
      for (const statement of begin) yield* Effect.onInterrupt(restore(execute(statement)), () => rollback(execute))
      const exit = yield* Effect.exit(
        restore(Effect.provideService(effect, SqlClient.TransactionConnection, [connection, 0]))
      )
      // A commit that fails may leave the transaction open, which would poison the connection for whoever is next.
      yield* Exit.isSuccess(exit)
        ? Effect.tapError(execute("COMMIT"), () => rollback(execute))
        : rollback(execute)
      return yield* exit
    }))
  )

// Databases end a transaction themselves on some failures (a full disk, a lost connection); then there is none to roll
// back, and the failure that led here is the one that counts.
const rollback = <F>(execute: (statement: string) => Effect.Effect<unknown, F>) =>
  Effect.catchAll(execute("ROLLBACK"), (error) => Effect.logDebug("nothing to roll back", error))

/** Keeps the effect's own failures apart from the savepoint's. */
class Inner<E> {
  readonly error: E
  constructor(error: E) {
    this.error = error
  }
}

/** Joins the ambient transaction as a savepoint, so that a failure leaves nothing behind, or opens an own one. */
export const joining = (
  sql: SqlClient.SqlClient,
  begin: ReadonlyArray<string>,
  onFailure: (error: SqlError) => DatabaseError
): Run => {
  const open = own(sql, begin, onFailure)
  return <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.flatMap(
      Effect.serviceOption(SqlClient.TransactionConnection),
      (ambient) =>
        Option.isNone(ambient) ? open(effect) : Effect.mapError(
          sql.withTransaction(Effect.mapError(effect, (error) => new Inner(error))),
          (error): E | DatabaseError => error instanceof Inner ? error.error : onFailure(error)
        )
    )
}
