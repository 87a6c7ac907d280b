/**
 * The ledger as a witness: its entries by index, its roots, its map, and what it holds that nobody accounts for.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import * as Arr from "effect/Array"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Envelope from "../../Envelope.ts"
import * as Ledger from "../../Ledger.ts"
import type { Leaf, Receipt } from "../../Receipt.ts"
import type { Accounted, Repository } from "../../Repository.ts"
import * as Signature from "../../Signature.ts"
import type { DatabaseError, LedgerError } from "../../TrustlogError.ts"
import { type Claim, claimOf, member, opened, parse } from "../ledger/claim.ts"
import * as maps from "../ledger/map.ts"
import type * as purges from "../purge.ts"
import * as sha256 from "../sha256.ts"
import { tileWidth } from "../tiles.ts"
import * as bitmaps from "./bitmap.ts"
import type { Findings } from "./findings.ts"
import * as partials from "./partials.ts"
import * as rows from "./row.ts"

/** What the passes over database and ledger share. */
export interface Case {
  readonly repository: Repository["Type"]
  readonly findings: Findings
  /** Positions that a receipt accounts for. */
  readonly delivered: bitmaps.Bitmap
  /** Checks a receipt's word that it was purged; `undefined` where there is no key to do so. */
  readonly checkPurge: purges.Check | undefined
  /** The keys that must have signed every entry; none where nobody asks for signatures. */
  readonly trusted: Signature.Keys
  /** Counts what has been looked at. */
  readonly progress: (count: number) => Effect.Effect<void>
}

/** What a ledger can say. */
export interface Witness {
  /** How many entries it has. */
  readonly size: number
  /** Compares the entries that a receipt names with its leaves, and the state it names with the tree's. */
  readonly compare: (
    receipt: Receipt,
    leaves: ReadonlyArray<Leaf>,
    head: Ledger.Head,
    isPurged: boolean
  ) => Effect.Effect<void>
  /** Recomputes the tree, and judges the entries that no receipt has named. */
  readonly examine: Effect.Effect<void, DatabaseError>
}

/** So much of the ledger is kept for the next look at it. */
const maxCached = { bundles: 64, bytes: 16 * 1024 * 1024 } as const

/** So many entries are looked up in the map at once. */
const askedAtOnce = 500

interface Bundle {
  readonly entries: Either.Either<ReadonlyArray<Uint8Array>, LedgerError>
  readonly bytes: number
}

