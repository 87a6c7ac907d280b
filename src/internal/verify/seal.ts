/**
 * A seal as a witness: a ledger on the log's side, which has what the log received. Receipts name the log's own messages,
 * so that entries are found by their ids.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Scope from "effect/Scope"
import type * as Ledger from "../../Ledger.ts"
import * as Receipt from "../../Receipt.ts"
import { type Claim, claimOf } from "../ledger/claim.ts"
import * as folders from "../ledger/folder.ts"
import * as maps from "../ledger/map.ts"
import { tileWidth } from "../tiles.ts"
import * as bitmaps from "./bitmap.ts"
import * as books from "./book.ts"

/** What may still be on its way. */
export interface Patience {
  /** The database's time. */
  readonly now: string
  /** A receipt that is younger may name what the seal has not received yet. */
  readonly grace: Duration.Duration
}

/** A record that a receipt names. */
interface Named {
  readonly receipt: Receipt.Receipt
  readonly leaf: Receipt.Leaf
}

/**
 * The map is only an index, and may be damaged, gone, or behind: what it does not name is kept in one of our own, so that
 * every entry is found. It is made when it is first needed, and is on the disk, since it may become as large.
 */
const makeSpare = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const make = Effect.gen(function*() {
    const folder = yield* Effect.mapError(
      fs.makeTempDirectoryScoped({ prefix: "trustlog-map-" }),
      folders.failure("the folder for temporary files")
    )
    const map = yield* maps.open(`${folder}/${maps.fileName}`, { lockWait: "5 seconds" })
    yield* map.lock(map.create)
    return map
  })
  const scope = yield* Effect.scope
  const map = yield* Effect.cached(Effect.provideService(make, Scope.Scope, scope))
  let isEmpty = true
  return {
    add: (entries: ReadonlyArray<maps.Mapped>) => {
      if (entries.length === 0) return Effect.void
      isEmpty = false
      return Effect.flatMap(map, ({ add, lock }) => lock(add(entries)))
    },
    find: (keys: ReadonlyArray<Pick<maps.Mapped, "stream" | "id">>) =>
      isEmpty ? Effect.succeed([]) : Effect.flatMap(map, ({ find, view }) => view(find(keys)))
  }
})

/**
 * Builds the witness over a seal whose state was read after the database's, and looks at all of its entries. `settled` is
 * its size before that.
 */
