/**
 * Clients whose transactions let something be done before each of their statements.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

/** What is done before a statement of a transaction is sent, perhaps over the same connection. */
export type Before = (statement: string, connection: Connection) => Effect.Effect<void>

const overheardConnection = (connection: Connection, before: Before): Connection => ({
  execute: (sql, ...rest) => Effect.zipRight(before(sql, connection), connection.execute(sql, ...rest)),
  executeRaw: (sql, ...rest) => Effect.zipRight(before(sql, connection), connection.executeRaw(sql, ...rest)),
  executeStream: (sql, ...rest) => connection.executeStream(sql, ...rest),
  executeValues: (sql, ...rest) => Effect.zipRight(before(sql, connection), connection.executeValues(sql, ...rest)),
  executeUnprepared: (sql, ...rest) =>
    Effect.zipRight(before(sql, connection), connection.executeUnprepared(sql, ...rest))
})

const overheardClient = (sql: SqlClient.SqlClient, before: Before): SqlClient.SqlClient =>
  new Proxy(sql, {
    get: (target, name) =>
      name === "reserve"
        ? Effect.map(target.reserve, (connection) => overheardConnection(connection, before))
        : name === "withoutTransforms"
        ? () => overheardClient(target.withoutTransforms(), before)
        : Reflect.get(target, name)
  })

/** The same client, whose transactions let something be done before each of their statements. */
export const overheard = <E, R>(
  layer: Layer.Layer<SqlClient.SqlClient, E, R>,
  before: Before
): Layer.Layer<SqlClient.SqlClient, E, R> =>
  Layer.map(layer, (context) =>
    Context.add(
      context,
      SqlClient.SqlClient,
      overheardClient(Context.get(context, SqlClient.SqlClient), before)
    ))
