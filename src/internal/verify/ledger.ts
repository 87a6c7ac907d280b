/**
 * The publisher's own ledger as a witness: a receipt names the indices of its records, and the state of the ledger that
 * has them.
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Ledger from "../../Ledger.ts"
import * as Receipt from "../../Receipt.ts"
import type { LedgerError } from "../../TrustlogError.ts"
import type { Claim } from "../ledger/claim.ts"
import { tileWidth } from "../tiles.ts"
import * as bitmaps from "./bitmap.ts"
import * as books from "./book.ts"

/** Builds the witness over a ledger whose state was read after the database's. `settled` is its size before that. */
export const make = (shared: books.Case, reader: Ledger.Reader, settled: number) =>
  Effect.gen(function*() {
    const { findings, progress, repository: { stream } } = shared
    const book = yield* books.open(shared, reader, settled)
    const { size } = book
    /** Sizes that the tree is known to have had. */
    const published = bitmaps.make()
    published.add(1)
    /** Entries that a receipt names. */
    const claimed = bitmaps.make()
    /** Those that a purged receipt names. Appended once more, their operations get the entries that they had. */
    const released = bitmaps.make()
    let others = 0

    let lastRoot: { readonly size: number; readonly root: Either.Either<string, LedgerError> } | undefined
    const rootAt = (size: number) =>
      lastRoot?.size === size ?
        Effect.succeed(lastRoot.root) :
        Effect.map(Effect.either(reader.rootAt(size)), (root) => {
          lastRoot = { size, root }
          return root
        })

    /** The state that a receipt names must be one that the tree went through. */
    const compareState = (name: string, head: Ledger.Head) =>
      Effect.gen(function*() {
        if (head.size > size) {
          findings.missing.add("checkpoint", `the ledger has ${size} entries, and ${name} was given at ${head.size}`)
          return
        }
        const root = yield* rootAt(head.size)
        if (Either.isLeft(root)) return
        if (root.right === head.root) published.add(head.size)
        else {
          findings.altered.add(name, `was given for another ledger: at ${head.size} entries its root is not this one's`)
        }
      })

    const compareEntries = (
      name: string,
      leaves: ReadonlyArray<Receipt.Leaf>,
      head: Ledger.Head,
      isPurged: boolean
    ) =>
      Effect.gen(function*() {
        let at: number | undefined
        let bundle: books.Bundle | undefined
        for (const leaf of leaves) {
          const index = Ledger.unpackIndex(leaf.messageId)
          if (index === undefined || index >= head.size) {
            findings.altered.add(leaf.id, `${name} names no entry of the ledger for it`)
            continue
          }
          if (index >= size) {
            findings.missing.add(leaf.id, `entry ${index}, which ${name} names, is gone from the ledger`)
            continue
          }
          const isFirst = claimed.add(index)
          if (!isFirst && !isPurged && !released.has(index)) {
            findings.altered.add(leaf.id, `${name} names entry ${index} for it, which is another's`)
            continue
          }
          if (isPurged) released.add(index)
          // An Effect for each leaf would cost more than looking at it.
          if (bundle === undefined || at !== Math.floor(index / tileWidth)) {
            at = Math.floor(index / tileWidth)
            bundle = yield* book.bundleAt(at)
          }
          if (Either.isLeft(bundle)) {
            findings.missing.add(leaf.id, `entry ${index} of the ledger cannot be read: ${bundle.left.problem}`)
            continue
          }
          const entry = bundle.right[index % tileWidth]
          if (entry !== undefined && books.isOf(stream, leaf, entry)) {
            if (isFirst) book.ask({ stream, id: leaf.id, index, contentHash: leaf.contentHash })
          } else findings.altered.add(leaf.id, `entry ${index} of the ledger is not what ${name} says was delivered`)
        }
        yield* book.compareWithMap(books.askedAtOnce)
      })

    const judgeUnclaimed = (first: number, bundle: ReadonlyArray<Uint8Array>) =>
      Effect.gen(function*() {
        const ours: Array<readonly [index: number, claim: Claim]> = []
        for (const [i, bytes] of bundle.entries()) {
          const index = first + i
          if (claimed.has(index)) continue
          const claim = book.claimAt(index, bytes)
          if (claim === undefined) continue
          if (claim.stream !== stream) others++
          book.ask({ ...claim, index })
          if (book.isToJudge(index, claim)) ours.push([index, claim])
        }
        yield* book.compareWithMap(books.askedAtOnce)
        yield* book.judge(ours)
      })

    return {
      size,
      compare: (receipt, leaves, isPurged) =>
        Effect.gen(function*() {
          if (receipt.ledger === null) return
          const name = Receipt.nameOf(receipt.lane, receipt.sequence)
          yield* compareState(name, receipt.ledger)
          yield* compareEntries(name, leaves, receipt.ledger, isPurged)
        }),
      examine: Effect.gen(function*() {
        const isIntact = yield* book.examineTree(published)
        for (let first = 0; first < size; first += tileWidth) {
          const bundle = yield* book.bundleAt(first / tileWidth)
          if (Either.isLeft(bundle)) continue
          yield* judgeUnclaimed(first, bundle.right)
          yield* book.checkSignatures(first, bundle.right)
          yield* progress(bundle.right.length)
        }
        yield* book.compareWithMap(1)
        // What is wrong already would only be said once more.
        if (isIntact) yield* book.compareMapSize
        return { others, unsealed: null }
      })
    } satisfies books.Witness
  })
