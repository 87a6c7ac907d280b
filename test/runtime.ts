/**
 * The runtime that the tests run on, and how it runs a program as a process of its own: what a test starts must run on the
 * runtime that is tested.
 */
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"

/** By the name of its suite: `npm run test:<name>`, and `npm test` for `node20`. */
export type Name = "node20" | "node22" | "node24" | "bun" | "deno"

const named = (): Name => {
  if (process.versions["bun"] !== undefined) return "bun"
  if (process.versions["deno"] !== undefined) return "deno"
  const major = process.versions.node.split(".")[0]
  if (major === "22") return "node22"
  if (major === "24") return "node24"
  // Everything that is left to one runtime is left to this one, and so runs on a Node that nobody thought of, too.
  return "node20"
}

export const name: Name = named()

export const version: string = process.versions["bun"] ?? process.versions["deno"] ?? process.versions.node

/** What stands before a program's path on the command line. */
export const words: ReadonlyArray<string> = name === "deno" ? [process.execPath, "run", "-A"] : [process.execPath]

/** The command and the arguments that run a program. */
export const running = (program: string, ...args: ReadonlyArray<string>): [command: string, args: Array<string>] => [
  process.execPath,
  [...words.slice(1), program, ...args]
]

const collector = (): () => void => {
  const bun: unknown = Reflect.get(globalThis, "Bun")
  if (typeof bun === "object" && bun !== null && "gc" in bun && typeof bun.gc === "function")
    return bun.gc.bind(bun, true)
  setFlagsFromString("--expose-gc")
  return runInNewContext("gc")
}

/** How many bytes of the heap are in use, once what nobody holds is gone. */
export const heapUsed = (): number => {
  collector()()
  return process.memoryUsage().heapUsed
}
