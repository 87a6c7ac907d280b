/**
 * Recomputes everything: the ledger's tree against its checkpoint, receipts against each other, against the rows and
 * against the ledger, and every row against its own hash; and the signatures of the entries, where keys are trusted. It
 * needs no secret, changes nothing, and may run beside workers.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import type * as Path from "@effect/platform/Path"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Ledger from "./Ledger.ts"
import { Repository } from "./Repository.ts"
import { TrustedKeys } from "./Signature.ts"
import type { DatabaseError, LedgerError } from "./TrustlogError.ts"
import * as keys from "./internal/ledger/key.ts"
import * as purges from "./internal/purge.ts"
import * as bitmap from "./internal/verify/bitmap.ts"
import * as findings from "./internal/verify/findings.ts"
import * as witnesses from "./internal/verify/ledger.ts"
import * as operations from "./internal/verify/operations.ts"
import * as receipts from "./internal/verify/receipts.ts"

export type { Finding } from "./internal/verify/findings.ts"

/** What a verification has shown. */
export interface Report {
  /**
   * `complete`: every operation that is to be delivered was, and everything agrees. `incomplete`: everything agrees, and
   * something is pending, retrying or dead. `tampered`: something is missing, altered or surplus.
   */
  readonly verdict: "complete" | "incomplete" | "tampered"
  /** Rows of `operation`, stored-only ones included. */
  readonly operations: number
  /** Operations that a receipt accounts for. */
  readonly delivered: number
  /** Operations that a receipt accounts for, and whose rows were purged. */
  readonly purged: number
  readonly pending: number
  readonly retrying: number
  readonly dead: number
  /** Entries of the ledger's checkpoint, 0 where it cannot be read; `null` without a ledger. */
  readonly ledgerSize: number | null
  /** What should be there, and is not; the first 100, as of the others. */
  readonly missing: ReadonlyArray<findings.Finding>
  /** What is not what it was. */
  readonly altered: ReadonlyArray<findings.Finding>
  /** What nobody recorded, or what is there twice. */
  readonly surplus: ReadonlyArray<findings.Finding>
  readonly missingTotal: number
  readonly alteredTotal: number
  readonly surplusTotal: number
}

export interface Options {
  /** The folder of the embedded ledger; `undefined` where the log is another one. */
  readonly ledger: string | undefined
  /**
   * Where the log is another one: the file of the key that signs purges, or of its public half in PEM. The embedded ledger
   * names its own. Without a key, or its file, receipts that were purged are findings.
   */
  readonly keyFile?: string | undefined
  /** Told now and then how many records of receipts, rows and ledger have been looked at. */
  readonly onProgress?: ((count: number) => Effect.Effect<void>) | undefined
}

/**
 * Verifies the database and its ledger. All of the database is read in one snapshot, which holds a connection: inside an
 * application, give it a `Repository` over a connection of its own, or the application's statements wait for it.
 *
 * With `Signature.TrustedKeys`, entries of the ledger that none of them has signed are `altered`, whichever database they
 * are of; digest forms, which have no room for a signature, are not asked for one.
 *
 * A ledger that cannot be read is a finding where a receipt, or what is left of the ledger, remembers it. It fails only
 * where no verdict is possible: with `DatabaseError`, or with `LedgerError` where there is no trace of a ledger.
 */
export const verify = (
  options: Options
): Effect.Effect<Report, DatabaseError | LedgerError, Repository | FileSystem.FileSystem | Path.Path> =>
  Effect.gen(function*() {
    const repository = yield* Repository
    let looked = 0
    const keyFile = options.ledger === undefined ? options.keyFile : undefined
    const hasKey = keyFile !== undefined && (yield* keys.exists(keyFile))
    const shared: witnesses.Case = {
      repository,
      findings: findings.make(),
      delivered: bitmap.make(),
      trusted: yield* TrustedKeys,
      checkPurge: hasKey ? purges.checkWith(yield* keys.loadPublic(keyFile)) : undefined,
      progress: (count) => {
        looked += count
        return options.onProgress?.(looked) ?? Effect.void
      }
    }
    const ledger = options.ledger === undefined
      ? undefined
      : { path: options.ledger, before: yield* Effect.either(Ledger.read(options.ledger)) }
    return yield* repository.evidence.snapshot(Effect.scoped(examine(shared, ledger)))
  }).pipe(Effect.withSpan("Verify.verify"))

