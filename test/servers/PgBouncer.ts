/**
 * PgBouncer in front of a PostgreSQL, in transaction mode: a client has a connection of the server for one transaction only.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { spawn } from "node:child_process"
import * as fs from "node:fs/promises"
import * as path from "node:path"
import { inject } from "vitest"
import * as Guard from "./Guard.ts"
import * as Port from "./Port.ts"
import { nobody } from "./Programs.ts"

export interface Options {
  /** Connections to the server, for each database; default 4. */
  readonly poolSize?: number | undefined
  /** Settings by name, as in its configuration. */
  readonly settings?: Readonly<Record<string, string>> | undefined
}

const quoted = (text: string): string => `'${text.replaceAll("'", "''")}'`

const configuration = (url: URL, port: number, { poolSize = 4, settings }: Options): string => {
  const server = {
    host: url.hostname,
    port: url.port === "" ? "5432" : url.port,
    user: decodeURIComponent(url.username),
    password: decodeURIComponent(url.password)
  }
  const own = {
    listen_addr: "127.0.0.1",
    listen_port: `${port}`,
    unix_socket_dir: "",
    auth_type: "any",
    pool_mode: "transaction",
    default_pool_size: `${poolSize}`,
    max_client_conn: "1000",
    ignore_startup_parameters: "extra_float_digits",
    // One connection that stays, not the time of day, decides what a client gets.
    server_idle_timeout: "0"
  }
  return [
    "[databases]",
    `* = ${
      Object.entries(server).filter(([, value]) => value !== "").map(([name, value]) => `${name}=${quoted(value)}`)
        .join(" ")
    }`,
    "[pgbouncer]",
    ...Object.entries({ ...own, ...settings }).map(([name, value]) => `${name} = ${value}`),
    ""
  ].join("\n")
}

/** Starts it, and gives the same URL through it. */
export const make = (url: string, options: Options = {}): Effect.Effect<string, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { pgbouncer } = inject("servers").programs
    if (pgbouncer === undefined)
      return yield* Effect.dieMessage("pgbouncer is not to be had here; `npm run servers` gets it")
    const { folder, watch } = yield* Guard.make("pgbouncer")
    const port = yield* Port.free
    const through = new URL(url)
    yield* Effect.acquireRelease(
      Effect.promise(async () => {
        const file = path.join(folder, "pgbouncer.ini")
        await fs.chmod(folder, 0o755)
        await fs.writeFile(file, configuration(through, port, options))
        const child = spawn(pgbouncer, [file], {
          ...nobody,
          cwd: "/",
          detached: true,
          stdio: ["ignore", "pipe", "pipe"]
        })
        const ended = new Promise<void>((resolve) => child.once("close", () => resolve()))
        watch(child.pid)
        await new Promise<void>((resolve, reject) => {
          let said = ""
          const hear = (text: string) => {
            said = (said + text).slice(-16_384)
            if (said.includes("process up")) resolve()
          }
          child.stdout.setEncoding("utf8").on("data", hear)
          child.stderr.setEncoding("utf8").on("data", hear)
          child.once("error", reject)
          child.once("close", () => {
            watch(undefined)
            reject(new Error(`pgbouncer did not start:\n${said}`))
          })
        })
        return { child, ended }
      }),
      ({ child, ended }) =>
        Effect.promise(() => {
          child.kill("SIGTERM")
          return ended
        })
    )
    through.hostname = "127.0.0.1"
    through.port = `${port}`
    return through.href
  })
