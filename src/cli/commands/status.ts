/**
 * Shows how far the delivery is.
 */
import * as Effect from "effect/Effect"
import { type Horizon, maxCounted, Repository, type Stats } from "../../Repository.ts"
import { Topics } from "../../Topics.ts"
import * as Output from "../Output.ts"
import * as Services from "../Services.ts"

const seconds = (amount: number): string =>
  amount < 120
    ? `${Math.round(amount)} s`
    : amount < 7200
    ? `${Math.round(amount / 60)} min`
    : amount < 172_800
    ? `${Math.round(amount / 3600)} h`
    : `${Math.round(amount / 86_400)} days`

const toMillis = (amount: number): number => Math.round(amount * 1000) / 1000

/** An older horizon is worth a word. */
const oldHorizon = 60

/** What is said of a horizon: nothing of a young one. What has no age in seconds is old when others have begun since. */
export const horizonShown = (horizon: Horizon | null): ReadonlyArray<string> => {
  if (horizon === null) return []
  const { ageSeconds, ageTransactions, application, kind, name, pid, state, user } = horizon
  if (ageSeconds === null ? ageTransactions === 0 : ageSeconds <= oldHorizon) return []
  const quoted = `'${(name ?? "").replaceAll("'", "''")}'`
  const { cure, who } = {
    backend: {
      who: `connection ${pid}`,
      cure: `end its transaction, or else: SELECT pg_terminate_backend(${pid})`
    },
    prepared: {
      who: `the prepared transaction ${quoted}`,
      cure: `end it: COMMIT PREPARED ${quoted}, or ROLLBACK PREPARED ${quoted}`
    },
    replicationSlot: {
      who: `the replication slot ${quoted}`,
      cure: `let its standby catch up; if there is none any more: SELECT pg_drop_replication_slot(${quoted})`
    }
  }[kind]
  const details = [user === null ? null : `user ${user}`, application, state].filter((text) => text !== null)
  const age = ageSeconds === null ? Output.counted(ageTransactions, "transaction") : seconds(ageSeconds)
  return [
    `PostgreSQL cannot remove dead rows: ${who}${details.length === 0 ? "" : ` (${details.join(", ")})`} ` +
    `has held them for ${age}`,
    `  ${cure}`,
    ...kind === "backend" && ageSeconds === null
      ? ["  since when is hidden from this user: GRANT pg_read_all_stats"]
      : []
  ].map(Output.printable)
}

/** Which lanes are paused, in words. */
const pausedShown = ({ lanes, newLanesPaused }: Stats): string => {
  const held = lanes.filter(({ paused }) => paused).length
  if (newLanesPaused && held === lanes.length) return "every lane"
  const existing = held === 0 ? [] : [Output.counted(held, "lane")]
  return [...existing, ...newLanesPaused ? ["those to come"] : []].join(" and ")
}

export const status = (options: { readonly json: boolean }) =>
  Effect.gen(function*() {
    const repository = yield* Repository
    const topicOf = yield* Topics
    const stats = yield* repository.stats
    const {
      breaker,
      dead,
      delivered,
      horizon,
      isCapped,
      isEstimate,
      late,
      newLanesPaused,
      paused,
      pending,
      purged,
      retrying,
      undelivered
    } = stats
    const lanes = stats.lanes.map((lane) => ({
      lane: lane.lane,
      topic: topicOf(lane.lane),
      position: lane.position,
      pending: lane.pending,
      isEstimate: lane.isEstimate,
      lagSeconds: toMillis(lane.lagSeconds),
      lagPositions: lane.lagPositions,
      owner: lane.owner,
      delivered: lane.delivered,
      late: lane.late,
      breaker: lane.breaker,
      paused: lane.paused
    }))
    const blocked = horizonShown(horizon)
    yield* Output.result(
      options.json,
      {
        undelivered,
        pending,
        isEstimate,
        oldestPendingSeconds: toMillis(stats.oldestPendingSeconds),
        retrying,
        dead,
        isCapped,
        delivered,
        purged,
        late,
        breaker,
        paused,
        newLanesPaused,
        horizon: horizon === null ? null : {
          ...horizon,
          ageSeconds: horizon.ageSeconds === null ? null : toMillis(horizon.ageSeconds)
        },
        lanes
      },
      [
        ...Output.table([
          [
            "pending",
            Output.about(pending, isEstimate),
            pending === 0 ? "nothing waits" : `the oldest for ${seconds(stats.oldestPendingSeconds)}`
          ],
          [
            "retrying",
            Output.atLeast(retrying, isCapped && retrying === maxCounted),
            retrying === 0 ? "" : "refused by the log, to be sent again"
          ],
          [
            "dead",
            Output.atLeast(dead, isCapped && dead === maxCounted),
            dead === 0 ? "" : "see `trustlog dead-letters list`"
          ],
          [
            "delivered",
            Output.count(delivered),
            [
              ...purged === 0 ? [] : [`${Output.count(purged)} of them purged`],
              ...late === 0 ? [] : [`${Output.count(late)} of them late, behind a cursor`]
            ].join("; ")
          ],
          [
            "log",
            breaker === "closed" ? "well" : breaker === "open" ? "out" : "being tried",
            `breaker ${breaker}`
          ],
          ...paused ? [["paused", pausedShown(stats), "`trustlog resume` lets them go on"]] : []
        ]),
        ...lanes.length === 0 ? [] : [
          "",
          ...Output.table([
            ["lane", ...paused ? [""] : [], "pending", "lag", "position", "late", "owner", "topic"],
            ...lanes.map((
              { isEstimate, lagSeconds, lane, late, owner, paused: isPaused, pending, position, topic }
            ) => [
              lane,
              ...paused ? [isPaused ? "paused" : ""] : [],
              Output.about(pending, isEstimate),
              seconds(lagSeconds),
              String(position),
              Output.count(late),
              owner ?? "nobody",
              topic
            ])
          ])
        ],
        ...blocked.length === 0 ? [] : ["", ...blocked]
      ]
    )
  }).pipe(Effect.provide(Services.repository))
