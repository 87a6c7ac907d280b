/**
 * A ledger under examination: its entries by index, its tree, its map, its signatures, and the rows that its entries
 * speak of. It belongs to whoever published into it, or stands on the log's side.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import * as Arr from "effect/Array"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Stream from "effect/Stream"
import * as Envelope from "../../Envelope.ts"
import type * as Ledger from "../../Ledger.ts"
import type { Leaf, Receipt } from "../../Receipt.ts"
import type { Accounted, Repository } from "../../Repository.ts"
import * as Signature from "../../Signature.ts"
import type { DatabaseError, LedgerError } from "../../TrustlogError.ts"
import { type Claim, claimOf, member, opened, parse } from "../ledger/claim.ts"
import * as maps from "../ledger/map.ts"
import type * as purges from "../purge.ts"
import * as sha256 from "../sha256.ts"
import { tileWidth } from "../tiles.ts"
import type * as bitmaps from "./bitmap.ts"
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
  /** The first entry that they must have signed. */
  readonly signedFrom: number
  /** Counts what has been looked at. */
  readonly progress: (count: number) => Effect.Effect<void>
}

/** What a ledger has shown besides findings. */
export interface Shown {
  /** Entries of other databases. */
  readonly others: number
  /** Delivered records that a seal has not received, and may still; `null` of a ledger that is none. */
  readonly unsealed: number | null
}

/** What a ledger can say. */
export interface Witness {
  /** How many entries it has. */
  readonly size: number
  /** Compares the leaves of a receipt with the entries of the ledger. */
  readonly compare: (
    receipt: Receipt,
    leaves: ReadonlyArray<Leaf>,
    isPurged: boolean
  ) => Effect.Effect<void, LedgerError>
  /** Judges the entries that no receipt has named, after the last receipt. */
  readonly examine: Effect.Effect<Shown, DatabaseError | LedgerError>
}

/** So much of the ledger is kept for the next look at it. */
const maxCached = { bundles: 64, bytes: 16 * 1024 * 1024 } as const

/** So many entries are looked up in the map at once. */
export const askedAtOnce = 500

/** The entries of one tile. */
export type Bundle = Either.Either<ReadonlyArray<Uint8Array>, LedgerError>

export type Book = Effect.Effect.Success<ReturnType<typeof open>>

