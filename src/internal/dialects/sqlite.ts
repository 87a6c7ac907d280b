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
  maxRows: (columns) => Math.floor(32_000 / columns),
  classify
})
