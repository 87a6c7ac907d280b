import { assert, describe, it } from "@effect/vitest"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as Receipt from "../src/Receipt.ts"

const hex = (length: number) =>
  FastCheck.uint8Array({ minLength: length, maxLength: length }).map((bytes) => Buffer.from(bytes).toString("hex"))

const leaf = FastCheck.record({
  position: FastCheck.oneof(FastCheck.integer({ min: 1, max: 500 }), FastCheck.maxSafeNat().filter((n) => n > 0)),
  id: FastCheck.uuid(),
  contentHash: hex(32),
  isHashed: FastCheck.boolean(),
  messageId: FastCheck.uint8Array({ minLength: 1, maxLength: 255 })
})

const batch = FastCheck.uniqueArray(leaf, { minLength: 1, maxLength: 30, selector: (leaf) => leaf.position })

const receiptOf = (leaves: ReadonlyArray<Receipt.Leaf>): Receipt.Receipt => ({
  lane: "operation",
  sequence: 1,
  previous: Receipt.genesis,
  topic: "persistent://public/default/operation",
  ...Receipt.seal(leaves),
  ledger: { size: 7, root: "ab".repeat(32) },
  deliveredAt: "2026-11-23T14:50:42.000000Z",
  purgedAt: null,
  purgeSignature: null
})

const first: Receipt.Leaf = {
  position: 1000,
  id: "01926f3e-7d4c-7b1a-9c55-3f0e6a1b2c3d",
  contentHash: "0f".repeat(32),
  isHashed: true,
  messageId: new Uint8Array([1])
}

const three: ReadonlyArray<Receipt.Leaf> = [
  first,
  {
    position: 1001,
    id: "01926f3e-7d4c-7b1a-9c55-3f0e6a1b2c3e",
    contentHash: "1f".repeat(32),
    isHashed: false,
    messageId: new Uint8Array([2, 0])
  },
  {
    position: 1300,
    id: "01926f3e-7d4c-7b1a-9c55-3f0e6a1b2c3f",
    contentHash: "2f".repeat(32),
    isHashed: true,
    messageId: new Uint8Array([3, 1, 4])
  }
]

const sealed = receiptOf(three)

describe("open", () => {
  it("gives back what was sealed, by position, up to the largest exact integer", () => {
    FastCheck.assert(FastCheck.property(batch, (leaves) => {
      const receipt = receiptOf(leaves)
      assert.deepStrictEqual(
        Receipt.open(receipt),
        Either.right([...leaves].sort((a, b) => a.position - b.position))
      )
      assert.strictEqual(receipt.count, leaves.length)
    }))
    const ends = three.map((leaf, i) => ({
      ...leaf,
      position: [1, Number.MAX_SAFE_INTEGER - 1, Number.MAX_SAFE_INTEGER][i] ?? 0
    }))
    assert.deepStrictEqual(Receipt.open(receiptOf(ends)), Either.right(ends))
  })

  it("notices every flipped bit of the leaves", () => {
    for (let bit = 0; bit < sealed.leaves.length * 8; bit++) {
      const leaves = Uint8Array.from(sealed.leaves)
      leaves[bit >> 3] = (leaves[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      assert.isTrue(Either.isLeft(Receipt.open({ ...sealed, leaves })))
    }
  })

  it("notices leaves that are cut at any byte, doubled, or not there", () => {
    for (let length = 0; length < sealed.leaves.length; length++) {
      assert.isTrue(Either.isLeft(Receipt.open({ ...sealed, leaves: sealed.leaves.subarray(0, length) })))
    }
    const doubled = new Uint8Array([...sealed.leaves, ...sealed.leaves])
    assert.isTrue(Either.isLeft(Receipt.open({ ...sealed, leaves: doubled })))
    assert.isTrue(Either.isLeft(Receipt.open({ ...sealed, leaves: doubled, count: 6 })))
  })

  it("reads bytes that no program wrote without failing otherwise", () => {
    FastCheck.assert(FastCheck.property(FastCheck.uint8Array({ maxLength: 300 }), (leaves) => {
      assert.isTrue(Either.isLeft(Receipt.open({ ...sealed, leaves })))
    }))
    assert.isTrue(Either.isLeft(Receipt.open({ ...sealed, leaves: new Uint8Array(1_000_000).fill(0x80) })))
  })

  it("notices a count, a position or a root that was changed", () => {
    for (
      const change of [
        { count: 2 },
        { count: 4 },
        { count: Number.NaN },
        { firstPosition: 999 },
        { firstPosition: Number.NaN },
        { lastPosition: 1301 },
        { root: "00".repeat(32) },
        { root: sealed.root.toUpperCase() }
      ]
    ) assert.isTrue(Either.isLeft(Receipt.open({ ...sealed, ...change })), JSON.stringify(change))
  })
})

describe("hash", () => {
  it("changes with every recorded field", () => {
    const changes: ReadonlyArray<Partial<Receipt.Receipt>> = [
      { lane: "record" },
      { sequence: 2 },
      { sequence: Number.NaN },
      { previous: "1".repeat(64) },
      { firstPosition: 1001, lastPosition: 1301 },
      { lastPosition: 1301 },
      { count: 4 },
      { topic: "persistent://public/default/record" },
      { root: "00".repeat(32) },
      { ledger: null },
      { ledger: { size: 8, root: "ab".repeat(32) } },
      { ledger: { size: 7, root: "ac".repeat(32) } },
      { deliveredAt: "2026-11-23T14:50:42.000001Z" }
    ]
    const hashes = changes.map((change) => Receipt.hash({ ...sealed, ...change }))
    assert.strictEqual(new Set([...hashes, Receipt.hash(sealed)]).size, changes.length + 1)
  })

  it("stays the same when a purge takes the leaves and signs for it", () => {
    assert.strictEqual(
      Receipt.hash({
        ...sealed,
        leaves: new Uint8Array(0),
        purgedAt: "2027-01-01T00:00:00.000000Z",
        purgeSignature: "c2ln"
      }),
      Receipt.hash(sealed)
    )
  })

  it("is this one for this receipt for ever", () => {
    assert.strictEqual(Receipt.hash(sealed), "d327f31848d0146a7a39f3a28fb1c6738a0498feb31e066709cf7bd171804cf4")
  })
})

describe("seal", () => {
  it("takes about 60 bytes a record", () => {
    const leaves = Array.from(
      { length: 1000 },
      (_, i) => ({ ...first, position: 5_000_000 + i, messageId: new Uint8Array(4) })
    )
    assert.isBelow(Receipt.seal(leaves).leaves.length / 1000, 57)
  })

  it("refuses a message id that it could not write", () => {
    assert.throws(() => Receipt.seal(three.map((leaf) => ({ ...leaf, messageId: new Uint8Array(256) }))), RangeError)
  })
})
