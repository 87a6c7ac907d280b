/**
 * The first line: pages of pending rows, and what became of them.
 */
import * as Effect from "effect/Effect"
import type { Refusal, Repository } from "../../Repository.ts"
import * as rows from "../rows.ts"
import { type Context, errorText, row } from "./context.ts"
import type { Losses } from "./losses.ts"
import type { Receipts } from "./receipts.ts"

export const make = (context: Context, losses: Losses, receipts: Receipts): Pick<
  Repository["Type"],
  "page" | "markInFlight" | "countLoss" | "settle" | "setBreaker"
> => {
  const { cursor, dialect, fence, fencedUpdate, laneName, later, now, pending, retry, sql, transact } = context
  const pageColumns = row({ total: "b.total" })

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
          error: errorText(error),
          first_failed_at: at,
          last_failed_at: at
        })))
      if (failed.length > 0)
        yield* context.insert(retry, failed)
    })

  return {
    // The bound stands on both sides of the join: a planner that does not carry it across reads the whole history.
    page: (lease, { after, limit, maxBytes }) =>
      context.page(
        `reading lane ${lease.lane}`,
        Effect.gen(function*() {
          const lane = yield* context.check(lease)
          if (Number(lane.paused) === 1) return { rows: [], isFull: false, isPaused: true }
          const found = yield* dialect.select<rows.OperationRow & { readonly total: number }>(
            pageColumns,
            sql`FROM (
              SELECT s.position, SUM(s.bytes) OVER (ORDER BY s.position) - s.bytes AS bytes_before,
                count(*) OVER () AS total
              FROM (
                SELECT p.position, ${context.bytes} AS bytes
                FROM ${pending} p ${dialect.joinInOrder} ${context.operation} o ON o.position = p.position
                WHERE p.lane = ${lease.lane} AND p.position > ${after} AND o.position > ${after}
                ORDER BY p.position ${context.limit(limit)}
              ) s
            ) b ${dialect.joinInOrder} ${context.operation} o ON o.position = b.position
            WHERE b.bytes_before < ${maxBytes} ORDER BY b.position`
          )
          return {
            rows: found.map(rows.row),
            isFull: found.length === limit || found.length < Number(found[0]?.total ?? 0),
            isPaused: false
          }
        })
      ),

    markInFlight: (lease, position) => fencedUpdate(`marking lane ${lease.lane}`, lease, sql`in_flight = ${position}`),

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
          if (settled.length > 0) {
            yield* sql`${dialect.deleteByKey(pending, "position", settled)} AND t.lane = ${lease.lane}`
          }
          yield* insertRefused(lease.lane, settlement.refused)
          const receipted = yield* receipts.write(lease.lane, lane.value, settlement)
          yield* sql`UPDATE ${cursor} SET ${receipted === undefined ? sql.literal("") : sql`${receipted},`}
            position = ${settlement.position}, late = late + ${settlement.late},
            in_flight = NULL, losses = 0, updated_at = ${yield* now} WHERE name = ${laneName(lease.lane)}`
        })
      ),

    setBreaker: (lease, breaker) =>
      Effect.flatMap(now, (at) =>
        fencedUpdate(
          `writing the breaker of lane ${lease.lane}`,
          lease,
          sql`breaker = ${breaker}, breaker_since = ${at}`
        ))
  }
}
