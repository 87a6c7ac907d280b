/**
 * What a verification has found, counted in full and kept in part.
 */

/** One thing that is not as it was. */
export interface Finding {
  /**
   * The operation's id; of other things their name: `checkpoint`, `vkey`, `map`, `tile/0/000`, `entry/<index>`,
   * `receipt/<lane>/<sequence>`, `lane/<lane>`, `pending/<position>`, `retry/<position>`, `promotion/<position>`.
   */
  readonly id: string
  /** What is wrong with it, in words. */
  readonly reason: string
}

/** So many of a kind are kept. */
export const maxKept = 100

export interface List {
  readonly kept: ReadonlyArray<Finding>
  readonly total: () => number
  /** Adds a finding, or a number of them at once, of which the first ones are told apart. */
  readonly add: (id: string, reason: string) => void
  readonly addAll: (count: number, idOf: (n: number) => string, reason: string) => void
}

const list = (): List => {
  const kept: Array<Finding> = []
  let total = 0
  const add = (id: string, reason: string) => {
    total++
    if (kept.length < maxKept) kept.push({ id, reason })
  }
  return {
    kept,
    total: () => total,
    add,
    addAll: (count, idOf, reason) => {
      const told = Math.min(count, Math.max(0, maxKept - kept.length))
      for (let n = 0; n < told; n++) add(idOf(n), reason)
      total += count - told
    }
  }
}

export interface Findings {
  /** What should be there, and is not. */
  readonly missing: List
  /** What is not what it was. */
  readonly altered: List
  /** What nobody recorded. */
  readonly surplus: List
}

export const make = (): Findings => ({ missing: list(), altered: list(), surplus: list() })
