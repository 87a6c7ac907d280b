import { assert, describe, it } from "@effect/vitest"
import * as Either from "effect/Either"
import * as merkle from "../../src/internal/merkle.ts"
import * as tiles from "../../src/internal/tiles.ts"

const entry = (i: number): Uint8Array => new TextEncoder().encode(`entry ${i}`)
const entries = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => entry(from + i))

describe("tiles", () => {
  it("writes indices in elements of three digits, all but the last with an x", () => {
    assert.strictEqual(tiles.pathOf({ level: 0, index: 1234067, width: 256 }), "tile/0/x001/x234/067")
    assert.strictEqual(tiles.pathOf({ level: 63, index: 0, width: 1 }), "tile/63/000.p/1")
    assert.strictEqual(tiles.pathOf({ level: "entries", index: 999, width: 255 }), "tile/entries/999.p/255")
    assert.strictEqual(tiles.pathOf({ level: "entries", index: 1000, width: 256 }), "tile/entries/x001/000")
  })

  it("has the tiles and widths of the specification's examples", () => {
    const all = (size: number) =>
      Array.from({ length: tiles.heightOf(size) }, (_, level) => {
        const count = tiles.countAt(level, size)
        const full = Math.floor(count / 256)
        return [full, tiles.widthAt(level, full, size)]
      })
    assert.deepStrictEqual(all(70_000), [[273, 112], [1, 17], [0, 1]])
    assert.deepStrictEqual(all(256), [[1, 0], [0, 1]])
    assert.deepStrictEqual(all(255), [[0, 255]])
    assert.deepStrictEqual(all(0), [])
    assert.strictEqual(tiles.widthAt(0, 272, 70_000), 256)
    assert.strictEqual(tiles.widthAt("entries", 273, 70_000), 112)
    assert.strictEqual(tiles.widthAt(0, 274, 70_000), 0)
  })

  it("reads bundles back, and says what is wrong with others", () => {
    const some = [new Uint8Array(0), entry(1), new Uint8Array(65_535).fill(3), entry(3)]
    const bytes = tiles.encodeBundle(some)
    assert.deepStrictEqual(tiles.decodeBundle(bytes, 4), Either.right(some))
    assert.deepStrictEqual(tiles.decodeBundle(bytes, 2), Either.left("holds 4 entries, not 2"))
    assert.deepStrictEqual(tiles.decodeBundle(bytes, 5), Either.left("holds 4 entries, not 5"))
    assert.deepStrictEqual(tiles.decodeBundle(bytes.subarray(0, -1), 4), Either.left("ends inside an entry"))
    assert.deepStrictEqual(tiles.decodeBundle(Uint8Array.of(0), 0), Either.left("ends inside an entry"))
    assert.deepStrictEqual(tiles.decodeHashes(new Uint8Array(31), 0), Either.left("holds 31 bytes, not 0"))
    assert.deepStrictEqual(tiles.decodeHashes(new Uint8Array(64), 1), Either.left("holds 64 bytes, not 32"))
    assert.deepStrictEqual(tiles.decodeHashes(new Uint8Array(32), 2), Either.left("holds 32 bytes, not 64"))
  })

  it("grows to the same tree and files whatever the batches are", () => {
    const leaves = entries(0, 70_000).map(merkle.leafHash)
    const build = (batches: ReadonlyArray<number>) => {
      const files = new Map<string, Uint8Array>()
      let edge = tiles.emptyEdge
      for (const count of batches) {
        const grown = tiles.grow(edge, entries(edge.size, edge.size + count))
        for (const file of [...grown.filled, ...tiles.partials(grown.edge, edge)]) {
          files.set(tiles.pathOf(file.tile), file.bytes)
        }
        edge = grown.edge
        assert.deepStrictEqual(tiles.rootOf(edge), merkle.root(leaves.slice(0, edge.size)), String(edge.size))
      }
      return { edge, files }
    }
    const whole = build([70_000])
    const mixed = build([0, 1, 1, 253, 1, 0, 1, 255, 256, 257, 1000, 65_535 - 2025, 1, 2, 1000, 3462])
    assert.strictEqual(mixed.edge.size, 70_000)
    assert.deepStrictEqual(mixed.edge, whole.edge)
    assert.strictEqual(whole.files.size, 274 * 2 + 2 + 1)
    for (const [path, bytes] of whole.files) assert.deepStrictEqual(mixed.files.get(path), bytes, path)
    assert.deepStrictEqual(
      whole.files.get("tile/2/000.p/1"),
      tiles.encodeHashes([merkle.root(leaves.slice(0, 65_536))])
    )
    assert.isTrue(mixed.files.has("tile/1/000.p/1"))
    assert.isTrue(mixed.files.has("tile/0/000.p/255"))
  })

  it("leaves out partial tiles that an earlier edge has", () => {
    const earlier = tiles.grow(tiles.emptyEdge, entries(0, 300)).edge
    const later = tiles.grow(earlier, entries(300, 310)).edge
    assert.deepStrictEqual(tiles.partials(later, earlier).map((file) => tiles.pathOf(file.tile)), [
      "tile/entries/001.p/54",
      "tile/0/001.p/54"
    ])
    assert.deepStrictEqual(tiles.partials(later, later), [])
  })
})
