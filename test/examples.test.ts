/**
 * Every example is a program that runs, by the package's own name, as a user's would.
 */
import { assert, describe, it } from "@effect/vitest"
import { transform } from "esbuild"
import { execFile } from "node:child_process"
import * as fs from "node:fs/promises"
import * as os from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import * as runtime from "./runtime.ts"

const root = fileURLToPath(new URL("..", import.meta.url))
const run = promisify(execFile)

/** Runs an example in an empty folder and returns what it wrote, and which files it made. */
const outcome = async (name: string) => {
  const cache = path.join(root, ".cache", "examples")
  await fs.mkdir(cache, { recursive: true })
  const { code } = await transform(await fs.readFile(path.join(root, "examples", name), "utf8"), {
    loader: "ts",
    target: "es2022"
  })
  const program = path.join(cache, name.replace(/\.ts$/, ".mjs"))
  await fs.writeFile(program, code)
  const cwd = await fs.mkdtemp(path.join(os.tmpdir(), "trustlog-example-"))
  try {
    const { stderr, stdout } = await run(...runtime.running(program), { cwd })
    return { stdout, stderr, files: await fs.readdir(cwd) }
  } finally {
    await fs.rm(cwd, { recursive: true })
  }
}

describe("the examples", () => {
  it("application.ts records in its own transaction, and nothing of one that is rolled back", async () => {
    const { files, stderr, stdout } = await outcome("application.ts")
    assert.deepStrictEqual({ stderr, stdout }, { stderr: "", stdout: "1 operation recorded\n" })
    assert.includeMembers(files, ["app.db", "audit-ledger", "audit-ledger.key"])
  })

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

  it("testing.ts tests with a mock, and with a log in memory", async () => {
    const { stderr, stdout } = await outcome("testing.ts")
    assert.deepStrictEqual({ stderr, stdout }, { stderr: "", stdout: "alice login\nbob\n" })
  })
})