export const make = (
  shared: books.Case,
  reader: Ledger.Reader,
  settled: number,
  { grace, now }: Patience
) =>
  Effect.gen(function*() {
    const { findings, progress, repository: { stream } } = shared
    const book = yield* books.open(shared, reader, settled)
    const { size } = book
    const spare = yield* makeSpare
    /** Entries that a receipt, or a row that waits, must account for. */
    const ours = bitmaps.make()
    /** Entries that a receipt names. */
    const claimed = bitmaps.make()
    let others = 0
    let unsealed = 0

    let unknown: Array<maps.Mapped> = []
    const keep = (atLeast: number) =>
      Effect.gen(function*() {
        const unnamed = yield* book.compareWithMap(atLeast)
        if (unnamed.length > 0) yield* spare.add(unnamed)
        if (unknown.length < atLeast) return
        yield* spare.add(unknown)
        unknown = []
      })

    const survey = Effect.gen(function*() {
      const published = bitmaps.make()
      published.add(1)
      const isIntact = yield* book.examineTree(published)
      for (let first = 0; first < size; first += tileWidth) {
        const bundle = yield* book.bundleAt(first / tileWidth)
        if (Either.isLeft(bundle)) continue
        for (const [i, bytes] of bundle.right.entries()) {
          const index = first + i
          const claim = book.claimAt(index, bytes)
          if (claim === undefined) continue
          if (claim.stream !== stream) others++
          if (book.isToJudge(index, claim)) ours.add(index)
          if (book.isKnown(index)) book.ask({ ...claim, index })
          else unknown.push({ ...claim, index })
        }
        yield* keep(books.askedAtOnce)
        yield* book.checkSignatures(first, bundle.right)
        yield* progress(bundle.right.length)
      }
      yield* keep(1)
      if (isIntact) yield* book.compareMapSize
    })

    const isYoung = ({ deliveredAt }: Receipt.Receipt): boolean =>
      // One of the future was written by a clock that has been set back since, or by nobody who may.
      Math.abs(Date.parse(now) - Date.parse(deliveredAt)) < Duration.toMillis(grace)

    const absent = ({ leaf, receipt }: Named): void => {
      if (isYoung(receipt)) unsealed++
      else {
        findings.missing.add(
          leaf.id,
          `the log acknowledged it, by ${
            Receipt.nameOf(receipt.lane, receipt.sequence)
          } of ${receipt.deliveredAt}, and the seal has not received it`
        )
      }
    }

    const compare = (named: ReadonlyArray<Named>) =>
      Effect.gen(function*() {
        const places: ReadonlyArray<Array<number>> = named.map(() => [])
        const keys = named.map(({ leaf: { id } }) => ({ stream, id }))
        const mapped = Either.getOrElse(yield* book.find(keys), () => [])
        for (const { key, position } of [...mapped, ...yield* spare.find(keys)]) places[key]?.push(position)
        let at: number | undefined
        let bundle: books.Bundle | undefined
        for (const [key, each] of named.entries()) {
          const { leaf, receipt } = each
          let isFound = false
          for (const index of places[key] ?? []) {
            // The map is read as it is now, and may know what came later; a damaged one may say anything.
            if (isFound || !(index >= 0 && index < size)) continue
            if (bundle === undefined || at !== Math.floor(index / tileWidth)) {
              at = Math.floor(index / tileWidth)
              bundle = yield* book.bundleAt(at)
            }
            if (Either.isLeft(bundle)) {
              isFound = true
              findings.missing.add(leaf.id, `entry ${index} of the ledger cannot be read: ${bundle.left.problem}`)
              continue
            }
            const entry = bundle.right[index % tileWidth]
            if (entry === undefined) continue
            const isSame = books.isOf(stream, leaf, entry)
            isFound = isSame || isNamed(claimOf(entry), leaf)
            if (isFound) claimed.add(index)
            if (isFound && !isSame) {
              const name = Receipt.nameOf(receipt.lane, receipt.sequence)
              findings.altered.add(leaf.id, `entry ${index} of the ledger is not what ${name} says was delivered`)
            }
          }
          if (!isFound) absent(each)
        }
      })

    const isNamed = (claim: Claim | undefined, leaf: Receipt.Leaf): boolean =>
      claim?.id === leaf.id && claim.stream === stream

    /** Those of many small receipts are looked up at once. */
    let due: Array<Named> = []
    const compareDue = (atLeast: number) =>
      Effect.gen(function*() {
        while (due.length >= atLeast) yield* compare(due.splice(0, books.askedAtOnce))
      })

    yield* survey
    return {
      size,
      compare: (receipt, leaves) => {
        for (const leaf of leaves) due.push({ receipt, leaf })
        return compareDue(books.askedAtOnce)
      },
      examine: Effect.gen(function*() {
        yield* compareDue(1)
        for (let first = 0; first < Math.min(settled, size); first += tileWidth) {
          const indices = Array.from({ length: tileWidth }, (_, i) => first + i)
            .filter((index) => ours.has(index) && !claimed.has(index))
          if (indices.length === 0) continue
          const bundle = yield* book.bundleAt(first / tileWidth)
          if (Either.isLeft(bundle)) continue
          const unclaimed: Array<readonly [index: number, claim: Claim]> = []
          for (const index of indices) {
            const claim = claimOf(bundle.right[index - first] ?? new Uint8Array())
            if (claim !== undefined) unclaimed.push([index, claim])
          }
          yield* book.judge(unclaimed)
        }
        return { others, unsealed }
      })
    } satisfies books.Witness
  })
