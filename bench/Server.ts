/**
 * The PostgreSQL of a comparison: the one that TRUSTLOG_BENCH_DATABASE_URL names, or one that is started for it.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { randomBytes } from "node:crypto"
import * as fs from "node:fs"
import { startPostgreSQL } from "../test/servers/Daemon.ts"
import { query } from "../test/servers/Database.ts"
import { find } from "../test/servers/Programs.ts"
import { machine, runtime } from "./Machine.ts"

export interface Server {
  readonly url: string
  /** In words: what it is, and on what. */
  readonly conditions: ReadonlyArray<string>
  /** An empty database, gone when the scope closes. */
  readonly database: Effect.Effect<string, never, Scope.Scope>
  /** Seconds of processors that its processes have used, where this machine can tell. */
  readonly cpu: Effect.Effect<number | undefined>
}

const number = (url: string, expression: string): Effect.Effect<number> =>
  Effect.map(
    query(url, `SELECT (${expression})::float8 AS value`),
    ([row]) => typeof row === "object" && row !== null && "value" in row ? Number(row.value) : Number.NaN
  )

/** Where the write-ahead log has come to, in bytes. */
export const wal = (url: string): Effect.Effect<number> => number(url, "pg_current_wal_insert_lsn() - '0/0'")

/** The bytes of all tables of a database, and of their indexes. */
export const size = (url: string): Effect.Effect<{ readonly tables: number; readonly indexes: number }> =>
  Effect.gen(function*() {
    const of = (what: string) =>
      number(
        url,
        `SELECT sum(${what}(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema')`
      )
    return { tables: yield* of("pg_table_size"), indexes: yield* of("pg_indexes_size") }
  })

/** As a database is that has been at rest for a while. */
export const settle = (url: string): Effect.Effect<void> => Effect.asVoid(query(url, "VACUUM ANALYZE", "CHECKPOINT"))

const ticksPerSecond = 100

/** Of a process, and of those of its children that have ended. */
const ticks = (pid: number): number => {
  const text = fs.readFileSync(`/proc/${pid}/stat`, "utf8")
  const [user = "0", system = "0", ...children] = text.slice(text.lastIndexOf(")") + 2).split(" ").slice(11, 15)
  return [user, system, ...children].reduce((sum, each) => sum + Number(each), 0)
}

/** Seconds of processors that a process and its children have used, where this machine can tell. */
export const cpuOf = (pid: number): number | undefined => {
  try {
    const children = fs.readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean)
    // One may end while this is read; then its parent has its time.
    const each = [String(pid), ...children].map((pid) => fs.existsSync(`/proc/${pid}/stat`) ? ticks(Number(pid)) : 0)
    return each.reduce((sum, ticks) => sum + ticks, 0) / ticksPerSecond
  } catch {
    return undefined
  }
}

/** Microseconds of a record between two readings, where there are any. */
export const micros = (before: number | undefined, after: number | undefined, count: number): number =>
  before === undefined || after === undefined ? Number.NaN : (after - before) / count * 1e6

const make = (url: string, postmaster: number | undefined): Effect.Effect<Server> =>
  Effect.gen(function*() {
    const [version] = yield* query(url, "SELECT version() AS version")
    return {
      url,
      conditions: [
        machine,
        `${runtime}; ${
          String(Object.values(version ?? {})[0]).split(" (")[0]?.split(" on ")[0]
        } on the same machine, fsync on`
      ],
      database: Effect.acquireRelease(
        Effect.gen(function*() {
          const name = `trustlog_bench_${randomBytes(6).toString("hex")}`
          yield* query(url, `CREATE DATABASE ${name} TEMPLATE template0 ENCODING 'UTF8'`)
          const own = new URL(url)
          own.pathname = `/${name}`
          return own.href
        }),
        (own) => query(url, `DROP DATABASE IF EXISTS ${new URL(own).pathname.slice(1)} WITH (FORCE)`)
      ),
      cpu: Effect.sync(() => postmaster === undefined ? undefined : cpuOf(postmaster))
    }
  })

/** Ours has its defaults, but that a checkpoint is no part of what is measured. */
export const PostgreSQL: Effect.Effect<Server, never, Scope.Scope> = Effect.gen(function*() {
  const named = process.env["TRUSTLOG_BENCH_DATABASE_URL"]
  if (named !== undefined && named !== "") return yield* make(named, undefined)
  const { postgresql18 } = yield* find
  if (postgresql18 === undefined) {
    return yield* Effect.dieMessage("name a PostgreSQL by TRUSTLOG_BENCH_DATABASE_URL, or `npm ci` for one of our own")
  }
  const { pid, url } = yield* startPostgreSQL("postgresql-18", postgresql18, {
    settings: { shared_buffers: "128MB", max_wal_size: "8GB", checkpoint_timeout: "30min" },
    walSegmentMegabytes: 16
  })
  return yield* make(url, pid)
})
