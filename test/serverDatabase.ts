/**
 * Fresh databases of the servers that the tests found, for suites that run on every kind of database.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as MySQL from "../src/Database/MySQL.ts"
import * as PostgreSQL from "../src/Database/PostgreSQL.ts"
import * as DatabaseUrl from "../src/DatabaseUrl.ts"
import { database, type Server } from "./servers/Server.ts"
import type { Target } from "./suites/RepositoryTest.ts"

/** A URL as the program reads it. */
export const parsed = (url: string): DatabaseUrl.Server =>
  Either.match(DatabaseUrl.fromText(url), {
    onLeft: (problem) => {
      throw new Error(problem)
    },
    onRight: (read) => {
      if (read._tag === "Sqlite") throw new Error(`${url} is no server's`)
      return read
    }
  })

/** A client of the database with a URL. */
export const client = (
  url: string,
  options: Omit<MySQL.Options, "server"> = {}
): Layer.Layer<SqlClient.SqlClient, unknown> => {
  const server = parsed(url)
  return server._tag === "PostgreSQL" ? PostgreSQL.layer({ server, ...options }) : MySQL.layer({ server, ...options })
}

/** A client of a fresh database, which is gone when the layer's scope closes. */
export const fresh = (
  server: Server,
  options: Omit<MySQL.Options, "server"> = {}
): Layer.Layer<SqlClient.SqlClient, unknown> =>
  Layer.unwrapScoped(Effect.map(database(server), (url) => client(url, options)))

/** Lets seconds pass for everything that a server's clock has stamped: the stamps are set back. */
export const pass = (seconds: number): Effect.Effect<void, unknown, SqlClient.SqlClient> =>
  Effect.gen(function*() {
    const sql = (yield* SqlClient.SqlClient).withoutTransforms()
    const back = (column: string) =>
      sql.onDialectOrElse({
        pg: () => sql`${sql.literal(column)} = ${sql.literal(column)} - ${seconds}::float * interval '1 second'`,
        orElse: () => sql`${sql.literal(column)} = ${sql.literal(column)} - INTERVAL ${String(seconds)} SECOND`
      })
    yield* sql`UPDATE trustlog_cursor SET ${back("lease_until")}`
    yield* sql`UPDATE trustlog_retry SET ${back("next_attempt_at")}, ${back("claim_until")}`
    yield* sql`UPDATE operation SET ${back("recorded_at")}`
    yield* sql`UPDATE trustlog_receipt SET ${back("delivered_at")}`
  })

/** The server as a target of suites. */
export const target = (server: Server): Target => ({ client: fresh(server), pass })
