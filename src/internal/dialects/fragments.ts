/**
 * Pieces of statements that dialects share.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import type { Fragment } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"

/** `(a, b) VALUES (?, ?), (?, ?)`, for dialects whose parameters are question marks. */
export const values = (columns: ReadonlyArray<string>, rows: number): string =>
  `(${columns.join(", ")}) VALUES ${
    Array.from({ length: rows }, () => `(${columns.map(() => "?").join(", ")})`).join(", ")
  }`

/** Runs statements one after the other. */
export const oneByOne = (sql: SqlClient, statements: ReadonlyArray<Fragment>): Effect.Effect<void, SqlError> =>
  Effect.forEach(statements, (statement) => sql`${statement}`, { discard: true })

/** Rows in chunks of a size that depends on how many are left. */
export const chunks = <A>(rows: ReadonlyArray<A>, size: (left: number) => number): ReadonlyArray<ReadonlyArray<A>> => {
  const all: Array<ReadonlyArray<A>> = []
  let at = 0
  while (at < rows.length) {
    const chunk = rows.slice(at, at + Math.max(1, size(rows.length - at)))
    all.push(chunk)
    at += chunk.length
  }
  return all
}
