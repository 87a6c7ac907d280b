/**
 * How many rows each lane has pending, without reading all of them.
 */
import type { SqlError } from "@effect/sql/SqlError"
import type { Fragment } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import { maxCounted } from "../../Repository.ts"
import * as fragments from "../dialects/fragments.ts"
import type { Context } from "./context.ts"

/** About so many rows more are looked at for an estimate, at about so many places of all lanes, and of one lane at most. */
const maxSampled = 20_000
const maxPlaces = 2_000
const maxPlacesOfLane = 512

/** What is pending in a lane. */
export interface Tally {
  readonly pending: number
  readonly isEstimate: boolean
  /** The lowest position. */
  readonly first: number
}

/** Rows of a lane after one position, and up to another one where it is given. */
interface Range {
  readonly lane: string
  readonly after: number
  readonly upTo?: number | undefined
}

/** What a look at a range has found: how many rows, and where the last of them is. */
interface Look {
  readonly count: number
  readonly first: number
  readonly last: number
}

interface LookRow {
  readonly look: number
  readonly total: number | string
  readonly lowest: number | string | null
  readonly highest: number | string | null
}

/** A lane that is being counted. */
interface Counting {
  readonly lane: string
  readonly count: number
  readonly first: number
  readonly last: number
}

/**
 * The largest of few limits that is not above a number (but at least 1). A limit is part of a statement's text, and drivers
 * keep what they have prepared by its text.
 */
const limitBelow = (rows: number): number => {
  let limit = maxCounted + 1
  while (limit > 1 && limit > rows) limit = Math.ceil(limit / 2)
  return limit
}

/** A range of positions for an estimate: rows lie above `after`, and up to `upTo`. */
interface Part extends Range {
  readonly upTo: number
}

/** A part of a lane, and the range in it that is looked at. */
interface Place {
  readonly part: Part
  readonly range: Part
}

/** A part in so many of about equal width. */
const split = ({ after, lane, upTo }: Part, parts: number): ReadonlyArray<Part> => {
  const width = upTo - after
  const length = Math.min(width, Math.floor(parts))
  return Array.from({ length }, (_, i) => ({
    lane,
    after: after + Math.floor(width * i / length),
    upTo: after + Math.floor(width * (i + 1) / length)
  }))
}

/** Where parts are looked at, so that the ranges are a share of them: spread evenly, in step with nothing that repeats. */
const places = (parts: ReadonlyArray<Part>, share: number, seed: number): ReadonlyArray<Place> =>
  parts.map((part, i) => {
    const width = part.upTo - part.after
    const looked = Math.min(width, Math.max(1, Math.round(width * share)))
    const after = part.after + Math.floor((width - looked) * (((seed + i) * 0.618_033_988_749_895) % 1))
    return { part, range: { lane: part.lane, after, upTo: after + looked } }
  })

/** How many rows a part holds, if it is like what was looked at of it. */
const extrapolated = ({ part, range }: Place, { count, last }: Look, limit: number): number =>
  // A look that the limit has ended says nothing of what lies behind it.
  count * (part.upTo - part.after) / ((count < limit ? range.upTo : last) - range.after)

const sum = (numbers: ReadonlyArray<number>): number => numbers.reduce((total, number) => total + number, 0)

/**
 * Counts what is pending in some lanes: exactly, if it is `maxCounted` at most in all of them. Beyond that, lanes are
 * counted up to an equal share of that number, the shares of smaller ones being given to the others, and the rest is
 * estimated from its density at many places. Lanes without pending rows are left out.
 */
