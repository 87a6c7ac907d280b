/**
 * Recomputes a ledger from its entries and says which file does not agree.
 */
import { bytesToHex } from "@noble/hashes/utils.js"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type { LedgerError } from "../../TrustlogError.ts"
import * as merkle from "../merkle.ts"
import * as tiles from "../tiles.ts"
import type { Folder } from "./folder.ts"
import type { Head } from "./map.ts"

/** Something in a ledger that is not as it was signed. */
export interface Finding {
  /** The file, relative to the ledger: `tile/0/000`, `checkpoint`. */
  readonly thing: string
  readonly problem: string
  /** The entry that was altered, where it is known. */
  readonly index: number | undefined
}

/** A hash that was computed from below; `undefined` where what it is computed from cannot be read. */
type Computed = Uint8Array | undefined

const isEqual = (a: Uint8Array, b: Computed): boolean => b !== undefined && bytesToHex(a) === bytesToHex(b)

const areKnown = (hashes: ReadonlyArray<Computed>): hashes is ReadonlyArray<Uint8Array> => !hashes.includes(undefined)

/**
 * The findings, in the order of the entries. Where a tile is not what its entries hash to, the hash of it one level
 * above tells whether the tile was altered or what is below it.
 */
export const examine = (folder: Folder, checkpoint: Head): Stream.Stream<Finding> => {
  const { size } = checkpoint
  /** By level: the hashes of the tile that is being filled, and at the end of the partial one. */
  const levels: Array<Array<Computed>> = Array.from({ length: tiles.heightOf(size) }, () => [])
  const blamed = new Set<string>()
  const nameOf = (level: tiles.Tile["level"], index: number): string =>
    tiles.pathOf({ level, index, width: tiles.widthAt(level, index, size) })

  const readTile = (level: tiles.Tile["level"], index: number) => Effect.either(folder.readTile({ level, index }, size))

  const blame = (
    level: tiles.Tile["level"],
    index: number,
    problem: string,
    entry?: number
  ): ReadonlyArray<Finding> => {
    const thing = nameOf(level, index)
    // A tile is named once, but every altered entry is.
    if (entry === undefined && blamed.has(thing)) return []
    blamed.add(thing)
    return [{ thing, problem, index: entry }]
  }

  /** Names what lies below a tile that is as it was signed, where it hashes to something else. */
  const blameBelow = (
    level: number,
    index: number,
    computed: ReadonlyArray<Computed>,
    stored: ReadonlyArray<Uint8Array>
  ) =>
    stored.flatMap((hash, i) => {
      if (computed[i] === undefined || isEqual(hash, computed[i])) return []
      const below = index * tiles.tileWidth + i
      return level === 0
        ? blame("entries", index, `entry ${below} is not the one that was signed`, below)
        : blame(level - 1, below, `does not hash to what ${nameOf(level, index)} says`)
    })

  interface Settled {
    /** What counts from here upwards. */
    readonly hashes: ReadonlyArray<Computed>
    readonly findings: ReadonlyArray<Finding>
  }

  /** Compares a tile's file with what was computed; `isSigned` tells whether some hashes are what was signed. */
  const settle = (
    level: number,
    index: number,
    computed: ReadonlyArray<Computed>,
    stored: Either.Either<ReadonlyArray<Uint8Array>, LedgerError>,
    isSigned: (hashes: ReadonlyArray<Uint8Array>) => Effect.Effect<boolean>
  ): Effect.Effect<Settled> =>
    Effect.gen(function*() {
      if (Either.isLeft(stored)) {
        return { hashes: computed, findings: blame(level, index, stored.left.problem) }
      }
      const tile = stored.right
      if (tile.every((hash, i) => computed[i] === undefined || isEqual(hash, computed[i]))) {
        return { hashes: tile, findings: [] }
      }
      return (yield* isSigned(tile))
        ? { hashes: tile, findings: blameBelow(level, index, computed, tile) }
        : {
          hashes: tile.map((hash, i) => computed[i] ?? hash),
          findings: blame(level, index, "is not what the entries hash to")
        }
    })

  /** Settles a full tile, and every tile above that its hash fills. */
  const climb = (
    level: number,
    index: number,
    computed: ReadonlyArray<Computed>
  ): Effect.Effect<ReadonlyArray<Finding>> =>
    Effect.gen(function*() {
      const slot = index % tiles.tileWidth
      const parent = Math.floor(index / tiles.tileWidth)
      const above = Effect.map(
        readTile(level + 1, parent),
        (tile) => Either.isRight(tile) ? tile.right[slot] : undefined
      )
      const { findings, hashes } = yield* settle(
        level,
        index,
        computed,
        yield* readTile(level, index),
        (tile) => Effect.map(above, (hash) => isEqual(merkle.root(tile), hash))
      )
      const siblings = levels[level + 1] ?? []
      siblings.push(areKnown(hashes) ? merkle.root(hashes) : yield* above)
      if (siblings.length < tiles.tileWidth) return findings
      levels[level + 1] = []
      return [...findings, ...yield* climb(level + 1, parent, siblings)]
    })

  const bundle = (index: number): Effect.Effect<ReadonlyArray<Finding>> =>
    Effect.gen(function*() {
      const width = tiles.widthAt("entries", index, size)
      const entries = yield* readTile("entries", index)
      const findings = Either.isLeft(entries) ? blame("entries", index, entries.left.problem) : []
      const hashes: Array<Computed> = Either.isRight(entries)
        ? entries.right.map(merkle.leafHash)
        : Array.from({ length: width }, () => undefined)
      if (width === tiles.tileWidth) return [...findings, ...yield* climb(0, index, hashes)]
      levels[0] = hashes
      return findings
    })

  /** The partial tiles at the right edge have nothing above them but the checkpoint. */
  const edge = Effect.gen(function*() {
    const indexAt = (level: number) => Math.floor(tiles.countAt(level, size) / tiles.tileWidth)
    const stored = yield* Effect.forEach(
      levels,
      (hashes, level) => hashes.length === 0 ? Effect.succeed(Either.right([])) : readTile(level, indexAt(level))
    )
    const files = stored.map((tile) => Either.getOrElse(tile, () => []))
    const isSigned = stored.every(Either.isRight) && bytesToHex(tiles.rootOf({ levels: files })) === checkpoint.root
    const settled = yield* Effect.forEach(
      stored,
      (tile, level) => settle(level, indexAt(level), levels[level] ?? [], tile, () => Effect.succeed(isSigned))
    )
    const findings = settled.flatMap((level) => level.findings)
    const hashes = settled.map((level) => level.hashes)
    if (!hashes.every(areKnown)) return findings
    const root = bytesToHex(tiles.rootOf({ levels: hashes }))
    return root === checkpoint.root ? findings : [
      ...findings,
      {
        thing: "checkpoint",
        problem: `says ${checkpoint.root} at size ${size}, and the entries hash to ${root}`,
        index: undefined
      }
    ]
  })

  const bundles = Math.ceil(size / tiles.tileWidth)
  return Stream.unfoldChunkEffect(0, (index) =>
    index > bundles
      ? Effect.succeed(Option.none())
      : Effect.map(index < bundles ? bundle(index) : edge, (findings) =>
        Option.some([Chunk.fromIterable(findings), index + 1] as const)))
}
