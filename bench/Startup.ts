/**
 * How long commands take to start and to end, on every runtime that is here, beside the runtime's own start with an empty
 * module in the same minute. `node scripts/testOn.mjs install` brings other runtimes than those that are here anyway.
 */
import * as Effect from "effect/Effect"
import { spawnSync } from "node:child_process"
import * as fs from "node:fs"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import * as Folder from "./Folder.ts"
import type { Table } from "./Report.ts"
import { median } from "./Rounds.ts"

const at = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url))

const bin = at("../dist/cli/bin.js")

const packages = at("../test/runtimes/node_modules/")

interface Runtime {
  readonly command: string
  readonly before: ReadonlyArray<string>
}

const candidates: ReadonlyArray<Runtime> = [
  { command: "node", before: [] },
  { command: process.execPath, before: [] },
  { command: `${packages}node22/bin/node`, before: [] },
  { command: `${packages}node24/bin/node`, before: [] },
  { command: `${packages}bun/bin/bun.exe`, before: [] },
  { command: `${packages}deno/deno`, before: ["run", "-A"] }
]

/** Its name with its version, where it is there. */
const nameOf = ({ before, command }: Runtime): string | undefined => {
  const { error, stdout } = spawnSync(command, ["--version"], { encoding: "utf8" })
  if (error !== undefined) return undefined
  return before.length > 0 ? stdout.split(" (")[0] : `${path.basename(command, ".exe")} ${stdout.trim()}`
}

const operation = `{"id":"00000000-0000-7000-8000-000000000000","actor":"ann","action":"read","target":"document/1"}\n`

/** With what follows the program, and what it is told. */
const commands = (empty: string) => [
  { name: "an empty module, ms", args: [empty], input: "" },
  { name: "--version", args: [bin, "--version"], input: "" },
  { name: "--help", args: [bin, "--help"], input: "" },
  { name: "status", args: [bin, "status"], input: "" },
  { name: "append, one line", args: [bin, "append"], input: operation }
]

/** The command line must have been built. */
export const startup = (rounds: number): Effect.Effect<Table> =>
  Effect.scoped(Effect.gen(function*() {
    const folder = yield* Folder.temporary
    /** Runs a program to its end, and tells for how long. */
    const millis = ({ before, command }: Runtime, args: ReadonlyArray<string>, input: string): number => {
      const from = performance.now()
      const { error, status, stderr } = spawnSync(command, [...before, ...args], {
        cwd: folder,
        input,
        encoding: "utf8"
      })
      if (error !== undefined) throw error
      if (status !== 0) throw new Error(`${command} ${args.join(" ")} ended with ${status}: ${stderr}`)
      return performance.now() - from
    }
    return yield* Effect.sync(() => {
      const empty = path.join(folder, "empty.mjs")
      fs.writeFileSync(empty, "")
      // By name: the same version from two places is one.
      const runtimes = new Map(candidates.flatMap((runtime): ReadonlyArray<readonly [string, Runtime]> => {
        const name = nameOf(runtime)
        return name === undefined ? [] : [[name, runtime]]
      }))
      millis({ command: process.execPath, before: [] }, [bin, "init"], "")
      const all = Array.from(runtimes, ([name, runtime]) => ({
        name,
        runtime,
        commands: commands(empty).map((command) => ({ ...command, taken: new Array<number>() }))
      }))
      // Everything is measured once in a round, so that none has a quieter machine than the others. The first warms the
      // file system's cache.
      for (let round = 0; round <= rounds; round++) {
        for (const { commands, runtime } of all) {
          for (const { args, input, taken } of commands) {
            const one = millis(runtime, args, input)
            if (round > 0) taken.push(one)
          }
        }
      }
      return {
        title:
          `Start and end of the command line: medians of ${rounds} runs, ms, and as multiples of the runtime's own`,
        columns: ["", ...commands(empty).map(({ name }) => name)],
        rows: all.map(({ commands, name }) => {
          const [own = Number.NaN, ...others] = commands.map(({ taken }) => median(taken))
          return [name, own.toFixed(0), ...others.map((each) => `${each.toFixed(0)} (${(each / own).toFixed(1)} ×)`)]
        })
      }
    })
  }))
