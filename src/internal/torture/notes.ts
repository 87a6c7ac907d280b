/**
 * What the processes have written down, read as it grows.
 */
import * as Effect from "effect/Effect"
import * as fs from "node:fs"
import * as path from "node:path"
import * as tally from "./tally.ts"

const bufferSize = 1024 * 1024

/** Calls back with the whole lines that have come since the last time, file by file. */
const following = (folder: string, prefix: string, take: (line: string) => void): Effect.Effect<void> => {
  const offsets = new Map<string, number>()
  const buffer = Buffer.alloc(bufferSize)
  const read = (name: string) => {
    const fd = fs.openSync(path.join(folder, name), "r")
    try {
      while (true) {
        const offset = offsets.get(name) ?? 0
        const text = buffer.toString("latin1", 0, fs.readSync(fd, buffer, 0, bufferSize, offset))
        // A process that is killed may leave half a line, which it has not acknowledged.
        const end = text.lastIndexOf("\n") + 1
        if (end === 0) return
        offsets.set(name, offset + end)
        for (const line of text.slice(0, end - 1).split("\n")) take(line)
      }
    } finally {
      fs.closeSync(fd)
    }
  }
  return Effect.sync(() => {
    for (const name of fs.readdirSync(folder)) if (name.startsWith(prefix)) read(name)
  })
}

/** What the log holds: `seen` grows with each `look`. */
export const log = (folder: string) => {
  const seen: tally.Seen = new Map()
  const look = following(folder, "seen-", (line) => {
    const [id, contentHash] = line.split(" ")
    if (id !== undefined && contentHash !== undefined) tally.see(seen, id, contentHash)
  })
  return { seen, look }
}

/** What the writers were told. */
export const promised = (folder: string): Effect.Effect<tally.Promised> =>
  Effect.suspend(() => {
    const committed = new Set<string>()
    const rolledBack = new Set<string>()
    const look = following(folder, "written-", (line) => {
      const [id, ending] = line.split(" ")
      if (id === undefined) return
      if (ending === "committed") committed.add(id)
      if (ending === "rolledBack") rolledBack.add(id)
    })
    return Effect.as(look, { committed, rolledBack })
  })

/** A file for whoever wants to see what happened. */
export const history = (file: string) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => fs.openSync(file, "a")),
      (fd) => Effect.sync(() => fs.closeSync(fd))
    ),
    (fd) => ({
      write: (lines: ReadonlyArray<string>) =>
        Effect.sync(() => {
          if (lines.length > 0) fs.writeSync(fd, lines.map((line) => `${line}\n`).join(""))
        })
    })
  )
