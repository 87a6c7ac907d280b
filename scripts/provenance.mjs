// Where every package comes from, and under which terms: fails where a lock file leaves that open.
import { readFileSync } from "node:fs"
import { folders } from "./lockFiles.mjs"

/** Terms under which what is used at run time may be passed on without conditions that reach the user's own code. */
const permissive = new Set(["0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BlueOak-1.0.0", "ISC", "MIT"])

/** Runs a script when it is installed, and does nothing there but choose among binaries that are in packages of their own. */
const harmless = new Set(["@parcel/watcher", "msgpackr-extract"])

const problems = []
let total = 0
let withoutHash = 0

for (const folder of folders) {
  const file = `${folder}package-lock.json`
  const { lockfileVersion, packages } = JSON.parse(readFileSync(file, "utf8"))
  if (lockfileVersion !== 3) problems.push(`${file}: is of version ${lockfileVersion}`)
  for (const [path, entry] of Object.entries(packages)) {
    const told = (problem) => problems.push(`${file}: ${path === "" ? "the project" : path} ${problem}`)
    for (const group of ["dependencies", "devDependencies", "optionalDependencies"]) {
      for (const [name, range] of Object.entries(entry[group] ?? {})) {
        // A name of the registry, perhaps under another one, and numbers; not a place.
        if (!/^(npm:(@[-.\w]+\/)?[-.\w]+@)?[-\s\w.^~<>=|*+]*$/.test(range)) told(`asks for ${name} from ${range}`)
      }
    }
    if (path === "") continue
    total++
    if (entry.link === true || entry.inBundle === true) told("is not from the registry")
    // Without one, npm asks the registry that it is set up with for this name and version, whichever that is, and the hash
    // decides whether the answer is right. What is not from a registry always has one.
    if (entry.resolved !== undefined) told(`comes from ${entry.resolved}: run npm run lock`)
    if (!/^\d+\.\d+\.\d+/.test(entry.version ?? "")) told("has no version")
    if (!/^sha512-[+/\w]{86}==$/.test(entry.integrity ?? "")) {
      // Tools of other platforms, which a registry at hand did not have: `scripts/lock.mjs` enters them.
      if (entry.integrity === undefined && entry.dev && entry.optional && (entry.os || entry.cpu)) withoutHash++
      else told("has no SHA-512")
    }
    // What is used at run time; other folders have nothing of it.
    if (entry.dev === true || folder !== folders[0]) continue
    if (!permissive.has(entry.license)) told(`has the licence ${entry.license}`)
    const name = path.replace(/^.*node_modules\//, "")
    if (entry.hasInstallScript === true && !harmless.has(name)) told("runs a script when it is installed")
  }
}

process.stdout.write(problems.map((problem) => `${problem}\n`).join(""))
process.stdout.write(
  `${total} packages in ${folders.length} lock files, ${withoutHash} tools of other platforms without a hash\n`
)
process.exit(problems.length === 0 ? 0 : 1)
