/**
 * `node:sqlite`: in Node from 22 on, Bun and Deno.
 */
import type { StatementSync } from "node:sqlite"
import type { Driver, Row, Statement } from "./Driver.ts"

/** The driver, or `undefined` where the runtime does not have it. */
export const load = (): Driver | undefined => {
  const sqlite = builtin()
  if (sqlite === undefined) return undefined
  const canFail = canIterationFail(sqlite)
  return {
    name: "node:sqlite",
    canStopIterating: true,
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

// Deno 2.9.6 ends an iteration where a row fails, as if that were its end.
const canIterationFail = (sqlite: NonNullable<ReturnType<typeof builtin>>): boolean => {
  const database = new sqlite.DatabaseSync(":memory:")
  try {
    Array.from(database.prepare("SELECT abs(-9223372036854775807 - 1)").iterate())
    return false
  } catch {
    return true
  } finally {
    database.close()
  }
}

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
    values: (params, bigIntegers) => prepared(bigIntegers, true).all(...params).map((row) => Object.values(row)),
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
