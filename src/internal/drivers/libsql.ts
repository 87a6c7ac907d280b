/**
 * `libsql`: prebuilt, for Node 20, which has no SQLite of its own. It aborts the process on a boolean parameter and on a
 * NUL in a file name, reads integers beyond 2^53 as other numbers, and cuts text at a NUL: none of these reaches it.
 */
import { pathToFileURL } from "node:url"
import type { Driver, Row, Statement, Value } from "./Driver.ts"
import { exact } from "./Driver.ts"

type Libsql = typeof import("libsql")
type Database = InstanceType<Libsql> & { readonly interrupt?: () => void }
type Prepared = ReturnType<Database["prepare"]>

/** The driver over the module, which whoever needs it imports. */
export const make = (Libsql: Libsql): Driver => ({
  name: "libsql",
  canStopIterating: false,
  open: (filename, options) => {
    // It ignores its option `readonly`.
    const database: Database = new Libsql(options.readonly ? `${pathToFileURL(filename).href}?mode=ro` : filename)
    return {
      prepare: (sql) => statement(database, database.prepare(sql)),
      isInTransaction: () => database.inTransaction,
      close: () => void database.close()
    }
  }
})

const statement = (database: Database, prepared: Prepared): Statement => {
  const isReader = prepared.reader
  const as = (arrays: boolean) => (isReader ? prepared.raw(arrays) : prepared).safeIntegers()
  return {
    isReader,
    all: (params, bigIntegers) => as(false).all(checked(params)).map((row) => converted(row, bigIntegers)),
    values: (params, bigIntegers) =>
      as(true).all(checked(params)).map((row) => Object.values(converted(row, bigIntegers))),
    iterate: function*(params, bigIntegers) {
      const rows = as(false).iterate(checked(params))
      let isEnded = false
      try {
        for (const row of rows) yield converted(row, bigIntegers)
        isEnded = true
      } finally {
        // It cannot end an iteration, which would hold its snapshot until the garbage collector comes: an interrupted
        // one ends itself at its next step.
        if (!isEnded) {
          database.interrupt?.()
          drain(rows)
        }
      }
    },
    run: (params) => as(false).run(checked(params))
  }
}

const drain = (rows: Iterator<unknown>): void => {
  try {
    while (rows.next().done !== true);
  } catch {
    // Interrupted, as it should be.
  }
}

const checked = (params: ReadonlyArray<Value>): ReadonlyArray<Value> => {
  for (let i = 0; i < params.length; i++) {
    const param = params[i]
    if (typeof param === "string" && param.includes("\0")) {
      throw new TypeError(`parameter ${i + 1} holds a NUL character, which libsql cannot read back`)
    }
  }
  return params
}

const isRow = (row: unknown): row is Row => typeof row === "object" && row !== null

// In place: the row is fresh, and it may be one of millions.
const converted = (row: unknown, bigIntegers: boolean): Row => {
  if (!isRow(row)) return {}
  for (const column in row) {
    const value = row[column]
    if (typeof value === "bigint" && !bigIntegers) row[column] = exact(value)
    else if (value instanceof ArrayBuffer) row[column] = new Uint8Array(value)
  }
  return row
}
