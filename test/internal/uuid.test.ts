import { assert, it, vi } from "@effect/vitest"
import * as uuid from "../../src/internal/uuid.ts"

const count = 2_000

it("makes ids of version 7 that sort as they were made, and whose random bits are drawn anew for each", () => {
  const before = Date.now()
  const ids = Array.from({ length: count }, uuid.next)
  for (const id of ids) assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  assert.deepStrictEqual(ids.toSorted(), ids)
  assert.strictEqual(new Set(ids).size, count)
  // The last 40 bits are not counted: by chance, two of so many are the same once in half a million runs.
  assert.strictEqual(new Set(ids.map((id) => id.slice(-10))).size, count)
  const [first = ""] = ids
  const millis = Number.parseInt(first.replace("-", "").slice(0, 12), 16)
  assert.isAtLeast(millis, before)
  assert.isAtMost(millis, Date.now())
})

it("goes on counting while the clock stands back", () => {
  const first = uuid.next()
  const now = vi.spyOn(Date, "now").mockReturnValue(0)
  try {
    const ids = [first, ...Array.from({ length: count }, uuid.next)]
    assert.deepStrictEqual(ids.toSorted(), ids)
  } finally {
    now.mockRestore()
  }
  assert.isAbove(Date.now(), 0)
})
