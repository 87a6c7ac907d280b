/**
 * Servers as processes of ours: made, started, killed, frozen.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type ChildProcess, execFile, spawn } from "node:child_process"
import { once } from "node:events"
import { closeSync, openSync } from "node:fs"
import * as fs from "node:fs/promises"
import * as path from "node:path"
import { setTimeout as pause } from "node:timers/promises"
import { promisify } from "node:util"
import * as Guard from "./Guard.ts"
import * as Port from "./Port.ts"
import { nobody, type Programs } from "./Programs.ts"

export interface Instance {
  /** The URL of its administrator; the same after each start. */
  readonly url: string
  /** The process that all others of the server come from; another one after each start. */
  readonly pid: number
  /** SIGKILL to all of its processes at once, as when the power fails. It is gone when this is done. */
  readonly kill: Effect.Effect<void>
  /** Ends it without waiting for its clients. */
  readonly stop: Effect.Effect<void>
  /** Starts it again after `kill` or `stop`, on the same port and data. It answers when this is done. */
  readonly start: Effect.Effect<void>
  /** Waits until it has ended, by itself say. */
  readonly ended: Effect.Effect<void>
  /** SIGSTOP to all of its processes: connections stay open, and nothing answers. */
  readonly freeze: Effect.Effect<void>
  /** Ends `freeze`. */
  readonly thaw: Effect.Effect<void>
}

export interface Options {
  /** An existing folder for its data, a `SmallDisk` say; default a temporary one. */
  readonly dataDirectory?: string | undefined
  /** Settings by name, as in the server's configuration. */
  readonly settings?: Readonly<Record<string, string>> | undefined
  /** How long the files of PostgreSQL's log are: 1 MiB, where data are to be small. */
  readonly walSegmentMegabytes?: number | undefined
}

/** One that listens at `At`: a port, or several. */
export interface Kind<At> {
  readonly name: string
  /** Makes the data folder, which does not exist yet. */
  readonly prepare: (data: string, folder: string) => Promise<unknown>
  /** Where nothing listens yet. */
  readonly free: Effect.Effect<At>
  /** Writes what it reads when it starts, where its arguments do not tell it all. */
  readonly configure?: (folder: string, at: At) => Promise<void>
  /** What its data need before it starts again after it was killed. */
  readonly recover?: (data: string, folder: string) => Promise<unknown>
  readonly command: string
  readonly args: (data: string, folder: string, at: At) => ReadonlyArray<string>
  readonly as: { readonly uid?: number; readonly gid?: number }
  readonly url: (at: At) => string
  /** What it says when it takes connections. One that must be asked says what it says to a file of its folder. */
  readonly ready: RegExp | { readonly log: string; readonly answers: (at: At) => Promise<boolean> }
  readonly stop: NodeJS.Signals
  /** What ends it quickly and leaves nothing behind in the system. */
  readonly abandon: NodeJS.Signals
}

export const run = promisify(execFile)

// Of what a server says, as much as tells why it did not start.
const longestWords = 16_384

// Variables that programs of these servers read would make a server another one.
export const environment = (): NodeJS.ProcessEnv => ({
  ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(PG|MYSQL|MARIADB|LC_|LANG)/.test(name))),
  LC_ALL: "C"
})

