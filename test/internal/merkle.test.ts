import { assert, describe, it } from "@effect/vitest"
import { bytesToHex, hexToBytes } from "@noble/hashes/utils.js"
import * as merkle from "../../src/internal/merkle.ts"

const entries = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
const roots = [
  "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
  "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
  "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
  "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
  "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
  "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
  "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
  "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
]
const leaves = entries.map((hex) => merkle.leafHash(hexToBytes(hex)))

/** The tree hash by RFC 6962's own definition, slow and plain. */
const definition = (hashes: ReadonlyArray<Uint8Array>): Uint8Array => {
  const [first] = hashes
  if (first === undefined) return merkle.emptyRoot
  if (hashes.length === 1) return first
  let middle = 1
  while (middle * 2 < hashes.length) middle *= 2
  return merkle.nodeHash(definition(hashes.slice(0, middle)), definition(hashes.slice(middle)))
}

const hashOf = (hashes: ReadonlyArray<Uint8Array>) => (range: merkle.Range): Uint8Array =>
  merkle.rangeHash(
    merkle.nodesOf(range).map(({ height, index }) =>
      definition(hashes.slice(index * 2 ** height, (index + 1) * 2 ** height))
    )
  )

const many = Array.from({ length: 70 }, (_, i) => merkle.leafHash(new Uint8Array([i])))

const flip = (hash: Uint8Array): Uint8Array => hash.map((byte, i) => i === 7 ? byte ^ 1 : byte)

describe("merkle", () => {
  it("gives the roots of the RFC 6962 test vectors", () => {
    assert.strictEqual(
      bytesToHex(merkle.root([])),
      "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
    roots.forEach((root, i) => assert.strictEqual(bytesToHex(merkle.root(leaves.slice(0, i + 1))), root))
  })

  it("agrees with the definition for every size", () => {
    for (let size = 0; size <= many.length; size++) {
      assert.deepStrictEqual(merkle.root(many.slice(0, size)), definition(many.slice(0, size)))
    }
  })

  it("proves every leaf of every tree, and no other leaf, index, size or root", () => {
    for (let size = 1; size <= 40; size++) {
      const root = definition(many.slice(0, size))
      for (let index = 0; index < size; index++) {
        const leaf = many[index] ?? merkle.emptyRoot
        const proof = merkle.inclusionPath(index, size).map(hashOf(many))
        const claim = { leaf, index, size, root, proof }
        assert.isTrue(merkle.verifyInclusion(claim), `${index} of ${size}`)
        assert.isFalse(merkle.verifyInclusion({ ...claim, leaf: flip(leaf) }))
        assert.isFalse(merkle.verifyInclusion({ ...claim, root: flip(root) }))
        assert.isFalse(merkle.verifyInclusion({ ...claim, proof: [...proof, leaf] }))
        if (size > 1) {
          assert.isFalse(merkle.verifyInclusion({ ...claim, index: (index + 1) % size }))
          assert.isFalse(merkle.verifyInclusion({ ...claim, proof: proof.slice(1) }))
          assert.isFalse(merkle.verifyInclusion({ ...claim, proof: proof.map(flip) }))
        }
      }
    }
  })

  it("refuses sizes and indices that are none", () => {
    const [leaf = merkle.emptyRoot] = leaves
    for (const index of [-1, 1, 0.5, Number.NaN, Infinity, 2 ** 60]) {
      assert.isFalse(merkle.verifyInclusion({ leaf, index, size: 1, root: leaf, proof: [] }))
      assert.isFalse(
        merkle.verifyConsistency({ oldSize: index, oldRoot: leaf, newSize: 0, newRoot: leaf, proof: [] })
      )
    }
  })

  it("proves that every tree extends every smaller one, and no other", () => {
    for (let newSize = 0; newSize <= 40; newSize++) {
      const newRoot = definition(many.slice(0, newSize))
      for (let oldSize = 0; oldSize <= newSize; oldSize++) {
        const oldRoot = definition(many.slice(0, oldSize))
        const proof = merkle.consistencyPath(oldSize, newSize).map(hashOf(many))
        const claim = { oldSize, oldRoot, newSize, newRoot, proof }
        assert.isTrue(merkle.verifyConsistency(claim), `${oldSize} of ${newSize}`)
        assert.isFalse(merkle.verifyConsistency({ ...claim, oldRoot: flip(oldRoot) }), `old ${oldSize} of ${newSize}`)
        assert.isFalse(merkle.verifyConsistency({ ...claim, proof: [...proof, newRoot] }))
        if (oldSize > 0) assert.isFalse(merkle.verifyConsistency({ ...claim, newRoot: flip(newRoot) }))
        if (proof.length > 0) {
          assert.isFalse(merkle.verifyConsistency({ ...claim, proof: proof.slice(1) }))
          assert.isFalse(merkle.verifyConsistency({ ...claim, proof: proof.map(flip) }))
        }
        if (oldSize < newSize) {
          assert.isFalse(merkle.verifyConsistency({ ...claim, oldSize: newSize, newSize: oldSize }))
        }
      }
    }
  })

  it("keeps indices beyond 32 bits exact", () => {
    const size = 2 ** 40 + 5
    const path = merkle.inclusionPath(2 ** 40 + 1, size)
    assert.deepStrictEqual(path.at(-1), { from: 0, to: 2 ** 40 })
    assert.deepStrictEqual(merkle.nodesOf({ from: 2 ** 40, to: size }), [
      { height: 2, index: 2 ** 38 },
      { height: 0, index: 2 ** 40 + 4 }
    ])
  })
})
