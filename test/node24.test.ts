/**
 * What needs a newer Node than the one that runs the tests: `node:sqlite`, and the driver of `@effect/sql-sqlite-node`.
 * Its packages have a folder of their own and share every other with the project, so that there is one copy of Effect.
 */
import { assert, test } from "@effect/vitest"
import { spawn } from "node:child_process"
import * as fs from "node:fs"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const folder = fileURLToPath(new URL("./node24/", import.meta.url))
const node = `${folder}node_modules/node/bin/node`
const driver = `${folder}node_modules/better-sqlite3/package.json`

const run = (command: string, args: ReadonlyArray<string>, cwd: string) =>
  new Promise<{ readonly code: number | null; readonly output: string }>((resolve, reject) => {
    // Vitest tells its workers apart by variables, which a Vitest inside one must not see.
    const env = Object.fromEntries(
      Object.entries(process.env).filter(([name]) => !/^(VITEST|NODE_OPTIONS|FORCE_COLOR)/.test(name))
    )
    const child = spawn(command, args, { cwd, env: { ...env, NO_COLOR: "1" }, stdio: ["ignore", "pipe", "pipe"] })
    let output = ""
    child.stdout.on("data", (data) => output += data)
    child.stderr.on("data", (data) => output += data)
    child.on("error", reject)
    child.on("close", (code) => resolve({ code, output }))
  })

test("the database layer and the repository pass their suites on Node 24", { timeout: 900_000 }, async ({ skip }) => {
  if (!fs.existsSync(node) || !fs.existsSync(driver)) {
    const install = await run("npm", ["ci"], folder)
    if (install.code !== 0) {
      if (process.env["CI"] === "true") assert.fail(install.output)
      process.stderr.write(
        `SKIPPED: the tests of Node 24 need \`npm ci\` in ${folder}, which failed:\n${install.output}\n`
      )
      skip("npm ci failed in test/node24")
    }
  }
  const { code, output } = await run(
    node,
    ["node_modules/vitest/vitest.mjs", "run", "--config", "test/node24/vitest.config.ts"],
    root
  )
  assert.strictEqual(code, 0, output)
  assert.match(output, /Tests {2}\d+ passed \(\d+\)/, output)
})
