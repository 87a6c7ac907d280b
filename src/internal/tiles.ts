/**
 * The files of a transparency log as C2SP tlog-tiles lays them out: hash tiles, entry bundles, and the right edge of a
 * growing tree, which is all that an append needs of what is there already.
 */
import * as Either from "effect/Either"
import * as merkle from "./merkle.ts"

/** Hashes in a full tile, and entries in a full bundle. */
export const tileWidth = 256

/** An entry has its length in front in 16 bits. */
export const maxEntryBytes = 65_535

const hashLength = 32

/** A tile of hashes at a level from 0, or a bundle of entries; `width` is 1 to 256. */
export interface Tile {
  readonly level: number | "entries"
  readonly index: number
  readonly width: number
}

/** What a tile's file is called, below the ledger: `tile/0/x001/x234/067.p/12`. */
export const pathOf = (tile: Tile): string => `${fullPathOf(tile)}${tile.width === tileWidth ? "" : `.p/${tile.width}`}`

/** The path of the full tile that a tile is, or becomes. */
export const fullPathOf = (tile: Pick<Tile, "level" | "index">): string => {
  const [last = "0", ...rest] = thousands(tile.index)
  return ["tile", tile.level, ...rest.map((digits) => `x${digits}`).toReversed(), last].join("/")
}

/** Groups of three digits, the last ones first. */
const thousands = (index: number): ReadonlyArray<string> => {
  const digits = String(index)
  const padded = digits.padStart(Math.ceil(digits.length / 3) * 3, "0")
  const groups: Array<string> = []
  for (let end = padded.length; end > 0; end -= 3) groups.push(padded.slice(end - 3, end))
  return groups
}

/** How many hashes a level has in a tree of some size. */
export const countAt = (level: number, size: number): number => Math.floor(size / tileWidth ** level)

/** How many levels a tree of some size has tiles at. */
export const heightOf = (size: number): number => {
  let height = 0
  while (countAt(height, size) > 0) height++
  return height
}

/** How wide a tile is in a tree of some size: 0 where it has none. */
export const widthAt = (level: number | "entries", index: number, size: number): number =>
  Math.min(tileWidth, Math.max(0, countAt(level === "entries" ? 0 : level, size) - index * tileWidth))

/** The content of a hash tile. */
export const encodeHashes = (hashes: ReadonlyArray<Uint8Array>): Uint8Array => {
  const bytes = new Uint8Array(hashes.length * hashLength)
  hashes.forEach((hash, i) => bytes.set(hash, i * hashLength))
  return bytes
}

/** The hashes of a tile's file, which are as many as its name says. */
export const decodeHashes = (bytes: Uint8Array, width: number): Either.Either<ReadonlyArray<Uint8Array>, string> =>
  bytes.length !== width * hashLength
    ? Either.left(`holds ${bytes.length} bytes, not ${width * hashLength}`)
    : Either.right(Array.from({ length: width }, (_, i) => bytes.subarray(i * hashLength, (i + 1) * hashLength)))

/** The content of an entry bundle; no entry exceeds `maxEntryBytes`. */
export const encodeBundle = (entries: ReadonlyArray<Uint8Array>): Uint8Array => {
  const bytes = new Uint8Array(entries.reduce((sum, entry) => sum + 2 + entry.length, 0))
  let at = 0
  for (const entry of entries) {
    bytes[at] = entry.length >> 8
    bytes[at + 1] = entry.length & 0xff
    bytes.set(entry, at + 2)
    at += 2 + entry.length
  }
  return bytes
}

/** The entries of a bundle's file, which are as many as its name says. */
export const decodeBundle = (bytes: Uint8Array, width: number): Either.Either<ReadonlyArray<Uint8Array>, string> => {
  const entries: Array<Uint8Array> = []
  let at = 0
  while (at < bytes.length) {
    const end = at + 2 + (bytes[at] ?? 0) * 256 + (bytes[at + 1] ?? 0)
    if (at + 2 > bytes.length || end > bytes.length) return Either.left("ends inside an entry")
    entries.push(bytes.subarray(at + 2, end))
    at = end
  }
  return entries.length === width
    ? Either.right(entries)
    : Either.left(`holds ${entries.length} entries, not ${width}`)
}

/** The right edge of a tree: the partial tile of each level, which may be empty, and the partial bundle. */
export interface Edge {
  readonly size: number
  readonly levels: ReadonlyArray<ReadonlyArray<Uint8Array>>
  readonly bundle: ReadonlyArray<Uint8Array>
}

/** The edge of the empty tree. */
export const emptyEdge: Edge = { size: 0, levels: [], bundle: [] }

/** A tile and what its file holds. */
export interface File {
  readonly tile: Tile
  readonly bytes: Uint8Array
}

/** The edge after some entries more, and the tiles that they filled. */
export const grow = (
  edge: Edge,
  entries: ReadonlyArray<Uint8Array>
): { readonly edge: Edge; readonly filled: ReadonlyArray<File> } => {
  const filled: Array<File> = []
  const levels = edge.levels.map((hashes) => [...hashes])
  let bundle = [...edge.bundle]
  let size = edge.size
  const push = (level: number, hash: Uint8Array) => {
    const hashes = levels[level] ??= []
    hashes.push(hash)
    if (hashes.length < tileWidth) return
    levels[level] = []
    filled.push({
      tile: { level, index: countAt(level + 1, size) - 1, width: tileWidth },
      bytes: encodeHashes(hashes)
    })
    push(level + 1, merkle.root(hashes))
  }
  for (const entry of entries) {
    size++
    bundle.push(entry)
    if (bundle.length === tileWidth) {
      filled.push({
        tile: { level: "entries", index: size / tileWidth - 1, width: tileWidth },
        bytes: encodeBundle(bundle)
      })
      bundle = []
    }
    push(0, merkle.leafHash(entry))
  }
  return { edge: { size, levels, bundle }, filled }
}

/** The partial tiles of an edge, but for those that an earlier edge has too. */
export const partials = (edge: Edge, earlier: Edge = emptyEdge): ReadonlyArray<File> => {
  const files: Array<File> = []
  const add = (level: Tile["level"], count: number, earlierCount: number, bytes: () => Uint8Array) => {
    const width = count % tileWidth
    if (width > 0 && count !== earlierCount) {
      files.push({ tile: { level, index: Math.floor(count / tileWidth), width }, bytes: bytes() })
    }
  }
  add("entries", edge.size, earlier.size, () => encodeBundle(edge.bundle))
  edge.levels.forEach((hashes, level) =>
    add(level, countAt(level, edge.size), countAt(level, earlier.size), () => encodeHashes(hashes))
  )
  return files
}

/** The root of the tree that ends in an edge. */
export const rootOf = (edge: Pick<Edge, "levels">): Uint8Array => {
  // What is left of a level over its full tiles is less than one hash of the level above, so it stands last there.
  const rest = edge.levels.reduce<Uint8Array | undefined>(
    (below, hashes) => {
      const all = below === undefined ? hashes : [...hashes, below]
      return all.length === 0 ? undefined : merkle.root(all)
    },
    undefined
  )
  return rest ?? merkle.emptyRoot
}
