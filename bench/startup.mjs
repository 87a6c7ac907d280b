/**
 * How long commands take to start and to end, on every runtime that is here, beside the runtime's own start with an empty
 * module in the same minute. Run `npm run build` first, and `node scripts/testOn.mjs install` for other runtimes than this one.
 */
import { spawnSync } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"

/** Everything is measured once in a round, so that none has a quieter machine than the others. */
const rounds = 15

const at = (relative) => fileURLToPath(new URL(relative, import.meta.url))
const bin = at("../dist/cli/bin.js")
const packages = at("../test/runtimes/node_modules/")

const runtimes = [
  [process.execPath],
  [`${packages}node22/bin/node`],
  [`${packages}node24/bin/node`],
  [`${packages}bun/bin/bun.exe`],
  [`${packages}deno/deno`, "run", "-A"]
].filter(([file]) => fs.existsSync(file))

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "trustlog-startup-"))
const empty = path.join(folder, "empty.mjs")
const operation = `{"id":"00000000-0000-7000-8000-000000000000","actor":"ann","action":"read","target":"document/1"}\n`

/** Runs a program to its end, and tells for how long, in milliseconds. */
const millis = ([command, ...before], args, input) => {
  const from = process.hrtime.bigint()
  const { error, status, stderr } = spawnSync(command, [...before, ...args], { cwd: folder, input, encoding: "utf8" })
  if (error !== undefined) throw error
  if (status !== 0) throw new Error(`${command} ${args.join(" ")} ended with ${status}: ${stderr}`)
  return Number(process.hrtime.bigint() - from) / 1e6
}

const commands = {
  "an empty module": [[empty]],
  "--version": [[bin, "--version"]],
  "--help": [[bin, "--help"]],
  status: [[bin, "status"]],
  "append, one line": [[bin, "append"], operation]
}

const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)]

const nameOf = ([command, ...before]) => {
  const { stdout } = spawnSync(command, ["--version"], { encoding: "utf8" })
  return before.length > 0 ? stdout.split(" (")[0] : `${path.basename(command, ".exe")} ${stdout.trim()}`
}

try {
  fs.writeFileSync(empty, "")
  millis(runtimes[0], [bin, "init"])
  const measured = runtimes.map(() => Object.fromEntries(Object.keys(commands).map((name) => [name, []])))
  // The first round warms the file system's cache.
  for (let round = 0; round <= rounds; round++) {
    for (const [n, words] of runtimes.entries()) {
      for (const [name, [args, input]] of Object.entries(commands)) {
        const taken = millis(words, args, input)
        if (round > 0) measured[n][name].push(taken)
      }
    }
  }
  process.stdout.write(`medians of ${rounds} rounds, and as a multiple of the runtime's own start\n`)
  for (const [n, words] of runtimes.entries()) {
    const own = median(measured[n]["an empty module"])
    process.stdout.write(`\n${nameOf(words)}\n`)
    for (const [name, values] of Object.entries(measured[n])) {
      const taken = median(values)
      process.stdout.write(
        `  ${name.padEnd(18)}${taken.toFixed(0).padStart(6)} ms${(taken / own).toFixed(1).padStart(7)}\n`
      )
    }
  }
} finally {
  fs.rmSync(folder, { recursive: true, force: true })
}