// PostgreSQL leaves the id of its shared memory in its folder, and the memory in the system when it is killed.
const removeData = `
id=$(sed -n 7p "$DATA/postmaster.pid" 2>/dev/null | sed "s/.* //")
[ -z "$id" ] || ipcrm -m "$id"
rm -rf -- "$DATA"
`

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`

interface Process {
  readonly pid: number
  readonly parent: number
  readonly isDead: boolean
  readonly isStopped: boolean
}

const processes = async (): Promise<ReadonlyArray<Process>> => {
  const { stdout } = await run("ps", ["-A", "-o", "pid=,ppid=,stat="], { maxBuffer: 2 ** 26 })
  return stdout.split("\n").filter((line) => line.trim() !== "").map((line) => {
    const [pid, parent, state] = line.trim().split(/\s+/)
    return {
      pid: Number(pid),
      parent: Number(parent),
      isDead: state?.startsWith("Z") ?? true,
      isStopped: state?.startsWith("T") ?? false
    }
  })
}

const familyOf = async (pid: number): Promise<ReadonlyArray<Process>> =>
  (await processes()).filter((process) => process.pid === pid || process.parent === pid)

// A process may end before its signal comes.
const signal = (pid: number, name: NodeJS.Signals): void => {
  try {
    process.kill(pid, name)
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error
  }
}

/** An instance that its kind knows more about. */
export interface Daemon<At> extends Instance {
  /** Temporary, and its own. */
  readonly folder: string
  readonly at: At
}

/** Makes its data and starts it; it ends with the scope. */
export const make = <At>(kind: Kind<At>, options: Options): Effect.Effect<Daemon<At>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const guard = yield* Guard.make(
      kind.name,
      `DATA=${options.dataDirectory === undefined ? "$1" : quoted(options.dataDirectory)}/data\n${removeData}`
    )
    const { folder } = guard
    const data = path.join(options.dataDirectory ?? folder, "data")

    let at = yield* kind.free
    let child: ChildProcess | undefined
    let wasKilled = false

    const running = (): ChildProcess & { readonly pid: number } => {
      const { pid } = child ?? {}
      if (child === undefined || pid === undefined) throw new Error(`${kind.name} is not running`)
      return Object.assign(child, { pid })
    }

    /** Whether it takes connections; if not, what it said. */
    const launch = async (): Promise<string | undefined> => {
      const { ready } = kind
      await kind.configure?.(folder, at)
      const log = ready instanceof RegExp ? undefined : path.join(folder, ready.log)
      const output = log === undefined ? "pipe" : openSync(log, "a")
      const started = spawn(kind.command, kind.args(data, folder, at), {
        ...kind.as,
        cwd: folder,
        detached: true,
        env: environment(),
        stdio: ["ignore", output, output]
      })
      child = started
      if (started.pid !== undefined) guard.watch(started.pid)
      if (typeof output === "number") closeSync(output)
      return new Promise((resolve, reject) => {
        let said = ""
        let isUp = false
        const up = () => {
          isUp = true
          resolve(undefined)
        }
        const hear = (text: string) => {
          said = (said + text).slice(-longestWords)
          if (ready instanceof RegExp && ready.test(said)) up()
        }
        started.stdout?.setEncoding("utf8").on("data", hear)
        started.stderr?.setEncoding("utf8").on("data", hear)
        started.once("error", reject)
        started.once("close", (_code, signal) => {
          if (child === started) child = undefined
          wasKilled = signal === "SIGKILL"
          guard.watch(undefined)
          if (isUp) return
          resolve(log === undefined ? said : fs.readFile(log, "utf8").then((text) => text.slice(-longestWords)))
        })
        if (ready instanceof RegExp) return
        const ask = async (): Promise<void> => {
          if (child !== started) return
          if (await ready.answers(at)) return up()
          await pause(50)
          return ask()
        }
        ask().catch(reject)
      })
    }

    const start = async (): Promise<void> => {
      if (child !== undefined) throw new Error(`${kind.name} is running`)
      if (wasKilled) await kind.recover?.(data, folder)
      const problem = await launch()
      if (problem !== undefined) throw new Error(`${kind.name} did not start:\n${problem}`)
    }

    const end = async (how: (pid: number) => Promise<void>): Promise<void> => {
      const { pid } = running()
      const ended = once(running(), "close")
      await how(pid)
      // All of its processes hold its output open: now they are gone.
      await ended
    }

    const kill = () =>
      end(async (pid) => {
        // The first one could make others while they are being killed, and is the one that would notice.
        signal(pid, "SIGSTOP")
        for (const member of await familyOf(pid)) signal(member.pid, "SIGKILL")
      })

    const thaw = async (pid: number): Promise<void> => {
      for (const member of (await familyOf(pid)).toReversed()) signal(member.pid, "SIGCONT")
    }

    const freeze = async (pid: number): Promise<void> => {
      for (;;) {
        const moving = (await familyOf(pid)).filter(({ isDead, isStopped }) => !isDead && !isStopped)
        if (moving.length === 0) return
        for (const { pid } of moving) signal(pid, "SIGSTOP")
        await pause(1)
      }
    }

    yield* Effect.acquireRelease(
      Effect.promise(async () => {
        await kind.prepare(data, folder)
        for (let attempt = 1;; attempt++) {
          const problem = await launch()
          if (problem === undefined) return
          if (attempt === 5 || !/address already in use/i.test(problem)) {
            throw new Error(`${kind.name} did not start:\n${problem}`)
          }
          at = await Effect.runPromise(kind.free)
        }
      }),
      () =>
        Effect.promise(async () => {
          if (child === undefined) return
          await end(async (pid) => {
            signal(pid, kind.abandon)
            await thaw(pid)
          })
        })
    )

    return {
      folder,
      at,
      url: kind.url(at),
      get pid() {
        return running().pid
      },
      kill: Effect.promise(kill),
      stop: Effect.promise(() =>
        end(async (pid) => {
          signal(pid, kind.stop)
        })
      ),
      start: Effect.promise(start),
      ended: Effect.promise(async () => {
        if (child !== undefined) await once(child, "close")
      }),
      freeze: Effect.promise(() => freeze(running().pid)),
      thaw: Effect.promise(() => thaw(running().pid))
    }
  })

/** By name, those of the test in place of those of its kind. */
export const settings = (
  options: Options,
  own: Readonly<Record<string, string>>
): ReadonlyArray<[string, string]> => Object.entries({ ...own, ...options.settings })

const owned = async (folder: string, owner: { readonly uid?: number; readonly gid?: number }): Promise<void> => {
  if (owner.uid !== undefined && owner.gid !== undefined) await fs.chown(folder, owner.uid, owner.gid)
}

/** Starts PostgreSQL from the folder of its programs. */
export const startPostgreSQL = (name: string, bin: string, options: Options = {}) =>
  make({
    name,
    prepare: async (data) => {
      await owned(path.dirname(data), options.dataDirectory === undefined ? nobody : {})
      await fs.mkdir(data, { mode: 0o700 })
      await owned(data, nobody)
      await run(
        path.join(bin, "initdb"),
        [
          "-D",
          data,
          "--username=postgres",
          "--auth=trust",
          "--encoding=UTF8",
          "--no-locale",
          "--no-sync",
          `--wal-segsize=${options.walSegmentMegabytes ?? 1}`
        ],
        { ...nobody, cwd: data, env: environment() }
      )
    },
    command: path.join(bin, "postgres"),
    args: (data, _folder, port) => [
      "-D",
      data,
      ...settings(options, {
        listen_addresses: "127.0.0.1",
        port: `${port}`,
        unix_socket_directories: "",
        shared_buffers: "32MB",
        max_connections: "200",
        // In files of its own folder, which a killed server does not leave behind.
        dynamic_shared_memory_type: "mmap"
      }).flatMap(([name, value]) => ["-c", `${name}=${value}`])
    ],
    as: nobody,
    free: Port.free,
    url: (port) => `postgres://postgres@127.0.0.1:${port}/postgres`,
    ready: /database system is ready to accept connections/,
    stop: "SIGINT",
    abandon: "SIGQUIT"
  }, options)

