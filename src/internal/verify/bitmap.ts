/**
 * Sets of whole numbers at a bit each, so that what has been seen of millions of records fits into memory.
 */

/** Numbers are kept in blocks that are made when the first of theirs comes, wherever they begin. */
const blockBits = 65_536

export interface Bitmap {
  readonly has: (n: number) => boolean
  /** Whether any number from one up to, not including, another is in it. */
  readonly hasAny: (from: number, to: number) => boolean
  /** Adds a number; false when it was there already. */
  readonly add: (n: number) => boolean
}

export const make = (): Bitmap => {
  const blocks = new Map<number, Uint8Array>()
  const locate = (n: number) => {
    const block = Math.floor(n / blockBits)
    const bit = n - block * blockBits
    return { block, byte: bit >> 3, mask: 1 << (bit & 7) }
  }
  const has = (n: number): boolean => {
    const { block, byte, mask } = locate(n)
    return ((blocks.get(block)?.[byte] ?? 0) & mask) !== 0
  }
  return {
    has,
    hasAny: (from, to) => {
      for (let n = from; n < to; n++) {
        const block = Math.floor(n / blockBits)
        if (!blocks.has(block)) n = (block + 1) * blockBits - 1
        else if (has(n)) return true
      }
      return false
    },
    add: (n) => {
      const { block, byte, mask } = locate(n)
      let bytes = blocks.get(block)
      if (bytes === undefined) {
        bytes = new Uint8Array(blockBits / 8)
        blocks.set(block, bytes)
      }
      const before = bytes[byte] ?? 0
      bytes[byte] = before | mask
      return (before & mask) === 0
    }
  }
}
