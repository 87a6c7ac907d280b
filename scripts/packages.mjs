// The packages of a folder of their own, which only some of the project's programs need: installed when one of them is first run,
// and again when its lock file has changed.
import { spawnSync } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"

/** Runs a command in this terminal, and gives its exit code. */
export const run = ([command, ...args], options) => {
  const { error, signal, status } = spawnSync(command, args, { stdio: "inherit", ...options })
  if (error !== undefined) process.stderr.write(`${command}: ${error.message}\n`)
  return signal === null ? status ?? 1 : 1
}

const read = (file) => JSON.parse(readFileSync(file, "utf8"))

const isInstalled = (folder) => {
  const installed = `${folder}node_modules/.package-lock.json`
  if (!existsSync(installed)) return false
  const { packages: has } = read(installed)
  return Object.entries(read(`${folder}package-lock.json`).packages).every(([path, { optional, version }]) =>
    path === "" || optional || has[path]?.version === version
  )
}

/** Installs what a folder lacks, or ends this program with what went wrong. */
export const install = (folder) => {
  if (isInstalled(folder)) return
  const status = run(["npm", "ci"], { cwd: folder, shell: process.platform === "win32" })
  if (status !== 0) process.exit(status)
}
