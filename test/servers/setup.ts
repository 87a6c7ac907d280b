/**
 * Finds the servers that the tests need, or starts them, once for a run.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { execFileSync } from "node:child_process"
import { randomBytes } from "node:crypto"
import * as fs from "node:fs"
import * as net from "node:net"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import type { TestProject } from "vitest/node"
import * as Broker from "./Broker.ts"
import { type Instance, startMariaDB, startMySQL, startPostgreSQL } from "./Daemon.ts"
import { drop, query } from "./Database.ts"
import { find, isContinuousIntegration, type Programs } from "./Programs.ts"
import { startPulsar } from "./Pulsar.ts"
import type { Name, Server } from "./Server.ts"

interface Target {
  readonly name: Name
  readonly title: string
  readonly dialect: Server["dialect"]
  readonly variable: string
  /** Where one may be listening: by itself, or by compose.yaml. */
  readonly usual: ReadonlyArray<string>
  readonly isOne: (version: string) => boolean
  /** Starts one, where its programs are here. */
  readonly start: (programs: Programs) => Effect.Effect<Instance, never, Scope.Scope> | undefined
  readonly cure: string
}

const postgresql = (version: 15 | 18, port: number): Target => ({
  name: `postgresql-${version}`,
  title: `PostgreSQL ${version}`,
  dialect: "pg",
  variable: `TRUSTLOG_TEST_POSTGRESQL_${version}`,
  usual: [`postgres://postgres:trustlog@127.0.0.1:${port}/postgres`],
  isOne: (said) => said.startsWith(`${version}.`),
  start: ({ [`postgresql${version}` as const]: bin }) =>
    bin === undefined ? undefined : startPostgreSQL(`postgresql-${version}`, bin),
  cure: `npm ci, or docker compose up postgres${version === 15 ? "" : version}`
})

const likeMySQL = (port: number) => ["root", "root:trustlog"].map((user) => `mysql://${user}@127.0.0.1:${port}/mysql`)

const targets: ReadonlyArray<Target> = [
  postgresql(15, 5432),
  postgresql(18, 5433),
  {
    name: "mysql",
    title: "MySQL",
    dialect: "mysql",
    variable: "TRUSTLOG_TEST_MYSQL",
    usual: likeMySQL(3307),
    isOne: (version) => /^(8|9|\d\d)\./.test(version) && !/mariadb/i.test(version),
    start: ({ mysql }) => mysql === undefined ? undefined : startMySQL(mysql),
    cure: "npm run servers, or docker compose up mysql"
  },
  {
    name: "mariadb",
    title: "MariaDB",
    dialect: "mysql",
    variable: "TRUSTLOG_TEST_MARIADB",
    usual: likeMySQL(3306),
    isOne: (version) => /mariadb/i.test(version),
    start: ({ mariadb }) => mariadb === undefined ? undefined : startMariaDB(mariadb),
    cure: "npm run servers, or docker compose up mariadb"
  }
]

/** What a suite may need beside the servers that were found. */
const tools: ReadonlyArray<readonly [program: keyof Programs, title: string, cure: string]> = [
  ["postgresql15", "a PostgreSQL 15 of a test's own", "npm ci"],
  ["postgresql18", "a PostgreSQL 18 of a test's own", "npm ci"],
  ["mysql", "a MySQL of a test's own", "npm run servers"],
  ["mariadb", "a MariaDB of a test's own", "npm run servers"],
  ["pulsar", "a Pulsar of a test's own", "npm run servers"],
  ["pgbouncer", "PgBouncer", "npm run servers"],
  ["mount", "a small disk", "run the tests as root on Linux"]
]

const version = ({ dialect }: Target, url: string): Effect.Effect<string> =>
  Effect.map(
    query(
      url,
      dialect === "pg" ? "SELECT current_setting('server_version') AS version" : "SELECT version() AS version"
    ),
    ([row]) => typeof row === "object" && row !== null && "version" in row ? String(row.version) : ""
  )

const isListening = (url: string): Promise<boolean> =>
  new Promise((resolve) => {
    const { hostname, port } = new URL(url)
    const socket = net.connect({ host: hostname, port: Number(port) })
    const answer = (is: boolean) => {
      socket.destroy()
      resolve(is)
    }
    socket.once("connect", () => answer(true))
    socket.once("error", () => answer(false))
    socket.setTimeout(1000, () => answer(false))
  })

