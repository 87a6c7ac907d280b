/**
 * `libsql`: prebuilt, for Node 20, which has no SQLite of its own. It aborts the process on a boolean parameter, on a
 * NUL in a file name and on the use of a closed database, and reads integers beyond 2^53 as other numbers: none of these
 * happens here. Two faults remain: text that is not UTF-8 aborts the process when it is read, and text is cut at a NUL.
 * Neither can be written here; who reads what others may have written reads it as a BLOB.
 */
import { pathToFileURL } from "node:url"
import { classify } from "../dialects/sqliteErrors.ts"
import type { Driver, Row, Statement, Value } from "./Driver.ts"
import { exact, isCommit } from "./Driver.ts"

type Libsql = typeof import("libsql")
type Database = InstanceType<Libsql> & { readonly interrupt?: () => void }
type Prepared = ReturnType<Database["prepare"]>

/** The driver over the module, which whoever needs it imports. */
export const make = (Libsql: Libsql): Driver => ({
  name: "libsql",
  canStopIterating: false,
  isExact: false,
  open: (filename, options) => {
    // It ignores its option `readonly`.
    const database: Database = new Libsql(options.readonly ? `${pathToFileURL(filename).href}?mode=ro` : filename)
    return {
      prepare: (sql) => statement(database, database.prepare(sql), sql),
      isInTransaction: () => database.open && database.inTransaction,
      close: () => void database.close()
    }
  }
})

const statement = (database: Database, prepared: Prepared, sql: string): Statement => {
  const isReader = prepared.reader
  const assertOpen = () => {
    if (!database.open) throw new Error("the database is closed")
  }
  const as = (arrays: boolean) => {
    assertOpen()
    return (isReader ? prepared.raw(arrays) : prepared).safeIntegers()
  }
  // A statement that finds the database locked is not reset but stays in progress, and until it is collected as garbage
  // every COMMIT fails. Run again where it must not write, it ends.
  const ending = <A>(params: ReadonlyArray<Value>, run: (params: ReadonlyArray<Value>) => A): A => {
    try {
      return run(params)
    } catch (cause) {
      if (classify(cause) === "locked" && !isCommit(sql)) {
        database.exec("PRAGMA query_only = ON")
        try {
          prepared.all(params)
        } catch {
          // As it should.
        }
        database.exec("PRAGMA query_only = OFF")
      }
      throw cause
    }
  }
  return {
    isReader,
    all: (params, bigIntegers) =>
      ending(params, (params) => as(false).all(params)).map((row) => converted(row, bigIntegers)),
    values: (params, bigIntegers) =>
      ending(params, (params) => as(true).all(params)).map((row) => Object.values(converted(row, bigIntegers))),
    run: (params) => ending(params, (params) => as(false).run(params)),
    iterate: function*(params, bigIntegers) {
      const rows = as(false).iterate(params)
      let isEnded = false
      try {
        for (const row of rows) {
          yield converted(row, bigIntegers)
          assertOpen()
        }
        isEnded = true
      } finally {
        // It cannot end an iteration, which would hold its snapshot until the garbage collector comes: an interrupted
        // one ends itself at its next step.
        if (!isEnded && database.open) {
          database.interrupt?.()
          drain(rows)
        }
      }
    }
  }
}

const drain = (rows: Iterator<unknown>): void => {
  try {
    while (rows.next().done !== true);
  } catch {
    // Interrupted, as it should be.
  }
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
