// What `npm run lock` runs after `npm install` has changed a lock file.
//
// It asks the registry once more for what has no hash, and enters the binaries of other platforms that it does not have, though
// some optional dependencies name them: npm leaves them out of the lock file, and then `npm ci` refuses that file, on every
// platform. Where a package was loaded from it leaves out: its name, version and hash say what it is, and a registry's mirror is
// nobody else's business.
import { spawnSync } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { folders } from "./lockFiles.mjs"

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

const sorted = (packages) => Object.fromEntries(Object.entries(packages).sort(([a], [b]) => a < b ? -1 : a > b ? 1 : 0))

for (const folder of folders) {
  const file = `${folder}package-lock.json`
  const read = () => JSON.parse(readFileSync(file, "utf8"))
  const write = (lock) => writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`)

  const before = read()
  const isKnown = ([path, entry]) => path === "" || entry.integrity !== undefined
  if (!Object.entries(before.packages).every(isKnown)) {
    write({ ...before, packages: Object.fromEntries(Object.entries(before.packages).filter(isKnown)) })
    const { status } = spawnSync("npm", ["install", "--package-lock-only", "--ignore-scripts"], {
      cwd: folder,
      stdio: ["ignore", "ignore", "inherit"],
      shell: process.platform === "win32"
    })
    if (status !== 0) {
      write(before)
      process.exit(1)
    }
  }

  const lock = read()
  let entered = 0
  for (const [path, entry] of Object.entries(lock.packages)) {
    // What is from a registry; `npm run check` refuses everything else.
    if (/^https:\/\/[^/]+\/.*\/-\/[^/]+\.tgz$/.test(entry.resolved ?? "")) delete entry.resolved
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
  write({ ...lock, packages: sorted(lock.packages) })
  process.stdout.write(`${file}: ${entered} entered\n`)
}
