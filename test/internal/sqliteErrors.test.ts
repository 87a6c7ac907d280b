import { SqlError } from "@effect/sql/SqlError"
import { assert, describe, it } from "@effect/vitest"
import { DatabaseError } from "../../src/TrustlogError.ts"
import { classify } from "../../src/internal/dialects/sqliteErrors.ts"

const named = (code: string, message = "") => Object.assign(new Error(message), { code })
const numbered = (errcode: number, message = "") =>
  Object.assign(new Error(message), { code: "ERR_SQLITE_ERROR", errcode })

describe("a failure of SQLite is classified", () => {
  for (
    const [reason, name, code] of [
      ["locked", "SQLITE_BUSY", 5],
      ["locked", "SQLITE_BUSY_SNAPSHOT", 517],
      ["locked", "SQLITE_LOCKED_SHAREDCACHE", 262],
      ["locked", "SQLITE_PROTOCOL", 15],
      ["readOnly", "SQLITE_READONLY", 8],
      ["readOnly", "SQLITE_READONLY_DIRECTORY", 1544],
      ["unavailable", "SQLITE_READONLY_DBMOVED", 1032],
      ["full", "SQLITE_FULL", 13],
      ["full", "SQLITE_IOERR_WRITE", 778],
      ["full", "SQLITE_IOERR_SHMSIZE", 4874],
      ["unavailable", "SQLITE_IOERR_READ", 266],
      ["unavailable", "SQLITE_CANTOPEN", 14],
      ["corrupt", "SQLITE_CORRUPT", 11],
      ["corrupt", "SQLITE_CORRUPT_INDEX", 779],
      ["foreign", "SQLITE_NOTADB", 26],
      ["constraint", "SQLITE_CONSTRAINT_PRIMARYKEY", 1555],
      ["constraint", "SQLITE_CONSTRAINT_UNIQUE", 2067],
      ["unknown", "SQLITE_MISUSE", 21],
      ["unknown", "SQLITE_TOOBIG", 18]
    ] as const
  ) {
    it(`${name} as ${reason}, by its name or its number`, () => {
      assert.strictEqual(classify(named(name)), reason)
      assert.strictEqual(classify(numbered(code)), reason)
      assert.strictEqual(classify({ rawCode: code }), reason)
      assert.strictEqual(classify(new Error(`it failed: ${name}`)), reason)
      const family = name.split("_").slice(0, 2).join("_")
      assert.strictEqual(classify(new Error(`it failed: ${family} (extended: ${name})`)), reason)
      assert.strictEqual(classify(new SqlError({ cause: named(name) })), reason)
    })
  }

  it("as missing when a table is", () => {
    assert.strictEqual(classify(named("SQLITE_ERROR", "no such table: operation")), "missing")
    assert.strictEqual(classify(numbered(1, "no such table: operation")), "missing")
    assert.strictEqual(classify(numbered(1, "near \"SELEC\": syntax error")), "unknown")
  })

  it("by what libsql says when it cannot open a file, whatever the file is called", () => {
    const message = (path: string, code: number) =>
      new Error(`ConnectionFailed("Unable to open connection to local database ${path}: ${code}")`)
    assert.strictEqual(classify(message("/a/b.db", 14)), "unavailable")
    assert.strictEqual(classify(message("/a: 11\")/b: 13\n.db", 14)), "unavailable")
  })

  it("by what Deno says when it cannot open a file", () => {
    const message = "unable to open database file: /a/b.db"
    assert.strictEqual(classify(Object.assign(new Error(message), { code: "ERR_SQLITE_ERROR" })), "unavailable")
    assert.strictEqual(classify(numbered(1, message)), "unknown")
  })

  it("as what it was classified before", () => {
    const error = new DatabaseError({ reason: "newer", problem: "" })
    assert.strictEqual(classify(new SqlError({ cause: error })), "newer")
  })

  it("as unknown when it is anything else", () => {
    for (
      const cause of [undefined, null, "SQLITE_BUSY", 5, {}, new Error("SQLITE_BUSY"), { code: "ENOSPC" }, { code: 5n }]
    ) {
      assert.strictEqual(classify(cause), "unknown")
    }
    const hostile = Object.create(null)
    assert.strictEqual(classify(hostile), "unknown")
    assert.strictEqual(classify(named("SQLITE_")), "unknown")
    assert.strictEqual(classify(named("SQLITE_constructor")), "unknown")
    assert.strictEqual(classify(named("constructor")), "unknown")
  })
})
