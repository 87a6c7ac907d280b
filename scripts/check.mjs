// What `npm run check` runs: everything about the code that needs no test. One failure does not hide another.
import { spawnSync } from "node:child_process"

const checks = [
  ["types", "tsc", "-p", "tsconfig.json"],
  ["Effect diagnostics", "effect-tsgo", "diagnostics", "--project", "tsconfig.json", "--strict"],
  ["types of the benchmarks", "node", "scripts/bench.mjs", "check"],
  ["lint", "oxlint", "--deny-warnings", "src", "test", "examples", "scripts", "bench"],
  ["format", "dprint", "check"],
  ["generated code", "node", "scripts/codegen.mjs", "--check"],
  ["provenance and licences", "node", "scripts/provenance.mjs"]
]

const failed = checks.filter(([name, command, ...args]) => {
  const { error, status, stderr, stdout } = spawnSync(command, args, {
    encoding: "utf8",
    shell: process.platform === "win32"
  })
  const output = `${stdout ?? ""}${stderr ?? ""}${error?.message ?? ""}`
  // Without its plugin in tsconfig.json this tool checks nothing, and is content.
  const checkedNothing = name === "Effect diagnostics" && !/Checked [1-9]\d* files/.test(output)
  const isFailed = status !== 0 || checkedNothing
  process.stdout.write(`${isFailed ? "failed" : "passed"}  ${name}\n`)
  if (isFailed) process.stdout.write(`${output}${checkedNothing ? "\nno file was checked\n" : ""}`)
  return isFailed
})

process.exit(failed.length === 0 ? 0 : 1)
