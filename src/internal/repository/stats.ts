/**
 * What the operator asks.
 */
import * as Effect from "effect/Effect"
import type { Breaker, LaneStats, Repository } from "../../Repository.ts"
import * as rows from "../rows.ts"
import type { Context } from "./context.ts"
import { purgeName } from "./purge.ts"

interface LaneStatsRow {
  readonly lane: string
  readonly position: number
  readonly owner: string | null
  readonly delivered: number
  readonly late: number
  readonly breaker: Breaker
  readonly paused: number
}

const severity: Record<Breaker, number> = { closed: 0, "half-open": 1, open: 2 }

export const make = (context: Context): Pick<Repository["Type"], "stats"> => {
  const { cursor, dialect, now, operation, pending, query, retry, snapshot, sql } = context
  return {
    stats: query(
      "counting",
      snapshot(Effect.gen(function*() {
        const at = yield* now
        const known = yield* sql<LaneStatsRow>`SELECT substr(name, 6) AS lane, position,
            CASE WHEN lease_until > ${at} THEN owner END AS owner, delivered, late, breaker, paused
          FROM ${cursor} WHERE name LIKE 'lane/%' ORDER BY name`
        const waiting = new Map(
          (yield* sql<{ readonly lane: string; readonly pending: number; readonly age: number | null }>`SELECT
              w.lane, w.pending, (SELECT ${dialect.seconds(sql`o.recorded_at`, at)} FROM ${operation} o
                WHERE o.position = w.oldest) AS age
            FROM (SELECT lane, count(*) AS pending, min(position) AS oldest FROM ${pending} GROUP BY lane) w`).map(
            (r) => [r.lane, { pending: Number(r.pending), lag: Math.max(0, Number(r.age ?? 0)) }]
          )
        )
        const unowned = Array.from(waiting.keys()).filter((lane) => !known.some((row) => row.lane === lane)).map((
          lane
        ): LaneStatsRow => ({ lane, position: 0, owner: null, delivered: 0, late: 0, breaker: "closed", paused: 0 }))
        const lanes = [...known, ...unowned].map((row): LaneStats => ({
          lane: rows.lane(row.lane),
          position: Number(row.position),
          pending: waiting.get(row.lane)?.pending ?? 0,
          lagSeconds: waiting.get(row.lane)?.lag ?? 0,
          owner: row.owner,
          delivered: Number(row.delivered),
          late: Number(row.late),
          breaker: row.breaker,
          paused: Number(row.paused) === 1
        }))
        const states = new Map(
          (yield* sql<{ readonly state: string; readonly total: number }>`SELECT state, count(*) AS total
            FROM ${retry} GROUP BY state`).map((r) => [r.state, Number(r.total)])
        )
        const [purged] = yield* sql<{ readonly delivered: number }>`SELECT delivered FROM ${cursor}
          WHERE name = ${purgeName}`
        return {
          pending: lanes.reduce((sum, lane) => sum + lane.pending, 0),
          oldestPendingSeconds: lanes.reduce((oldest, lane) => Math.max(oldest, lane.lagSeconds), 0),
          retrying: states.get("waiting") ?? 0,
          dead: states.get("dead") ?? 0,
          delivered: lanes.reduce((sum, lane) => sum + lane.delivered, 0),
          purged: Number(purged?.delivered ?? 0),
          breaker: lanes.reduce<Breaker>(
            (worst, lane) => severity[lane.breaker] > severity[worst] ? lane.breaker : worst,
            "closed"
          ),
          paused: lanes.some((lane) => lane.paused),
          lanes
        }
      }))
    )
  }
}
