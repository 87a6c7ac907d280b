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

/** So many of a kind are told. */
export const maxTold = 100

export interface List {
  /** The first ones. Operations leave room for other things, which are often why so many of them are found. */
  readonly told: () => ReadonlyArray<Finding>
  readonly total: () => number
  readonly add: (id: string, reason: string) => void
  /** Adds a number of findings at once. */
  readonly addAll: (count: number, idOf: (n: number) => string, reason: string) => void
}

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

const list = (): List => {
  const operations: Array<Finding> = []
  const things: Array<Finding> = []
  let total = 0
  const add = (id: string, reason: string) => {
    total++
    const kept = uuid.test(id) ? operations : things
    if (kept.length < maxTold) kept.push({ id, reason })
  }
  return {
    told: () => {
      const room = Math.max(maxTold / 2, maxTold - operations.length)
      const first = things.slice(0, room)
      return [...first, ...operations.slice(0, maxTold - first.length)]
    },
    total: () => total,
    add,
    addAll: (count, idOf, reason) => {
      const kept = Math.min(count, maxTold)
      for (let n = 0; n < kept; n++) add(idOf(n), reason)
      total += count - kept
    }
  }
}

export interface Findings {
  /** What should be there, and is not. */
  readonly missing: List
  /** What is not what it was. */
  readonly altered: List
  /** What nobody recorded, or what is there twice. */
  readonly surplus: List
}

export const make = (): Findings => ({ missing: list(), altered: list(), surplus: list() })
