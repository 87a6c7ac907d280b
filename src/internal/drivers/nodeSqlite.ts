/**
 * `node:sqlite`: in Node from 22 on, Bun and Deno.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite"
import type { Driver, Row, Statement } from "./Driver.ts"

/** The driver, or `undefined` where the runtime does not have it. */
export const load = (): Driver | undefined => {
  const sqlite = builtin()
  if (sqlite === undefined) return undefined
  const canFail = canIterationFail(sqlite)
  return {
    name: "node:sqlite",
    canStopIterating: true,
    isExact: isExact(sqlite),
    open: (filename, options) => {
      const database = new sqlite.DatabaseSync(filename, { readOnly: options.readonly })
      return {
        prepare: (sql) => make(database.prepare(sql), canFail ? undefined : () => database.isOpen),
        isInTransaction: () => database.isOpen && database.isTransaction,
        close: () => database.close()
      }
    }
  }
}

// Node 22 warns that the module is experimental when it is first loaded, on the standard error of every command.
const builtin = () => {
  const { emitWarning } = process
  process.emitWarning = () => {}
  try {
    return process.getBuiltinModule?.("node:sqlite")
  } finally {
    process.emitWarning = emitWarning
  }
}

type Sqlite = NonNullable<ReturnType<typeof builtin>>

const inMemory = <A>(sqlite: Sqlite, use: (database: DatabaseSync) => A): A => {
  const database = new sqlite.DatabaseSync(":memory:")
  try {
    return use(database)
  } finally {
    database.close()
  }
}

// Deno 2.9.6 ends an iteration where a row fails, as if that were its end.
const canIterationFail = (sqlite: Sqlite): boolean =>
  inMemory(sqlite, (database) => {
    try {
      Array.from(database.prepare("SELECT abs(-9223372036854775807 - 1)").iterate())
      return false
    } catch {
      return true
    }
  })

// Node 22.23 and Deno 2.9.6 cut a text at a NUL. A mark of byte order, and several ways of being no UTF-8, are tried as well.
const isExact = (sqlite: Sqlite): boolean =>
  inMemory(sqlite, (database) => {
    const row = database.prepare("SELECT CAST(x'EFBBBF610062F0908063C080EDA08064F09F9880E2' AS TEXT) AS found").get()
    return row?.["found"] === "\uFEFFa\0b\uFFFDc\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDd\u{1F600}\uFFFD"
  })

/** With `isOpen`, rows are read whole before they are iterated, for as long as the database is open. */
const make = (statement: StatementSync, isOpen: (() => boolean) | undefined): Statement => {
  const prepared = (bigIntegers: boolean, arrays: boolean) => {
    statement.setReadBigInts(bigIntegers)
    statement.setReturnArrays(arrays)
    return statement
  }
  return {
    all: (params, bigIntegers) => {
      const rows = prepared(bigIntegers, false).all(...params)
      for (const row of rows) plain(row)
      return rows
    },
    values: (params, bigIntegers) =>
      prepared(bigIntegers, true).all(...params).map((row) => Array.isArray(row) ? row : Object.values(row)),
    iterate: function*(params, bigIntegers) {
      const rows = prepared(bigIntegers, false)
      for (const row of isOpen === undefined ? rows.iterate(...params) : rows.all(...params)) {
        if (isOpen?.() === false) throw new Error("the database has been closed")
        yield plain(row)
      }
    },
    get isReader() {
      return statement.columns().length > 0
    },
    run: (params) => prepared(false, false).run(...params)
  }
}

// Its rows have no prototype, which other drivers' rows have.
const plain = (row: Row): Row => Object.setPrototypeOf(row, Object.prototype)
