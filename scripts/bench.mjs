// What `npm run bench -- NAME` runs: a benchmark, on the Node of the benchmarks' own. That, and the peers that are compared, are
// packages of a folder of their own, bench, which is installed when it is first needed; nobody else needs it. `install` only
// installs, and `check` looks at the types.
import { spawnSync } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
const folder = `${root}bench/`
const packages = `${folder}node_modules/`

const args = process.argv.slice(2)

const run = ([command, ...args], options) => {
  const { error, signal, status } = spawnSync(command, args, { stdio: "inherit", ...options })
  if (error !== undefined) process.stderr.write(`${command}: ${error.message}\n`)
  return signal === null ? status ?? 1 : 1
}

const read = (file) => JSON.parse(readFileSync(file, "utf8"))

const isInstalled = () => {
  const installed = `${packages}.package-lock.json`
  if (!existsSync(installed)) return false
  const { packages: has } = read(installed)
  return Object.entries(read(`${folder}package-lock.json`).packages).every(([path, { optional, version }]) =>
    path === "" || optional || has[path]?.version === version
  )
}

const shell = process.platform === "win32"

if (!isInstalled()) {
  const status = run(["npm", "ci"], { cwd: folder, shell })
  if (status !== 0) process.exit(status)
}

if (args[0] === "check") process.exit(run(["tsc", "-p", "bench/tsconfig.json"], { cwd: root, shell }))
if (args[0] !== "install") process.exit(run([`${packages}node24/bin/node`, `${folder}main.ts`, ...args], { cwd: root }))
