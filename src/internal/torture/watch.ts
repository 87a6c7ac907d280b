/**
 * Who has which lane, as the database says it again and again: how long one is without an owner, and how long it takes
 * until another has it. Times are milliseconds by a clock that never jumps.
 */

/** A lane, and who holds its lease now. */
export interface Observed {
  readonly lane: string
  readonly owner: string | null
}

interface Lane {
  /** Who was killed or stopped with it, and when. */
  lostBy: { readonly member: string; readonly at: number } | undefined
  /** Since when nobody who is alive has it. */
  unownedSince: number | undefined
}

export interface Watch {
  /** Forgets how long anything took so far. */
  readonly begin: () => void
  /** A member was killed or stopped at a time: its leases are worth nothing from then on. */
  readonly gone: (member: string, at: number) => void
  /** A member that was stopped goes on. */
  readonly back: (member: string) => void
  /** What the database said at a time; gives what has changed since the last time, in words. */
  readonly observe: (at: number, lanes: ReadonlyArray<Observed>) => ReadonlyArray<string>
  /** The lanes that a member had when last looked. */
  readonly lanesOf: (member: string) => ReadonlyArray<string>
  /** Who had a lane when last looked; `null`: nobody. */
  readonly ownerOf: (lane: string) => string | null
  /** The lanes that wait for a new owner. */
  readonly waiting: () => ReadonlyArray<string>
  /** How long each takeover took. */
  readonly takeovers: ReadonlyArray<number>
  /** The longest time that a lane had no owner, up to a time. */
  readonly longestUnowned: (at: number) => number
  /** The longest time between two looks: so much may have been missed, and machine or database may have stood still. */
  readonly longestBlink: () => number
}

export const make = (): Watch => {
  const gone = new Map<string, number>()
  const lanes = new Map<string, Lane>()
  const owners = new Map<string, string | null>()
  const takeovers: Array<number> = []
  let longest = 0
  let lookedAt: number | undefined
  let blink = 0

  const owned = (lane: Lane | undefined, member: string, from: number) => {
    if (lane?.lostBy !== undefined && lane.lostBy.member !== member) takeovers.push(from - lane.lostBy.at)
    if (lane?.unownedSince !== undefined) longest = Math.max(longest, from - lane.unownedSince)
  }

  return {
    takeovers,
    begin: () => {
      longest = 0
      blink = 0
      takeovers.length = 0
    },
    gone: (member, at) => {
      gone.set(member, at)
    },
    back: (member) => {
      gone.delete(member)
    },
    observe: (at, found) => {
      const changes: Array<string> = []
      for (const { lane, owner } of found) {
        if (owners.get(lane) !== owner) changes.push(`${lane} ${owner ?? "nobody"}`)
        const known = lanes.get(lane)
        const goneAt = owner === null ? undefined : gone.get(owner)
        owners.set(lane, owner)
        if (owner !== null && goneAt === undefined) {
          owned(known, owner, at)
          lanes.set(lane, { lostBy: undefined, unownedSince: undefined })
        } else if (owner !== null && goneAt !== undefined && known?.lostBy?.member !== owner) {
          // It may have taken the lane, and been killed, between two looks.
          owned(known, owner, goneAt)
          lanes.set(lane, { lostBy: { member: owner, at: goneAt }, unownedSince: goneAt })
        } else if (known !== undefined) {
          known.unownedSince ??= lookedAt ?? at
        }
      }
      if (lookedAt !== undefined) blink = Math.max(blink, at - lookedAt)
      lookedAt = at
      return changes
    },
    lanesOf: (member) => Array.from(owners).flatMap(([lane, owner]) => owner === member ? [lane] : []),
    ownerOf: (lane) => owners.get(lane) ?? null,
    waiting: () => Array.from(lanes).flatMap(([lane, { unownedSince }]) => unownedSince === undefined ? [] : [lane]),
    longestBlink: () => blink,
    longestUnowned: (at) =>
      Array.from(lanes.values()).reduce(
        (most, { unownedSince }) => unownedSince === undefined ? most : Math.max(most, at - unownedSince),
        longest
      )
  }
}

/** The middle one of some numbers; `null` of none. */
export const median = (numbers: ReadonlyArray<number>): number | null => {
  const sorted = Array.from(numbers).sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? null
}
