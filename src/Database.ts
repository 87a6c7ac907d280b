/**
 * The database with a URL as a `SqlClient`. Its driver is loaded when it is asked for.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { DatabaseUrl, Server } from "./DatabaseUrl.ts"
import type { DatabaseError } from "./TrustlogError.ts"

export interface Options {
  readonly url: DatabaseUrl
  /** Where PostgreSQL is listened to, if not there (see `Database/PostgreSQL`). */
  readonly listen?: Server | undefined
}

/** Opens or connects. A file that is not there is made. */
export const layer = ({ listen, url }: Options): Layer.Layer<SqlClient, DatabaseError> =>
  Layer.unwrapEffect(Effect.promise(async () => {
    switch (url._tag) {
      case "PostgreSQL":
        return (await import("./Database/PostgreSQL.ts")).layer({ server: url, listen })
      case "MySQL":
        return (await import("./Database/MySQL.ts")).layer({ server: url })
      case "Sqlite":
        return (await import("./Database/Sqlite.ts")).layer({ filename: url.filename })
    }
  }))
