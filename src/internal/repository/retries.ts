/**
 * The second line: claims of due retries, what became of them, and the dead letters that some end as.
 */
import type { Fragment } from "@effect/sql/Statement"
import * as Arr from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { v4 } from "uuid"
import type { Refusal, Repository } from "../../Repository.ts"
import * as rows from "../rows.ts"
import { type Context, errorText, row } from "./context.ts"
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
  const { cursor, dialect, laneName, later, limit, now, operation, pending, query, retry, sql, transact } = context

  const deadColumns = row({
    attempts: "r.attempts",
    reason: "r.reason",
    error: "r.error",
    first_failed_at: "r.first_failed_at",
    last_failed_at: "r.last_failed_at"
  })
  const deadLetters = (which: Fragment) =>
    Effect.map(
      dialect.select<rows.DeadLetterRow>(
        deadColumns,
        sql`FROM ${retry} r JOIN ${operation} o ON o.position = r.position WHERE r.state = 'dead' AND ${which}`
      ),
      (found) => found.map(rows.deadLetter)
    )

  const retryColumns = row({ attempts: "b.attempts", reason: "b.reason", is_lapsed: "b.is_lapsed" })

  /** Lanes whose retries are not sent now. */
  const heldLanes = Effect.map(
    sql<{ readonly lane: string }>`SELECT substr(name, 6) AS lane FROM ${cursor}
      WHERE name LIKE 'lane/%' AND (paused = 1 OR breaker = 'open')`,
    (found) => found.map(({ lane }) => lane)
  )

  const release = (which: Fragment) =>
    Effect.flatMap(
      now,
      (at) => sql`UPDATE ${retry} SET claim_token = NULL, claim_until = NULL, next_attempt_at = ${at} ${which}`
    )

  /** Refusals that are written down alike are written down at once. */
  const refuse = (refused: ReadonlyArray<Refusal>) => {
    const alike = new Map<string, Array<Refusal>>()
    for (const refusal of refused) {
      const { delay, error, reason } = refusal
      const key = JSON.stringify([delay === undefined ? null : Duration.toMillis(delay), reason, error])
      alike.set(key, [...alike.get(key) ?? [], refusal])
    }
    return Effect.forEach(
      alike.values(),
      (refusals) =>
        Effect.gen(function*() {
          const [first] = refusals
          if (first === undefined) return
          const { delay, error, reason } = first
          const next = delay === undefined ? null : yield* later(delay)
          yield* sql`UPDATE ${retry} SET state = ${delay === undefined ? "dead" : "waiting"},
            attempts = attempts + 1, next_attempt_at = ${next}, reason = ${reason}, error = ${errorText(error)},
            last_failed_at = ${yield* now}, claim_token = NULL, claim_until = NULL
            WHERE ${dialect.isOneOf("position", refusals.map(({ position }) => position))}`
        }),
      { discard: true }
    )
  }

  return {
    claimRetries: ({ excluded, limit: maxRows, maxBytes, timeToLive }) =>
      transact(
        "claiming retries",
        Effect.gen(function*() {
          const at = yield* now
          const held = [...excluded, ...(yield* heldLanes)]
          // What speaks of no operation is nothing to send; `verify` finds it.
          const isDue = sql`r.state = 'waiting' AND r.next_attempt_at <= ${at}
            AND EXISTS (SELECT 1 FROM ${operation} o WHERE o.position = r.position)`
          const [first] = yield* sql<
            { readonly position: number; readonly lane: string; readonly is_alone: number }
          >`SELECT r.position, r.lane,
              CASE WHEN r.reason = 'suspect' OR r.claim_until IS NOT NULL THEN 1 ELSE 0 END AS is_alone
            FROM ${retry} r
            WHERE ${isDue} AND NOT (${dialect.isOneOfTexts("r.lane", held)})
            ORDER BY r.next_attempt_at, r.position ${limit(1)} ${dialect.forUpdateSkipLocked}`
          if (first === undefined) return undefined
          const isAlone = Number(first.is_alone) === 1
          const candidates = isAlone ? [first] : yield* sql<{ readonly position: number }>`SELECT r.position
            FROM ${retry} r
            WHERE r.lane = ${first.lane} AND ${isDue} AND r.reason <> 'suspect' AND r.claim_until IS NULL
            ORDER BY r.next_attempt_at, r.position ${limit(maxRows)} ${dialect.forUpdateSkipLocked}`
          const due = yield* dialect.select<rows.RetryRow>(
            retryColumns,
            sql`FROM (
              SELECT s.*, SUM(s.bytes) OVER (ORDER BY s.next_attempt_at, s.position) - s.bytes AS bytes_before FROM (
                SELECT r.position, r.next_attempt_at, r.attempts, r.reason, ${context.bytes} AS bytes,
                  CASE WHEN r.claim_until IS NULL THEN 0 ELSE 1 END AS is_lapsed
                FROM ${retry} r ${dialect.joinOperation(operation, "r")}
                WHERE ${dialect.isOneOf("r.position", candidates.map(({ position }) => Number(position)))}
              ) s
            ) b ${dialect.joinOperation(operation, "b")}
            WHERE b.bytes_before < ${maxBytes} ORDER BY b.next_attempt_at, b.position`
          )
          const token = v4()
          // Nobody looks at a claimed row until its claim lapses, and then it queues behind what was due before that.
          const until = yield* later(timeToLive)
          yield* sql`UPDATE ${retry} SET claim_token = ${token}, claim_until = ${until}, next_attempt_at = ${until}
            ${isAlone ? sql.literal(", reason = 'suspect'") : sql.literal("")}
            WHERE ${dialect.isOneOf("position", due.map(({ position }) => Number(position)))}`
          return { lane: rows.lane(first.lane), token, rows: due.map(rows.retry) }
        })
      ),

    renewClaim: (claim, timeToLive) =>
      Effect.asVoid(query(
        `renewing a claim of lane ${claim.lane}`,
        Effect.flatMap(later(timeToLive), (until) =>
          sql`UPDATE ${retry} SET claim_until = ${until}, next_attempt_at = ${until}
            WHERE ${
            dialect.isOneOf(
              "position",
              claim.rows.map(({ position }) =>
                position
              )
            )
          }
              AND claim_token = ${claim.token}`)
      )),

    settleRetries: (claim, settlement) =>
      transact(
        `settling retries of lane ${claim.lane}`,
        Effect.gen(function*() {
          if ((yield* context.laneRow(claim.lane)) === undefined) yield* context.ensureLane(claim.lane)
          const lane = yield* context.lockLane(claim.lane)
          const ours = new Set(
            (yield* sql<{ readonly position: number }>`SELECT position FROM ${retry}
              WHERE ${dialect.isOneOf("position", claim.rows.map(({ position }) => position))}
                AND claim_token = ${claim.token} AND state = 'waiting' ${dialect.forUpdate}`).map((r) =>
              Number(r.position)
            )
          )
          const isOurs = (outcome: { readonly position: number }) => ours.has(outcome.position)
          const delivered = settlement.delivered.filter(isOurs)
          const refused = settlement.refused.filter(isOurs)
          const [returned, suspects] = Arr.partition(settlement.returned.filter(isOurs), (r) => r.isSuspect)
          const receipt = lane && (yield* receipts.next(claim.lane, lane, { ...settlement, delivered }))
          if (receipt !== undefined) {
            yield* dialect.together(
              sql`UPDATE ${cursor} SET ${receipt.changes} WHERE name = ${laneName(claim.lane)}`,
              receipt.added(),
              dialect.deleteByKey(retry, "position", delivered.map(({ position }) => position))
            )
          }
          yield* refuse(refused)
          if (returned.length > 0) {
            yield* release(sql`WHERE ${dialect.isOneOf("position", returned.map(({ position }) => position))}`)
          }
          if (suspects.length > 0) {
            yield* release(
              sql`, reason = 'suspect' WHERE ${dialect.isOneOf("position", suspects.map(({ position }) => position))}`
            )
          }
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
        const next = sql`min(CASE WHEN claim_until > next_attempt_at THEN claim_until ELSE next_attempt_at END)`
        const [found] = yield* sql<{ readonly seconds: number | null }>`SELECT
            ${dialect.seconds(yield* now, next)} AS seconds
          FROM ${retry} WHERE state = 'waiting'`
        return found === undefined || found.seconds === null ? undefined : Math.round(Number(found.seconds) * 1000)
      })
    ),

    deadLetters: ({ after, limit: maxRows }) =>
      query("listing dead letters", deadLetters(sql`r.position > ${after} ORDER BY r.position ${limit(maxRows)}`)),

    deadLetter: (id) =>
      query(
        "looking up a dead letter",
        Effect.map(deadLetters(dialect.isOneOfIds("o.id", [id])), ([found]) => found)
      ),

    replay: (ids) =>
      transact(
        "replaying dead letters",
        Effect.gen(function*() {
          const wanted = yield* deadLetters(dialect.isOneOfIds("o.id", ids))
          // Whoever replays the same ones meanwhile has made them pending when the lock is ours.
          const dead = new Set(
            (yield* sql<{ readonly position: number }>`SELECT position FROM ${retry} WHERE state = 'dead'
                AND ${dialect.isOneOf("position", wanted.map(({ position }) => position))}
              ${dialect.forUpdate}`).map((r) => Number(r.position))
          )
          const found = wanted.filter(({ position }) => dead.has(position))
          if (found.length === 0) return []
          const positions = found.map(({ position }) => position)
          yield* sql`INSERT INTO ${pending} (lane, position) SELECT lane, position FROM ${retry}
            WHERE ${dialect.isOneOf("position", positions)}`
          yield* sql`${dialect.deleteByKey(retry, "position", positions)}`
          return found
        })
      )
  }
}
