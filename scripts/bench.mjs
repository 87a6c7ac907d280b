// What `npm run bench -- NAME` runs: a benchmark, on the Node of the benchmarks' own. That, and the peers that are compared, are
// packages of a folder of their own, bench, which is installed when it is first needed; nobody else needs it. `install` only
// installs, and `check` looks at the types.
import { fileURLToPath } from "node:url"
import { install, run } from "./packages.mjs"

const root = fileURLToPath(new URL("..", import.meta.url))
const folder = `${root}bench/`
const packages = `${folder}node_modules/`

const args = process.argv.slice(2)

const shell = process.platform === "win32"

install(folder)

if (args[0] === "check") process.exit(run(["tsc", "-p", "bench/tsconfig.json"], { cwd: root, shell }))
if (args[0] !== "install") process.exit(run([`${packages}node24/bin/node`, `${folder}main.ts`, ...args], { cwd: root }))
