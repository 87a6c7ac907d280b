/**
 * What `verify` reads.
 */
import * as Effect from "effect/Effect"
import type { Orphan, Repository } from "../../Repository.ts"
import * as rows from "../rows.ts"
import type { Context } from "./context.ts"

export const make = (context: Context): Repository["Type"]["evidence"] => {
  const { cursor, dialect, operation, pending, promotion, query, receipt, retry, sql } = context

  const accounted = sql`SELECT ${context.columns}, CASE WHEN p.position IS NULL THEN 0 ELSE 1 END AS is_pending,
      r.state AS retry_state, r.lane AS retry_lane, CASE WHEN m.position IS NULL THEN 0 ELSE 1 END AS is_promoted
    FROM ${operation} o
    LEFT JOIN ${pending} p ON p.position = o.position AND p.lane = o.lane
    LEFT JOIN ${retry} r ON r.position = o.position
    LEFT JOIN ${promotion} m ON m.position = o.position`

  const those = (column: string, values: ReadonlyArray<number> | ReadonlyArray<string>) =>
    query(
      "reading operations",
      Effect.map(
        sql<rows.AccountedRow>`${accounted} WHERE ${dialect.isOneOf(column, values)}`,
        (found) => found.map(rows.accounted)
      )
    )

  return {
    snapshot: context.snapshot,

    operations: ({ after, limit }) =>
      query(
        "reading operations",
        Effect.map(
          sql<rows.AccountedRow>`${accounted} WHERE o.position > ${after} ORDER BY o.position LIMIT ${limit}`,
          (found) => found.map(rows.accounted)
        )
      ),

    operationsAt: (positions) => those("o.position", positions),
    operationsOf: (ids) => those("o.id", ids),

    receipts: ({ after, lane, limit }) =>
      query(
        "reading receipts",
        Effect.map(
          sql<rows.ReceiptRow>`SELECT lane, sequence, previous, first_position, last_position, count, topic, root,
              leaves, ledger_size, ledger_root, delivered_at, purged_at, purge_signature
            FROM ${receipt} WHERE lane = ${lane} AND sequence > ${after} ORDER BY sequence LIMIT ${limit}`,
          (found) => found.map(rows.receipt)
        )
      ),

    heads: query(
      "reading the lanes",
      Effect.gen(function*() {
        const lanes = yield* sql<{ readonly lane: string; readonly value: string | null; readonly delivered: number }>`
          SELECT substr(name, ${"lane/".length + 1}) AS lane, value, delivered FROM ${cursor}
          WHERE name LIKE 'lane/%'`
        const receipted = yield* sql<{ readonly lane: string }>`SELECT DISTINCT lane FROM ${receipt}`
        const heads = new Map(receipted.map(({ lane }) => [lane, { lane, head: null as string | null, delivered: 0 }]))
        for (const { delivered, lane, value } of lanes) {
          heads.set(lane, { lane, head: value, delivered: Number(delivered) })
        }
        return Array.from(heads.values())
      })
    ),

    orphans: (limit) =>
      query(
        "looking for orphans",
        Effect.map(
          sql<Orphan>`
            SELECT p.position, 'pending' AS "table" FROM ${pending} p
              LEFT JOIN ${operation} o ON o.position = p.position AND o.lane = p.lane WHERE o.position IS NULL
            UNION ALL
            SELECT r.position, 'retry' FROM ${retry} r
              LEFT JOIN ${operation} o ON o.position = r.position WHERE o.position IS NULL
            UNION ALL
            SELECT m.position, 'promotion' FROM ${promotion} m
              LEFT JOIN ${operation} o ON o.position = m.position WHERE o.position IS NULL
            LIMIT ${limit}`,
          (found) => found.map((r) => ({ position: Number(r.position), table: r.table }))
        )
      )
  }
}
