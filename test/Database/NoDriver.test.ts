import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { vi } from "vitest"
import * as Sqlite from "../../src/Database/Sqlite.ts"

vi.mock("libsql", () => {
  throw new Error("Cannot find package 'libsql'")
})
// As a runtime without node:sqlite answers.
vi.spyOn(process, "getBuiltinModule").mockReturnValue(undefined)

const problemOf = (driver: "auto" | "node:sqlite" | "libsql") =>
  Effect.map(Effect.flip(Layer.build(Sqlite.layer({ filename: ":memory:", driver }))), (error) => error.problem)

it.scoped("A runtime without any SQLite is told what to install", () =>
  Effect.gen(function*() {
    const cure = "this Node has no SQLite of its own: npm install libsql, or use Node 22 or newer"
    assert.strictEqual(yield* problemOf("auto"), cure)
    assert.strictEqual(yield* problemOf("libsql"), cure)
    assert.match(yield* problemOf("node:sqlite"), /no node:sqlite: use Node 22 or newer/)
  }))
