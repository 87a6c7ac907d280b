/**
 * The command line as processes of its own, in a folder of their own.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { type ChildProcess, spawn } from "node:child_process"
import * as fs from "node:fs/promises"
import * as os from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import * as Sqlite from "../../src/Database/Sqlite.ts"
import * as runtime from "../runtime.ts"

const at = (relative: string) => fileURLToPath(new URL(relative, import.meta.url))

export const examples = at("../../examples/operations.jsonl")
const bin = at("../../dist/cli/bin.js")
export const startScript = at("../../scripts/start.mjs")

/** How a process ended. */
export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export interface Options {
  readonly stdin?: string | Uint8Array | undefined
  readonly env?: Record<string, string> | undefined
}

export interface Running {
  readonly child: ChildProcess
  /** Waits until standard error holds a text. */
  readonly says: (text: string) => Effect.Effect<void>
  readonly ended: Effect.Effect<Ended>
}

const stackTrace = /^\s+at .*[:(]\d+/m

export const makeSandbox = Effect.gen(function*() {
  const directory = yield* Effect.acquireRelease(
    Effect.promise(() => fs.mkdtemp(path.join(os.tmpdir(), "trustlog-cli-"))),
    (directory) => Effect.promise(() => fs.rm(directory, { recursive: true, force: true }))
  )
  const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("TRUSTLOG_")))
  const file = (name: string) => path.join(directory, name)

  const spawned = (command: string, args: ReadonlyArray<string>, options: Options = {}) =>
    Effect.map(
      Effect.acquireRelease(
        Effect.sync(() =>
          spawn(command, args, {
            cwd: directory,
            env: { ...inherited, ...options.env },
            stdio: ["pipe", "pipe", "pipe"]
          })
        ),
        (child) =>
          Effect.sync(() => {
            if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL")
          })
      ),
      (child): Running => {
        // Of a child that it has signalled itself, Deno 2.9.6 says that the signal ended it, whatever it did.
        if (runtime.name === "deno") child.kill = (signal = "SIGTERM") => process.kill(child.pid ?? 0, signal)
        let stdout = ""
        let stderr = ""
        const listeners = new Set<() => void>()
        child.stdout.setEncoding("utf8").on("data", (text: string) => {
          stdout += text
        })
        child.stderr.setEncoding("utf8").on("data", (text: string) => {
          stderr += text
          for (const listener of listeners) listener()
        })
        // A program that reads no input may be gone before it is written.
        child.stdin.on("error", () => {})
        child.stdin.end(options.stdin ?? "")
        const closed = new Promise<Ended>((resolve, reject) => {
          child.on("error", reject)
          child.on("close", (code, signal) => resolve({ code, signal, stdout, stderr }))
        })
        return {
          child,
          says: (text) =>
            Effect.async((resume) => {
              const look = () => {
                if (!stderr.includes(text)) return
                listeners.delete(look)
                resume(Effect.void)
              }
              listeners.add(look)
              look()
            }),
          ended: Effect.map(Effect.promise(() => closed), (ended) => {
            assert.notMatch(ended.stdout + ended.stderr, stackTrace)
            return ended
          })
        }
      }
    )

  const start = (args: ReadonlyArray<string>, options?: Options) => spawned(...runtime.running(bin, ...args), options)

  const run = (args: ReadonlyArray<string>, options?: Options) =>
    Effect.scoped(Effect.flatMap(start(args, options), ({ ended }) => ended))

  return {
    bin,
    /** What a shell reads as `trustlog`. */
    quoted: [...runtime.words, bin].map((word) => `'${word}'`).join(" "),
    directory,
    file,
    spawned,
    /** Starts `trustlog`. */
    start,
    /** Runs `trustlog` to its end. */
    run,
    /** Runs `trustlog`, which must end with this exit code, and reads the one object that it prints. */
    json: (code: number, args: ReadonlyArray<string>, options?: Options) =>
      Effect.map(run([...args, "--json"], options), (ended): unknown => {
        assert.strictEqual(ended.code, code, ended.stderr)
        assert.match(ended.stdout, /^\{[^\n]*\}\n$/)
        return JSON.parse(ended.stdout)
      }),
    write: (name: string, content: string | Uint8Array) => Effect.promise(() => fs.writeFile(file(name), content)),
    read: (name: string) => Effect.promise(() => fs.readFile(file(name), "utf8")),
    list: Effect.promise(() => fs.readdir(directory)),
    /** Runs SQL on the sandbox's database. */
    sql: (statement: string) =>
      Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe<Record<string, unknown>>(statement)).pipe(
        Effect.provide(Sqlite.layer({ filename: file("trustlog.db") }))
      )
  }
})

export type Sandbox = Effect.Effect.Success<typeof makeSandbox>

/** The id of the n-th operation of a test. */
export const uuid = (n: number): string => `00000000-0000-7000-8000-${n.toString(16).padStart(12, "0")}`

/** Lines of operations, numbered from one number up to, not including, another. */
export const lines = (from: number, to: number, more: object = {}): string =>
  Array.from(
    { length: to - from },
    (_, i) =>
      `${
        JSON.stringify({
          id: uuid(from + i),
          kind: i % 3 === 2 ? "record" : "operation",
          actor: "ann",
          action: "invoice.approve",
          target: `invoice/${from + i}`,
          ...more
        })
      }\n`
  ).join("")
