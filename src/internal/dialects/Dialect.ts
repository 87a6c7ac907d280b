/**
 * What differs between databases. The repository asks for one of these once, while it is built; everything else it
 * says in SQL that all of them understand.
 */
import type { Fragment } from "@effect/sql/Statement"
import type * as Effect from "effect/Effect"
import type { DatabaseReason } from "../../TrustlogError.ts"

export interface Dialect {
  /** How a transaction begins that the host asks for. */
  readonly begin: ReadonlyArray<string>
  /** How a worker's transaction begins. */
  readonly beginWorker: ReadonlyArray<string>
  /** How a transaction begins that sees one state and writes nothing. */
  readonly beginSnapshot: ReadonlyArray<string>
  /** A point in time so many milliseconds from now, by the clock that decides in this database. */
  readonly time: (offsetMillis: number) => Effect.Effect<Fragment>
  /** How many seconds lie between two times. */
  readonly seconds: (from: Fragment, to: Fragment) => Fragment
  /** `column IN (values)` as one parameter, so that the statement's text does not depend on how many there are. */
  readonly isOneOf: (column: string, values: ReadonlyArray<number> | ReadonlyArray<string>) => Fragment
  /**
   * Columns, under the names that they shall have, as one value that `rows.exactly` reads. It holds all that they hold,
   * also what was never written by a program of ours.
   */
  readonly exactly: (columns: Readonly<Record<string, string>>) => Fragment
  /** How many rows one INSERT may hold, for so many columns. */
  readonly maxRows: (columns: number) => number
  /** What went wrong, whichever driver says so. */
  readonly classify: (cause: unknown) => DatabaseReason
}