const server = ({ dialect, name }: Target, url: string, version: string): Server => ({ name, dialect, url, version })

/** One that a URL of the environment names must be what it is named. */
const named = (target: Target, url: string): Effect.Effect<Server> =>
  version(target, url).pipe(
    Effect.catchAllDefect((defect) => Effect.dieMessage(`${target.variable}: ${String(defect)}`)),
    Effect.flatMap((said) =>
      target.isOne(said)
        ? Effect.succeed(server(target, url, said))
        : Effect.dieMessage(`${target.variable} is not a ${target.title}: it says ${said}`)
    )
  )

/** One that is listening already is taken if it lets us in and is the right one. */
const listening = (target: Target): Effect.Effect<Server | undefined> =>
  Effect.gen(function*() {
    for (const url of target.usual) {
      if (!(yield* Effect.promise(() => isListening(url)))) return undefined
      const said = yield* Effect.exit(version(target, url))
      if (Exit.isSuccess(said) && target.isOne(said.value)) return server(target, url, said.value)
    }
    return undefined
  })

const started = (target: Target, programs: Programs): Effect.Effect<Server | undefined, never, Scope.Scope> =>
  Effect.gen(function*() {
    const start = target.start(programs)
    if (start === undefined) return undefined
    const { url } = yield* start
    return server(target, url, yield* version(target, url))
  })

const obtained = (target: Target, programs: Programs): Effect.Effect<Server | undefined, never, Scope.Scope> =>
  Effect.gen(function*() {
    const url = process.env[target.variable]
    if (url !== undefined && url !== "") return yield* named(target, url)
    return (yield* listening(target)) ?? (yield* started(target, programs))
  })

const pulsarVariable = "TRUSTLOG_TEST_PULSAR"

/** What a Pulsar says of itself at a web URL; that it serves WebSockets too, or it is not one for us. */
const pulsarAt = async (webUrl: string): Promise<Broker.Address> => {
  const said = async (path: string): Promise<string> => {
    const response = await fetch(`${webUrl}/${path}`, { signal: AbortSignal.timeout(10_000) })
    if (!response.ok) throw new Error(`${response.url} says ${response.status}`)
    return response.text()
  }
  const topic = "persistent/public/default/trustlog"
  const { brokerUrl: serviceUrl }: { readonly brokerUrl?: unknown } = JSON.parse(await said(`lookup/v2/topic/${topic}`))
  if (typeof serviceUrl !== "string") throw new Error(`${webUrl} is not a Pulsar`)
  // It knows the path, and wants another method.
  const { status } = await fetch(`${webUrl}/ws/v2/producer/${topic}`, { signal: AbortSignal.timeout(10_000) })
  if (status !== 405) throw new Error(`the Pulsar at ${webUrl} needs webSocketServiceEnabled=true`)
  return { webUrl, serviceUrl }
}

const pulsar = ({ pulsar }: Programs): Effect.Effect<Broker.Address | undefined, never, Scope.Scope> =>
  Effect.gen(function*() {
    const url = process.env[pulsarVariable]
    if (url !== undefined && url !== "") {
      return yield* Effect.tryPromise(() => pulsarAt(new URL(url).origin)).pipe(
        Effect.catchAll(({ error }) =>
          // Of a connection that fails, `fetch` says why in the cause.
          Effect.dieMessage(`${pulsarVariable}: ${String(error instanceof Error && error.cause || error)}`)
        )
      )
    }
    const usual = "http://127.0.0.1:8080"
    const found = yield* Effect.exit(Effect.tryPromise(() => pulsarAt(usual)))
    if (Exit.isSuccess(found)) return found.value
    if (pulsar === undefined) return undefined
    const { serviceUrl, webUrl } = yield* startPulsar(pulsar)
    return { webUrl, serviceUrl }
  })

const programs = Effect.gen(function*() {
  const found = yield* find
  if (!isContinuousIntegration || tools.every(([program]) => found[program] !== undefined)) return found
  const script = fileURLToPath(new URL("../../scripts/servers.mjs", import.meta.url))
  yield* Effect.sync(() => execFileSync(process.execPath, [script], { stdio: "inherit" }))
  return yield* find
})

const family = "trustlog_test_"

const now = (): number => Math.floor(Date.now() / 1000)

