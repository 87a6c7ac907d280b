/**
 * Writes receipts: one for every settled batch, chained within the lane.
 */
import * as Effect from "effect/Effect"
import type { Published } from "../../Publisher.ts"
import * as Receipt from "../../Receipt.ts"
import type { Delivered } from "../../Repository.ts"
import type { Context } from "./context.ts"

export type Receipts = ReturnType<typeof make>

export const make = ({ dialect, insert, limit, now, receipt, sql }: Context) => ({
  /**
   * Writes the receipt of what was delivered, and returns what it changes in the lane's row: its head and its count. The
   * row is locked already, or two receipts could get one number.
   */
  write: (lane: string, head: string | null, batch: {
    readonly topic: string
    readonly delivered: ReadonlyArray<Delivered>
    readonly checkpoint: Published["checkpoint"]
  }) =>
    Effect.gen(function*() {
      if (batch.delivered.length === 0) return undefined
      const [last] = yield* dialect.select<{ readonly sequence: number | string | null; readonly now_at: string }>(
        { sequence: "l.sequence", now_at: "l.now_at" },
        sql`FROM (SELECT (SELECT sequence FROM ${receipt} WHERE lane = ${lane} ORDER BY sequence DESC ${
          limit(1)
        }) AS sequence,
          ${yield* now} AS now_at) l`
      )
      const sealed: Receipt.Receipt = {
        lane,
        sequence: Number(last?.sequence ?? 0) + 1,
        previous: head ?? Receipt.genesis,
        topic: batch.topic,
        ...Receipt.seal(batch.delivered),
        ledger: batch.checkpoint ?? null,
        deliveredAt: last?.now_at ?? "",
        purgedAt: null,
        purgeSignature: null
      }
      yield* insert(receipt, [{
        lane,
        sequence: sealed.sequence,
        previous: sealed.previous,
        first_position: sealed.firstPosition,
        last_position: sealed.lastPosition,
        count: sealed.count,
        topic: sealed.topic,
        root: sealed.root,
        leaves: dialect.bytes(sealed.leaves),
        ledger_size: sealed.ledger?.size ?? null,
        ledger_root: sealed.ledger?.root ?? null,
        delivered_at: dialect.timestamp(sealed.deliveredAt)
      }])
      return sql`value = ${Receipt.hash(sealed)}, delivered = delivered + ${sealed.count}`
    })
})
