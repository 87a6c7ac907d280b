/**
 * What the operator asks.
 */
import * as Effect from "effect/Effect"
import { type Breaker, type Horizon, type LaneStats, maxCounted, type Repository } from "../../Repository.ts"
import type { HorizonRow } from "../dialects/Dialect.ts"
import * as rows from "../rows.ts"
import type { Context } from "./context.ts"
import * as pendingRows from "./pendingRows.ts"
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

/** A lane that nobody has taken yet has no row. */
const untouched = (paused: number) => (lane: string): LaneStatsRow => ({
  lane,
  position: 0,
  owner: null,
  delivered: 0,
  late: 0,
  breaker: "closed",
  paused
})

const horizonOf = (row: HorizonRow | undefined): Horizon | null =>
  row === undefined ? null : {
    kind: row.kind,
    ageSeconds: row.age_seconds === null ? null : Math.max(0, Number(row.age_seconds)),
    ageTransactions: Number(row.age_transactions),
    pid: row.pid,
    name: row.name,
    user: row.user_name,
    application: row.application,
    state: row.state,
    since: row.since
  }

export const make = (context: Context): Pick<Repository["Type"], "stats"> => {
  const { cursor, dialect, limit, now, operation, pauseName, query, retry, snapshot, sql } = context

  /** How many retries are in a state, up to one more than are counted. */
  const inState = (state: string) =>
    Effect.map(
      sql<{ readonly total: number }>`SELECT count(*) AS total FROM (
          SELECT r.position FROM ${retry} r WHERE r.state = ${state}
          ORDER BY r.next_attempt_at ${limit(maxCounted + 1)}
        ) s`,
      ([found]) => Number(found?.total ?? 0)
    )

  const horizon = dialect.horizon === undefined
    ? Effect.succeed(null)
    : Effect.map(sql<HorizonRow>`${dialect.horizon}`, ([row]) => horizonOf(row))

  return {
    stats: query(
      "counting",
      snapshot(Effect.gen(function*() {
        const at = yield* now
        const known = yield* sql<LaneStatsRow>`SELECT substr(name, 6) AS lane, position,
            CASE WHEN lease_until > ${at} THEN owner END AS owner, delivered, late, breaker, paused
          FROM ${cursor} WHERE name LIKE 'lane/%' ORDER BY name`
        const names = new Set(known.map(({ lane }) => lane))
        const found = yield* sql<{ readonly lane: string }>`${dialect.pendingLanes(context)}`
        const [pause] = yield* sql<{ readonly paused: number }>`SELECT paused FROM ${cursor} WHERE name = ${pauseName}`
        const paused = Number(pause?.paused ?? 0)
        const fresh = found.map(({ lane }) => lane).filter((lane) => !names.has(lane)).map(untouched(paused))
        const all = [...known, ...fresh]
        const tallies = yield* pendingRows.count(context, all.map(({ lane }) => lane))
        const waiting = yield* inState("waiting")
        const died = yield* inState("dead")
        const oldest = Array.from(tallies.values(), ({ first }) => first)
        const ages = new Map(
          oldest.length === 0 ? [] : (yield* sql<
            { readonly position: number; readonly age: number | null }
          >`SELECT o.position, ${dialect.seconds(sql`o.recorded_at`, at)} AS age FROM ${operation} o
              WHERE ${dialect.isOneOf("o.position", oldest)}`).map((r) => [Number(r.position), Number(r.age ?? 0)])
        )
        const [newest] = yield* sql<{ readonly position: number | null }>`SELECT max(position) AS position
          FROM ${operation}`
        const lanes = all.map((row): LaneStats => {
          const tally = tallies.get(row.lane)
          return {
            lane: rows.lane(row.lane),
            position: Number(row.position),
            pending: tally?.pending ?? 0,
            isEstimate: tally?.isEstimate ?? false,
            lagSeconds: tally === undefined ? 0 : Math.max(0, ages.get(tally.first) ?? 0),
            lagPositions: tally === undefined ? 0 : Math.max(0, Number(newest?.position ?? 0) - tally.first),
            owner: row.owner,
            delivered: Number(row.delivered),
            late: Number(row.late),
            breaker: row.breaker,
            paused: Number(row.paused) === 1
          }
        })
        const pending = lanes.reduce((sum, lane) => sum + lane.pending, 0)
        const retrying = Math.min(waiting, maxCounted)
        const dead = Math.min(died, maxCounted)
        const [purged] = yield* sql<{ readonly delivered: number }>`SELECT delivered FROM ${cursor}
          WHERE name = ${purgeName}`
        return {
          undelivered: pending + retrying + dead,
          pending,
          isEstimate: lanes.some((lane) => lane.isEstimate),
          oldestPendingSeconds: lanes.reduce((oldest, lane) => Math.max(oldest, lane.lagSeconds), 0),
          retrying,
          dead,
          isCapped: waiting > retrying || died > dead,
          delivered: lanes.reduce((sum, lane) => sum + lane.delivered, 0),
          late: lanes.reduce((sum, lane) => sum + lane.late, 0),
          purged: Number(purged?.delivered ?? 0),
          breaker: lanes.reduce<Breaker>(
            (worst, lane) => severity[lane.breaker] > severity[worst] ? lane.breaker : worst,
            "closed"
          ),
          paused: paused === 1 || lanes.some((lane) => lane.paused),
          newLanesPaused: paused === 1,
          horizon: yield* horizon,
          lanes
        }
      }))
    )
  }
}
