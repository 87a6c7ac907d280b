/**
 * How operations come in: append, and the promotion of those that were only stored.
 */
import { SqlError } from "@effect/sql/SqlError"
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Envelope from "../../Envelope.ts"
import { type Lane, timestampOf } from "../../Operation.ts"
import { type Appended, type Entry, maxBatch, type Repository, type StoredRow } from "../../Repository.ts"
import { DatabaseError, InvalidOperation, OperationConflict } from "../../TrustlogError.ts"
import * as rows from "../rows.ts"
import { type Context, row as rowColumns } from "./context.ts"

/** So many operations, and so many bytes of envelopes are inserted at once at most. */
const maxInsert = { rows: 1_000, bytes: 8 * 1024 * 1024 } as const

/** An entry whose row is ready. */
interface Sealed {
  readonly index: number
  readonly entry: Entry
  readonly bytes: number
  readonly row: rows.NewRow
}

export const make = (context: Context): Pick<Repository["Type"], "append" | "promote" | "promoteRange"> => {
  const { dialect, join, now, operation, pending, promotion, sql, stream } = context
  const insertOperations = dialect.insertOperations(context)

  const existing = (ids: ReadonlyArray<string>) =>
    Effect.map(
      dialect.select<rows.OperationRow & { readonly is_promoted: number }>(
        rowColumns({ is_promoted: "CASE WHEN m.position IS NULL THEN 0 ELSE 1 END" }),
        sql`FROM ${operation} o LEFT JOIN ${promotion} m ON m.position = o.position
          WHERE ${dialect.isOneOfIds("o.id", ids)} ${dialect.asCommitted}`
      ),
      (found) =>
        new Map(found.map((stored) => [
          stored.id,
          { ...rows.row(stored), isPromoted: Number(stored.is_promoted) === 1 }
        ]))
    )

  /** Makes operations pending that were only stored. Plain rows: what is selected from `operation` may keep hosts waiting. */
  const insertPromotions = (promoted: ReadonlyMap<number, Lane>) =>
    Effect.gen(function*() {
      const at = yield* now
      const entries = Array.from(promoted, ([position, lane]) => ({ lane, position }))
      for (const chunk of Arr.chunksOf(entries, maxInsert.rows)) {
        yield* context.insert(promotion, chunk.map(({ position }) => ({ position, promoted_at: at })))
        yield* context.insert(pending, chunk)
      }
    })

  /** What a row is compared by; one that plain SQL wrote, and that is no operation, equals nothing. */
  const hashOf = (row: StoredRow): string | undefined =>
    row.contentHash ?? Either.getOrUndefined(
      Either.map(Envelope.restate(row), (restated) => Envelope.contentHash(stream, restated))
    )

  /** Judges entries whose id is there already, and promotes those that were only stored. */
  const reconcile = (entries: ReadonlyArray<Entry>) =>
    Effect.gen(function*() {
      if (entries.length === 0) return []
      const found = yield* existing(entries.map((entry) => entry.operation.id))
      const promoted = new Map<number, Lane>()
      const results: Array<Appended> = []
      for (const { lane, operation: { id }, operation: stated, strategy } of entries) {
        const row = found.get(id)
        if (row === undefined) {
          // Whoever held the id has gone since the INSERT met it.
          const problem = `operation ${id} was being appended by another transaction; try again`
          return yield* new SqlError({ cause: new DatabaseError({ reason: "locked", problem }) })
        }
        if (row.lane !== lane) return yield* new OperationConflict({ id, reason: "lane" })
        const restated = Envelope.contentHash(stream, Envelope.recorded(stated, row.occurredAt))
        if (restated !== hashOf(row)) {
          return yield* new OperationConflict({ id, reason: "content" })
        }
        const isPromotion = row.strategy === "DbOnly" && !row.isPromoted && strategy === "DbAndTrustlog" &&
          !promoted.has(row.position)
        if (isPromotion) promoted.set(row.position, lane)
        results.push({ id, position: row.position, outcome: isPromotion ? "promoted" : "duplicate" })
      }
      yield* insertPromotions(promoted)
      return results
    })

  const insert = (entries: ReadonlyArray<Sealed>) =>
    Effect.gen(function*() {
      const inserted = yield* insertOperations(entries.map((sealed) => sealed.row))
      const positions = new Map(inserted.map(({ id, position }) => [id, position]))
      const results: Array<readonly [index: number, result: Appended]> = []
      const repeated: Array<Sealed> = []
      for (const sealed of entries) {
        const { id } = sealed.entry.operation
        const position = positions.get(id)
        if (position === undefined) {
          repeated.push(sealed)
          continue
        }
        // A second entry of one id within the batch is judged like any other repetition.
        positions.delete(id)
        results.push([sealed.index, { id, position, outcome: "appended" }])
      }
      const judged = yield* reconcile(repeated.map((sealed) => sealed.entry))
      return [...results, ...Arr.zip(repeated.map((sealed) => sealed.index), judged)]
    })

  /**
   * A single operation that one statement inserts needs no transaction around it: what could follow, the promotion of an
   * operation that is there, has one of its own.
   */
  const insertOne = ({ entry, row }: Sealed) =>
    Effect.flatMap(insertOperations([row]), ([inserted]) =>
      inserted === undefined
        ? join("appending an operation", reconcile([entry]))
        : Effect.succeed([{ id: row.id, position: inserted.position, outcome: "appended" as const }]))

  const typedOne = context.typed("appending an operation")

  const seal = (
    entries: ReadonlyArray<Entry>,
    millis: number
  ): Either.Either<ReadonlyArray<Sealed>, InvalidOperation> => {
    const now = timestampOf(millis)
    return Either.all(entries.map((entry, index) =>
      Either.map(
        Envelope.keep(stream, entry.operation, now),
        (kept): Sealed => ({
          index,
          entry,
          bytes: kept.bytes,
          row: rows.toRow(kept, { lane: entry.lane, strategy: entry.strategy, isIdNew: entry.isIdNew === true })
        })
      )
    ))
  }

  return {
    append: (entries) =>
      entries.length === 0 ?
        Effect.succeed([]) :
        Effect.clockWith((clock): ReturnType<Repository["Type"]["append"]> => {
          const all = seal(entries, clock.unsafeCurrentTimeMillis())
          if (Either.isLeft(all)) return Effect.fail(all.left)
          const sealed = all.right
          const bytes = sealed.reduce((sum, entry) => sum + entry.bytes, 0)
          if (entries.length > maxBatch.rows || bytes > maxBatch.bytes) {
            const cure = `append at most ${maxBatch.rows} operations and ${maxBatch.bytes} bytes at once; ` +
              `this batch has ${entries.length} and ${bytes}`
            return new InvalidOperation({ field: "", reason: "tooLarge", cure })
          }
          const batch = Effect.map(
            join("appending operations", Effect.forEach(chunksOf(sealed), insert)),
            (results) => results.flat().sort(([a], [b]) => a - b).map(([, result]) => result)
          )
          const [only, ...others] = sealed
          return only === undefined || others.length > 0
            ? batch
            : Effect.flatMap(dialect.appendsAtOnce, (atOnce) => atOnce ? typedOne(insertOne(only)) : batch)
        }),

    promote: (ids) =>
      join(
        "promoting operations",
        Effect.gen(function*() {
          const found = yield* existing(ids)
          const promoted = new Map<number, Lane>()
          const results = ids.map((id) => {
            const row = found.get(id)
            if (row === undefined) return { id, outcome: "unknown" as const }
            if (row.strategy !== "DbOnly") return { id, outcome: "notDbOnly" as const }
            if (row.isPromoted || promoted.has(row.position)) return { id, outcome: "alreadyPromoted" as const }
            promoted.set(row.position, row.lane)
            return { id, outcome: "promoted" as const }
          })
          yield* insertPromotions(promoted)
          return results
        })
      ),

    promoteRange: ({ from, to }) =>
      join(
        "promoting operations",
        Effect.gen(function*() {
          const found = yield* sql<{ readonly position: number; readonly lane: string }>`SELECT o.position, o.lane
            FROM ${operation} o WHERE o.position >= ${from} AND o.position <= ${to} AND o.strategy = 'DbOnly'
              AND NOT EXISTS (SELECT 1 FROM ${promotion} m WHERE m.position = o.position)`
          yield* insertPromotions(new Map(found.map((r) => [Number(r.position), rows.lane(r.lane)])))
          return found.length
        })
      )
  }
}

const chunksOf = (entries: ReadonlyArray<Sealed>): ReadonlyArray<ReadonlyArray<Sealed>> => {
  const chunks: Array<Array<Sealed>> = []
  let bytes = 0
  for (const sealed of entries) {
    const chunk = chunks.at(-1)
    bytes += sealed.bytes
    if (chunk === undefined || chunk.length >= maxInsert.rows || bytes > maxInsert.bytes) {
      chunks.push([sealed])
      bytes = sealed.bytes
    } else chunk.push(sealed)
  }
  return chunks
}
