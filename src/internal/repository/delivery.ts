/**
 * The first line: pages of pending rows, and what became of them.
 */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import type { Refusal, Repository } from "../../Repository.ts"
import * as rows from "../rows.ts"
import type { Context } from "./context.ts"
import type { Losses } from "./losses.ts"
import type { Receipts } from "./receipts.ts"

export const make = (context: Context, losses: Losses, receipts: Receipts): Pick<
  Repository["Type"],
  "page" | "markInFlight" | "countLoss" | "settle" | "setBreaker" | "setPaused"
> => {
  const { cursor, dialect, fence, fencedUpdate, laneName, later, now, pending, query, retry, sql, transact } = context

  const insertRefused = (lane: string, refused: ReadonlyArray<Refusal>) =>
    Effect.gen(function*() {
      const at = yield* now
      const failed = yield* Effect.forEach(refused, ({ delay, error, position, reason }) =>
        Effect.map(delay === undefined ? Effect.succeed(null) : later(delay), (next_attempt_at) => ({
          position,
          lane,
          state: delay === undefined ? "dead" : "waiting",
          attempts: 1,
          next_attempt_at,
          reason,
          error,
          first_failed_at: at,
          last_failed_at: at
        })))
      for (const chunk of Arr.chunksOf(failed, dialect.maxRows(9))) {
        yield* sql`INSERT INTO ${retry} ${sql.insert(chunk)}`
      }
    })

  return {
    // The bound stands on both sides of the join: a planner that does not carry it across reads the whole history.
    page: (lease, { after, limit, maxBytes }) =>
      query(
        `reading lane ${lease.lane}`,
        Effect.gen(function*() {
          const lane = yield* fence(lease)
          if (Number(lane.paused) === 1) return { rows: [], isFull: false, isPaused: true }
          const found = yield* sql<rows.Exact & { readonly total: number }>`SELECT ${context.row()}, b.total FROM (
              SELECT s.position, SUM(s.bytes) OVER (ORDER BY s.position) - s.bytes AS before,
                count(*) OVER () AS total
              FROM (
                SELECT p.position, ${context.bytes} AS bytes
                FROM ${pending} p JOIN ${context.operation} o ON o.position = p.position
                WHERE p.lane = ${lease.lane} AND p.position > ${after} AND o.position > ${after}
                ORDER BY p.position LIMIT ${limit}
              ) s
            ) b JOIN ${context.operation} o ON o.position = b.position
            WHERE b.before < ${maxBytes} ORDER BY b.position`
          return {
            rows: found.map((r) => rows.row(rows.exactly(r))),
            isFull: found.length === limit || found.length < Number(found[0]?.total ?? 0),
            isPaused: false
          }
        })
      ),

    markInFlight: (lease, position) =>
      query(`marking lane ${lease.lane}`, fencedUpdate(lease, sql`in_flight = ${position}`)),

    countLoss: (lease, error) =>
      transact(
        `counting a loss of lane ${lease.lane}`,
        Effect.flatMap(fence(lease), (lane) => losses.count(lease.lane, lane, error))
      ),

    settle: (lease, settlement) =>
      transact(
        `settling lane ${lease.lane}`,
        Effect.gen(function*() {
          const lane = yield* fence(lease)
          const settled = [...settlement.delivered, ...settlement.refused].map((outcome) => outcome.position)
          yield* sql`DELETE FROM ${pending}
            WHERE lane = ${lease.lane} AND ${dialect.isOneOf("position", settled)}`
          yield* insertRefused(lease.lane, settlement.refused)
          yield* receipts.write(lease.lane, lane.value, settlement)
          yield* sql`UPDATE ${cursor} SET position = ${settlement.position}, late = late + ${settlement.late},
            in_flight = NULL, losses = 0, updated_at = ${yield* now} WHERE name = ${laneName(lease.lane)}`
        })
      ),

    setBreaker: (lease, breaker) =>
      query(
        `writing the breaker of lane ${lease.lane}`,
        Effect.flatMap(now, (at) => fencedUpdate(lease, sql`breaker = ${breaker}, breaker_since = ${at}`))
      ),

    setPaused: (paused, lane) =>
      transact(
        paused ? "pausing" : "resuming",
        Effect.gen(function*() {
          if (lane !== undefined) yield* context.ensureLane(lane)
          const flag = paused ? 1 : 0
          const changed = yield* sql`UPDATE ${cursor} SET paused = ${flag}, updated_at = ${yield* now}
            WHERE name LIKE 'lane/%' AND paused <> ${flag}
            ${lane === undefined ? sql`` : sql`AND name = ${laneName(lane)}`} RETURNING name`
          return changed.length
        })
      )
  }
}
