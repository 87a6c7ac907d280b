/**
 * Lanes that a person has paused. A lane's row says so of itself; one row says what new lanes begin with.
 */
import * as Effect from "effect/Effect"
import { laneOf } from "../../Operation.ts"
import type { Repository } from "../../Repository.ts"
import { UnknownLane } from "../../TrustlogError.ts"
import type { Context } from "./context.ts"

export const make = (context: Context, wake: Repository["Type"]["wake"]): Pick<Repository["Type"], "setPaused"> => {
  const { cursor, dialect, ensureLane, laneName, laneRow, limit, lockPause, now, pauseName, pending, sql, transact } =
    context
  const always: ReadonlySet<string> = new Set([laneOf("operation"), laneOf("record")])

  const isKnown = (lane: string) =>
    Effect.gen(function*() {
      if (always.has(lane) || (yield* laneRow(lane)) !== undefined) return true
      const waiting = yield* sql`SELECT position FROM ${pending} WHERE lane = ${lane} ${limit(1)}`
      return waiting.length > 0
    })

  return {
    setPaused: (paused, lane) =>
      transact(
        paused ? "pausing" : "resuming",
        Effect.gen(function*() {
          if (lane !== undefined && !(yield* isKnown(lane))) return yield* new UnknownLane({ lane })
          // Before any lane's row: a lane that is just being made is made before, or is made paused.
          yield* lockPause
          if (lane !== undefined) yield* ensureLane(lane)
          const flag = paused ? 1 : 0
          const at = yield* now
          const changed = yield* sql<{ readonly name: string }>`SELECT name FROM ${cursor}
            WHERE name LIKE 'lane/%' AND paused <> ${flag}
            ${lane === undefined ? sql.literal("") : sql`AND name = ${laneName(lane)}`}
            ORDER BY name ${dialect.forUpdate}`
          yield* sql`UPDATE ${cursor} SET paused = ${flag}, updated_at = ${at}
            WHERE ${dialect.isOneOfTexts("name", changed.map(({ name }) => name))}`
          yield* sql`UPDATE ${cursor} SET epoch = epoch + 1, updated_at = ${at}
            ${lane === undefined ? sql`, paused = ${flag}` : sql.literal("")} WHERE name = ${pauseName}`
          return changed.length
        })
      ).pipe(Effect.zipLeft(paused ? Effect.void : wake(lane === undefined ? undefined : [lane])))
  }
}
