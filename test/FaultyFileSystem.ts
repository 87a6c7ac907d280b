/**
 * A file system that is asked before each operation what shall become of it.
 */
import { type PlatformError, SystemError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

/** One operation that is about to be done. */
export interface Call {
  /** How many came before it. */
  readonly index: number
  readonly operation: string
  readonly path: string
  /** Does half of it: what a crash in the middle of a write leaves. */
  readonly half: Effect.Effect<unknown, PlatformError>
}

/** Done before an operation; its failure becomes the operation's, which then is not done. */
export type Gate = (call: Call) => Effect.Effect<unknown, PlatformError>

/** The failure of a disk, with the code that the system gives it. */
export const failure = (call: Call, code = "EIO"): PlatformError =>
  new SystemError({
    reason: "Unknown",
    module: "FileSystem",
    method: call.operation,
    pathOrDescriptor: call.path,
    description: `${code}: injected`,
    cause: Object.assign(new Error(`${code}: injected`), { code })
  })

/** The real file system behind a gate. */
export const layer = (gate: Gate): Layer.Layer<FileSystem.FileSystem, never, FileSystem.FileSystem> =>
  Layer.effect(
    FileSystem.FileSystem,
    Effect.map(FileSystem.FileSystem, (real) => {
      let count = 0
      const guard = <A, R>(
        operation: string,
        path: string,
        effect: Effect.Effect<A, PlatformError, R>,
        half: Effect.Effect<unknown, PlatformError> = Effect.void
      ): Effect.Effect<A, PlatformError, R> =>
        Effect.suspend(() => Effect.zipRight(gate({ index: count++, operation, path, half }), effect))
      const file = (path: string, opened: FileSystem.File): FileSystem.File => ({
        [FileSystem.FileTypeId]: FileSystem.FileTypeId,
        fd: opened.fd,
        stat: opened.stat,
        seek: (offset, from) => opened.seek(offset, from),
        read: (buffer) => opened.read(buffer),
        readAlloc: (size) => opened.readAlloc(size),
        truncate: (length) => guard("truncate", path, opened.truncate(length)),
        write: (buffer) => guard("write", path, opened.write(buffer)),
        writeAll: (buffer) =>
          guard("write", path, opened.writeAll(buffer), opened.writeAll(buffer.subarray(0, buffer.length >> 1))),
        sync: guard("sync", path, opened.sync)
      })
      return {
        ...real,
        exists: (path) => guard("exists", path, real.exists(path)),
        stat: (path) => guard("stat", path, real.stat(path)),
        readFile: (path) => guard("readFile", path, real.readFile(path)),
        readDirectory: (path, options) => guard("readDirectory", path, real.readDirectory(path, options)),
        makeDirectory: (path, options) => guard("makeDirectory", path, real.makeDirectory(path, options)),
        link: (from, to) => guard("link", to, real.link(from, to)),
        rename: (from, to) => guard("rename", to, real.rename(from, to)),
        remove: (path, options) => guard("remove", path, real.remove(path, options)),
        open: (path, options) =>
          Effect.map(guard("open", path, real.open(path, options)), (opened) => file(path, opened))
      }
    })
  )
