/**
 * What the tests run on is what they are said to run on: the tests themselves, and every program that they start.
 */
import { assert, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import * as fs from "node:fs"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { bundle } from "./Program.ts"
import * as runtime from "./runtime.ts"

const at = (relative: string) => fileURLToPath(new URL(relative, import.meta.url))

it("the tests run on the runtime that they are for, in its pinned version", () => {
  const { dependencies } = JSON.parse(fs.readFileSync(at("runtimes/package.json"), "utf8"))
  assert.strictEqual(runtime.name, process.env["TRUSTLOG_TEST_RUNTIME"] ?? "node20")
  // `npm test` takes the Node that there is.
  const pinned: unknown = dependencies[runtime.name]
  assert.strictEqual(runtime.version, pinned === undefined ? runtime.version : String(pinned).replace(/^npm:node@/, ""))
})

it("a program that a test starts runs on the runtime that the test runs on", async () => {
  const { stdout } = await promisify(execFile)(...runtime.running(await bundle(at("programs/runtime.ts"))))
  assert.strictEqual(stdout, `${runtime.name} ${runtime.version}\n`)
})