const asRoot = process.getuid?.() === 0 ? ["--user=root"] : []

// Their words are the same, and these of their settings.
const likeMySQL = {
  as: {},
  free: Port.free,
  url: (port: number) => `mysql://root@127.0.0.1:${port}/mysql`,
  ready: /ready for connections/,
  stop: "SIGTERM",
  abandon: "SIGKILL"
} as const

const settingsLikeMySQL = (options: Options, folder: string, data: string, port: number) =>
  settings(options, {
    datadir: data,
    port: `${port}`,
    "bind-address": "127.0.0.1",
    socket: path.join(folder, "socket"),
    "pid-file": path.join(folder, "pid"),
    "skip-name-resolve": "ON",
    "character-set-server": "utf8mb4",
    "innodb-buffer-pool-size": "32M",
    "max-connections": "200",
    "table-open-cache": "400",
    "table-definition-cache": "400"
  })

/** Starts MySQL from the folder that `npm run servers` made. */
export const startMySQL = (from: string, options: Options = {}) =>
  make({
    ...likeMySQL,
    name: "mysql",
    prepare: (data) => run("cp", ["-R", path.join(from, "data"), data]),
    command: path.join(from, "mysqld"),
    args: (data, folder, port) => [
      ...asRoot,
      "--mysqlx=OFF",
      "--innodb-redo-log-capacity=8M",
      "--innodb-log-buffer-size=1M",
      "--performance-schema-digests-size=0",
      ...settingsLikeMySQL(options, folder, data, port).map(([name, value]) => `--${name}=${value}`)
    ]
  }, options)

/** Starts MariaDB by the paths of its programs. */
export const startMariaDB = (
  [server, install]: NonNullable<Programs["mariadb"]>,
  options: Options = {}
) =>
  make({
    ...likeMySQL,
    name: "mariadb",
    prepare: (data) =>
      run(
        install,
        ["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", `--datadir=${data}`, ...asRoot],
        // Two that are made at once in one folder for temporary tables take each other's away.
        { env: { ...environment(), TMPDIR: path.dirname(data) } }
      ),
    command: server,
    args: (data, folder, port) => [
      "--no-defaults",
      ...asRoot,
      "--innodb-log-file-size=8M",
      ...settingsLikeMySQL(options, folder, data, port).map(([name, value]) => `--${name}=${value}`)
    ]
  }, options)
