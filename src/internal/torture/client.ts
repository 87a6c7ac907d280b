/**
 * Connections to the database that is tortured.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { DatabaseUrl } from "../../DatabaseUrl.ts"
import type { DatabaseError } from "../../TrustlogError.ts"

/** A client with so many connections at most. Drivers are loaded when they are needed. */
export const layer = (database: DatabaseUrl, maxConnections: number): Layer.Layer<SqlClient, DatabaseError> =>
  Layer.unwrapEffect(Effect.gen(function*() {
    switch (database._tag) {
      case "PostgreSQL": {
        const { layer } = yield* Effect.promise(() => import("../../Database/PostgreSQL.ts"))
        return layer({ server: database, maxConnections })
      }
      case "MySQL": {
        const { layer } = yield* Effect.promise(() => import("../../Database/MySQL.ts"))
        return layer({ server: database, maxConnections })
      }
      case "Sqlite": {
        const { layer } = yield* Effect.promise(() => import("../../Database/Sqlite.ts"))
        return layer({ filename: database.filename })
      }
    }
  }))
