/**
 * What `verify` reads.
 */
import type { Fragment } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import type { LaneHead, Orphan, Repository } from "../../Repository.ts"
import * as rows from "../rows.ts"
import { bytesOfRow, type Context, row } from "./context.ts"

/** All of a receipt but the leaves, which are bytes. */
const receiptColumns = Object.fromEntries(
  [
    "lane",
    "sequence",
    "previous",
    "first_position",
    "last_position",
    "count",
    "topic",
    "root",
    "ledger_size",
    "ledger_root",
    "delivered_at",
    "purged_at",
    "purge_signature"
  ].map((name) => [name, name])
)

const accountedColumns = row({
  is_pending: "CASE WHEN p.position IS NULL THEN 0 ELSE 1 END",
  retry_state: "r.state",
  retry_lane: "r.lane",
  is_promoted: "CASE WHEN m.position IS NULL THEN 0 ELSE 1 END"
})

export const make = (context: Context): Repository["Type"]["evidence"] => {
  const { cursor, dialect, limit, now, operation, pending, promotion, query, receipt, retry, sql } = context

  const accounted = (which: Fragment) =>
    query(
      "reading operations",
      Effect.map(
        dialect.select<rows.AccountedRow>(
          accountedColumns,
          sql`FROM ${operation} o
            LEFT JOIN ${pending} p ON p.position = o.position AND p.lane = o.lane
            LEFT JOIN ${retry} r ON r.position = o.position
            LEFT JOIN ${promotion} m ON m.position = o.position
            WHERE ${which}`
        ),
        (found) => found.map(rows.accounted)
      )
    )

  const sized = (which: Fragment) =>
    query(
      "reading operations",
      Effect.map(
        dialect.select<rows.SizeRow>(
          { position: "o.position", bytes: bytesOfRow },
          sql`FROM ${operation} o WHERE ${which}`
        ),
        (found) => found.map(rows.size)
      )
    )

  /** A page by position. */
  const following = (after: number, maxRows: number) => sql`o.position > ${after} ORDER BY o.position ${limit(maxRows)}`

  return {
    snapshot: context.snapshot,

    now: query(
      "reading the clock",
      Effect.gen(function*() {
        const [row] = yield* dialect.select<{ readonly now_at: string }>(
          { now_at: "c.now_at" },
          sql`FROM (SELECT ${yield* now} AS now_at) c`
        )
        return row?.now_at ?? ""
      })
    ),

    sizes: ({ after, limit }) => sized(following(after, limit)),
    sizesAt: (positions) => sized(dialect.isOneOf("o.position", positions)),
    operations: ({ after, limit }) => accounted(following(after, limit)),
    operationsAt: (positions) => accounted(dialect.isOneOf("o.position", positions)),
    operationsOf: (ids) => accounted(dialect.isOneOfIds("o.id", ids)),

    receipts: ({ after, lane, limit: maxRows }) =>
      query(
        "reading receipts",
        Effect.map(
          dialect.select<rows.ReceiptRow>(
            receiptColumns,
            sql`FROM ${receipt} WHERE lane = ${lane} AND sequence > ${after} ORDER BY sequence ${limit(maxRows)}`,
            ["leaves"]
          ),
          (found) => found.map(rows.receipt)
        )
      ),

    heads: query(
      "reading the lanes",
      Effect.gen(function*() {
        const lanes = yield* dialect.select<
          { readonly lane: string; readonly head: string | null; readonly delivered: number }
        >(
          { lane: "substr(name, 6)", head: "value", delivered: "delivered" },
          sql`FROM ${cursor} WHERE name LIKE 'lane/%'`
        )
        const receipted = yield* dialect.select<{ readonly lane: string }>(
          { lane: "lane" },
          sql`FROM ${receipt} GROUP BY lane`
        )
        const heads = new Map<string, LaneHead>()
        for (const { lane } of receipted) heads.set(lane, { lane, head: null, delivered: 0 })
        for (const { delivered, head, lane } of lanes) heads.set(lane, { lane, head, delivered: Number(delivered) })
        return Array.from(heads.values())
      })
    ),

    orphans: (maxRows) =>
      query(
        "looking for orphans",
        Effect.map(
          dialect.select<Orphan>(
            { position: "s.position", table: "s.kind" },
            sql`FROM (
              SELECT p.position, 'pending' AS kind FROM ${pending} p
                LEFT JOIN ${operation} o ON o.position = p.position AND o.lane = p.lane WHERE o.position IS NULL
              UNION ALL
              SELECT r.position, 'retry' FROM ${retry} r
                LEFT JOIN ${operation} o ON o.position = r.position WHERE o.position IS NULL
              UNION ALL
              SELECT m.position, 'promotion' FROM ${promotion} m
                LEFT JOIN ${operation} o ON o.position = m.position WHERE o.position IS NULL
            ) s ${limit(maxRows)}`
          ),
          (found) => found.map(({ position, table }) => ({ position: Number(position), table }))
        )
      )
  }
}
