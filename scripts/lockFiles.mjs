// The project's lock files: its own, and those of folders whose packages only the benchmarks or some tests need.
import { existsSync, readdirSync } from "node:fs"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))

/** The folders that have one. */
export const folders = [
  root,
  `${root}bench/`,
  ...readdirSync(`${root}test`, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => `${root}test/${name}/`)
].filter((folder) => existsSync(`${folder}package-lock.json`))
