// What `npm run lock` runs after `npm install` has changed package-lock.json: it enters the binaries of other platforms that
// some optional dependencies name. A registry that does not have them makes npm leave them out of the lock file, and then
// `npm ci` refuses that file, on every platform.
import { readFileSync, writeFileSync } from "node:fs"

const file = new URL("../package-lock.json", import.meta.url)
const lock = JSON.parse(readFileSync(file, "utf8"))

const systems = ["aix", "android", "darwin", "freebsd", "linux", "netbsd", "openbsd", "openharmony", "sunos", "win32"]
const processors = ["arm", "arm64", "ia32", "loong64", "mips64el", "ppc64", "riscv64", "s390x", "x64"]

// One package says what npm means otherwise.
const synonyms = { windows: "win32" }

const only = (name, values) => {
  const found = values.filter((value) => name.split("-").some((word) => (synonyms[word] ?? word) === value))
  if (found.length !== 1) throw new Error(`for which platform is ${name}? Enter it into package-lock.json by hand`)
  return found
}

const libc = (name) => /musl/.test(name) ? { libc: ["musl"] } : /gnu|glibc/.test(name) ? { libc: ["glibc"] } : {}

// Two versions of one package may be there, under two names; their binaries are of as many versions.
const isOf = (entry, range) => entry?.version.split(".")[0] === range.replace(/^[\^~]/, "").split(".")[0]

let entered = 0
for (const [path, entry] of Object.entries(lock.packages)) {
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    const above = `node_modules/${name}`
    const within = `${path === "" ? "" : `${path}/`}${above}`
    if ([within, above].some((at) => isOf(lock.packages[at], version))) continue
    const platform = name.split("/").at(-1)
    // The place at the top may be another version's.
    lock.packages[above in lock.packages ? within : above] = {
      version: version.replace(/^[\^~]/, ""),
      cpu: /eabi/.test(platform) ? ["arm"] : only(platform, processors),
      ...entry.dev ? { dev: true } : {},
      ...libc(platform),
      license: entry.license,
      optional: true,
      os: only(platform, systems)
    }
    entered++
  }
}

lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => a < b ? -1 : a > b ? 1 : 0))
writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`)
process.stdout.write(`${entered} entered\n`)
