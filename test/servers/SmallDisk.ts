/**
 * A file system in memory that is soon full.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { execFile } from "node:child_process"
import * as fs from "node:fs/promises"
import * as path from "node:path"
import { promisify } from "node:util"
import { inject } from "vitest"
import * as Guard from "./Guard.ts"

/** Mounts it, and gives the path of a folder that everybody may write. */
export const make = (
  { megabytes = 64 }: { readonly megabytes?: number | undefined } = {}
): Effect.Effect<string, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { mount } = inject("servers").programs
    if (mount === undefined) return yield* Effect.dieMessage("a small disk needs root and Linux")
    // Whoever is still writing there does not keep it.
    const { folder } = yield* Guard.make("disk", `${[...mount, "umount"].join(" ")} -l "$1"`)
    const [command = "", ...args] = [...mount, "mount", "-t", "tmpfs", "-o", `size=${megabytes}m,mode=777`, "trustlog"]
    yield* Effect.promise(() => promisify(execFile)(command, [...args, folder]))
    return folder
  })

/** Writes to it until nothing more fits; when the scope closes there is room again. */
export const fill = (folder: string): Effect.Effect<void, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const block = new Uint8Array(64 * 1024)
      const file = await fs.open(path.join(folder, "ballast"), "w")
      try {
        // A short write is one that reached the end.
        for (;;) await file.write(block)
      } catch (error) {
        if (!(error instanceof Error && "code" in error && error.code === "ENOSPC")) throw error
      } finally {
        await file.close()
      }
    }),
    () => Effect.promise(() => fs.rm(path.join(folder, "ballast")))
  )
