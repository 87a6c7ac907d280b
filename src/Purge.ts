/**
 * Takes operations out of the database that were delivered long ago. Their receipts stay, with a leaf for each, and say
 * under a signature when the rows went; so `Verify` still gives a verdict.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import type * as Path from "@effect/platform/Path"
import { bytesToHex } from "@noble/hashes/utils.js"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Ledger from "./Ledger.ts"
import { Lane } from "./Operation.ts"
import * as Receipt from "./Receipt.ts"
import { Repository } from "./Repository.ts"
import { type DatabaseError, LedgerError } from "./TrustlogError.ts"
import { nextTurn } from "./internal/eventLoop.ts"
import * as keys from "./internal/ledger/key.ts"
import * as signatures from "./internal/purge.ts"

export interface Options {
  /** How long ago, by the database's clock, an operation must have been delivered; a hundred years at most. */
  readonly olderThan: Duration.DurationInput
  /** The file of the signing key: the ledger's, where there is one. */
  readonly keyFile: string
  /** The folder of the embedded ledger; `undefined` where the log is another one. */
  readonly ledger: string | undefined
  /** Told after every receipt how much has been purged. */
  readonly onProgress?: ((done: Progress) => Effect.Effect<void>) | undefined
}

/** How much has been purged. */
export interface Progress {
  readonly receipts: number
  readonly operations: number
}

/** A receipt that is old enough and was left as it is. */
export interface Skipped {
  /** `receipt/<lane>/<sequence>`; `lane/<name>` where a name is no lane's, whose receipts are not looked at. */
  readonly receipt: string
  /** What is not as it was recorded, in words. */
  readonly reason: string
}

/** What a purge has done. */
export interface Purged extends Progress {
  readonly skipped: ReadonlyArray<Skipped>
}

/** How many receipts are looked at in one statement. */
const pageReceipts = 500

/**
 * Purges what was delivered at least a period ago, whole receipts at a time and each in a transaction of its own; it
 * may be ended at any moment and run again, also several times at once, and beside workers. What is not delivered, or only
 * stored, is never touched. A receipt that is not what was given, or a row that is not what was delivered, is left alone
 * and told of in `skipped`.
 *
 * Fails with `LedgerError`, before anything is deleted, when the key cannot be read, when it is not the ledger's
 * (`foreign`), or when the ledger, which is what remains, cannot be read.
 */
export const purge = (
  options: Options
): Effect.Effect<Purged, DatabaseError | LedgerError, Repository | FileSystem.FileSystem | Path.Path> =>
  Effect.gen(function*() {
    const repository = yield* Repository
    const sign = signatures.signWith(yield* loadKey(options))
    const olderThan = Duration.decode(options.olderThan)
    const skipped: Array<Skipped> = []
    let receipts = 0
    let operations = 0

    const purgeReceipt = (lane: string, sequence: number) =>
      Effect.gen(function*() {
        const receipt = Receipt.nameOf(lane, sequence)
        if (!(Number.isSafeInteger(sequence) && sequence > 0)) {
          skipped.push({ receipt, reason: "has a number that no receipt gets" })
          return
        }
        const outcome = yield* repository.purge({ lane, sequence, olderThan, sign })
        if (outcome._tag === "Refused") skipped.push({ receipt, reason: outcome.problem })
        if (outcome._tag === "Purged") {
          receipts++
          operations += outcome.operations
        }
        yield* options.onProgress?.({ receipts, operations }) ?? Effect.void
        yield* nextTurn
      })

    for (const { lane } of yield* repository.evidence.heads) {
      if (!isLane(lane)) {
        skipped.push({ receipt: `lane/${lane}`, reason: "is no lane" })
        continue
      }
      let after = Number.MIN_SAFE_INTEGER
      while (true) {
        const { due, last } = yield* repository.purgeable({ lane, after, olderThan, limit: pageReceipts })
        for (const sequence of due) yield* purgeReceipt(lane, sequence)
        // Numbers that are not exact would be read for ever.
        if (last === undefined || !(last > after)) break
        after = last
        yield* nextTurn
      }
    }
    return { receipts, operations, skipped }
  }).pipe(Effect.withSpan("Purge.purge"))

const isLane = Schema.is(Lane)

/** The key, which must be the one that a verification will ask for. */
const loadKey = ({ keyFile, ledger }: Options) =>
  Effect.gen(function*() {
    const key = yield* keys.load(keyFile)
    if (ledger === undefined) return key
    const { origin, publicKey } = yield* Ledger.read(ledger)
    if (bytesToHex(publicKey) === bytesToHex(key.publicKey)) return key
    return yield* new LedgerError({
      reason: "foreign",
      path: keyFile,
      problem: `is not the key of the ledger ${origin}`
    })
  })
