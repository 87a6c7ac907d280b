/**
 * The files of a ledger: what is written is on the disk, files and the folders that name them, before anything is built
 * on it.
 */
import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { LedgerError } from "../../TrustlogError.ts"
import * as tiles from "../tiles.ts"

const codeOf = (cause: unknown): string =>
  typeof cause === "object" && cause !== null && "code" in cause ? String(cause.code) : ""

const byCode: Record<string, { readonly reason: LedgerError["reason"]; readonly problem: string } | undefined> = {
  ENOENT: { reason: "missing", problem: "is not there" },
  ENOTDIR: { reason: "foreign", problem: "is no folder" },
  EEXIST: { reason: "foreign", problem: "is no folder" },
  EISDIR: { reason: "foreign", problem: "is a folder" },
  ENOSPC: { reason: "full", problem: "the disk is full" },
  EDQUOT: { reason: "full", problem: "the disk quota is used up" },
  EROFS: { reason: "readOnly", problem: "the file system is read-only" },
  EACCES: { reason: "readOnly", problem: "this user may not read or write it" },
  EPERM: { reason: "readOnly", problem: "this user may not read or write it" }
}

/** What the file system said, in the ledger's words. */
export const failure = (path: string) => (error: PlatformError): LedgerError => {
  const known = byCode[codeOf(error.cause)]
  return known === undefined
    ? new LedgerError({ reason: "io", path, problem: error.message, cause: error })
    : new LedgerError({ ...known, path, cause: error })
}

/** Content for a file, named relative to the folder. */
export interface Content {
  readonly name: string
  readonly bytes: Uint8Array
}

/** How many operations are under way at once: Node has as many threads for files. */
const concurrency = 4

/**
 * Does all of them, and then fails with the first failure: an operation that was left running would write into what
 * comes next.
 */
export const together = <A>(
  effects: ReadonlyArray<Effect.Effect<A, LedgerError>>
): Effect.Effect<void, LedgerError> => {
  // A fibre for each would cost more than what it does.
  const lanes = Array.from(
    { length: Math.min(concurrency, effects.length) },
    (_, lane) => Effect.forEach(effects.filter((_, i) => i % concurrency === lane), Effect.either)
  )
  return Effect.flatMap(
    Effect.all(lanes, { concurrency: "unbounded" }),
    (results) => results.flat().find(Either.isLeft) ?? Effect.void
  )
}

/** The operations on one ledger's folder. Names are relative to it. */
export type Folder = Effect.Effect.Success<ReturnType<typeof make>>