/** Where the ledger is, and how it was before the database was looked at. */
interface Before {
  readonly path: string
  readonly before: Either.Either<Ledger.Reader, LedgerError>
}

// Three looks, in this order. An entry that was in the ledger at the first one had its row, and a receipt or a row that
// waits, at the second; a receipt of the second has its entries at the third.
const examine = (shared: witnesses.Case, ledger: Before | undefined) =>
  Effect.gen(function*() {
    const { evidence } = shared.repository
    const heads = yield* evidence.heads
    const after = ledger && (yield* Effect.either(Ledger.read(ledger.path)))
    const witness = ledger === undefined || after === undefined || Either.isLeft(after)
      ? undefined
      : yield* summon(shared, ledger.before, after.right)
    const checkPurge = after !== undefined && Either.isRight(after)
      ? purges.checkWith(after.right.publicKey)
      : shared.checkPurge
    const { hasLedger, purged } = yield* receipts.examine({ ...shared, checkPurge }, witness, heads)
    if (ledger !== undefined && after !== undefined && Either.isLeft(after)) {
      yield* accuse(shared, after.left, hasLedger || (yield* isInMap(ledger.path)))
    }
    const counts = yield* operations.examine(shared)
    if (witness !== undefined) yield* witness.examine
    return report(shared.findings, { ...counts, purged }, ledger === undefined ? null : witness?.size ?? 0)
  })

/** The ledger as it is now, which must have grown out of what it was. */
const summon = (shared: witnesses.Case, before: Before["before"], now: Ledger.Reader) =>
  Effect.gen(function*() {
    const earlier = Either.getOrUndefined(before)
    if (earlier !== undefined && earlier.checkpoint.size > 0) {
      const { altered } = shared.findings
      const { root, size } = earlier.checkpoint
      const rootThen = size > now.checkpoint.size ? undefined : yield* Effect.either(now.rootAt(size))
      if (earlier.verifier !== now.verifier) altered.add("vkey", "has changed meanwhile")
      if (rootThen === undefined) altered.add("checkpoint", `had ${size} entries a moment ago, and has fewer now`)
      else if (Either.isRight(rootThen) && rootThen.right !== root) {
        altered.add("checkpoint", `does not extend the ${size} entries that there were a moment ago`)
      }
    }
    return yield* witnesses.make(shared, now, earlier?.checkpoint.size ?? 0)
  })

/** Whether the map, which may be all that is left of a ledger, remembers one. */
const isInMap = (path: string) =>
  Effect.map(Effect.either(Ledger.rememberedHead(path)), (head) => Either.getOrUndefined(head) !== undefined)

/** A ledger that cannot be read: it was there once, or there never was one. */
const accuse = ({ findings }: witnesses.Case, error: LedgerError, isRemembered: boolean) =>
  Effect.gen(function*() {
    // Where it is damaged, the ledger is its own witness.
    if (!isRemembered && error.reason !== "corrupt" && error.reason !== "inconsistent") return yield* error
    const isGone = error.reason === "missing" || error.reason === "foreign" || error.problem.includes("is gone")
    const list = isGone ? findings.missing : findings.altered
    list.add(error.path.endsWith("vkey") ? "vkey" : "checkpoint", `the ledger cannot be read: ${error.message}`)
  })

/** How many operations there are, and where they are. */
interface Counts extends operations.Counts {
  readonly purged: number
}

const report = ({ altered, missing, surplus }: findings.Findings, counts: Counts, size: number | null) => {
  const totals = {
    missingTotal: missing.total(),
    alteredTotal: altered.total(),
    surplusTotal: surplus.total()
  }
  const isTampered = totals.missingTotal + totals.alteredTotal + totals.surplusTotal > 0
  const isComplete = counts.pending + counts.retrying + counts.dead === 0
  return {
    verdict: isTampered ? "tampered" : isComplete ? "complete" : "incomplete",
    ...counts,
    ledgerSize: size,
    missing: missing.told(),
    altered: altered.told(),
    surplus: surplus.told(),
    ...totals
  } satisfies Report
}
