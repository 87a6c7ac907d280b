/**
 * What an installation brings along: by the lock file, and by the files that are there.
 */
import * as fs from "node:fs"
import * as path from "node:path"

type Names = Readonly<Record<string, unknown>>

interface Entry {
  readonly dependencies?: Names
  readonly optionalDependencies?: Names
  readonly peerDependencies?: Names
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>
}

/** How many packages, and their bytes. */
export interface Installation {
  readonly packages: number
  readonly bytes: number
}

const modules = "node_modules/"

/** What a package does not run without, and what it asks for where that can be had. */
const needs = (entry: Entry): ReadonlyArray<string> => [
  ...Object.keys(entry.dependencies ?? {}),
  ...Object.keys(entry.optionalDependencies ?? {}),
  ...Object.keys(entry.peerDependencies ?? {}).filter((name) => entry.peerDependenciesMeta?.[name]?.optional !== true)
]

/** Where a package finds another one: in its own folder, or in one above. */
const resolved = (packages: Readonly<Record<string, Entry>>, from: string, name: string): string | undefined => {
  for (let at = from;; at = at.slice(0, Math.max(0, at.lastIndexOf(modules) - 1))) {
    const found = `${at}${at === "" ? "" : "/"}${modules}${name}`
    if (found in packages) return found
    if (at === "") return undefined
  }
}

/** Without the packages in it, which are counted by themselves. */
const bytesOf = (folder: string): number =>
  fs.readdirSync(folder, { withFileTypes: true }).reduce((sum, entry) => {
    const at = path.join(folder, entry.name)
    if (entry.isDirectory()) return entry.name === "node_modules" ? sum : sum + bytesOf(at)
    return entry.isFile() ? sum + fs.statSync(at).size : sum
  }, 0)

/**
 * Packages of the lock file of a folder, with what comes with them; "" is the folder's own, which is not counted itself. What
 * is made for other machines is not there.
 */
export const of = (folder: string, ...names: ReadonlyArray<string>): Installation => {
  const { packages }: { readonly packages: Readonly<Record<string, Entry>> } = JSON.parse(
    fs.readFileSync(path.join(folder, "package-lock.json"), "utf8")
  )
  const found = new Set(names.map((name) => name === "" ? "" : `${modules}${name}`))
  for (const at of found) {
    for (const name of needs(packages[at] ?? {})) {
      const needed = resolved(packages, at, name)
      if (needed !== undefined) found.add(needed)
    }
  }
  found.delete("")
  const there = Array.from(found, (at) => path.join(folder, at)).filter((folder) => fs.existsSync(folder))
  return { packages: there.length, bytes: there.reduce((sum, folder) => sum + bytesOf(folder), 0) }
}
