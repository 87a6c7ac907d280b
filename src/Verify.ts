/**
 * Recomputes everything: the ledger's tree against its checkpoint, receipts against each other, against the rows and
 * against the ledger, and every row against its own hash; and the signatures of the entries, where keys are trusted. It
 * needs no secret, changes nothing, and may run beside workers. The ledger is the publisher's own, or a seal, which has
 * what another log received.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Ledger from "./Ledger.ts"
import { Repository } from "./Repository.ts"
import { TrustedKeys } from "./Signature.ts"
import { type DatabaseError, LedgerError } from "./TrustlogError.ts"
import * as keys from "./internal/ledger/key.ts"
import * as purges from "./internal/purge.ts"
import * as bitmap from "./internal/verify/bitmap.ts"
import type { Case, Shown } from "./internal/verify/book.ts"
import * as findings from "./internal/verify/findings.ts"
import * as ledgers from "./internal/verify/ledger.ts"
import * as operations from "./internal/verify/operations.ts"
import * as receipts from "./internal/verify/receipts.ts"
import * as seals from "./internal/verify/seal.ts"

export type { Finding } from "./internal/verify/findings.ts"

/** What a verification has shown. */
export interface Report {
  /**
   * `complete`: every operation that is to be delivered was, and everything agrees. `incomplete`: everything agrees, and
   * something is pending, retrying, dead or unsealed. `tampered`: something is missing, altered or surplus.
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
  /** Operations that a receipt accounts for, and that the seal has not received, and may still; `null` without a seal. */
  readonly unsealed: number | null
  /** Entries of the ledger's checkpoint, 0 where it cannot be read; `null` without a ledger. */
  readonly ledgerSize: number | null
  /** Entries that are of other databases, which are not judged; as `ledgerSize` otherwise. */
  readonly otherEntries: number | null
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

/** A ledger on the log's side, which somebody else fills with what the log received, and of any number of databases. */
export interface Seal {
  /** Its folder. */
  readonly path: string
  /**
   * A receipt that is younger, by the database's clock, may name what the seal has not received yet: that is `unsealed`.
   * What is older is missing. `defaultGrace` by default.
   */
  readonly grace?: Duration.DurationInput | undefined
}

/** A minute. */
export const defaultGrace: Duration.Duration = Duration.seconds(60)

export interface Options {
  /** The folder of the embedded ledger; `undefined` where the log is another one. */
  readonly ledger: string | undefined
  /** A ledger to compare with in place of that one; the same folder means that one. */
  readonly seal?: Seal | undefined
  /**
   * Where the log is another one, or there is a seal: the file of the key that signs purges, or of its public half in PEM.
   * The embedded ledger names its own. Without a key, or its file, receipts that were purged are findings.
   */
  readonly keyFile?: string | undefined
  /**
   * The first entry of the ledger that must be signed, where keys are trusted; 0 by default. Where signing began later, the
   * number of entries that the ledger had then.
   */
  readonly signedFrom?: number | undefined
  /** Told now and then how many records of receipts, rows and ledger have been looked at. */
  readonly onProgress?: ((count: number) => Effect.Effect<void>) | undefined
}

/**
 * Verifies the database and its ledger, or a seal. All of the database is read in one snapshot, which holds a connection: inside an
 * application, give it a `Repository` over a connection of its own, or the application's statements wait for it.
 *
 * With `Signature.TrustedKeys`, entries of the ledger that none of them has signed are `altered`, whichever database they
 * are of; digest forms, which have no room for a signature, are not asked for one.
 *
 * A ledger that cannot be read is a finding where a receipt, or what is left of the ledger, remembers it. It fails only
 * where no verdict is possible: with `DatabaseError`, or with `LedgerError` where there is no trace of a ledger, or no room
 * for what is to be kept of a seal whose map is damaged.
 */
export const verify = (
  options: Options
): Effect.Effect<Report, DatabaseError | LedgerError, Repository | FileSystem.FileSystem | Path.Path> =>
  Effect.gen(function*() {
    const repository = yield* Repository
    let looked = 0
    const seal = yield* sealOf(options)
    const place = seal?.path ?? options.ledger
    const isOwn = place !== undefined && seal === undefined
    const keyFile = isOwn ? undefined : options.keyFile
    const hasKey = keyFile !== undefined && (yield* keys.exists(keyFile))
    const shared: Case = {
      repository,
      findings: findings.make(),
      delivered: bitmap.make(),
      trusted: yield* TrustedKeys,
      signedFrom: options.signedFrom ?? 0,
      checkPurge: hasKey ? purges.checkWith(yield* keys.loadPublic(keyFile)) : undefined,
      progress: (count) => {
        looked += count
        return options.onProgress?.(looked) ?? Effect.void
      }
    }
    const ledger = place === undefined
      ? undefined
      : { path: place, grace: seal?.grace, before: yield* Effect.either(Ledger.read(place)) }
    return yield* repository.evidence.snapshot(Effect.scoped(examine(shared, ledger)))
  }).pipe(Effect.withSpan("Verify.verify"))

/** The seal to compare with, unless it is the ledger itself, whatever the paths look like. */
const sealOf = ({ ledger, seal }: Options) =>
  Effect.gen(function*() {
    if (seal === undefined) return undefined
    const fs = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const real = (folder: string) => Effect.orElseSucceed(fs.realPath(folder), () => path.resolve(folder))
    if (ledger !== undefined && (yield* real(ledger)) === (yield* real(seal.path))) return undefined
    return { path: seal.path, grace: Duration.decode(seal.grace ?? defaultGrace) }
  })

/** Where the ledger is, and how it was before the database was looked at. */
interface Before {
  readonly path: string
  /** Only of a seal. */
  readonly grace: Duration.Duration | undefined
  readonly before: Either.Either<Ledger.Reader, LedgerError>
}

// Three looks, in this order. An entry that was in the ledger at the first one had its row, and a receipt or a row that
// waits, at the second; a receipt of the second has its entries at the third. A seal may have them later: the log has
// acknowledged them, and says when it hands them on.
const examine = (shared: Case, ledger: Before | undefined) =>
  Effect.gen(function*() {
    const { evidence } = shared.repository
    const heads = yield* evidence.heads
    const grace = ledger?.grace
    const patience = grace && { grace, now: yield* evidence.now }
    const after = ledger && (yield* Effect.either(Ledger.read(ledger.path)))
    const witness = ledger === undefined || after === undefined || Either.isLeft(after)
      ? undefined
      : yield* summon(shared, ledger.before, after.right, patience)
    const checkPurge = after !== undefined && Either.isRight(after) && patience === undefined
      ? purges.checkWith(after.right.publicKey)
      : shared.checkPurge
    const { hasLedger, purged } = yield* receipts.examine({ ...shared, checkPurge }, witness, heads)
    if (ledger !== undefined && after !== undefined && Either.isLeft(after)) {
      const isSeal = patience !== undefined
      yield* accuse(shared, after.left, isSeal, !isSeal && hasLedger || (yield* isInMap(ledger.path)))
    }
    const counts = yield* operations.examine(shared)
    const unread: Shown = { others: 0, unsealed: patience === undefined ? null : 0 }
    const { others, unsealed } = witness === undefined ? unread : yield* witness.examine
    return report(
      shared.findings,
      { ...counts, purged, unsealed },
      ledger === undefined ? undefined : { size: witness?.size ?? 0, others }
    )
  })

/** The ledger as it is now, which must have grown out of what it was. */
const summon = (
  shared: Case,
  before: Before["before"],
  now: Ledger.Reader,
  patience: seals.Patience | undefined
) =>
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
    const settled = earlier?.checkpoint.size ?? 0
    return yield* patience === undefined
      ? ledgers.make(shared, now, settled)
      : seals.make(shared, now, settled, patience)
  })

