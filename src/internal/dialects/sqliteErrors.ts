/**
 * What SQLite's result codes mean, whichever driver says so: better-sqlite3 and libsql name them
 * (`code: "SQLITE_BUSY_SNAPSHOT"`), node:sqlite numbers them (`errcode: 517`), and Durable Objects end their message with them
 * (`…: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)`).
 */
import { SqlError } from "@effect/sql/SqlError"
import { DatabaseError, type DatabaseReason } from "../../TrustlogError.ts"

const primaries: Record<number, string> = {
  3: "PERM",
  5: "BUSY",
  6: "LOCKED",
  7: "NOMEM",
  8: "READONLY",
  10: "IOERR",
  11: "CORRUPT",
  13: "FULL",
  14: "CANTOPEN",
  15: "PROTOCOL",
  19: "CONSTRAINT",
  26: "NOTADB"
}

const reasons: Record<string, DatabaseReason> = {
  PERM: "unavailable",
  BUSY: "locked",
  LOCKED: "locked",
  NOMEM: "unavailable",
  READONLY: "readOnly",
  IOERR: "unavailable",
  CORRUPT: "corrupt",
  FULL: "full",
  CANTOPEN: "unavailable",
  PROTOCOL: "locked",
  CONSTRAINT: "constraint",
  NOTADB: "foreign"
}

// The extended codes that mean something else than their family: a write over a quota or a file size limit, shared
// memory that found no room, a file that was moved away from under its name.
const extended: Record<string, DatabaseReason> = {
  778: "full",
  SQLITE_IOERR_WRITE: "full",
  4874: "full",
  SQLITE_IOERR_SHMSIZE: "full",
  1032: "unavailable",
  SQLITE_READONLY_DBMOVED: "unavailable"
}

const field = (cause: unknown, name: string): unknown =>
  typeof cause === "object" && cause !== null ? Reflect.get(cause, name) : undefined

/** SQLite's own code, as a name or a number. */
const codeOf = (cause: unknown): string | number | undefined => {
  for (const name of ["errcode", "rawCode", "code"]) {
    const value = field(cause, name)
    if (typeof value === "number" || (typeof value === "string" && value.startsWith("SQLITE_"))) return value
  }
  const message = messageOf(cause)
  const said = /: (SQLITE_[A-Z_]+)(?: \(extended: (SQLITE_[A-Z_]+)\))?$/.exec(message)
  if (said !== null) return said[2] ?? said[1]
  // When a file cannot be opened, libsql has the code in its words, and Deno has none.
  const opening = /^ConnectionFailed\(.*: (\d+)"\)$/s.exec(message)
  if (opening !== null) return Number(opening[1])
  return message.startsWith("unable to open database file: ") ? 14 : undefined
}

/** What a driver said, in words. */
export const messageOf = (cause: unknown): string => {
  const message = field(cause, "message")
  return typeof message === "string" ? message : "an error without a message"
}

/** The reason for a failure of an SQLite driver, or for what wraps one. */
export const classify = (cause: unknown): DatabaseReason => {
  if (cause instanceof DatabaseError) return cause.reason
  if (cause instanceof SqlError) return classify(cause.cause)
  const code = codeOf(cause)
  if (code === undefined) return "unknown"
  const family = typeof code === "number" ? primaries[code & 0xff] : code.split("_")[1]
  const reason = lookup(extended, String(code)) ?? lookup(reasons, family ?? "")
  return reason ?? (messageOf(cause).startsWith("no such table") ? "missing" : "unknown")
}

const lookup = (table: Record<string, DatabaseReason>, key: string): DatabaseReason | undefined =>
  Object.hasOwn(table, key) ? table[key] : undefined
