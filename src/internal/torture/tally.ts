/**
 * What was committed against what was seen: nothing may be lost, and nothing made up.
 */

/** One line of a log, or of a writer. */
export interface Line {
  readonly word: string
  readonly id: string
}

/** What the writers were told of their transactions. */
export interface Promised {
  readonly committed: ReadonlySet<string>
  readonly rolledBack: ReadonlySet<string>
}

/** What came of it. */
export interface Tally {
  /** Operations in the database. */
  readonly committed: number
  /** Those of them that the log has. */
  readonly delivered: number
  /** Committed, or said to be, and never seen. */
  readonly lost: ReadonlyArray<string>
  /** Seen, or in the database, without having been committed; or seen with another content. */
  readonly phantom: ReadonlyArray<string>
  /** Seen again after the first time. */
  readonly duplicated: number
}

/** How often each content of each operation was seen: by id, then by content hash. */
export type Seen = Map<string, Map<string, number>>

export const see = (seen: Seen, id: string, contentHash: string): void => {
  const hashes = seen.get(id) ?? new Map<string, number>()
  hashes.set(contentHash, (hashes.get(contentHash) ?? 0) + 1)
  seen.set(id, hashes)
}

/** `stored` are the operations of the database, with their content hashes. */
export const tally = (stored: ReadonlyMap<string, string>, promised: Promised, seen: Seen): Tally => {
  const lost: Array<string> = []
  const phantom: Array<string> = []
  let delivered = 0
  let duplicated = 0
  for (const [id, contentHash] of stored) {
    const hashes = seen.get(id)
    if (hashes?.has(contentHash) === true) delivered++
    else lost.push(id)
    if (promised.rolledBack.has(id)) phantom.push(id)
  }
  for (const id of promised.committed) {
    if (!stored.has(id)) lost.push(id)
  }
  for (const [id, hashes] of seen) {
    const contentHash = stored.get(id)
    for (const [seenHash, times] of hashes) {
      if (seenHash === contentHash) duplicated += times - 1
      else phantom.push(id)
    }
  }
  return { committed: stored.size, delivered, lost, phantom, duplicated }
}