/** Opens a ledger. `settled` is its size before the database was looked at. */
export const open = (
  { delivered, findings, repository, signedFrom, trusted }: Case,
  reader: Ledger.Reader,
  settled: number
) =>
  Effect.gen(function*() {
    const { stream } = repository
    const { size } = reader.checkpoint
    const context = yield* Effect.context<FileSystem.FileSystem | Path.Path>()
    const path = yield* Path.Path
    const map = yield* Effect.either(
      maps.openToRead(path.join(reader.path, maps.fileName), { lockWait: "5 seconds" })
    )
    const remembered = Either.getOrUndefined(reader.remembered)
    /** Below this the map must know every entry. */
    const known = Math.min(remembered?.size ?? 0, size)
    let matched = 0

    interface Cached {
      readonly entries: Bundle
      readonly bytes: number
    }
    const cache = new Map<number, Cached>()
    let cachedBytes = 0
    const bundleAt = (index: number): Effect.Effect<Bundle> =>
      Effect.gen(function*() {
        const cached = cache.get(index)
        if (cached !== undefined) {
          cache.delete(index)
          cache.set(index, cached)
          return cached.entries
        }
        const entries = yield* Effect.either(
          Effect.map(
            Stream.runCollect(reader.entries(index * tileWidth, (index + 1) * tileWidth)),
            (chunk) => Chunk.toReadonlyArray(chunk).map((entry) => entry.bytes)
          )
        )
        const bytes = Either.isLeft(entries) ? 0 : entries.right.reduce((sum, entry) => sum + entry.length, 0)
        cache.set(index, { entries, bytes })
        cachedBytes += bytes
        for (const [oldest, { bytes }] of cache) {
          if (cache.size <= maxCached.bundles && cachedBytes <= maxCached.bytes || oldest === index) break
          cache.delete(oldest)
          cachedBytes -= bytes
        }
        return entries
      })

    /** Where the map says that the entries of some keys are, each with the number of its key; of none if it cannot be read. */
    const find = (keys: ReadonlyArray<Pick<maps.Mapped, "stream" | "id">>) =>
      Effect.either(Effect.flatMap(map, ({ find, view }) => view(find(keys))))

    /** Entries of the ledger that the map is still to be asked for: those of many small receipts at once. */
    let due: Array<maps.Mapped> = []
    const ask = (entry: maps.Mapped): void => {
      if (entry.index < known) due.push(entry)
    }
    const compareWithMap = (atLeast: number): Effect.Effect<ReadonlyArray<maps.Mapped>> =>
      Effect.gen(function*() {
        if (due.length < atLeast) return []
        const entries = due
        due = []
        const found = yield* find(entries)
        // A map that cannot be read is found when its size is compared.
        if (Either.isLeft(found)) return entries
        const byKey = new Map(found.right.map((row) => [row.key, row]))
        const unnamed: Array<maps.Mapped> = []
        for (const [key, entry] of entries.entries()) {
          const row = byKey.get(key)
          if (row?.position === entry.index && row.hash === entry.contentHash) {
            matched++
            continue
          }
          unnamed.push(entry)
          // The first entry of an id stays the one that the map names.
          if (row !== undefined && row.position < entry.index) continue
          findings.altered.add("map", `does not name entry ${entry.index}, ${entry.id}, as the ledger has it`)
        }
        return unnamed
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

    /** Where there are trusted keys, every record that is here in full carries a signature of one of them. */
    const checkSignatures = (first: number, bundle: ReadonlyArray<Uint8Array>) =>
      Effect.gen(function*() {
        const skipped = signedFrom - first
        if (trusted.size === 0 || skipped >= bundle.length) return
        const entries = bundle.slice(Math.max(0, skipped))
        const verdicts = yield* Signature.verify(entries.map(opened), trusted)
        for (const [i, bytes] of entries.entries()) {
          const verdict = verdicts[i]
          if (verdict === undefined || Either.isRight(verdict)) continue
          if (verdict.left.reason === "unsigned" && isDigest(bytes)) continue
          const claim = claimOf(bytes)
          if (claim === undefined) continue
          const index = first + bundle.length - entries.length + i
          findings.altered.add(claim.id, `entry ${index} of the ledger ${verdict.left.error}`)
        }
      })

    return {
      size,
      bundleAt,
      find,

      /** Whether the map must know an entry. */
      isKnown: (index: number): boolean => index < known,
      /** Notes an entry for the next comparison with the map, where it must know it. */
      ask,
      /** Compares what is noted with the map, once it is so much, and returns the entries that it does not name. */
      compareWithMap,

      /** What an entry says that it is. One that says nothing is a finding, but for the birth record. */
      claimAt: (index: number, bytes: Uint8Array): Claim | undefined => {
        if (index === 0) {
          const problem = birthProblem(parse(bytes), reader)
          if (problem !== undefined) findings.altered.add("entry/0", problem)
          return undefined
        }
        const claim = claimOf(bytes)
        if (claim === undefined) findings.surplus.add(`entry/${index}`, "is no record of any database")
        return claim
      },

      /** Whether an entry, which no receipt names, must have a row: it is of this database, and was there before its snapshot. */
      isToJudge: (index: number, claim: Claim): boolean => claim.stream === stream && claim.isStored && index < settled,
      /** Looks for the rows of entries that no receipt names. */
      judge: (entries: ReadonlyArray<readonly [index: number, claim: Claim]>) =>
        Effect.gen(function*() {
          for (const some of Arr.chunksOf(entries, 16)) {
            const found = yield* repository.evidence.operationsOf(some.map(([, claim]) => claim.id))
            const byId = new Map(found.map((row) => [String(row.id), row]))
            for (const [index, claim] of some) judge(index, claim, byId.get(claim.id))
          }
        }),

      checkSignatures,

      /** Recomputes the tree; false where anything was found. `published` are sizes that it is known to have had. */
      examineTree: (published: bitmaps.Bitmap): Effect.Effect<boolean> =>
        Effect.gen(function*() {
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
          return isIntact
        }),

      /** Compares how many entries the map names with those that it was found to name rightly. */
      compareMapSize: Effect.gen(function*() {
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
export const isOf = (stream: string, leaf: Leaf, entry: Uint8Array): boolean => {
  const { payload } = opened(entry)
  if (sha256.hexOfBytes(payload) === leaf.contentHash) return true
  const envelope = Either.getOrUndefined(Envelope.decode(payload))
  return envelope !== undefined && envelope.isDigest && envelope.contentHash === leaf.contentHash &&
    envelope.id === leaf.id && envelope.stream === stream
}

const isDigest = (entry: Uint8Array): boolean =>
  Either.match(Envelope.decode(entry), { onLeft: () => false, onRight: (envelope) => envelope.isDigest })
