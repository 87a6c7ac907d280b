/**
 * Takes delivered operations out of the database, a receipt at a time. What is not delivered is in no receipt.
 */
import type { Fragment } from "@effect/sql/Statement"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Receipt from "../../Receipt.ts"
import type { PurgeOutcome, Repository } from "../../Repository.ts"
import * as evidenceRows from "../verify/row.ts"
import type { Context } from "./context.ts"

/** The row of `trustlog_cursor` that counts the operations that were purged, and is locked by whoever purges. */
export const purgeName = "purge"

/** Nothing is that old, and every database's clock goes back that far. */
const longest = Duration.days(36_500)

/** Rolls the transaction back. */
class Refused extends Data.TaggedError("Refused")<{ readonly problem: string }> {}

const refused = (problem: string) => new Refused({ problem })

export const make = (
  context: Context,
  evidence: Repository["Type"]["evidence"]
): Pick<Repository["Type"], "purgeable" | "purge"> => {
  const { cursor, dialect, laneName, limit, now, operation, page, promotion, receipt, sql, stream, transact } = context

  /** Receipts with whether they may be purged by their age. */
  const aged = (olderThan: Duration.Duration, which: Fragment) =>
    Effect.gen(function*() {
      const until = yield* dialect.time(-Duration.toMillis(Duration.min(olderThan, longest)))
      const found = yield* dialect.select<{ readonly sequence: number | string; readonly is_due: number | string }>(
        { sequence: "s.sequence", is_due: "s.is_due" },
        sql`FROM (
            SELECT sequence, CASE WHEN purged_at IS NULL AND delivered_at <= ${until} THEN 1 ELSE 0 END AS is_due
            FROM ${receipt} WHERE ${which}
          ) s ORDER BY s.sequence`
      )
      return found.map((r) => ({ sequence: Number(r.sequence), isDue: Number(r.is_due) === 1 }))
    })

  /** One purge at a time: two would count, and sign, the same rows. */
  const lock = Effect.gen(function*() {
    yield* sql`INSERT INTO ${cursor} (name, delivered, updated_at) VALUES (${purgeName}, 0, ${yield* now})
      ${dialect.onRepeatedName()}`
    yield* sql`SELECT name FROM ${cursor} WHERE name = ${purgeName} ${dialect.forUpdate}`
  })

  /** The receipt, and what says which one it is: the one that follows it, or the lane's row for the last. */
  const readReceipt = (lane: string, sequence: number) =>
    Effect.gen(function*() {
      // In this order: while nothing follows the receipt, the lane's row has named it all along.
      const [head] = yield* dialect.select<{ readonly hash: string | null }>(
        { hash: "value" },
        sql`FROM ${cursor} WHERE name = ${laneName(lane)}`
      )
      const [found, next] = yield* evidence.receipts({ lane, after: sequence - 1, limit: 2 })
      if (found === undefined || found.sequence !== sequence) return yield* refused("is not there any more")
      return next === undefined
        ? { found, hash: head?.hash, namedBy: "the lane's row" }
        : { found, hash: next.previous, namedBy: Receipt.nameOf(lane, next.sequence) }
    })

  /** The leaves of a receipt that is what was written when it was given. */
  const openReceipt = (lane: string, sequence: number) =>
    Effect.gen(function*() {
      const { found, hash, namedBy } = yield* readReceipt(lane, sequence)
      const inspected = Receipt.inspect(found)
      if (inspected.hash === undefined || inspected.hash !== hash) {
        return yield* refused(`is not the one that ${namedBy} names`)
      }
      const leaves = yield* Either.mapLeft(inspected.leaves, refused)
      return { found, leaves }
    })

  /** Every leaf's row is there, is what was delivered, and waits for nothing. */
  const checkRows = (found: Receipt.Receipt, leaves: ReadonlyArray<Receipt.Leaf>) =>
    Effect.gen(function*() {
      const missing = new Map(leaves.map((leaf) => [leaf.position, leaf]))
      if (missing.size < leaves.length) return yield* refused("names a record twice")
      const sizes = yield* evidence.sizesAt(Array.from(missing.keys()))
      for (const chunk of evidenceRows.chunks(sizes)) {
        for (const row of yield* evidence.operationsAt(chunk)) {
          const leaf = missing.get(row.position)
          if (leaf === undefined) continue
          missing.delete(row.position)
          const problem = evidenceRows.contradiction(stream, row, leaf, found)
          if (problem !== undefined) return yield* refused(`operation ${leaf.id}: ${problem}`)
          const waits = evidenceRows.waits(row)
          if (waits.length > 0) return yield* refused(`operation ${leaf.id} is ${waits.join(" and ")} as well`)
          if (!evidenceRows.isForLog(row)) {
            return yield* refused(`operation ${leaf.id} is only stored (DbOnly), by its row`)
          }
        }
      }
      for (const leaf of missing.values()) {
        return yield* refused(
          `the row of operation ${leaf.id} is gone${missing.size === 1 ? "" : `, and ${missing.size - 1} more`}`
        )
      }
    })

  const purgeReceipt: Repository["Type"]["purge"] = ({ lane, olderThan, sequence, sign }) =>
    transact(
      `purging ${Receipt.nameOf(lane, sequence)}`,
      Effect.gen(function*() {
        yield* lock
        const which = sql`lane = ${lane} AND sequence = ${sequence}`
        const [due] = yield* aged(olderThan, which)
        if (due === undefined) return yield* refused("is not there any more")
        if (!due.isDue) return { _tag: "NotDue" } satisfies PurgeOutcome
        // Read back, the time is what a verification will see, whatever type its column has.
        yield* sql`UPDATE ${receipt} SET purged_at = ${yield* now} WHERE ${which}`
        const { found, leaves } = yield* openReceipt(lane, sequence)
        if (found.purgedAt === null) return yield* refused("cannot be marked")
        yield* checkRows(found, leaves)
        const signature = sign({ lane, sequence, root: found.root, purgedAt: found.purgedAt })
        const purged = leaves.map((leaf) => leaf.position)
        yield* sql`${dialect.deleteByKey(promotion, "position", purged)}`
        yield* sql`${dialect.deleteByKey(operation, "position", purged)}`
        yield* sql`UPDATE ${receipt} SET purge_signature = ${signature} WHERE ${which}`
        yield* sql`UPDATE ${cursor} SET delivered = delivered + ${leaves.length}, updated_at = ${yield* now}
          WHERE name = ${purgeName}`
        return { _tag: "Purged", operations: leaves.length } satisfies PurgeOutcome
      })
    ).pipe(
      Effect.catchTag("Refused", ({ problem }) => Effect.succeed({ _tag: "Refused", problem } satisfies PurgeOutcome))
    )

  return {
    purgeable: ({ after, lane, limit: maxRows, olderThan }) =>
      page(
        "looking for receipts to purge",
        Effect.map(
          aged(olderThan, sql`lane = ${lane} AND sequence > ${after} ORDER BY sequence ${limit(maxRows)}`),
          (looked) => ({
            due: looked.filter(({ isDue }) => isDue).map(({ sequence }) => sequence),
            last: looked.length < maxRows ? undefined : looked.at(-1)?.sequence
          })
        )
      ),

    purge: purgeReceipt
  }
}
