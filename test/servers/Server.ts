/**
 * The servers that a run of the tests found or started, and fresh databases in them.
 */
import { describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { randomBytes } from "node:crypto"
import { inject } from "vitest"
import * as runtime from "../runtime.ts"
import type { Address } from "./Broker.ts"
import { type Dialect, drop, type Place, query } from "./Database.ts"
import type { Programs } from "./Programs.ts"

export type Name = "postgresql-15" | "postgresql-18" | "mysql" | "mariadb"

export interface Server {
  readonly name: Name
  readonly dialect: Dialect
  /** As the server says it. */
  readonly version: string
  /** The URL of its administrator. */
  readonly url: string
}

/** What the run gives to its test files. */
export interface Servers {
  readonly found: ReadonlyArray<Server>
  /** Absent also where no test file of the run has a use for it. */
  readonly pulsar: Address | undefined
  readonly programs: Programs
  /** How the databases and topics of this run begin. */
  readonly prefix: string
}

declare module "vitest" {
  interface ProvidedContext {
    readonly servers: Servers
  }
}

/** A runtime changes what the driver does, which is the same for every PostgreSQL: the older one is left to Node 20. */
const names: ReadonlyArray<Name> = [
  ...runtime.name === "node20" ? ["postgresql-15" as const] : [],
  "postgresql-18",
  "mysql",
  "mariadb"
]

/**
 * Suites against one server. Without it they are skipped, and the run says so once on standard error; `CI=true` makes that
 * a failure.
 */
export const on = (name: Name, suites: (server: Server) => void): void => {
  const server = inject("servers").found.find((server) => server.name === name)
  const dialect = name.startsWith("postgresql") ? "pg" : "mysql"
  describe.skipIf(server === undefined)(name, () => suites(server ?? { name, dialect, version: "", url: "" }))
}

/** The same suites against each server, or each of a dialect. */
export const onEach = (suites: (server: Server) => void, dialect?: Dialect): void => {
  for (const name of names) {
    if (dialect === undefined || (dialect === "pg") === name.startsWith("postgresql")) on(name, suites)
  }
}

/** Suites that need a program: an instance of their own, PgBouncer, a small disk. Skipped as those of `on` are. */
export const having = (program: keyof Programs, suites: () => void): void => {
  describe.skipIf(inject("servers").programs[program] === undefined)(program, suites)
}

/** An empty database of one's own, as its URL. It is gone when the scope closes. */
export const database = (server: Place): Effect.Effect<string, never, Scope.Scope> =>
  Effect.suspend(() => {
    const name = `${inject("servers").prefix}${randomBytes(6).toString("hex")}`
    const url = new URL(server.url)
    url.pathname = `/${name}`
    return Effect.as(
      Effect.acquireRelease(
        query(
          server.url,
          server.dialect === "pg"
            ? `CREATE DATABASE ${name} TEMPLATE template0 ENCODING 'UTF8'`
            : `CREATE DATABASE ${name} CHARACTER SET utf8mb4`
        ),
        () => drop(server, name)
      ),
      url.href
    )
  })
