/**
 * The rows of `operation`, in the order of their positions: each is accounted for in one place.
 */
import * as Effect from "effect/Effect"
import type { Accounted } from "../../Repository.ts"
import type { Case } from "./book.ts"
import * as rows from "./row.ts"

const pageRows = 1000
/** Rows that speak of an operation which is not there: so many are counted. */
const maxOrphans = 100_000

/** How many operations there are, and where they are on their way. */
export interface Counts {
  readonly operations: number
  readonly delivered: number
  readonly pending: number
  readonly retrying: number
  readonly dead: number
}

export const examine = ({ delivered, findings, progress, repository }: Case) =>
  Effect.gen(function*() {
    const { evidence, stream } = repository
    const { altered, missing, surplus } = findings
    const counts = { operations: 0, delivered: 0, pending: 0, retrying: 0, dead: 0 }

    const account = (row: Accounted): void => {
      const [where, second] = rows.waits(row)
      if (where === undefined) {
        if (rows.isForLog(row)) missing.add(row.id, "is neither waiting for delivery nor in a receipt")
      } else {
        counts[where]++
        if (second !== undefined) surplus.add(row.id, `is ${where} and ${second} at once`)
        if (!rows.isForLog(row)) altered.add(row.id, `is ${where}, and its row is only stored (DbOnly)`)
      }
      const problem = rows.problem(stream, row) ?? rows.retryProblem(row)
      if (problem !== undefined) altered.add(row.id, problem)
    }

    let after = Number.MIN_SAFE_INTEGER
    while (true) {
      const page = yield* evidence.sizes({ after, limit: pageRows })
      const others = page.filter(({ position }) => !delivered.has(position))
      // What a receipt is for has been read and compared with it.
      counts.operations += page.length
      counts.delivered += page.length - others.length
      // Nothing can be asked for by a position that is not exact.
      if (others.every(({ position }) => Number.isSafeInteger(position))) {
        for (const chunk of rows.chunks(others)) {
          for (const row of yield* evidence.operationsAt(chunk)) account(row)
        }
      } else {
        for (const row of yield* evidence.operations({ after, limit: pageRows })) {
          if (!delivered.has(row.position)) account(row)
        }
      }
      yield* progress(page.length)
      const last = page.at(-1)
      // Positions that are not exact would be read for ever.
      if (last === undefined || page.length < pageRows || !(last.position > after)) break
      after = last.position
    }

    const orphans = yield* evidence.orphans(maxOrphans)
    const there = new Map(
      (yield* evidence.operationsAt(orphans.map((orphan) => orphan.position))).map((row) => [row.position, row])
    )
    for (const { position, table } of orphans) {
      const row = there.get(position)
      if (row === undefined) missing.add(`${table}/${position}`, "its operation is gone")
      else altered.add(row.id, `is ${table} in another lane than its row says`)
    }
    return counts satisfies Counts
  })