// A day after it began no run goes on.
const isOver = (name: string): boolean =>
  now() - Number.parseInt(name.slice(family.length).split("_")[0] ?? "", 36) > 86_400

/** Test processes that were killed leave their databases in servers that are not ours; so does a run that was. */
const forgotten = ({ dialect, url }: Server, prefix: string): Effect.Effect<void> =>
  Effect.flatMap(
    query(
      url,
      dialect === "pg"
        ? "SELECT datname AS name FROM pg_database"
        : "SELECT schema_name AS name FROM information_schema.schemata"
    ),
    (rows) =>
      drop(
        { dialect, url },
        ...rows
          .flatMap((row) => typeof row === "object" && row !== null && "name" in row ? [String(row.name)] : [])
          .filter((name) => name.startsWith(prefix) || (name.startsWith(family) && isOver(name)))
      )
  )

/** Likewise the topics. */
const forgottenTopics = (broker: Broker.Broker, prefix: string): Effect.Effect<void> =>
  broker.admin("GET", "persistent/public/default").pipe(
    Effect.flatMap((topics) =>
      Effect.forEach(
        (Array.isArray(topics) ? topics : []).map((topic) => String(topic).split("/").at(-1) ?? "")
          .filter((name) => name.startsWith(prefix) || (name.startsWith(family) && isOver(name))),
        (name) => broker.admin("DELETE", `persistent/public/default/${encodeURIComponent(name)}?force=true`),
        { concurrency: 4, discard: true }
      )
    ),
    Effect.catchAll((error) => error.status === 404 ? Effect.void : Effect.die(error))
  )

/** The modules that are imported by those of the tests, by way of others say, and they themselves. */
const modulesOf = (files: ReadonlyArray<string>): ReadonlySet<string> => {
  const seen = new Set(files)
  // What is added on the way is visited as well.
  for (const module of seen) {
    if (!fs.existsSync(module)) continue
    for (const [, relative = ""] of fs.readFileSync(module, "utf8").matchAll(/(?:from|import)\s*\(?\s*"(\.[^"]+)"/g)) {
      seen.add(path.resolve(path.dirname(module), relative))
    }
  }
  return seen
}

export default async (project: TestProject): Promise<(() => Promise<void>) | undefined> => {
  const modules = modulesOf(project.vitest.state.getPaths())
  const isAny = project.vitest.config.watch
  if (!isAny && !Array.from(modules).some((module) => path.dirname(module) === import.meta.dirname)) return undefined
  const wantsPulsar = isAny || modules.has(path.join(import.meta.dirname, "SharedPulsar.ts"))
  const scope = await Effect.runPromise(Scope.make())
  const close = () => Effect.runPromise(Scope.close(scope, Exit.void))
  const prefix = `${family}${now().toString(36)}_${randomBytes(3).toString("hex")}_`
  const provided = Effect.gen(function*() {
    const had = yield* programs
    const [servers, broker] = yield* Effect.all([
      Effect.forEach(targets, (target) => obtained(target, had), { concurrency: "unbounded" }),
      wantsPulsar ? pulsar(had) : Effect.succeed(undefined)
    ], { concurrency: "unbounded" })
    const found = servers.filter((server) => server !== undefined)
    yield* Effect.addFinalizer(() =>
      Effect.all([
        Effect.forEach(found, (server) => forgotten(server, prefix), { concurrency: "unbounded" }),
        broker === undefined ? Effect.void : forgottenTopics(Broker.make(broker), prefix)
      ], { concurrency: "unbounded", discard: true })
    )
    const missing = [
      ...targets.filter(({ name }) => !found.some((server) => server.name === name)),
      ...wantsPulsar && broker === undefined
        ? [{ title: "Pulsar", cure: "npm run servers, or docker compose up pulsar" }]
        : [],
      ...tools.filter(([program]) => had[program] === undefined).map(([, title, cure]) => ({ title, cure }))
    ].map(({ cure, title }) => `${title} is missing: ${cure}`)
    if (missing.length > 0 && isContinuousIntegration) return yield* Effect.dieMessage(missing.join("\n"))
    for (const line of missing) process.stderr.write(`skipped, ${line}\n`)
    return { found, pulsar: broker, prefix, programs: had }
  })
  try {
    project.provide("servers", await Effect.runPromise(Scope.extend(provided, scope)))
  } catch (error) {
    await close()
    throw error
  }
  return close
}
