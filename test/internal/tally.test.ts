import { assert, describe, it } from "@effect/vitest"
import * as tally from "../../src/internal/torture/tally.ts"

const hash = (id: string) => `hash of ${id}`
const stored = (...ids: ReadonlyArray<string>) => new Map(ids.map((id) => [id, hash(id)]))
const nothing: tally.Promised = { committed: new Set(), rolledBack: new Set() }

const seen = (...ids: ReadonlyArray<string>): tally.Seen => {
  const seen: tally.Seen = new Map()
  for (const id of ids) tally.see(seen, id, hash(id))
  return seen
}

describe("a tally", () => {
  it("of what is as it should be finds nothing", () => {
    assert.deepStrictEqual(
      tally.tally(stored("a", "b"), { committed: new Set(["a", "b"]), rolledBack: new Set(["c"]) }, seen("b", "a")),
      { committed: 2, delivered: 2, lost: [], phantom: [], duplicated: 0 }
    )
  })

  it("finds what was committed and not seen", () => {
    const { committed, delivered, lost } = tally.tally(stored("a", "b"), nothing, seen("a"))
    assert.deepStrictEqual({ committed, delivered, lost }, { committed: 2, delivered: 1, lost: ["b"] })
  })

  it("finds what a writer was told is committed, and the database does not have", () => {
    const promised = { committed: new Set(["a", "b"]), rolledBack: new Set<string>() }
    assert.deepStrictEqual(tally.tally(stored("a"), promised, seen("a")).lost, ["b"])
  })

  it("finds what was seen and not committed", () => {
    assert.deepStrictEqual(tally.tally(stored("a"), nothing, seen("a", "b")).phantom, ["b"])
  })

  it("finds what was rolled back, and is there all the same", () => {
    const promised = { committed: new Set<string>(), rolledBack: new Set(["a"]) }
    assert.deepStrictEqual(tally.tally(stored("a"), promised, seen("a")).phantom, ["a"])
  })

  it("finds what was seen with another content: it is lost, and something else is there", () => {
    const altered: tally.Seen = new Map()
    tally.see(altered, "a", "another hash")
    assert.deepInclude(tally.tally(stored("a"), nothing, altered), { delivered: 0, lost: ["a"], phantom: ["a"] })
  })

  it("counts what was seen again", () => {
    assert.deepInclude(tally.tally(stored("a", "b"), nothing, seen("a", "b", "a", "a")), {
      delivered: 2,
      lost: [],
      phantom: [],
      duplicated: 2
    })
  })
})
