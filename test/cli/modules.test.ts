/**
 * A command loads what it uses: no driver of another database, no log that is not configured, no part of another command. It
 * is asked of a process, by Node's hooks for modules; Bun and Deno have none, and run the same files.
 */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { lines, makeSandbox, type Options } from "./sandbox.ts"

/** Parts that not every command needs, by the package's own modules and by packages. */
const parts: Record<string, RegExp> = {
  "command line": /^(cli\/Cli|@effect\/cli)$/,
  SQLite: /^(Database\/Sqlite|internal\/dialects\/sqlite|internal\/drivers\/(?!postgresql)|libsql)/,
  PostgreSQL:
    /^(Database\/PostgreSQL|internal\/drivers\/postgresql|Listener\/|internal\/dialects\/postgresql|@effect\/sql-pg$|pg$)/,
  MySQL: /^(Database\/MySQL|internal\/dialects\/mysql|@effect\/sql-mysql2$|mysql2$)/,
  ledger: /^(Ledger$|internal\/ledger\/|Publisher\/Ledger)/,
  memory: /^Publisher\/Memory/,
  Pulsar: /^(PulsarCluster|(Publisher|Subscriber)\/Pulsar|internal\/pulsar\/(?!topic$)|WebSocketClient|ws$)/,
  "native Pulsar": /^((Publisher|Subscriber)\/Pulsar$|internal\/pulsar\/native|pulsar-client$)/,
  repository: /^(Repository\/Sql|internal\/repository\/)/,
  workers: /^(Drain|CursorWorker|RetryWorker|CircuitBreaker|Delivery|Membership|LaneLease)$/,
  host: /^(Host\/|Monitor$)/,
  signatures: /^(Signer|Signature)$/,
  verify: /^(Verify$|internal\/verify\/(?!row$))/,
  purge: /^Purge$/,
  seal: /^(Seal|Subscriber)$/,
  doctor: /^(Doctor$|internal\/doctor\/)/,
  torture: /^(Torture$|internal\/torture\/)/,
  "of applications": /^(index|Embedded|Trustlog|Statements)$/,
  cluster: /^@effect\/(cluster|rpc|workflow)$/
}

const hooks = `import { appendFileSync } from "node:fs"
export const load = (url, context, next) => {
  appendFileSync("loaded.txt", url + "\\n")
  return next(url, context)
}
`

const preload = `import { register } from "node:module"
register("./hooks.mjs", import.meta.url)
`

/** A module of this package by its path in it, another by its package; nothing for the runtime's own. */
const nameOf = (url: string): ReadonlyArray<string> => {
  const own = /\/dist\/(?!.*\/node_modules\/)(.*)\.js$/.exec(url)?.[1]
  const foreign = /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(url)?.[1]
  return foreign !== undefined ? [foreign] : own !== undefined ? [own] : []
}

it.scopedLive("every command loads the parts that it uses, and no others", () =>
  Effect.gen(function*() {
    const cli = yield* makeSandbox
    yield* cli.write("hooks.mjs", hooks)
    yield* cli.write("preload.mjs", preload)
    const partsOf = (args: ReadonlyArray<string>, { env, stdin }: Options) =>
      Effect.gen(function*() {
        yield* cli.write("loaded.txt", "")
        yield* cli.run(args, { stdin, env: { ...env, NODE_OPTIONS: `--import=${cli.file("preload.mjs")}` } })
        const names = (yield* cli.read("loaded.txt")).split("\n").flatMap(nameOf)
        assert.include(names, "cli/bin")
        return Object.keys(parts).filter((part) => names.some((name) => parts[part]?.test(name)))
      })
    const database = ["command line", "SQLite", "repository"]
    const nobody = { env: { TRUSTLOG_DATABASE_URL: "postgres://a@127.0.0.1:1/a" } }
    const neither = { env: { TRUSTLOG_DATABASE_URL: "mysql://a@127.0.0.1:1/a" } }
    const broker = { env: { TRUSTLOG_PUBLISHER_URL: "ws://127.0.0.1:1" } }
    const cases: ReadonlyArray<readonly [ReadonlyArray<string>, Options, ReadonlyArray<string>]> = [
      [["--version"], {}, []],
      [["--help"], {}, ["command line"]],
      [["append", "--help"], {}, ["command line"]],
      [["init"], {}, ["command line", "SQLite", "ledger", "signatures"]],
      [["append"], { stdin: lines(0, 3) }, database],
      [["append"], nobody, ["command line", "PostgreSQL"]],
      [["append"], neither, ["command line", "MySQL"]],
      [["status"], {}, database],
      [["dead-letters", "list"], {}, database],
      [["drain"], broker, [...database, "Pulsar", "workers", "signatures"]],
      [["drain"], {}, [...database, "ledger", "workers", "signatures"]],
      [["verify"], {}, [...database, "ledger", "signatures", "verify"]],
      [["purge", "--older-than", "1d"], {}, [...database, "ledger", "signatures", "purge"]],
      [["doctor"], {}, [...database, "ledger", "signatures", "doctor", "Pulsar"]]
    ]
    for (const [args, options, expected] of cases) {
      assert.sameMembers(yield* partsOf(args, options), [...expected], args.join(" "))
    }
  }))
