/**
 * Merkle trees as RFC 6962 §2.1 defines them, over SHA-256.
 */
import * as sha256 from "./sha256.ts"

/** The hash of an entry: SHA-256(0x00 || entry). */
export const leafHash = (entry: Uint8Array): Uint8Array => {
  const bytes = new Uint8Array(entry.length + 1)
  bytes.set(entry, 1)
  return sha256.digest(bytes)
}

/** The hash of two subtrees: SHA-256(0x01 || left || right). */
export const nodeHash = (left: Uint8Array, right: Uint8Array): Uint8Array => {
  const bytes = new Uint8Array(65)
  bytes[0] = 1
  bytes.set(left, 1)
  bytes.set(right, 33)
  return sha256.digest(bytes)
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
