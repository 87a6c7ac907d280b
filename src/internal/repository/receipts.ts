/**
 * Receipts: one for every settled batch, chained within the lane.
 */
import type { Fragment } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import type { Published } from "../../Publisher.ts"
import * as Receipt from "../../Receipt.ts"
import type { Delivered } from "../../Repository.ts"
import type { Context, LaneRow } from "./context.ts"

export type Receipts = ReturnType<typeof make>

export const make = ({ dialect, insertion, limit, receipt, sql }: Context) => {
  /** The numbers of receipts, by their hashes: of each lane the one written last here. */
  const sequences = new Map<string, readonly [head: string, sequence: number]>()

  /** The number of a lane's newest receipt. It is part of what its hash is made of, and so known by that. */
  const sequenceOf = (lane: string, head: string | null) => {
    const known = sequences.get(lane)
    return known !== undefined && known[0] === head ? Effect.succeed(known[1]) : Effect.map(
      sql<{ readonly sequence: number }>`SELECT sequence FROM ${receipt} WHERE lane = ${lane}
        ORDER BY sequence DESC ${limit(1)}`,
      ([last]) => Number(last?.sequence ?? 0)
    )
  }

  return {
    /** The hash of a lane's newest receipt, if that was written here; it may be another's since. */
    head: (lane: string): string | undefined => sequences.get(lane)?.[0],

    /**
     * The receipt of what was delivered, as its INSERT, which may be given a condition, and as what it changes in the lane's row: the
     * head and the count. The row is locked already, or changed only if the head is still this one: or two could get one number.
     */
    next: (lane: string, { now_at, value }: Pick<LaneRow, "now_at" | "value">, batch: {
      readonly topic: string
      readonly delivered: ReadonlyArray<Delivered>
      readonly checkpoint: Published["checkpoint"]
    }) =>
      Effect.gen(function*() {
        if (batch.delivered.length === 0) return undefined
        const sealed: Receipt.Receipt = {
          lane,
          sequence: (yield* sequenceOf(lane, value)) + 1,
          previous: value ?? Receipt.genesis,
          topic: batch.topic,
          ...Receipt.seal(batch.delivered),
          ledger: batch.checkpoint ?? null,
          deliveredAt: now_at,
          purgedAt: null,
          purgeSignature: null
        }
        const hash = Receipt.hash(sealed)
        sequences.set(lane, [hash, sealed.sequence])
        const row = {
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
        }
        return {
          added: (where?: Fragment) => insertion(receipt, [row], where),
          changes: sql`value = ${hash}, delivered = delivered + ${sealed.count}`
        }
      })
  }
}
