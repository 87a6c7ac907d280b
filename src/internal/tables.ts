/**
 * What the tables are called in statements.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { Fragment } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import { DatabaseError } from "../TrustlogError.ts"
import type { Dialect } from "./dialects/Dialect.ts"

/** What a host may choose of the tables' names. */
export interface Naming {
  /** What every table's name begins with: a letter or underscore, then letters, digits, underscores. Nothing by default. */
  readonly prefix?: string | undefined
  /**
   * The schema of all tables (on MySQL and MariaDB the database), made where it is missing; spelled as a prefix is. By
   * default the connection's own.
   */
  readonly schema?: string | undefined
}

export interface Tables {
  readonly operation: Fragment
  readonly pending: Fragment
  readonly cursor: Fragment
  readonly retry: Fragment
  readonly receipt: Fragment
  readonly promotion: Fragment
}

const name = /^[A-Za-z_][A-Za-z0-9_]*$/

const refusal = (what: string, value: string, maxLength: number) =>
  new DatabaseError({
    reason: "unknown",
    problem: `the ${what} ${JSON.stringify(value)} is not accepted: write a letter or underscore, then letters, ` +
      `digits and underscores, at most ${maxLength} in all`
  })

/** Fails on names that would have to be quoted, or that are too long for a database. */
export const check = ({ prefix = "", schema }: Naming): Effect.Effect<void, DatabaseError> => {
  // PostgreSQL cuts names at 63 bytes, and the longest of ours has 21.
  if (prefix !== "" && (!name.test(prefix) || prefix.length > 40)) return refusal("table prefix", prefix, 40)
  if (schema !== undefined && (!name.test(schema) || schema.length > 63)) return refusal("schema", schema, 63)
  return Effect.void
}

/** What stands before a table's name for its schema. */
export const qualifier = (quote: Dialect["quote"], schema: string | undefined): string =>
  schema === undefined ? "" : `${quote(schema)}.`

export const make = (sql: SqlClient, quote: Dialect["quote"], { prefix = "", schema }: Naming): Tables => {
  const table = (name: string) => sql.literal(`${qualifier(quote, schema)}${quote(`${prefix}${name}`)}`)
  return {
    operation: table("operation"),
    pending: table("trustlog_pending"),
    cursor: table("trustlog_cursor"),
    retry: table("trustlog_retry"),
    receipt: table("trustlog_receipt"),
    promotion: table("trustlog_promotion")
  }
}