/** Builds the witness over a ledger whose state was read after the database's. `settled` is its size before that. */
export const make = (
  { delivered, findings, progress, repository, trusted }: Case,
  reader: Ledger.Reader,
  settled: number
): Effect.Effect<Witness, never, FileSystem.FileSystem | Path.Path | Scope.Scope> =>
  Effect.gen(function*() {
    const { stream } = repository
    const { size } = reader.checkpoint
    /** Sizes that the tree is known to have had. */
    const published = bitmaps.make()
    published.add(1)
    /** Entries that a receipt names. */
    const claimed = bitmaps.make()
    /** Those that a purged receipt names. Appended once more, their operations get the entries that they had. */
    const released = bitmaps.make()
    const context = yield* Effect.context<FileSystem.FileSystem | Path.Path>()
    const path = yield* Path.Path
    const map = yield* Effect.either(
      maps.openToRead(path.join(reader.path, maps.fileName), { lockWait: "5 seconds" })
    )
    const remembered = Either.getOrUndefined(reader.remembered)
    /** Below this the map must know every entry. */
    const known = Math.min(remembered?.size ?? 0, size)
    let matched = 0

    const cache = new Map<number, Bundle>()
    let cachedBytes = 0
    const bundleAt = (index: number): Effect.Effect<Bundle> =>
      Effect.gen(function*() {
        const cached = cache.get(index)
        if (cached !== undefined) {
          cache.delete(index)
          cache.set(index, cached)
          return cached
        }
        const entries = yield* Effect.either(
          Effect.map(
            Stream.runCollect(reader.entries(index * tileWidth, (index + 1) * tileWidth)),
            (chunk) => Chunk.toReadonlyArray(chunk).map((entry) => entry.bytes)
          )
        )
        const bytes = Either.isLeft(entries) ? 0 : entries.right.reduce((sum, entry) => sum + entry.length, 0)
        const bundle: Bundle = { entries, bytes }
        cache.set(index, bundle)
        cachedBytes += bytes
        for (const [oldest, { bytes }] of cache) {
          if (cache.size <= maxCached.bundles && cachedBytes <= maxCached.bytes || oldest === index) break
          cache.delete(oldest)
          cachedBytes -= bytes
        }
        return bundle
      })

    let lastRoot: { readonly size: number; readonly root: Either.Either<string, LedgerError> } | undefined
    const rootAt = (size: number) =>
      lastRoot?.size === size ?
        Effect.succeed(lastRoot.root) :
        Effect.map(Effect.either(reader.rootAt(size)), (root) => {
          lastRoot = { size, root }
          return root
        })

    /** Entries of the ledger that the map is still to be asked for: those of many small receipts at once. */
    let due: Array<maps.Mapped> = []
    const ask = (entry: maps.Mapped): void => {
      if (entry.index < known) due.push(entry)
    }
    const compareWithMap = (atLeast: number) =>
      Effect.gen(function*() {
        if (due.length < atLeast) return
        const entries = due
        due = []
        if (Either.isLeft(map)) return
        // A map that cannot be read is found when its size is compared.
        const found = yield* Effect.either(map.right.view(map.right.find(entries)))
        if (Either.isLeft(found)) return
        const byKey = new Map(found.right.map((row) => [row.key, row]))
        for (const [key, entry] of entries.entries()) {
          const row = byKey.get(key)
          // The first entry of an id stays the one that the map names.
          if (row !== undefined && row.position < entry.index) continue
          if (row?.position === entry.index && row.hash === entry.contentHash) matched++
          else findings.altered.add("map", `does not name entry ${entry.index}, ${entry.id}, as the ledger has it`)
        }
      })

    const compare: Witness["compare"] = (receipt, leaves, head, isPurged) =>
      Effect.gen(function*() {
        const name = `receipt/${receipt.lane}/${receipt.sequence}`
        if (head.size > size) {
          findings.missing.add("checkpoint", `the ledger has ${size} entries, and ${name} was given at ${head.size}`)
        } else {
          const root = yield* rootAt(head.size)
          if (Either.isRight(root) && root.right === head.root) published.add(head.size)
          if (Either.isRight(root) && root.right !== head.root) {
            findings.altered.add(
              name,
              `was given for another ledger: at ${head.size} entries its root is not this one's`
            )
          }
        }
        let at: number | undefined
        let bundle: Bundle | undefined
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
            bundle = yield* bundleAt(at)
          }
          const { entries } = bundle
          if (Either.isLeft(entries)) {
            findings.missing.add(leaf.id, `entry ${index} of the ledger cannot be read: ${entries.left.problem}`)
            continue
          }
          const entry = entries.right[index % tileWidth]
          if (entry !== undefined && isOf(stream, leaf, entry)) {
            if (isFirst) ask({ stream, id: leaf.id, index, contentHash: leaf.contentHash })
          } else findings.altered.add(leaf.id, `entry ${index} of the ledger is not what ${name} says was delivered`)
        }
        yield* compareWithMap(askedAtOnce)
      })

    /** An entry that no receipt names: of another database, without a row, on its way, or nobody's. */
    const judge = (index: number, claim: Claim, row: Accounted | undefined): void => {
      if (row === undefined) {
        findings.surplus.add(
          claim.id,
          `entry ${index} of the ledger says that it was recorded, and there is no row of it`
        )
      } else if (delivered.has(row.position)) {
        findings.surplus.add(claim.id, `entry ${index} of the ledger is another one than its receipt names`)
      } else if (rows.waits(row).length > 0) {
        if (rows.differs(stream, row, claim.contentHash)) {
          findings.altered.add(claim.id, `is not what entry ${index} of the ledger says was recorded`)
        }
      } else if (!rows.isForLog(row)) {
        findings.surplus.add(
          claim.id,
          `entry ${index} of the ledger was delivered, and its row is only stored (DbOnly)`
        )
      }
    }

    const judgeUnclaimed = (first: number, bundle: ReadonlyArray<Uint8Array>) =>
      Effect.gen(function*() {
        const ours: Array<readonly [index: number, claim: Claim]> = []
        for (const [i, bytes] of bundle.entries()) {
          const index = first + i
          if (claimed.has(index)) continue
          if (index === 0) {
            const problem = birthProblem(parse(bytes), reader)
            if (problem !== undefined) findings.altered.add("entry/0", problem)
            continue
          }
          const claim = claimOf(bytes)
          if (claim === undefined) {
            findings.surplus.add(`entry/${index}`, "is no record of any database")
            continue
          }
          ask({ ...claim, index })
          if (claim.stream === stream && claim.isStored && index < settled) ours.push([index, claim])
        }
        yield* compareWithMap(askedAtOnce)
        for (const some of Arr.chunksOf(ours, 16)) {
          const found = yield* repository.evidence.operationsOf(some.map(([, claim]) => claim.id))
          const byId = new Map(found.map((row) => [String(row.id), row]))
          for (const [index, claim] of some) judge(index, claim, byId.get(claim.id))
        }
      })

    /** Where there are trusted keys, every record that is here in full carries a signature of one of them. */
    const checkSignatures = (first: number, bundle: ReadonlyArray<Uint8Array>) =>
      Effect.gen(function*() {
        if (trusted.size === 0) return
        const verdicts = yield* Signature.verify(bundle.map(opened), trusted)
        for (const [i, bytes] of bundle.entries()) {
          const verdict = verdicts[i]
          if (first + i === 0 || verdict === undefined || Either.isRight(verdict)) continue
          if (verdict.left.reason === "unsigned" && isDigest(bytes)) continue
          const claim = claimOf(bytes)
          if (claim === undefined) continue
          findings.altered.add(claim.id, `entry ${first + i} of the ledger ${verdict.left.error}`)
        }
      })

    const compareMapSize = Effect.gen(function*() {
      const counted = yield* Effect.either(
        Effect.flatMap(map, ({ count, head, view }) => view(Effect.all([count(known), head])))
      )
      if (Either.isLeft(counted)) {
        findings.altered.add("map", `cannot be read: ${counted.left.problem}`)
        return
      }
      const [count, head] = counted.right
      if (count.below !== matched) {
        findings.altered.add("map", `names ${count.below} entries where the ledger has ${matched} records`)
      }
      if (count.last !== undefined && count.last >= (head?.size ?? 0)) {
        findings.altered.add("map", `names entry ${count.last}, which was never signed`)
      }
    })

    return {
      size,
      compare,
      examine: Effect.gen(function*() {
        let isIntact = true
        yield* Stream.runForEachChunk(reader.findings, (chunk) =>
          Effect.sync(() => {
            for (const { problem, thing } of chunk) {
              isIntact = false
              const list = problem.includes("is gone") ? findings.missing : findings.altered
              list.add(thing, problem)
            }
          }))
        yield* Effect.provide(partials.examine(reader, published, findings), context)
        if (Either.isLeft(reader.remembered)) {
          const { problem, reason } = reader.remembered.left
          const list = reason === "missing" ? findings.missing : findings.altered
          list.add("map", problem)
          isIntact = false
        }
        for (let first = 0; first < size; first += tileWidth) {
          const { entries } = yield* bundleAt(first / tileWidth)
          if (Either.isRight(entries)) {
            yield* judgeUnclaimed(first, entries.right)
            yield* checkSignatures(first, entries.right)
            yield* progress(entries.right.length)
          }
        }
        yield* compareWithMap(1)
        // What is wrong already would only be said once more.
        if (isIntact) yield* compareMapSize
      })
    }
  })

/** The birth record names the key, so that the key file alone cannot be put in another's place. */
const birthProblem = (value: object | undefined, reader: Ledger.Reader): string | undefined => {
  if (member(value, "type") !== "birth") return "is not the ledger's birth record"
  return member(value, "verifier") === reader.verifier && member(value, "origin") === reader.origin
    ? undefined
    : "the ledger was born under another key than vkey says"
}

/** Whether an entry is the record that a leaf names: the envelope, or its digest form, hashes to what was delivered. */
const isOf = (stream: string, leaf: Leaf, entry: Uint8Array): boolean => {
  const { payload } = opened(entry)
  if (sha256.hexOfBytes(payload) === leaf.contentHash) return true
  const envelope = Either.getOrUndefined(Envelope.decode(payload))
  return envelope !== undefined && envelope.isDigest && envelope.contentHash === leaf.contentHash &&
    envelope.id === leaf.id && envelope.stream === stream
}

const isDigest = (entry: Uint8Array): boolean =>
  Either.match(Envelope.decode(entry), { onLeft: () => false, onRight: (envelope) => envelope.isDigest })
