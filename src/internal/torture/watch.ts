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

/** What was seen up to a time. */
export interface Summary {
  /** How long each takeover took. */
  readonly takeovers: ReadonlyArray<number>
  /** The longest time that a lane had no owner. */
  readonly longestUnowned: number
  /** The same, the time aside for which the machine had no time for one of us; and where and when that was. */
  readonly longestIdle: number
  readonly worst: Unowned | undefined
}

/** A lane without an owner. */
export interface Unowned {
  readonly lane: string
  readonly from: number
  readonly to: number
}

export interface Watch {
  /** Forgets how long anything took so far. */
  readonly begin: () => void
  /** A member was killed or stopped at a time: its leases are worth nothing from then on. */
  readonly gone: (member: string, at: number) => void
  /** A member that was stopped goes on. */
  readonly back: (member: string) => void
  /** Up to a time, the machine let a process wait for so long. */
  readonly starved: (process: string, at: number, millis: number) => void
  /** What the database said at a time; gives what has changed since the last time, in words. */
  readonly observe: (at: number, lanes: ReadonlyArray<Observed>) => ReadonlyArray<string>
  /** The lanes that a member had when last looked. */
  readonly lanesOf: (member: string) => ReadonlyArray<string>
  /** Who had a lane when last looked; `null`: nobody. */
  readonly ownerOf: (lane: string) => string | null
  /** The lanes that wait for a new owner. */
  readonly waiting: () => ReadonlyArray<string>
  /** For how long the machine let a process wait from one time to another, at most. */
  readonly starvation: (from: number, to: number) => number
  readonly summary: (at: number) => Summary
}

/** Whoever looks is to look so often. */
export const interval = 100

const sum = (numbers: ReadonlyArray<number>) => numbers.reduce((sum, number) => sum + number, 0)

export const make = (): Watch => {
  const gone = new Map<string, number>()
  const lanes = new Map<string, Lane>()
  const owners = new Map<string, string | null>()
  const takeovers: Array<number> = []
  const unowned: Array<Unowned> = []
  const waits = new Map<string, Array<{ readonly at: number; readonly millis: number }>>()
  let lookedAt: number | undefined

  const owned = (lane: string, member: string, at: number) => {
    const known = lanes.get(lane)
    if (known?.lostBy !== undefined && known.lostBy.member !== member) takeovers.push(at - known.lostBy.at)
    if (known?.unownedSince !== undefined) unowned.push({ lane, from: known.unownedSince, to: at })
  }

  const starved = (process: string, at: number, millis: number) => {
    const known = waits.get(process)
    if (known === undefined) waits.set(process, [{ at, millis }])
    else known.push({ at, millis })
  }

  const starvation = (from: number, to: number) =>
    Math.max(
      0,
      ...Array.from(waits.values(), (waits) =>
        sum(
          waits.map(({ at, millis }) => Math.max(0, Math.min(at, to) - Math.max(at - millis, from)))
        ))
    )

  return {
    begin: () => {
      unowned.length = 0
      takeovers.length = 0
      for (const lane of lanes.values()) lane.lostBy = undefined
    },
    gone: (member, at) => {
      gone.set(member, at)
    },
    back: (member) => {
      gone.delete(member)
    },
    starved,
    observe: (at, found) => {
      const changes: Array<string> = []
      for (const { lane, owner } of found) {
        if (owners.get(lane) !== owner) changes.push(`${lane} ${owner ?? "nobody"}`)
        const known = lanes.get(lane)
        const goneAt = owner === null ? undefined : gone.get(owner)
        owners.set(lane, owner)
        if (owner !== null && goneAt === undefined) {
          owned(lane, owner, at)
          lanes.set(lane, { lostBy: undefined, unownedSince: undefined })
        } else if (owner !== null && goneAt !== undefined && known?.lostBy?.member !== owner) {
          // It may have taken the lane, and been killed, between two looks.
          owned(lane, owner, goneAt)
          lanes.set(lane, { lostBy: { member: owner, at: goneAt }, unownedSince: goneAt })
        } else if (known !== undefined) {
          known.unownedSince ??= lookedAt ?? at
        }
      }
      // Machine or database stood still: nobody could take a lane, and nobody could see it.
      if (lookedAt !== undefined && at - lookedAt > 2 * interval) starved("", at, at - lookedAt - interval)
      lookedAt = at
      return changes
    },
    lanesOf: (member) => Array.from(owners).flatMap(([lane, owner]) => owner === member ? [lane] : []),
    ownerOf: (lane) => owners.get(lane) ?? null,
    waiting: () => Array.from(lanes).flatMap(([lane, { unownedSince }]) => unownedSince === undefined ? [] : [lane]),
    starvation,
    summary: (at) => {
      const open = Array.from(lanes).flatMap(([lane, { unownedSince }]) =>
        unownedSince === undefined ? [] : [{ lane, from: unownedSince, to: at }]
      )
      const idle = (period: Unowned | undefined) =>
        period === undefined ? 0 : period.to - period.from - starvation(period.from, period.to)
      const all = [...unowned, ...open]
      const worst = all.reduce<Unowned | undefined>(
        (worst, period) => idle(period) > idle(worst) ? period : worst,
        undefined
      )
      return {
        takeovers,
        longestUnowned: Math.max(0, ...all.map(({ from, to }) => to - from)),
        longestIdle: idle(worst),
        worst
      }
    }
  }
}

/** The middle one of some numbers; `null` of none. */
export const median = (numbers: ReadonlyArray<number>): number | null => {
  const sorted = Array.from(numbers).sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? null
}
