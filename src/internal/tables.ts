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

/** Names that would have to be quoted, or that are too long for a database, and how to write them. */
export const refused = (
  { prefix = "", schema }: Naming
): { readonly field: "prefix" | "schema"; readonly value: string; readonly cure: string } | undefined => {
  const cure = (maxLength: number) =>
    `write a letter or underscore, then letters, digits and underscores, at most ${maxLength} in all`
  // PostgreSQL cuts names at 63 bytes, and the longest of ours has 21.
  if (prefix !== "" && (!name.test(prefix) || prefix.length > 40))
    return { field: "prefix", value: prefix, cure: cure(40) }
  if (schema !== undefined && (!name.test(schema) || schema.length > 63)) {
    return { field: "schema", value: schema, cure: cure(63) }
  }
  return undefined
}

/** Fails on names that are refused. */
export const check = (naming: Naming): Effect.Effect<void, DatabaseError> => {
  const refusal = refused(naming)
  if (refusal === undefined) return Effect.void
  const what = refusal.field === "prefix" ? "table prefix" : "schema"
  return new DatabaseError({
    reason: "unknown",
    problem: `the ${what} ${JSON.stringify(refusal.value)} is not accepted: ${refusal.cure}`
  })
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
