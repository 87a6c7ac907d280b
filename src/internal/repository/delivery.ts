/**
 * The first line: pages of pending rows, and what became of them.
 */
import * as Effect from "effect/Effect"
import type { Lease, Refusal, Repository } from "../../Repository.ts"
import type { DatabaseError } from "../../TrustlogError.ts"
import type { Columns } from "../dialects/Dialect.ts"
import * as rows from "../rows.ts"
import { bytesOfRow, type Context, errorText } from "./context.ts"
import * as databaseClock from "./databaseClock.ts"
import type { Losses } from "./losses.ts"
import type { Receipts } from "./receipts.ts"

/** Where a page begins, and how large it may be. */
type Bounds = Parameters<Repository["Type"]["page"]>[1]

type Settlement = Parameters<Repository["Type"]["settle"]>[1]

type Sealed = Effect.Effect.Success<ReturnType<Receipts["next"]>>

/** So many records at most are settled without a transaction: they are found by their keys, whatever the planner thinks. */
const maxAtOnce = 100

export const make = (context: Context, losses: Losses, receipts: Receipts): Pick<
  Repository["Type"],
  "page" | "markInFlight" | "countLoss" | "settle" | "setBreaker"
> => {
  const clock = databaseClock.make()
  const { cursor, dialect, fence, fencedUpdate, laneName, later, now, operation, pending, retry, sql, transact } =
    context

  /** Holds for all rows or for none, so that nothing need be asked before them. */
  const isOurs = ({ epoch, lane, owner }: Lease) =>
    sql`(SELECT count(*) FROM ${cursor} c WHERE c.name = ${laneName(lane)} AND c.epoch = ${epoch} AND c.owner = ${owner}
      AND COALESCE(c.paused, 0) <> 1) = 1`

  /** What is read beside a page behind which little is expected: it is settled at that time, as it goes on. */
  const clockColumn: Columns = dialect.atOnce === undefined ? {} : { now_at: dialect.atOnce.clock }

  /**
   * The next rows, none of them larger than its share of a page: so nobody need add up their bytes. `large` is the place of
   * the first that is larger, which is without its payload. There are none if the lane is not ours or is paused.
   */
  const readSmall = (lease: Lease, { after, isCaughtUp = false, limit, maxBytes }: Bounds) =>
    Effect.gen(function*() {
      const isLarge = `${bytesOfRow} > ${Math.floor(maxBytes / limit)}`
      const columns = {
        ...rows.pageColumns,
        payload: `CASE WHEN ${isLarge} THEN NULL ELSE o.payload END`,
        is_large: `CASE WHEN ${isLarge} THEN 1 END`,
        ...isCaughtUp ? clockColumn : {}
      }
      const found = yield* dialect.select<
        rows.PageRow & { readonly is_large: number | null; readonly now_at?: string }
      >(
        columns,
        sql`FROM ${pending} p ${dialect.joinOperation(operation, "p")}
          WHERE p.lane = ${lease.lane} AND p.position > ${after} AND ${isOurs(lease)}
          ORDER BY p.position ${context.limit(limit)}`
      )
      const [first] = found
      if (first?.now_at !== undefined) clock.hear(first.now_at)
      return { found, large: found.findIndex((row) => row.is_large !== null) }
    })

  /** The next rows, until their bytes are those of a page: one at least. */
  const readLarge = (lease: Lease, { after, limit, maxBytes }: Bounds) =>
    dialect.select<rows.PageRow & { readonly total: number }>(
      { ...rows.pageColumns, payload: "o.payload", total: "p.total" },
      sql`FROM (
        SELECT s.position, s.lane, SUM(s.bytes) OVER (ORDER BY s.position) - s.bytes AS bytes_before,
          count(*) OVER () AS total
        FROM (
          SELECT p.position, p.lane, ${context.bytes} AS bytes
          FROM ${pending} p ${dialect.joinOperation(operation, "p")}
          WHERE p.lane = ${lease.lane} AND p.position > ${after}
          ORDER BY p.position ${context.limit(limit)}
        ) s
      ) p ${dialect.joinOperation(operation, "p")}
      WHERE p.bytes_before < ${maxBytes} ORDER BY p.position`
    )

  const read = (lease: Lease, bounds: Bounds) =>
    Effect.gen(function*() {
      const { found, large } = yield* readSmall(lease, bounds)
      if (found.length === 0) {
        const lane = yield* context.check(lease)
        return { rows: [], isFull: false, isPaused: Number(lane.paused) === 1 }
      }
      const row = (found: rows.PageRow) => rows.pending(found, lease.lane)
      if (large === -1) return { rows: found.map(row), isFull: found.length === bounds.limit, isPaused: false }
      if (large > 0) return { rows: found.slice(0, large).map(row), isFull: true, isPaused: false }
      const larger = yield* readLarge(lease, bounds)
      return {
        rows: larger.map(row),
        isFull: larger.length === bounds.limit || larger.length < Number(larger[0]?.total ?? 0),
        isPaused: false
      }
    })

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

  /** What a settlement changes of the lane's row. */
  const changesOfLane = ({ late, position }: Settlement, receipt: Sealed | undefined) =>
    Effect.map(now, (at) =>
      sql`${receipt === undefined ? sql.literal("") : sql`${receipt.changes},`}
        position = ${position}, late = late + ${late}, in_flight = NULL, losses = 0, updated_at = ${at}`)

  const removal = (lane: string, settled: ReadonlyArray<{ readonly position: number }>) =>
    sql`${dialect.deleteByKey(pending, "position", settled.map(({ position }) => position))} AND t.lane = ${lane}`

  /**
   * Of few records that were all delivered: by the lane's head as it was left here, and by the time as it was told with the page.
   * Whatever is not so is for a transaction to see to.
   */
  const settleAtOnce = (lease: Lease, settlement: Settlement): Effect.Effect<boolean, DatabaseError> =>
    Effect.suspend(() => {
      const { lane } = lease
      const { delivered, refused } = settlement
      const [value, now_at] = [receipts.head(lane), clock.read()]
      const { atOnce } = dialect
      const isSmall = refused.length === 0 && delivered.length > 0 && delivered.length <= maxAtOnce
      if (atOnce === undefined || !isSmall || value === undefined || now_at === undefined) return Effect.succeed(false)
      return context.query(
        `settling lane ${lane}`,
        Effect.gen(function*() {
          const receipt = yield* receipts.next(lane, { now_at, value }, settlement)
          return yield* atOnce.change({
            cursor,
            name: laneName(lane),
            where: sql`epoch = ${lease.epoch} AND owner = ${lease.owner} AND value = ${value}`,
            set: yield* changesOfLane(settlement, receipt),
            others: (isChanged) => [
              sql`${removal(lane, delivered)} AND ${isChanged}`,
              ...receipt === undefined ? [] : [receipt.added(isChanged)]
            ]
          })
        })
      ).pipe(
        Effect.catchIf((error) => dialect.isCollision(error.cause), () => Effect.succeed(false))
      )
    })

  const settleInTransaction = (lease: Lease, settlement: Settlement) =>
    transact(
      `settling lane ${lease.lane}`,
      Effect.gen(function*() {
        const lane = yield* fence(lease)
        const settled = [...settlement.delivered, ...settlement.refused]
        yield* insertRefused(lease.lane, settlement.refused)
        const receipt = yield* receipts.next(lease.lane, lane, settlement)
        yield* dialect.together(
          sql`UPDATE ${cursor} SET ${yield* changesOfLane(settlement, receipt)} WHERE name = ${laneName(lease.lane)}`,
          ...settled.length === 0 ? [] : [removal(lease.lane, settled)],
          ...receipt === undefined ? [] : [receipt.added()]
        )
      })
    )

  return {
    page: (lease, bounds) =>
      (bounds.isCaughtUp === true ? context.query : context.page)(`reading lane ${lease.lane}`, read(lease, bounds)),

    markInFlight: (lease, position) => fencedUpdate(`marking lane ${lease.lane}`, lease, sql`in_flight = ${position}`),

    countLoss: (lease, error) =>
      transact(
        `counting a loss of lane ${lease.lane}`,
        Effect.flatMap(fence(lease), (lane) => losses.count(lease.lane, lane, error))
      ),

    // A worker's changes are never part of a transaction that somebody else has open.
    settle: (lease, settlement) =>
      Effect.flatMap(
        context.isInTransaction,
        (isHosts) => isHosts ? Effect.succeed(false) : settleAtOnce(lease, settlement)
      ).pipe(Effect.flatMap(
        (isSettled) => isSettled ? Effect.void : settleInTransaction(lease, settlement)
      )),

    setBreaker: (lease, breaker) =>
      Effect.flatMap(now, (at) =>
        fencedUpdate(
          `writing the breaker of lane ${lease.lane}`,
          lease,
          sql`breaker = ${breaker}, breaker_since = ${at}`
        ))
  }
}
