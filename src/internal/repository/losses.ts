/**
 * Losses of a record that was sent alone while the log was well. Whoever loses the connection or the process each time
 * is poison; it is moved out of the lane's way, so that it cannot look like an outage for ever.
 */
import * as Effect from "effect/Effect"
import { type Context, errorText, type LaneRow } from "./context.ts"

/** How many losses in a row move a record to retry. */
const maxLosses = 3

export type Losses = ReturnType<typeof make>

export const make = ({ cursor, insert, laneName, now, pending, retry, sql }: Context) => ({
  /** Counts a loss of the record in flight, if it is still pending. Returns whether that was its last in this lane. */
  count: (lane: string, row: LaneRow, error: string) =>
    Effect.gen(function*() {
      const position = row.in_flight
      const isPending = position !== null &&
        (yield* sql`SELECT position FROM ${pending} WHERE lane = ${lane} AND position = ${position}`).length > 0
      const losses = Number(row.losses) + (isPending ? 1 : 0)
      const isMoved = isPending && losses >= maxLosses
      const at = yield* now
      if (isMoved) {
        yield* sql`DELETE FROM ${pending} WHERE lane = ${lane} AND position = ${position}`
        yield* insert(retry, [{
          position,
          lane,
          state: "waiting",
          attempts: 0,
          next_attempt_at: at,
          reason: "suspect",
          error: errorText(error),
          first_failed_at: at,
          last_failed_at: at
        }])
      }
      yield* sql`UPDATE ${cursor} SET in_flight = NULL, losses = ${isMoved ? 0 : losses}, updated_at = ${at}
        WHERE name = ${laneName(lane)}`
      return isMoved
    })
})
