/**
 * What an SQLite driver can do, synchronously. Two are known: `node:sqlite` and `libsql`.
 */

/** What SQLite stores. Both drivers bind a number as REAL, so whole numbers arrive here as big integers. */
export type Value = null | number | bigint | string | Uint8Array

export type Row = Record<string, unknown>

export interface Statement {
  /** Every row; integers as numbers, or all of them as big integers. A number that would not be exact is thrown. */
  readonly all: (params: ReadonlyArray<Value>, bigIntegers: boolean) => ReadonlyArray<Row>
  /** Every row as an array of its columns. */
  readonly values: (params: ReadonlyArray<Value>, bigIntegers: boolean) => ReadonlyArray<ReadonlyArray<unknown>>
  /** The rows one by one. Whoever has seen its end does not ask again: Node 22 would start over. */
  readonly iterate: (params: ReadonlyArray<Value>, bigIntegers: boolean) => Iterator<Row>
  /** Whether it returns rows. */
  readonly isReader: boolean
  /** Runs it for its effect. */
  readonly run: (params: ReadonlyArray<Value>) => { readonly changes: number | bigint }
}

export interface Database {
  /** Compiles one statement. */
  readonly prepare: (sql: string) => Statement
  /** Whether a transaction is open; `undefined` where the runtime cannot tell. */
  readonly isInTransaction: () => boolean | undefined
  /** Ends what is still running, rolls back what is open, and closes. */
  readonly close: () => void
}

export interface Driver {
  readonly name: "node:sqlite" | "libsql"
  /** Whether an iteration that stops early lets go of its snapshot while the connection stays open. */
  readonly canStopIterating: boolean
  /** Whether it reads any text as it stands: whole, with a NUL in it, and what is no UTF-8 as U+FFFD. */
  readonly isExact: boolean
  readonly open: (filename: string, options: { readonly readonly: boolean }) => Database
}

const maxInteger = 2n ** 63n - 1n
const minInteger = -(2n ** 63n)

/**
 * Makes a parameter something that SQLite stores as it was meant: `Date` as ISO text, boolean as 0 or 1, `undefined` as
 * NULL, a whole number as an integer. Throws on what would be stored as something else.
 */
export const bind = (value: unknown, index: number): Value => {
  switch (typeof value) {
    case "string":
      // Stored whole, but cut when libsql or Node 22 reads it.
      if (value.includes("\0")) break
      return value
    case "undefined":
      return null
    case "boolean":
      return value ? 1n : 0n
    case "number":
      if (Number.isNaN(value)) break
      return Number.isSafeInteger(value) && !Object.is(value, -0) ? BigInt(value) : value
    case "bigint":
      if (value < minInteger || value > maxInteger) break
      return value
    case "object":
      if (value === null || value instanceof Uint8Array) return value
      if (value instanceof ArrayBuffer) return new Uint8Array(value)
      if (value instanceof Date && !Number.isNaN(value.getTime())) return value.toISOString()
  }
  throw new TypeError(
    `parameter ${index + 1} is ${
      describe(value)
    }: what can be kept is text without NUL, numbers, 64-bit integers, bytes, null`
  )
}

const describe = (value: unknown): string =>
  typeof value === "number" || typeof value === "bigint"
    ? String(value)
    : value instanceof Date
    ? "an invalid date"
    : Array.isArray(value)
    ? "an array"
    : typeof value === "string"
    ? "a text with a NUL character"
    : `of type ${typeof value}`

/** A number that is exact, or an error. */
export const exact = (integer: bigint): number => {
  const number = Number(integer)
  if (!Number.isSafeInteger(number)) {
    throw new RangeError(`the integer ${integer} is no exact number: read it with SqlClient.SafeIntegers`)
  }
  return number
}

/** Statements that end a transaction: only they may be run again inside one. */
export const isCommit = (sql: string): boolean => /^\s*(COMMIT|END)\b/i.test(sql)
