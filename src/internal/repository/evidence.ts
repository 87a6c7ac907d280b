/**
 * What `verify` reads.
 */
import * as Effect from "effect/Effect"
import type { LaneHead, Orphan, Repository } from "../../Repository.ts"
import * as rows from "../rows.ts"
import { bytesOfRow, type Context } from "./context.ts"

/** All of a receipt but the leaves, which are bytes. */
const receiptColumns = [
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
] as const

export const make = (context: Context): Repository["Type"]["evidence"] => {
  const { cursor, dialect, operation, pending, promotion, query, receipt, retry, sql } = context

  const accounted = sql`SELECT ${
    context.row({
      is_pending: "CASE WHEN p.position IS NULL THEN 0 ELSE 1 END",
      retry_state: "r.state",
      retry_lane: "r.lane",
      is_promoted: "CASE WHEN m.position IS NULL THEN 0 ELSE 1 END"
    })
  } FROM ${operation} o
    LEFT JOIN ${pending} p ON p.position = o.position AND p.lane = o.lane
    LEFT JOIN ${retry} r ON r.position = o.position
    LEFT JOIN ${promotion} m ON m.position = o.position`

  const readSize = (r: rows.Exact) => rows.size(rows.exactly(r))

  const readAccounted = (r: rows.Exact) => rows.accounted(rows.exactly(r))

  const those = (column: string, values: ReadonlyArray<number> | ReadonlyArray<string>) =>
    query(
      "reading operations",
      Effect.map(
        sql<rows.Exact>`${accounted} WHERE ${dialect.isOneOf(column, values)}`,
        (found) => found.map(readAccounted)
      )
    )

  const sized = sql`SELECT ${dialect.exactly({ position: "o.position", bytes: bytesOfRow })} AS exact
    FROM ${operation} o`

  return {
    snapshot: context.snapshot,

    sizes: ({ after, limit }) =>
      query(
        "reading operations",
        Effect.map(
          sql<rows.Exact>`${sized} WHERE o.position > ${after} ORDER BY o.position LIMIT ${limit}`,
          (found) => found.map(readSize)
        )
      ),

    sizesAt: (positions) =>
      query(
        "reading operations",
        Effect.map(
          sql<rows.Exact>`${sized} WHERE ${dialect.isOneOf("o.position", positions)}`,
          (found) => found.map(readSize)
        )
      ),

    operations: ({ after, limit }) =>
      query(
        "reading operations",
        Effect.map(
          sql<rows.Exact>`${accounted} WHERE o.position > ${after} ORDER BY o.position LIMIT ${limit}`,
          (found) => found.map(readAccounted)
        )
      ),

    operationsAt: (positions) => those("o.position", positions),
    operationsOf: (ids) => those("o.id", ids),

    receipts: ({ after, lane, limit }) =>
      query(
        "reading receipts",
        Effect.map(
          sql<rows.Exact & { readonly leaves: Uint8Array }>`SELECT leaves, ${
            dialect.exactly(Object.fromEntries(receiptColumns.map((name) => [name, name])))
          } AS exact
            FROM ${receipt} WHERE lane = ${lane} AND sequence > ${after} ORDER BY sequence LIMIT ${limit}`,
          (found) => found.map((r) => rows.receipt({ ...rows.exactly<rows.ReceiptRow>(r), leaves: r.leaves }))
        )
      ),

    heads: query(
      "reading the lanes",
      Effect.gen(function*() {
        const lanes = yield* sql<rows.Exact>`SELECT ${
          dialect.exactly({ lane: "substr(name, 6)", value: "value", delivered: "delivered" })
        } AS exact FROM ${cursor} WHERE name LIKE 'lane/%'`
        const receipted = yield* sql<rows.Exact>`SELECT ${dialect.exactly({ lane: "lane" })} AS exact
          FROM ${receipt} GROUP BY lane`
        const heads = new Map<string, LaneHead>()
        for (const r of receipted) {
          const { lane } = rows.exactly<{ readonly lane: string }>(r)
          heads.set(lane, { lane, head: null, delivered: 0 })
        }
        for (const r of lanes) {
          const { delivered, lane, value } = rows.exactly<
            { readonly lane: string; readonly value: string | null; readonly delivered: number }
          >(r)
          heads.set(lane, { lane, head: value, delivered: Number(delivered) })
        }
        return Array.from(heads.values())
      })
    ),

    orphans: (limit) =>
      query(
        "looking for orphans",
        Effect.map(
          sql<rows.Exact>`SELECT ${dialect.exactly({ position: "s.position", table: "s.kind" })} AS exact FROM (
              SELECT p.position, 'pending' AS kind FROM ${pending} p
                LEFT JOIN ${operation} o ON o.position = p.position AND o.lane = p.lane WHERE o.position IS NULL
              UNION ALL
              SELECT r.position, 'retry' FROM ${retry} r
                LEFT JOIN ${operation} o ON o.position = r.position WHERE o.position IS NULL
              UNION ALL
              SELECT m.position, 'promotion' FROM ${promotion} m
                LEFT JOIN ${operation} o ON o.position = m.position WHERE o.position IS NULL
            ) s LIMIT ${limit}`,
          (found) => found.map((r) => rows.exactly<Orphan>(r))
        )
      )
  }
}
