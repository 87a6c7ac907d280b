/**
 * The dialect of a client. Those of other databases are not loaded.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import { DatabaseError } from "../../TrustlogError.ts"
import * as directStatement from "../directStatement.ts"
import type { Dialect } from "./Dialect.ts"

/** Fails on a database that is not supported. */
export const dialectOf = (client: SqlClient): Effect.Effect<Dialect, DatabaseError> => {
  const sql = directStatement.client(client.withoutTransforms())
  return sql.onDialectOrElse({
    sqlite: () => Effect.promise(async () => (await import("./sqlite.ts")).make(sql)),
    pg: () => Effect.promise(async () => (await import("./postgresql.ts")).make(sql)),
    mysql: () => Effect.promise(async () => (await import("./mysql.ts")).make(sql)),
    orElse: () =>
      new DatabaseError({
        reason: "foreign",
        problem: "this kind of database is not supported: use PostgreSQL, MySQL, MariaDB or SQLite"
      })
  })
}
