/**
 * The second line: claims of due retries, what became of them, and the dead letters that some end as.
 */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import { v4 } from "uuid"
import type { Repository } from "../../Repository.ts"
import * as rows from "../rows.ts"
import type { Context } from "./context.ts"
import type { Receipts } from "./receipts.ts"

export const make = (context: Context, receipts: Receipts): Pick<
  Repository["Type"],
  | "claimRetries"
  | "renewClaim"
  | "settleRetries"
  | "nextRetryIn"
  | "deadLetters"
  | "deadLetter"
  | "replay"
> => {
  const { cursor, dialect, laneRow, later, now, operation, pending, query, retry, sql, transact } = context

  const isHeld = sql`EXISTS (SELECT 1 FROM ${cursor} c WHERE c.name = 'lane/' || r.lane
    AND (c.paused = 1 OR c.breaker = 'open'))`

  const deadLetters = sql`SELECT ${
    context.row({
      attempts: "r.attempts",
      reason: "r.reason",
      error: "r.error",
      first_failed_at: "r.first_failed_at",
      last_failed_at: "r.last_failed_at"
    })
  } FROM ${retry} r JOIN ${operation} o ON o.position = r.position WHERE r.state = 'dead'`

  const readDeadLetter = (r: rows.Exact) => rows.deadLetter(rows.exactly(r))

  return {
    claimRetries: ({ excluded, limit, maxBytes, timeToLive }) =>
      transact(
        "claiming retries",
        Effect.gen(function*() {
          const at = yield* now
          const isDue = sql`r.state = 'waiting' AND r.next_attempt_at <= ${at}`
          const [first] = yield* sql<
            { readonly position: number; readonly lane: string; readonly is_alone: number }
          >`SELECT r.position, r.lane,
              CASE WHEN r.reason = 'suspect' OR r.claim_until IS NOT NULL THEN 1 ELSE 0 END AS is_alone
            FROM ${retry} r JOIN ${operation} o ON o.position = r.position
            WHERE ${isDue} AND NOT ${isHeld} AND NOT (${dialect.isOneOf("r.lane", excluded)})
            ORDER BY r.next_attempt_at, r.position LIMIT 1`
          if (first === undefined) return undefined
          const isAlone = Number(first.is_alone) === 1
          const which = isAlone
            ? sql`r.position = ${first.position}`
            : sql`r.lane = ${first.lane} AND ${isDue} AND r.reason <> 'suspect' AND r.claim_until IS NULL`
          const due = yield* sql<rows.Exact & { readonly position: number }>`SELECT b.position,
              ${context.row({ attempts: "b.attempts", reason: "b.reason", is_lapsed: "b.is_lapsed" })} FROM (
              SELECT s.*, SUM(s.bytes) OVER (ORDER BY s.next_attempt_at, s.position) - s.bytes AS before FROM (
                SELECT r.position, r.next_attempt_at, r.attempts, r.reason, ${context.bytes} AS bytes,
                  CASE WHEN r.claim_until IS NULL THEN 0 ELSE 1 END AS is_lapsed
                FROM ${retry} r JOIN ${operation} o ON o.position = r.position
                WHERE ${which} ORDER BY r.next_attempt_at, r.position LIMIT ${isAlone ? 1 : limit}
              ) s
            ) b JOIN ${operation} o ON o.position = b.position
            WHERE b.before < ${maxBytes} ORDER BY b.next_attempt_at, b.position`
          const token = v4()
          // Nobody looks at a claimed row until its claim lapses, and then it queues behind what was due before that.
          const until = yield* later(timeToLive)
          yield* sql`UPDATE ${retry} SET claim_token = ${token}, claim_until = ${until}, next_attempt_at = ${until}
            ${isAlone ? sql`, reason = 'suspect'` : sql``}
            WHERE ${dialect.isOneOf("position", due.map((r) => Number(r.position)))}`
          return { lane: rows.lane(first.lane), token, rows: due.map((r) => rows.retry(rows.exactly(r))) }
        })
      ),

    renewClaim: (claim, timeToLive) =>
      Effect.asVoid(query(
        `renewing a claim of lane ${claim.lane}`,
        Effect.flatMap(later(timeToLive), (until) =>
          sql`UPDATE ${retry} SET claim_until = ${until}, next_attempt_at = ${until}
            WHERE claim_token = ${claim.token}`)
      )),

    settleRetries: (claim, settlement) =>
      transact(
        `settling retries of lane ${claim.lane}`,
        Effect.gen(function*() {
          yield* context.ensureLane(claim.lane)
          const lane = yield* laneRow(claim.lane)
          const ours = new Set(
            (yield* sql<{ readonly position: number }>`SELECT position FROM ${retry}
              WHERE claim_token = ${claim.token} AND state = 'waiting'`).map((r) => Number(r.position))
          )
          const isOurs = (outcome: { readonly position: number }) => ours.has(outcome.position)
          const delivered = settlement.delivered.filter(isOurs)
          const refused = settlement.refused.filter(isOurs)
          const [returned, suspects] = Arr.partition(settlement.returned.filter(isOurs), (r) => r.isSuspect)
          yield* receipts.write(claim.lane, lane?.value ?? null, { ...settlement, delivered })
          yield* sql`DELETE FROM ${retry} WHERE ${dialect.isOneOf("position", delivered.map((d) => d.position))}`
          for (const { delay, error, position, reason } of refused) {
            const next = delay === undefined ? null : yield* later(delay)
            yield* sql`UPDATE ${retry} SET state = ${delay === undefined ? "dead" : "waiting"},
              attempts = attempts + 1, next_attempt_at = ${next}, reason = ${reason}, error = ${error},
              last_failed_at = ${yield* now}, claim_token = NULL, claim_until = NULL WHERE position = ${position}`
          }
          yield* sql`UPDATE ${retry} SET claim_token = NULL, claim_until = NULL, next_attempt_at = ${yield* now}
            WHERE ${dialect.isOneOf("position", returned.map((r) => r.position))}`
          yield* sql`UPDATE ${retry} SET claim_token = NULL, claim_until = NULL, next_attempt_at = ${yield* now},
            reason = 'suspect' WHERE ${dialect.isOneOf("position", suspects.map((r) => r.position))}`
          return {
            delivered: delivered.length,
            refused: refused.length,
            dead: refused.filter((refusal) => refusal.delay === undefined).length
          }
        })
      ),

    nextRetryIn: query(
      "looking for the next retry",
      Effect.gen(function*() {
        const [next] = yield* sql<{ readonly seconds: number | null }>`SELECT
            ${
          dialect.seconds(
            yield* now,
            sql`min(CASE WHEN claim_until > next_attempt_at THEN claim_until
              ELSE next_attempt_at END)`
          )
        } AS seconds
          FROM ${retry} WHERE state = 'waiting'`
        return next === undefined || next.seconds === null ? undefined : Math.round(Number(next.seconds) * 1000)
      })
    ),

    deadLetters: ({ after, limit }) =>
      query(
        "listing dead letters",
        Effect.map(
          sql<rows.Exact>`${deadLetters} AND r.position > ${after} ORDER BY r.position LIMIT ${limit}`,
          (found) => found.map(readDeadLetter)
        )
      ),

    deadLetter: (id) =>
      query(
        "looking up a dead letter",
        Effect.map(
          sql<rows.Exact>`${deadLetters} AND o.id = ${id}`,
          ([found]) => found === undefined ? undefined : readDeadLetter(found)
        )
      ),

    replay: (ids) =>
      transact(
        "replaying dead letters",
        Effect.gen(function*() {
          const found = (yield* sql<rows.Exact>`${deadLetters} AND ${dialect.isOneOf("o.id", ids)}`)
            .map(readDeadLetter)
          const positions = found.map((letter) => letter.position)
          yield* sql`INSERT INTO ${pending} (lane, position) SELECT lane, position FROM ${retry}
            WHERE ${dialect.isOneOf("position", positions)}`
          yield* sql`DELETE FROM ${retry} WHERE ${dialect.isOneOf("position", positions)}`
          return found
        })
      )
  }
}
