/**
 * Statements given to the connection as they are. What `@effect/sql` does around each (a span, a scope, hooks) costs more than all
 * else of a single append, and several times what the statement of a worker does; it is left out where nobody would see it.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Statement from "@effect/sql/Statement"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { isTraced } from "./tracing.ts"

const isAcquirer = (value: unknown): value is Connection.Acquirer => Effect.isEffect(value)

/** How a statement comes by its connection, the ambient transaction's or one of the pool: no client offers it otherwise. */
const acquirerOf = (statement: Statement.Statement<unknown>): unknown => Reflect.get(statement, "acquirer")

/** Clients of pools: outside of transactions their statements share what takes a connection for each by itself. */
const pools = ["~@effect/sql-pg/PgClient", Symbol.for("@effect/sql-mysql2/MysqlClient")]

/** What statements share, by how they come by it; `null` where each is given something of its own. */
const shared = new WeakMap<Connection.Acquirer, Connection | null>()

/** Whether statements share something is seen when it comes twice: only then may it be used without being acquired. */
const share = (sql: SqlClient.SqlClient, acquirer: Connection.Acquirer): Effect.Effect<void, SqlError> => {
  if (!pools.some((id) => Reflect.has(sql, id))) return Effect.sync(() => shared.set(acquirer, null))
  const acquire = Effect.scoped(acquirer)
  return Effect.map(
    Effect.zip(acquire, acquire),
    ([first, second]) => void shared.set(acquirer, first === second ? first : null)
  )
}

const run = <A extends object>(
  sql: SqlClient.SqlClient,
  acquirer: Connection.Acquirer,
  text: string,
  params: ReadonlyArray<unknown>
): Effect.Effect<ReadonlyArray<A>, SqlError> =>
  Effect.withFiberRuntime((fiber) => {
    if (isTraced(fiber) || fiber.getFiberRef(Statement.currentTransformer)._tag === "Some") {
      return sql.unsafe<A>(text, params)
    }
    const execute = (connection: Connection) => connection.execute(text, params, undefined)
    const open = Context.getOption(fiber.currentContext, SqlClient.TransactionConnection)
    if (open._tag === "Some") return execute(open.value[0])
    const connection = shared.get(acquirer)
    if (connection === undefined) return Effect.zipRight(share(sql, acquirer), run<A>(sql, acquirer, text, params))
    return connection === null ? Effect.scoped(Effect.flatMap(acquirer, execute)) : execute(connection)
  })

/** A statement whose text does not change, and so is put together once. */
export const constant = <A extends object>(
  sql: SqlClient.SqlClient,
  text: string
): (params: ReadonlyArray<unknown>) => Effect.Effect<ReadonlyArray<A>, SqlError> => {
  const acquirer = acquirerOf(sql.unsafe(text))
  return isAcquirer(acquirer) ? (params) => run(sql, acquirer, text, params) : (params) => sql.unsafe<A>(text, params)
}

const isStatement = (value: unknown): value is Statement.Statement<object> =>
  Statement.isFragment(value) && Effect.isEffect(value)

/** A client without transforms, whose statements are given to the connection as they are. */
export const client = (sql: SqlClient.SqlClient): SqlClient.SqlClient =>
  new Proxy(sql, {
    apply: (target, self, given: ReadonlyArray<unknown>) => {
      const made: unknown = Reflect.apply(target, self, given)
      const acquirer = isStatement(made) ? acquirerOf(made) : undefined
      return isStatement(made) && isAcquirer(acquirer)
        // What an effect of `effect/Effectable` does when it is run.
        ? Object.assign(made, { commit: () => run(sql, acquirer, ...made.compile()) })
        : made
    }
  })