export const make = (given: string) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    // Whatever the process changes its working directory to.
    const root = path.resolve(given)
    const at = (name: string): string => name === "" ? root : path.join(root, name)
    /** Folders that are known to be there, and on the disk. */
    const known = new Set<string>()

    const open = (
      file: string,
      options: FileSystem.OpenFileOptions
    ): Effect.Effect<FileSystem.File, LedgerError, Scope.Scope> =>
      Effect.mapError(fs.open(file, options), failure(file))

    /** Makes the names in a folder durable. */
    const syncFolder = (folder: string) =>
      Effect.scoped(
        Effect.flatMap(open(folder, { flag: "r" }), (file) => Effect.mapError(file.sync, failure(folder)))
      )

    const writeFile = (file: string, bytes: Uint8Array, mode?: number) =>
      Effect.scoped(Effect.gen(function*() {
        const handle = yield* open(file, { flag: "w", ...mode === undefined ? {} : { mode } })
        yield* Effect.mapError(handle.writeAll(bytes), failure(file))
        yield* Effect.mapError(handle.sync, failure(file))
      }))

    const makeFolders = (names: Iterable<string>) =>
      Effect.gen(function*() {
        const folders = new Set<string>()
        for (const name of names) {
          if (known.has(name)) continue
          yield* Effect.mapError(fs.makeDirectory(at(name), { recursive: true }), failure(at(name)))
          folders.add(name)
        }
        return folders
      })

    const parentOf = (name: string): string => {
      const parent = path.dirname(name)
      return parent === "." ? "" : parent
    }

    const read = (name: string): Effect.Effect<Uint8Array, LedgerError> =>
      Effect.mapError(fs.readFile(at(name)), failure(at(name)))

    return {
      root,
      at,
      read,

      exists: (name: string): Effect.Effect<boolean, LedgerError> =>
        Effect.mapError(fs.exists(at(name)), failure(at(name))),

      /** What the folder itself is and holds; nothing where it is not there. */
      list: Effect.catchIf(
        Effect.mapError(fs.readDirectory(root), failure(root)),
        (error) => error.reason === "missing",
        () => Effect.succeed<Array<string>>([])
      ),

      /** Makes the folder itself. */
      make: Effect.gen(function*() {
        yield* Effect.mapError(fs.makeDirectory(root, { recursive: true }), failure(root))
        yield* syncFolder(path.dirname(root))
      }),

      /** Which file a name means at this moment, so that another under the same name is noticed. */
      identity: (name: string): Effect.Effect<number | undefined, LedgerError> =>
        Effect.mapBoth(fs.stat(at(name)), {
          onFailure: failure(at(name)),
          onSuccess: (info) => Option.getOrUndefined(info.ino)
        }),

      /** Writes files and makes them durable, with every folder above them. */
      write: (contents: ReadonlyArray<Content>): Effect.Effect<void, LedgerError> =>
        Effect.gen(function*() {
          const parents = new Set(contents.map((content) => parentOf(content.name)))
          const made = yield* makeFolders(parents)
          yield* together(contents.map((content) => writeFile(at(content.name), content.bytes)))
          const stale = new Set(parents)
          for (const name of made) {
            for (let above = name; above !== ""; above = parentOf(above)) stale.add(parentOf(above))
          }
          yield* together([...stale].map((name) => syncFolder(at(name))))
          for (const name of made) known.add(name)
        }).pipe(Effect.tapError(() => Effect.sync(() => known.clear()))),

      /** Writes what shall be a file's next content beside it, and makes it durable. */
      stage: (content: Content): Effect.Effect<void, LedgerError> =>
        writeFile(at(`${content.name}.new`), content.bytes),

      /** Puts what was staged in the file's place, at one stroke: there is always a whole one. */
      publish: (name: string): Effect.Effect<void, LedgerError> =>
        Effect.zipRight(
          Effect.mapError(fs.rename(at(`${name}.new`), at(name)), failure(at(name))),
          syncFolder(at(parentOf(name)))
        ),

      /** Removes files or folders that are needed no more; what stays does no harm. */
      removeAll: (names: ReadonlyArray<string>): Effect.Effect<void> =>
        Effect.forEach(names, (name) => {
          known.delete(name)
          return Effect.catchAll(
            fs.remove(at(name), { recursive: true, force: true }),
            (error) => Effect.logDebug("a file that is needed no more could not be removed", error)
          )
        }, { discard: true }),

      /**
       * Reads the file of a tile in a tree of some size: the partial one, or the full one that it has become. Content of
       * another form than the tile's is `corrupt`, and so is a file that is not there.
       */
      readTile: (
        tile: Pick<tiles.Tile, "level" | "index">,
        size: number
      ): Effect.Effect<ReadonlyArray<Uint8Array>, LedgerError> => {
        const width = tiles.widthAt(tile.level, tile.index, size)
        const decode = tile.level === "entries" ? tiles.decodeBundle : tiles.decodeHashes
        // A wider tile is a later state of it; a file that is not as wide as its name says is no state of it.
        const from = (name: string, fileWidth: number) =>
          Effect.flatMap(read(name), (bytes) =>
            Either.mapBoth(decode(bytes, fileWidth), {
              onLeft: (problem) => new LedgerError({ reason: "corrupt", path: at(name), problem }),
              onRight: (content) => content.slice(0, width)
            }))
        const full = tiles.fullPathOf(tile)
        const partial = tiles.pathOf({ ...tile, width })
        const isMissing = (error: LedgerError) => error.reason === "missing"
        const gone = () => new LedgerError({ reason: "corrupt", path: at(partial), problem: "is gone" })
        return width === tiles.tileWidth
          ? Effect.catchIf(from(full, width), isMissing, gone)
          : from(partial, width).pipe(
            Effect.catchIf(isMissing, () => from(full, tiles.tileWidth)),
            Effect.catchIf(isMissing, gone)
          )
      }
    }
  })
