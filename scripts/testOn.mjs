// What `npm run test:node22`, `test:node24`, `test:bun` and `test:deno` run: the tests, on that runtime. The runtimes are packages
// of a folder of their own, test/runtimes, which is installed when it is first needed; nobody else needs it. What follows the
// name is for vitest: `npm run test:bun -- test/cli`. `install` only installs.
import { fileURLToPath } from "node:url"
import { install, run } from "./packages.mjs"

const root = fileURLToPath(new URL("..", import.meta.url))
const folder = `${root}test/runtimes/`
const packages = `${folder}node_modules/`

const runtimes = {
  node22: [`${packages}node22/bin/node`],
  node24: [`${packages}node24/bin/node`],
  bun: [`${packages}bun/bin/bun.exe`],
  deno: [`${packages}deno/deno`, "run", "-A"]
}

const [name, ...args] = process.argv.slice(2)
const words = runtimes[name]
if (words === undefined && name !== "install") {
  process.stderr.write(`write one of ${Object.keys(runtimes).join(", ")} or install\n`)
  process.exit(2)
}

install(folder)

if (words !== undefined) {
  process.exit(run([...words, "node_modules/vitest/vitest.mjs", "run", ...args], {
    cwd: root,
    env: { ...process.env, TRUSTLOG_TEST_RUNTIME: name }
  }))
}
