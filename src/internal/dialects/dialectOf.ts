/**
 * The dialect of a client.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import { DatabaseError } from "../../TrustlogError.ts"
import type { Dialect } from "./Dialect.ts"
import * as mysql from "./mysql.ts"
import * as postgresql from "./postgresql.ts"
import * as sqlite from "./sqlite.ts"

/** Fails on a database that is not supported. */
export const dialectOf = (client: SqlClient): Effect.Effect<Dialect, DatabaseError> => {
  const sql = client.withoutTransforms()
  return sql.onDialectOrElse({
    sqlite: () => Effect.succeed(sqlite.make(sql)),
    pg: () => Effect.succeed(postgresql.make(sql)),
    mysql: () => Effect.succeed(mysql.make(sql)),
    orElse: () =>
      new DatabaseError({
        reason: "foreign",
        problem: "this kind of database is not supported: use PostgreSQL, MySQL, MariaDB or SQLite"
      })
  })
}
