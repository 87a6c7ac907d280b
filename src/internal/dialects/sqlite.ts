/**
 * SQLite 3.40 or newer.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { timestampOf } from "../../Operation.ts"
import type { Dialect } from "./Dialect.ts"
import { classify } from "./sqliteErrors.ts"

/** SQLite has no server, and so no clock of its own: Effect's decides, which tests can set. */
export const make = (sql: SqlClient): Dialect => ({
  // A deferred transaction that reads first and writes later fails at once, without any waiting, when another has
  // written meanwhile.
  begin: ["BEGIN IMMEDIATE"],
  beginWorker: ["BEGIN IMMEDIATE"],
  beginSnapshot: ["BEGIN DEFERRED"],
  time: (offsetMillis) => Effect.map(Clock.currentTimeMillis, (now) => sql`${timestampOf(now + offsetMillis)}`),
  seconds: (from, to) => sql`(julianday(${to}) - julianday(${from})) * 86400.0`,
  isOneOf: (column, values) => sql`${sql(column)} IN (SELECT value FROM json_each(${JSON.stringify(values)}))`,
  // Text that was tampered with may be no UTF-8, which makes one driver abort the process; hold a NUL, at which drivers
  // cut it; or be bytes, which are taken for the text that they spell. JSON shows all of it, and bytes as no text at all.
  exactly: (columns) =>
    sql.literal(`CAST(json_object(${
      Object.entries(columns)
        .map(([name, column]) => `'${name}', CASE typeof(${column}) WHEN 'blob' THEN 0.5 ELSE ${column} END`)
        .join(", ")
    }) AS BLOB)`),
  maxRows: (columns) => Math.floor(32_000 / columns),
  classify
})
