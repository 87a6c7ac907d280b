/**
 * Merkle trees as RFC 6962 §2.1 defines them, over SHA-256.
 */
import * as sha256 from "./sha256.ts"

// There are as many hashes as entries, so their input is not allocated each time, unless it is large.
const leaf = new Uint8Array(1024)

/** The hash of an entry: SHA-256(0x00 || entry). */
export const leafHash = (entry: Uint8Array): Uint8Array => {
  const length = entry.length + 1
  const bytes = length > leaf.length ? new Uint8Array(length) : leaf.subarray(0, length)
  bytes.set(entry, 1)
  return sha256.digest(bytes)
}

const node = Uint8Array.of(1, ...new Uint8Array(64))

/** The hash of two subtrees: SHA-256(0x01 || left || right). */
export const nodeHash = (left: Uint8Array, right: Uint8Array): Uint8Array => {
  node.set(left, 1)
  node.set(right, 33)
  return sha256.digest(node)
}

/** The hash of the empty tree. */
export const emptyRoot: Uint8Array = sha256.digest(new Uint8Array(0))

/** The root over some leaf hashes. */
export const root = (leaves: ReadonlyArray<Uint8Array>): Uint8Array => {
  // Pairs of equal subtrees merge as they fill up, as a binary counter carries: the stack is the counter's digits.
  const stack: Array<{ readonly hash: Uint8Array; readonly height: number }> = []
  for (const leaf of leaves) {
    let node = { hash: leaf, height: 0 }
    for (let top = stack.at(-1); top !== undefined && top.height === node.height; top = stack.at(-1)) {
      stack.pop()
      node = { hash: nodeHash(top.hash, node.hash), height: node.height + 1 }
    }
    stack.push(node)
  }
  return stack.reduceRight<Uint8Array | undefined>(
    (right, node) => right === undefined ? node.hash : nodeHash(node.hash, right),
    undefined
  ) ?? emptyRoot
}

// Below, sizes and indices are safe integers, which 32-bit operators would cut: hence division and remainder.

/** The largest power of two below a number of at least 2. */
const split = (size: number): number => {
  let power = 1
  while (power * 2 < size) power *= 2
  return power
}

/** A complete subtree: `height` 0 is a leaf; `index` counts the subtrees of that height from the left. */
export interface Node {
  readonly height: number
  readonly index: number
}

/** Leaves from one index up to, not including, another: the two halves of a split, split again, and so on. */
export interface Range {
  readonly from: number
  readonly to: number
}

/** The complete subtrees that make up a range which a split yields, left to right. */
export const nodesOf = (range: Range): ReadonlyArray<Node> => {
  const nodes: Array<Node> = []
  let at = range.from
  while (at < range.to) {
    let height = 0
    let size = 1
    while (size * 2 <= range.to - at) {
      size *= 2
      height++
    }
    nodes.push({ height, index: at / size })
    at += size
  }
  return nodes
}

/** The hash of a range from the hashes of its `nodesOf`. */
export const rangeHash = (hashes: ReadonlyArray<Uint8Array>): Uint8Array =>
  hashes.reduceRight<Uint8Array | undefined>(
    (right, hash) => right === undefined ? hash : nodeHash(hash, right),
    undefined
  ) ?? emptyRoot

/** The ranges whose hashes prove that a leaf is in a tree of some size (RFC 6962 §2.1.1), lowest first. */
export const inclusionPath = (index: number, size: number): ReadonlyArray<Range> => {
  const path: Array<Range> = []
  let from = 0
  let to = size
  while (to - from > 1) {
    const middle = from + split(to - from)
    if (index < middle) {
      path.push({ from: middle, to })
      to = middle
    } else {
      path.push({ from, to: middle })
      from = middle
    }
  }
  return path.toReversed()
}

/** The ranges whose hashes prove that a tree extends a smaller one (RFC 6962 §2.1.2), lowest first. */
export const consistencyPath = (oldSize: number, newSize: number): ReadonlyArray<Range> => {
  if (oldSize === 0 || oldSize === newSize) return []
  const path: Array<Range> = []
  let from = 0
  let to = newSize
  while (to !== oldSize) {
    const middle = from + split(to - from)
    if (oldSize <= middle) {
      path.push({ from: middle, to })
      to = middle
    } else {
      path.push({ from, to: middle })
      from = middle
    }
  }
  // The verifier holds the old root already, so the old tree itself is only named where it is a part of the path.
  if (from > 0) path.push({ from, to })
  return path.toReversed()
}

const isEqual = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, index) => byte === b[index])

const isTree = (size: number): boolean => Number.isSafeInteger(size) && size >= 0

const isOdd = (n: number): boolean => n % 2 === 1

const half = (n: number): number => Math.floor(n / 2)

/** Whether a proof shows that a leaf hash stands at an index of the tree with this size and root (RFC 9162 §2.1.3.2). */
export const verifyInclusion = (claim: {
  readonly leaf: Uint8Array
  readonly index: number
  readonly size: number
  readonly root: Uint8Array
  readonly proof: ReadonlyArray<Uint8Array>
}): boolean => {
  if (!isTree(claim.index) || !isTree(claim.size) || claim.index >= claim.size) return false
  let hash = claim.leaf
  let at = claim.index
  let last = claim.size - 1
  for (const sibling of claim.proof) {
    if (last === 0) return false
    if (isOdd(at) || at === last) {
      hash = nodeHash(sibling, hash)
      while (!isOdd(at) && at !== 0) {
        at = half(at)
        last = half(last)
      }
    } else hash = nodeHash(hash, sibling)
    at = half(at)
    last = half(last)
  }
  return last === 0 && isEqual(hash, claim.root)
}

/** Whether a proof shows that a tree begins with all of a smaller one (RFC 9162 §2.1.4.2). */
export const verifyConsistency = (claim: {
  readonly oldSize: number
  readonly oldRoot: Uint8Array
  readonly newSize: number
  readonly newRoot: Uint8Array
  readonly proof: ReadonlyArray<Uint8Array>
}): boolean => {
  const { newRoot, newSize, oldRoot, oldSize } = claim
  if (!isTree(oldSize) || !isTree(newSize) || oldSize > newSize) return false
  if (oldSize === newSize) return claim.proof.length === 0 && isEqual(oldRoot, newRoot)
  if (oldSize === 0) return claim.proof.length === 0 && isEqual(oldRoot, emptyRoot)
  let at = oldSize - 1
  let last = newSize - 1
  while (isOdd(at)) {
    at = half(at)
    last = half(last)
  }
  // An old size that is a power of two is a subtree of the new tree: its root begins the path.
  const [first, ...rest] = at === 0 ? [oldRoot, ...claim.proof] : claim.proof
  if (first === undefined) return false
  let old = first
  let hash = first
  for (const sibling of rest) {
    if (last === 0) return false
    if (isOdd(at) || at === last) {
      old = nodeHash(sibling, old)
      hash = nodeHash(sibling, hash)
      while (!isOdd(at) && at !== 0) {
        at = half(at)
        last = half(last)
      }
    } else hash = nodeHash(hash, sibling)
    at = half(at)
    last = half(last)
  }
  return last === 0 && isEqual(old, oldRoot) && isEqual(hash, newRoot)
}
