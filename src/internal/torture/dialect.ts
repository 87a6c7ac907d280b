/**
 * What a torture needs of a server that delivery does not: a place of its own, and an end of connections.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"

export interface Statements {
  /** Makes a schema (on MySQL and MariaDB a database); fails where there is one of this name. */
  readonly createSchema: (name: string) => Effect.Effect<unknown, SqlError>
  readonly dropSchema: (name: string) => Effect.Effect<unknown, SqlError>
  /** Removes the tables and views of the connection's own schema whose names begin so. */
  readonly dropTables: (prefix: string) => Effect.Effect<unknown, SqlError>
  /** The connections of a torture's processes: those under its name, or to its database; `undefined`: none can be told. */
  readonly connections: ((name: string) => Effect.Effect<ReadonlyArray<number>, SqlError>) | undefined
  /** Ends one of them. */
  readonly cut: (connection: number, name: string) => Effect.Effect<unknown, SqlError>
}

/** The names are made by the torture itself, of letters, digits and underscores. */
const quoted = (name: string, mark: string): string => `${mark}${name}${mark}`

export const make = (client: SqlClient.SqlClient): Statements | undefined => {
  const sql = client.withoutTransforms()
  const run = (statement: string) => sql.unsafe(statement).unprepared
  return sql.onDialectOrElse({
    pg: (): Statements => ({
      createSchema: (name) => run(`CREATE SCHEMA ${quoted(name, "\"")}`),
      dropSchema: (name) => run(`DROP SCHEMA ${quoted(name, "\"")} CASCADE`),
      dropTables: (prefix) =>
        Effect.flatMap(
          sql<{ readonly name: string; readonly kind: string }>`SELECT c.relname AS name, c.relkind AS kind
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = current_schema() AND starts_with(c.relname, ${prefix}) AND c.relkind IN ('r', 'v')
            ORDER BY c.relkind DESC`,
          Effect.forEach(({ kind, name }) => run(`DROP ${kind === "v" ? "VIEW" : "TABLE"} ${quoted(name, "\"")}`))
        ),
      connections: (name) =>
        Effect.map(
          sql<{ readonly pid: number }>`SELECT pid FROM pg_stat_activity
            WHERE application_name = ${name} AND usename = current_user AND pid <> pg_backend_pid()`,
          (found) => found.map(({ pid }) => Number(pid))
        ),
      // Looked at again in the same statement: a backend's number may be somebody else's by now.
      cut: (connection, name) =>
        sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE pid = ${connection} AND application_name = ${name}`
    }),
    mysql: (): Statements => ({
      createSchema: (name) => run(`CREATE DATABASE ${quoted(name, "`")}`),
      dropSchema: (name) => run(`DROP DATABASE ${quoted(name, "`")}`),
      dropTables: (prefix) =>
        Effect.flatMap(
          sql<{ readonly name: string; readonly kind: string }>`SELECT table_name AS name, table_type AS kind
            FROM information_schema.tables
            WHERE table_schema = DATABASE() AND LEFT(table_name, ${prefix.length}) = ${prefix}
            ORDER BY table_type DESC`,
          Effect.forEach(({ kind, name }) => run(`DROP ${kind === "VIEW" ? "VIEW" : "TABLE"} ${quoted(name, "`")}`))
        ),
      // Nobody else is connected to a database that has just been made under a random name.
      connections: (name) =>
        Effect.map(
          sql<{ readonly id: number }>`SELECT id FROM information_schema.processlist
            WHERE db = ${name} AND id <> CONNECTION_ID()`,
          (found) => found.map(({ id }) => Number(id))
        ),
      cut: (connection) => run(`KILL CONNECTION ${connection}`)
    }),
    orElse: () => undefined
  })
}
