/**
 * The receipts: complete and chained, lane by lane, and each one against the rows and the entries that it names.
 */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import { Lane } from "../../Operation.ts"
import * as Receipt from "../../Receipt.ts"
import type { Accounted, LaneHead } from "../../Repository.ts"
import type { Case, Witness } from "./book.ts"
import * as rows from "./row.ts"

/** How many receipts, and how many rows, are in memory at once. */
const pageReceipts = 32
const pageRows = 500

/** What a receipt says of one record. */
interface Claim {
  readonly receipt: Receipt.Receipt
  /** Whether its row is to be gone. */
  readonly isPurged: boolean
  readonly leaf: Receipt.Leaf
}

/** What a lane's receipts have shown so far. */
interface Chain {
  /** The number of the last receipt. */
  sequence: number
  /** Its hash; `undefined` where it could not be worked out, or is not the one before the next. */
  hash: string | undefined
  /** How many records the receipts say they are for. */
  delivered: number
  /** Whether nothing was found yet: a count that is wrong would only say it again. */
  isIntact: boolean
}

/** What the receipts say as a whole. */
export interface Shown {
  /** Whether any was given by a ledger. */
  readonly hasLedger: boolean
  /** How many operations were purged. */
  readonly purged: number
}

export const examine = (
  { checkPurge, delivered, findings, progress, repository }: Case,
  witness: Witness | undefined,
  heads: ReadonlyArray<LaneHead>
) =>
  Effect.gen(function*() {
    const { evidence, stream } = repository
    const { altered, missing, surplus } = findings
    let hasLedger = false
    let purged = 0
    /** Records of receipts whose purge nobody can check. */
    let unchecked = 0

    /** Leaves whose rows are still to be compared: those of many small receipts are looked up at once. */
    let due: Array<Claim> = []
    const compareRows = Effect.gen(function*() {
      while (due.length > 0) {
        const batch = due.slice(0, pageRows)
        due = due.slice(pageRows)
        const claims = new Map<number, Claim>()
        for (const claim of batch) {
          const { leaf, receipt } = claim
          if (delivered.add(leaf.position)) claims.set(leaf.position, claim)
          else surplus.add(
              leaf.id,
              `${Receipt.nameOf(receipt.lane, receipt.sequence)} delivers it, and so does another receipt`
            )
        }
        for (const chunk of rows.chunks(yield* evidence.sizesAt(Array.from(claims.keys())))) {
          for (const row of yield* evidence.operationsAt(chunk)) {
            const claim = claims.get(row.position)
            if (claim === undefined) continue
            judge(row, claim)
            claims.delete(row.position)
          }
        }
        const gone = Array.from(claims.values()).filter(({ isPurged }) => !isPurged)
        purged += claims.size - gone.length
        yield* Effect.forEach(Arr.chunksOf(gone, 16), lookFor, { discard: true })
      }
    })

    const judge = (row: Accounted, { isPurged, leaf, receipt }: Claim): void => {
      if (isPurged) {
        surplus.add(
          leaf.id,
          `${Receipt.nameOf(receipt.lane, receipt.sequence)} says that it was purged, and its row is still there`
        )
      }
      const problem = rows.contradiction(stream, row, leaf, receipt)
      if (problem !== undefined) altered.add(leaf.id, problem)
      else if (!rows.isForLog(row)) altered.add(leaf.id, "was delivered, and its row is only stored (DbOnly)")
      const waits = rows.waits(row)
      if (waits.length > 0) surplus.add(leaf.id, `was delivered, and is ${waits.join(" and ")} as well`)
    }

    /** What is left has no row at its position. Few at once, since nobody knows how large their rows are. */
    const lookFor = (gone: ReadonlyArray<Claim>) =>
      Effect.gen(function*() {
        const found = yield* evidence.operationsOf(gone.map(({ leaf }) => leaf.id))
        const elsewhere = new Map(found.map((row) => [String(row.id), row.position]))
        for (const { leaf, receipt } of gone) {
          const position = elsewhere.get(leaf.id)
          if (position === undefined) {
            missing.add(
              leaf.id,
              `its row is gone, which ${Receipt.nameOf(receipt.lane, receipt.sequence)} says was delivered`
            )
          } else {
            altered.add(leaf.id, `was delivered from position ${leaf.position}, and its row now stands at ${position}`)
            delivered.add(position)
          }
        }
      })

    /** Whether the rows of a receipt are gone for a reason: by its own word, which must be signed. */
    const isPurged = (receipt: Receipt.Receipt, leaves: number): boolean => {
      if (receipt.purgedAt === null && receipt.purgeSignature === null) return false
      if (checkPurge === undefined) {
        unchecked += leaves
        return receipt.purgedAt !== null
      }
      const checked = checkPurge(receipt)
      if (Either.isLeft(checked)) altered.add(Receipt.nameOf(receipt.lane, receipt.sequence), checked.left)
      return Either.isRight(checked)
    }

    const follow = (chain: Chain, receipt: Receipt.Receipt) =>
      Effect.gen(function*() {
        const { lane, sequence } = receipt
        const name = Receipt.nameOf(lane, sequence)
        if (sequence <= chain.sequence) {
          chain.isIntact = false
          surplus.add(name, "has a number that no receipt gets")
          return
        }
        const skipped = sequence - chain.sequence - 1
        if (skipped > 0) {
          chain.isIntact = false
          missing.addAll(skipped, (n) => Receipt.nameOf(lane, sequence - skipped + n), "the receipt is gone")
        } else if (chain.hash !== undefined && receipt.previous !== chain.hash) {
          chain.isIntact = false
          if (chain.sequence === 0) altered.add(name, "is the lane's first receipt, and names one before it")
          else altered.add(Receipt.nameOf(lane, chain.sequence), `is not the one that ${name} follows`)
        }
        const { hash, leaves } = Receipt.inspect(receipt)
        chain.sequence = sequence
        chain.hash = hash
        chain.delivered += receipt.count
        hasLedger ||= receipt.ledger !== null
        if (Either.isLeft(leaves)) {
          chain.isIntact = false
          altered.add(name, leaves.left)
          return
        }
        const isGone = isPurged(receipt, leaves.right.length)
        for (const leaf of leaves.right) due.push({ receipt, isPurged: isGone, leaf })
        if (due.length >= pageRows) yield* compareRows
        if (witness !== undefined) yield* witness.compare(receipt, leaves.right, isGone)
        yield* progress(leaves.right.length)
      })

    /** The lane's row says which receipt is the last one, and for how many records there are receipts. */
    const conclude = (chain: Chain, { delivered, head, lane }: LaneHead): void => {
      if (chain.sequence === 0) {
        if (head !== null) missing.add(Receipt.nameOf(lane, 1), `the receipts of ${delivered} records are gone`)
        else if (delivered !== 0)
          altered.add(`lane/${lane}`, `counts ${delivered} records, of which there is no receipt`)
      } else if (head === null) {
        missing.add(`lane/${lane}`, "the lane's row, which names the last receipt, is gone")
      } else if (head !== chain.hash) {
        if (chain.delivered < delivered) {
          missing.add(
            Receipt.nameOf(lane, chain.sequence + 1),
            `the last receipts are gone, of ${delivered - chain.delivered} records`
          )
        } else altered.add(Receipt.nameOf(lane, chain.sequence), "is not the one that the lane's row names as the last")
      } else if (chain.isIntact && chain.delivered !== delivered) {
        altered.add(`lane/${lane}`, `counts ${delivered} records, and its receipts are of ${chain.delivered}`)
      }
    }

    for (const head of heads) {
      if (!isLane(head.lane)) {
        altered.add(`lane/${head.lane}`, "is no lane")
        continue
      }
      const chain: Chain = { sequence: 0, hash: Receipt.genesis, delivered: 0, isIntact: true }
      let after = Number.MIN_SAFE_INTEGER
      while (true) {
        const page = yield* evidence.receipts({ lane: head.lane, after, limit: pageReceipts })
        for (const receipt of page)
          yield* follow(chain, receipt)
        const last = page.at(-1)
        // Numbers that are not exact would be read for ever.
        if (last === undefined || page.length < pageReceipts || !(last.sequence > after))
          break
        after = last.sequence
      }
      conclude(chain, head)
    }
    yield* compareRows
    if (unchecked > 0) {
      altered.add("key", `${unchecked} records are said to be purged, and there is no key to check that with`)
    }
    return { hasLedger, purged } satisfies Shown
  })

const isLane = Schema.is(Lane)