/** Whether the map, which may be all that is left of a ledger, remembers one. */
const isInMap = (path: string) =>
  Effect.map(Effect.either(Ledger.rememberedHead(path)), (head) => Either.getOrUndefined(head) !== undefined)

/** A ledger that cannot be read: it was there once, or there never was one. */
const accuse = ({ findings }: Case, error: LedgerError, isSeal: boolean, isRemembered: boolean) =>
  Effect.gen(function*() {
    // Where it is damaged, the ledger is its own witness.
    if (!isRemembered && error.reason !== "corrupt" && error.reason !== "inconsistent") {
      return yield* isSeal && error.reason === "missing"
        ? new LedgerError({
          reason: "missing",
          path: error.path,
          problem: "there is no ledger here: name the folder that `trustlog seal` fills",
          cause: error
        })
        : error
    }
    const isGone = error.reason === "missing" || error.reason === "foreign" || error.problem.includes("is gone")
    const list = isGone ? findings.missing : findings.altered
    list.add(error.path.endsWith("vkey") ? "vkey" : "checkpoint", `the ledger cannot be read: ${error.message}`)
  })

/** How many operations there are, and where they are. */
interface Counts extends operations.Counts {
  readonly purged: number
  readonly unsealed: number | null
}

const report = (
  { altered, missing, surplus }: findings.Findings,
  counts: Counts,
  ledger: { readonly size: number; readonly others: number } | undefined
) => {
  const totals = {
    missingTotal: missing.total(),
    alteredTotal: altered.total(),
    surplusTotal: surplus.total()
  }
  const isTampered = totals.missingTotal + totals.alteredTotal + totals.surplusTotal > 0
  const isComplete = counts.pending + counts.retrying + counts.dead + (counts.unsealed ?? 0) === 0
  return {
    verdict: isTampered ? "tampered" : isComplete ? "complete" : "incomplete",
    ...counts,
    ledgerSize: ledger?.size ?? null,
    otherEntries: ledger?.others ?? null,
    missing: missing.told(),
    altered: altered.told(),
    surplus: surplus.told(),
    ...totals
  } satisfies Report
}
