/**
 * The partial tiles of earlier checkpoints, which stay until the full tile is there: nothing hashes them any more, but
 * they were published, and whoever holds an old proof may still ask for them.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import { bytesToHex } from "@noble/hashes/utils.js"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type * as Ledger from "../../Ledger.ts"
import * as folders from "../ledger/folder.ts"
import * as tiles from "../tiles.ts"
import type { Bitmap } from "./bitmap.ts"
import type { Findings } from "./findings.ts"

/**
 * Compares them with the tiles that they grew into. `published` are sizes that the tree is known to have had: a crash
 * leaves partial tiles of sizes that it never got to, and these may hold anything.
 */
export const examine = (reader: Ledger.Reader, published: Bitmap, { altered }: Findings) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const folder = yield* folders.make(reader.path)
    const { size } = reader.checkpoint
    // What is gone while one looks has been outgrown.
    const list = (name: string) =>
      Effect.map(Effect.either(fs.readDirectory(folder.at(name))), Either.getOrElse((): Array<string> => []))

    const compare = (level: tiles.Tile["level"], index: number, width: number) =>
      Effect.gen(function*() {
        const unit = level === "entries" ? 1 : tiles.tileWidth ** level
        const first = (index * tiles.tileWidth + width) * unit
        if (width >= tiles.widthAt(level, index, size) || !published.hasAny(first, first + unit)) return
        const name = tiles.pathOf({ level, index, width })
        const old = yield* Effect.either(folder.read(name))
        const grown = yield* Effect.either(folder.readTile({ level, index }, size))
        if (Either.isLeft(old) || Either.isLeft(grown)) return
        const encode = level === "entries" ? tiles.encodeBundle : tiles.encodeHashes
        if (bytesToHex(old.right) !== bytesToHex(encode(grown.right.slice(0, width)))) {
          altered.add(name, "is not what the tile held that it has grown into")
        }
      })

    const walk = (level: tiles.Tile["level"], name: string, above: number): Effect.Effect<void> =>
      Effect.gen(function*() {
        for (const child of yield* list(name)) {
          const [, deeper, last] = /^(?:x(\d{3})|(\d{3})\.p)$/.exec(child) ?? []
          if (deeper !== undefined) yield* walk(level, `${name}/${child}`, (above + Number(deeper)) * 1000)
          if (last === undefined) continue
          for (const width of yield* list(`${name}/${child}`)) {
            if (/^[1-9]\d{0,2}$/.test(width)) yield* compare(level, above + Number(last), Number(width))
          }
        }
      })

    for (const level of yield* list("tile")) {
      if (level === "entries") yield* walk(level, `tile/${level}`, 0)
      else if (/^\d$/.test(level)) yield* walk(Number(level), `tile/${level}`, 0)
    }
  })
