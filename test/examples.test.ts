/**
 * Every example is a program that runs, by the package's own name, as a user's would.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { transform } from "esbuild"
import { execFile } from "node:child_process"
import * as fs from "node:fs/promises"
import * as os from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import * as runtime from "./runtime.ts"
import * as SharedPulsar from "./servers/SharedPulsar.ts"
import * as Topic from "./servers/Topic.ts"

const root = fileURLToPath(new URL("..", import.meta.url))
const run = promisify(execFile)

/** Makes a program of an example. */
const compiled = async (name: string): Promise<string> => {
  const cache = path.join(root, ".cache", "examples")
  await fs.mkdir(cache, { recursive: true })
  const { code } = await transform(await fs.readFile(path.join(root, "examples", name), "utf8"), {
    loader: "ts",
    target: "es2022"
  })
  const program = path.join(cache, name.replace(/\.ts$/, ".mjs"))
  await fs.writeFile(program, code)
  return program
}

const inFolder = async <A>(body: (cwd: string) => Promise<A>): Promise<A> => {
  const cwd = await fs.mkdtemp(path.join(os.tmpdir(), "trustlog-example-"))
  try {
    return await body(cwd)
  } finally {
    await fs.rm(cwd, { recursive: true })
  }
}

/** Runs an example in an empty folder and returns what it wrote, and which files it made. */
const outcome = async (name: string, env: Readonly<Record<string, string>> = {}) => {
  const program = await compiled(name)
  return inFolder(async (cwd) => {
    const { stderr, stdout } = await run(...runtime.running(program), { cwd, env: { ...process.env, ...env } })
    return { stdout, stderr, files: await fs.readdir(cwd) }
  })
}

describe("the examples", () => {
  it("application.ts records in its own transaction, and nothing of one that is rolled back", async () => {
    const { files, stderr, stdout } = await outcome("application.ts")
    assert.deepStrictEqual({ stderr, stdout }, { stderr: "", stdout: "1 operation recorded\n" })
    assert.includeMembers(files, ["app.db", "audit-ledger", "audit-ledger.key"])
  })

  it("cron.ts delivers what is there, as a program and as a function that is called again and several times at once", () =>
    inFolder(async (cwd) => {
      const program = await compiled("cron.ts")
      const file = path.join(cwd, "operations.jsonl")
      const trustlog = (...args: ReadonlyArray<string>) =>
        run(...runtime.running(path.join(root, "dist/cli/bin.js"), ...args), { cwd })
      const append = async (from: number, to: number) => {
        const numbers = Array.from({ length: to - from }, (_, i) => from + i)
        const line = (n: number) => JSON.stringify({ actor: "ann", action: "read", target: `file/${n}` })
        await fs.writeFile(file, numbers.map(line).join("\n"))
        await trustlog("append", file)
      }
      await trustlog("init")
      await append(0, 2)
      const once = await run(...runtime.running(program), { cwd })
      assert.deepStrictEqual(once, { stderr: "", stdout: `{"delivered":2,"left":0,"outage":null}\n` })
      await append(2, 400)
      // Beside the program, from where packages are found.
      const calls = path.join(path.dirname(program), "cron.calls.mjs")
      await fs.writeFile(
        calls,
        `import { handler } from ${JSON.stringify(program)}
        const all = [...await Promise.all([handler(), handler()]), await handler()]
        console.log(JSON.stringify({ delivered: all.map(({ delivered }) => delivered), left: all.at(-1).left }))
        process.exit()`
      )
      const called = JSON.parse((await run(...runtime.running(calls), { cwd })).stdout)
      assert.deepStrictEqual(called.delivered[0] + called.delivered[1], 398)
      assert.deepStrictEqual([called.delivered[2], called.left], [0, 0])
      const verified = JSON.parse((await trustlog("verify", "--json")).stdout)
      assert.deepInclude(verified, { verdict: "complete", delivered: 400 })
    }))

  it("opentelemetry.ts exports the metrics of what it has recorded and delivered", async () => {
    const { stderr, stdout } = await outcome("opentelemetry.ts")
    assert.strictEqual(stderr, "")
    // Every runtime's console shows objects in a form of its own.
    const shown = stdout.replaceAll(`"`, "'").replace(/\{\s+/g, "{ ").replace(/,?\s+\}/g, " }")
    const value = (name: string, attributes = "{}") => {
      const [metric] = shown.split("descriptor: {").filter((part) => part.includes(`name: '${name}',`))
      const [point] = (metric ?? "").split("startTime:").filter((part) => part.includes(`attributes: ${attributes},`))
      return Number(point?.match(/\n\s+value: (\S+)/)?.[1])
    }
    assert.strictEqual(value("trustlog_delivered_total", "{ lane: 'operation' }"), 1)
    assert.strictEqual(value("trustlog_pending"), 0)
    assert.strictEqual(value("trustlog_undelivered"), 0)
    assert.strictEqual(value("trustlog_oldest_pending_seconds"), 0)
    assert.strictEqual(value("trustlog_lane_pending", "{ lane: 'operation' }"), 0)
    assert.approximately(value("trustlog_stats_timestamp_seconds"), Date.now() / 1000, 60)
    assert.isAtLeast(value("trustlog_lanes"), 1)
  })

  it("promise.ts records without Effect", async () => {
    const { stderr, stdout } = await outcome("promise.ts")
    assert.deepStrictEqual({ stderr, stdout }, { stderr: "", stdout: "appended\n" })
  })

  SharedPulsar.on((broker) => {
    it.live("pulsar.ts delivers to a broker what was committed, and reads it back once", () =>
      Effect.gen(function*() {
        const topic = yield* Topic.make(broker)
        const env = { PULSAR_URL: broker.wsUrl, PULSAR_TOPIC: topic }
        const { stderr, stdout } = yield* Effect.promise(() => outcome("pulsar.ts", env))
        assert.deepStrictEqual({ stderr, stdout }, {
          stderr: "",
          stdout: "alice invoice.approve invoice/1: 120 EUR\nalice invoice.approve invoice/2: 80 EUR\n"
        })
        assert.strictEqual((yield* Topic.messages(broker, topic)).length, 2)
      }))
  })

  it("testing.ts tests with a mock, and with a log in memory", async () => {
    const { stderr, stdout } = await outcome("testing.ts")
    assert.deepStrictEqual({ stderr, stdout }, { stderr: "", stdout: "alice login\nbob\n" })
  })
})
