// What `npm start` runs: the way of some two thousand example operations, command by command, as one would type them.
import { spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const bin = fileURLToPath(new URL("../dist/cli/bin.js", import.meta.url))

if (!existsSync(bin)) {
  process.stderr.write("The program is not built: run `npm ci`, or `npm run build`.\n")
  process.exit(2)
}

const steps = [
  ["make the database, the ledger and its key", "init"],
  ["record the example operations in the database", "append", "examples/operations.jsonl"],
  ["deliver them to the ledger", "drain"],
  ["prove that nothing is missing, altered or added", "verify"]
]

for (const [purpose, ...args] of steps) {
  process.stdout.write(`\n# ${purpose}\n$ npx trustlog ${args.join(" ")}\n`)
  const { error, signal, status } = spawnSync(process.execPath, [bin, ...args], { cwd: root, stdio: "inherit" })
  if (error !== undefined) process.stderr.write(`${error.message}\n`)
  if (status !== 0) process.exit(status ?? (signal === "SIGINT" ? 130 : 1))
}

process.stdout.write(
  "\n`npx trustlog --help` tells what else there is. Run again, this adds nothing: ids are recorded once.\n"
)