export const count = (
  { dialect, limit: limited, pending, sql }: Context,
  lanes: ReadonlyArray<string>
): Effect.Effect<ReadonlyMap<string, Tally>, SqlError> => {
  /** Many small queries in few statements. */
  const ask = (queries: ReadonlyArray<Fragment>) =>
    Effect.map(
      Effect.forEach(
        fragments.chunks(queries, (left) => 2 ** Math.floor(Math.log2(Math.min(left, dialect.unionSize)))),
        (chunk) =>
          Effect.map(
            sql<LookRow>`${
              sql.join(" UNION ALL ", false)(
                chunk.map((query, i) => sql`SELECT ${sql.literal(String(i))} AS look, s.* FROM (${query}) s`)
              )
            }`,
            (found) => {
              const rows = new Map(found.map((row) => [Number(row.look), row]))
              return chunk.map((_, i) => rows.get(i))
            }
          )
      ),
      (found) => found.flat()
    )

  const look = (ranges: ReadonlyArray<Range>, limit: number) =>
    Effect.map(
      ask(ranges.map(({ after, lane, upTo }) =>
        sql`SELECT count(*) AS total, min(r.position) AS lowest, max(r.position) AS highest FROM (
            SELECT p.position FROM ${pending} p WHERE p.lane = ${lane} AND p.position > ${after}
              ${upTo === undefined ? sql.literal("") : sql`AND p.position <= ${upTo}`}
            ORDER BY p.position ${limited(limit)}
          ) r`
      )),
      (found) =>
        ranges.map(({ after }, i): Look => ({
          count: Number(found[i]?.total ?? 0),
          first: Number(found[i]?.lowest ?? after),
          last: Number(found[i]?.highest ?? after)
        }))
    )

  /** Ranges without what is empty at both of their ends; `undefined` for those without a row. */
  const trim = (ranges: ReadonlyArray<Range>) => {
    const end = (which: string, { after, lane, upTo }: Range) =>
      sql`(SELECT ${sql.literal(which)}(p.position) FROM ${pending} p WHERE p.lane = ${lane} AND p.position > ${after}
        ${upTo === undefined ? sql.literal("") : sql`AND p.position <= ${upTo}`})`
    return Effect.map(
      ask(
        ranges.map((range) => sql`SELECT 0 AS total, ${end("min", range)} AS lowest, ${end("max", range)} AS highest`)
      ),
      (found) =>
        ranges.map(({ lane }, i): Part | undefined => {
          const { highest, lowest } = found[i] ?? { highest: null, lowest: null }
          return lowest === null || highest === null
            ? undefined
            : { lane, after: Number(lowest) - 1, upTo: Number(highest) }
        })
    )
  }

  return Effect.gen(function*() {
    const tallies = new Map<string, Tally>()
    let open: ReadonlyArray<Counting> = lanes.map((lane) => ({
      lane,
      count: 0,
      first: 0,
      last: Number.MIN_SAFE_INTEGER
    }))
    let left = maxCounted + 1
    while (open.length > 0 && left > 0) {
      const share = limitBelow(left / open.length)
      const looks = yield* look(open.map(({ lane, last }) => ({ lane, after: last })), share)
      const goesOn: Array<Counting> = []
      for (const [i, before] of open.entries()) {
        const found = looks[i]
        if (found === undefined) continue
        left -= found.count
        const after = {
          lane: before.lane,
          count: before.count + found.count,
          first: before.count === 0 ? found.first : before.first,
          last: found.last
        }
        if (found.count === share) goesOn.push(after)
        else if (after.count > 0) {
          tallies.set(after.lane, { pending: after.count, isEstimate: false, first: after.first })
        }
      }
      open = goesOn
    }
    if (open.length === 0) return tallies

    const rows = Math.max(1, Math.floor(maxSampled / open.length))
    const parts = Math.max(2, Math.min(maxPlacesOfLane, Math.floor(maxPlaces / open.length)))
    const limit = limitBelow(2 * rows / parts)

    /** How many rows each part of some lanes holds. */
    const estimate = (where: ReadonlyArray<ReadonlyArray<Place>>) =>
      Effect.map(look(where.flat().map(({ range }) => range), limit), (looks) => {
        let next = 0
        return where.map((places) =>
          places.map((place) => {
            const found = looks[next++]
            return found === undefined ? 0 : extrapolated(place, found, limit)
          })
        )
      })

    const whole = yield* trim(open.map(({ lane, last }) => ({ lane, after: last })))
    const coarse = whole.map((rest) => rest === undefined ? [] : split(rest, parts / 2))
    const trimmed = yield* trim(coarse.flat())
    let at = 0
    const rest = coarse.map((lane) => lane.flatMap(() => trimmed[at++] ?? []))
    // Once to see where there is much, and then more closely there. Only what is seen then counts: were the first look kept
    // where it found little, rows in lumps would be underestimated.
    const pilot = yield* estimate(open.map(({ count, first, last }, i) => {
      const width = sum((rest[i] ?? []).map(({ after, upTo }) => upTo - after))
      return places(rest[i] ?? [], rows / 4 / (width * count / (last - first + 1)), 0)
    }))
    const finer = rest.map((lane, i) => {
      const supposed = pilot[i] ?? []
      const total = Math.max(1, sum(supposed))
      const closer = lane.flatMap((part, j) => split(part, 1 + Math.round(parts / 2 * (supposed[j] ?? 0) / total)))
      return places(closer, rows / total, parts)
    })
    const estimated = yield* estimate(finer)
    for (const [i, { count, first, lane }] of open.entries()) {
      const others = Math.round(sum(estimated[i] ?? []))
      tallies.set(lane, { pending: count + others, isEstimate: whole[i] !== undefined, first })
    }
    return tallies
  })
}
