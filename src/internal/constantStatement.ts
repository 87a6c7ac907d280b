/**
 * A statement whose text does not change, given to the connection as it is. What `@effect/sql` does for each statement (putting
 * the text together, a span, hooks) costs more than all else of a single append, and is left out where nobody would see it.
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Statement from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import { isTraced } from "./tracing.ts"

const isAcquirer = (value: unknown): value is Connection.Acquirer => Effect.isEffect(value)

export const make = <A extends object>(
  sql: SqlClient.SqlClient,
  text: string
): (params: ReadonlyArray<unknown>) => Effect.Effect<ReadonlyArray<A>, SqlError> => {
  // How a statement comes by its connection, the ambient transaction's or one of the pool: no client offers it otherwise.
  const acquirer: unknown = Reflect.get(sql.unsafe(text), "acquirer")
  if (!isAcquirer(acquirer)) return (params) => sql.unsafe<A>(text, params)
  return (params) =>
    Effect.withFiberRuntime((fiber) =>
      isTraced(fiber) || fiber.getFiberRef(Statement.currentTransformer)._tag === "Some"
        ? sql.unsafe<A>(text, params)
        : Effect.scoped(Effect.flatMap(acquirer, (connection) => connection.execute(text, params, undefined)))
    )
}
