/**
 * Writes receipts: one for every settled batch, chained within the lane.
 */
import * as Effect from "effect/Effect"
import type { Published } from "../../Publisher.ts"
import * as Receipt from "../../Receipt.ts"
import type { Delivered } from "../../Repository.ts"
import * as rows from "../rows.ts"
import type { Context } from "./context.ts"

export type Receipts = ReturnType<typeof make>

export const make = ({ cursor, laneName, now, receipt, sql }: Context) => ({
  /**
   * Writes the receipt of what was delivered, and the lane's new head and count. The lane's row is locked already, or
   * two receipts could get one number.
   */
  write: (lane: string, head: string | null, batch: {
    readonly topic: string
    readonly delivered: ReadonlyArray<Delivered>
    readonly checkpoint: Published["checkpoint"]
  }) =>
    Effect.gen(function*() {
      if (batch.delivered.length === 0) return
      const [last] = yield* sql<{ readonly sequence: number | null; readonly at: string }>`SELECT
          (SELECT max(sequence) FROM ${receipt} WHERE lane = ${lane}) AS sequence, ${yield* now} AS at`
      const sealed: Receipt.Receipt = {
        lane,
        sequence: Number(last?.sequence ?? 0) + 1,
        previous: head ?? Receipt.genesis,
        topic: batch.topic,
        ...Receipt.seal(batch.delivered),
        ledger: batch.checkpoint ?? null,
        deliveredAt: last?.at ?? "",
        purgedAt: null,
        purgeSignature: null
      }
      yield* sql`INSERT INTO ${receipt} ${sql.insert(rows.toReceiptRow(sealed))}`
      yield* sql`UPDATE ${cursor} SET value = ${Receipt.hash(sealed)}, delivered = delivered + ${sealed.count}
        WHERE name = ${laneName(lane)}`
    })
})
