/**
 * Workers in the runtime that Cloudflare's are in. Its package is large, so that it has a folder of its own and is installed
 * when it is needed first.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { build, type Metafile } from "esbuild"
import { type ChildProcess, execFile, spawn } from "node:child_process"
import { once } from "node:events"
import * as fs from "node:fs"
import { createRequire } from "node:module"
import { createInterface } from "node:readline"
import type { Readable } from "node:stream"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import * as Guard from "../servers/Guard.ts"

const folder = fileURLToPath(new URL("./", import.meta.url))

/** The program itself: what the package runs may be a script that starts it, which is not what is to be killed. */
const binary = (): string => createRequire(`${folder}package.json`)("workerd").default

/** Whether workerd is to be had. Where it must be (CI) and is not, an error. */
export const isInstalled = async (): Promise<boolean> => {
  if (fs.existsSync(`${folder}node_modules/workerd/package.json`)) return true
  try {
    await promisify(execFile)("npm", ["ci"], { cwd: folder })
    return true
  } catch (cause) {
    if (process.env["CI"] === "true") throw new Error(`npm ci failed in ${folder}`, { cause })
    process.stderr.write(
      `SKIPPED: the tests of the edge need \`npm ci\` in ${folder}, which failed: ${String(cause)}\n`
    )
    return false
  }
}

/** How Workers are bundled: as `wrangler` does it, without Node's compatibility. */
export const bundle = async (
  entries: string | ReadonlyArray<string>,
  options: { readonly minify?: boolean; readonly alias?: Record<string, string> } = {}
): Promise<{ readonly code: Uint8Array; readonly metafile: Metafile }> => {
  const { metafile, outputFiles } = await build({
    entryPoints: [entries].flat(),
    outdir: "bundle",
    bundle: true,
    format: "esm",
    target: "es2022",
    platform: "browser",
    conditions: ["workerd", "worker", "browser"],
    external: ["cloudflare:*"],
    metafile: true,
    write: false,
    minify: options.minify ?? false,
    alias: options.alias ?? {}
  })
  return { code: outputFiles[0]?.contents ?? new Uint8Array(), metafile }
}

/** The bundle of a program of tests. */
export const bundleOfTests = (name: string) =>
  bundle(`${folder}programs/${name}.ts`, { alias: { "@effect/vitest": `${folder}vitest.ts` } })

export interface Options {
  readonly code: Uint8Array
  /** The configuration, with the code beside it as `worker.js`; by default that of the tests' own Workers. */
  readonly config?: string
  /** Variables of the process, which the configuration may give to the Worker. */
  readonly env?: Readonly<Record<string, string>>
}

/** Of a Worker whose Durable Objects are of the class `Tests`. */
const configOfTests = `
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
    (name = "storage", disk = (path = "storage", writable = true)),
    (name = "internet", network = (allow = ["public", "private", "local"]))
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")]
);

const worker :Workerd.Worker = (
  modules = [(name = "main", esModule = embed "worker.js")],
  compatibilityDate = "2026-11-01",
  durableObjectNamespaces = [(className = "Tests", uniqueKey = "tests", enableSql = true)],
  durableObjectStorage = (localDisk = "storage"),
  bindings = [(name = "TESTS", durableObjectNamespace = "Tests")],
  globalOutbound = "internet"
);
`

/** A workerd that can be killed and started again on the same storage. */
export interface Workerd {
  /** `http://127.0.0.1:<port>`, another one after each start. */
  readonly url: () => string
  /** kill -9; completes when the process is gone. */
  readonly kill: Effect.Effect<void>
  readonly start: Effect.Effect<void>
  /** What it wrote. */
  readonly log: () => string
}

/** A folder with a Worker and its storage, and workerd in it, until the scope closes. */
export const serve = (
  { code, config = configOfTests, env = {} }: Options
): Effect.Effect<Workerd, never, Scope.Scope> =>
  Effect.gen(function*() {
    const guard = yield* Guard.make("workerd")
    fs.mkdirSync(`${guard.folder}/storage`)
    fs.writeFileSync(`${guard.folder}/worker.js`, code)
    fs.writeFileSync(`${guard.folder}/config.capnp`, config)
    let child: ChildProcess | undefined
    let url = ""
    let log = ""

    const start = Effect.promise(async () => {
      const started = spawn(binary(), ["serve", "config.capnp", "--control-fd=3", "--socket-addr=http=127.0.0.1:0"], {
        cwd: guard.folder,
        env: { ...process.env, ...env },
        stdio: ["ignore", "pipe", "pipe", "pipe"]
      })
      child = started
      guard.watch(started.pid)
      for (const stream of [started.stdout, started.stderr]) stream?.on("data", (data) => log += String(data))
      const [, , , control] = started.stdio
      for await (const line of createInterface({ input: control as Readable })) {
        const event: { readonly event?: string; readonly port?: number } = JSON.parse(line)
        if (event.event !== "listen") continue
        url = `http://127.0.0.1:${event.port}`
        return
      }
      throw new Error(`workerd did not start: ${log}`)
    })

    const kill = Effect.promise(async () => {
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
      const gone = once(child, "exit")
      child.kill("SIGKILL")
      await gone
    })

    yield* Effect.acquireRelease(start, () => kill)
    return { url: () => url, kill, start, log: () => log }
  })
