/**
 * The torture command as users run it, for some seconds.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import * as Torture from "../src/Torture.ts"
import { makeSandbox, type Running, type Sandbox } from "./cli/sandbox.ts"
import { query } from "./servers/Database.ts"
import * as Server from "./servers/Server.ts"

const short = ["--minutes", "0.1", "--workers", "3", "--writers", "4"]

const seen = (value: unknown): ReadonlyArray<string> => {
  const text = JSON.stringify(value) ?? ""
  return Array.from(text.matchAll(/trustlog_torture_[0-9a-f]{12}/g), ([name]) => name)
}

/** What is left of tortures in a database, or beside it. */
const leftIn = (url: string) =>
  Effect.map(
    query(
      url,
      url.startsWith("mysql:")
        ? "SELECT CONCAT(table_schema, '.', table_name) AS name FROM information_schema.tables UNION SELECT schema_name FROM information_schema.schemata"
        : "SELECT nspname AS name FROM pg_namespace UNION SELECT relname FROM pg_class"
    ),
    seen
  )

const nameOf = ({ stderr }: { readonly stderr: string }): string => {
  const [name] = seen(stderr)
  return name ?? assert.fail(`it does not say what it makes: ${stderr}`)
}

/** Processes that somebody has started, as the system knows them. */
const childrenOf = (pid: number): ReadonlyArray<number> =>
  fs.readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter((pid) => pid !== "").map(Number)

const isAlive = (pid: number): boolean => fs.existsSync(`/proc/${pid}`)

const notesOf = (name: string): string => path.join(os.tmpdir(), `${name}_notes`)

/** Runs a torture, which must pass, and gives its scenarios. */
const passing = (cli: Sandbox, args: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const ended = yield* cli.run(["torture", ...short, ...args, "--json"])
    assert.strictEqual(ended.code, 0, `${ended.stderr}${ended.stdout}`)
    const report: Torture.Report = JSON.parse(ended.stdout)
    assert.isTrue(report.passed)
    assert.deepStrictEqual(report.scenarios.map(({ name }) => name), Array.from(Torture.names))
    for (const scenario of report.scenarios) {
      assert.deepInclude(scenario, {
        lost: 0,
        phantom: 0,
        pending: 0,
        retrying: 0,
        dead: 0,
        problems: [],
        passed: true
      })
      assert.strictEqual(scenario.delivered, scenario.committed)
      if (!scenario.skipped) assert.isAbove(scenario.committed, 0)
    }
    const freeze = report.scenarios.find(({ name }) => name === "freeze")
    assert.isAbove(freeze?.takeovers.count ?? 0, 0)
    assert.isFalse(fs.existsSync(notesOf(nameOf(ended))))
    return { ended, report, skipped: report.scenarios.filter(({ skipped }) => skipped).map(({ name }) => name) }
  })

describe("a torture", () => {
  Server.onEach((server) => {
    it.scopedLive("of a server passes, and leaves nothing behind", () =>
      Effect.gen(function*() {
        const cli = yield* makeSandbox
        const url = yield* Server.database(server)
        const { ended, skipped } = yield* passing(cli, ["--database", url])
        assert.deepStrictEqual(skipped, [])
        assert.notInclude(yield* leftIn(url), nameOf(ended))
      }))
  })

  it.scopedLive("of a file passes beside it, and neither makes nor touches it", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      const { report, skipped } = yield* passing(cli, [])
      assert.deepStrictEqual(skipped, ["cut", "clock"])
      assert.include(report.scratch, cli.directory)
      assert.deepStrictEqual(yield* cli.list, [])
    }))
})

describe("a torture that is ended early", () => {
  /** Waits until it has processes, and is told them. */
  const working = ({ child }: Running) =>
    Effect.gen(function*() {
      while (childrenOf(child.pid ?? 0).length <= 3) yield* Effect.sleep("20 millis")
      return childrenOf(child.pid ?? 0)
    })

  const ending = (
    signal: NodeJS.Signals,
    args: ReadonlyArray<string>,
    before: Effect.Effect<void> = Effect.void
  ) =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      const running = yield* cli.start(["torture", ...short, ...args])
      const children = yield* working(running)
      yield* before
      running.child.kill(signal)
      const ended = yield* running.ended
      assert.strictEqual(ended.code, 130, ended.stderr)
      assert.deepStrictEqual(children.filter(isAlive), [])
      assert.isFalse(fs.existsSync(notesOf(nameOf(ended))))
      return { cli, ended }
    })

  it.scopedLive.skipIf(process.platform !== "linux")(
    "by SIGINT leaves no file and no process behind",
    () =>
      Effect.gen(function*() {
        const { cli } = yield* ending("SIGINT", [])
        assert.deepStrictEqual(yield* cli.list, [])
      })
  )

  Server.on("postgresql-15", (server) => {
    it.scopedLive.skipIf(process.platform !== "linux")(
      "by SIGTERM leaves no schema and no process behind",
      () =>
        Effect.gen(function*() {
          const url = yield* Server.database(server)
          const { ended } = yield* ending("SIGTERM", ["--database", url])
          assert.deepStrictEqual(yield* leftIn(url), [])
          assert.include(ended.stderr, nameOf(ended))
        })
    )
  })

  Server.on("mariadb", (server) => {
    it.scopedLive.skipIf(process.platform !== "linux")(
      "leaves no table of a prefix behind, which it made where it may make no database",
      () =>
        Effect.gen(function*() {
          const url = new URL(yield* Server.database(server))
          const administrator = url.href
          const name = url.pathname.slice(1)
          const user = name.slice(-20)
          yield* Effect.acquireRelease(
            query(server.url, `CREATE USER ${user} IDENTIFIED BY 'secret'`, `GRANT ALL ON ${name}.* TO ${user}`),
            () => query(server.url, `DROP USER ${user}`)
          )
          url.username = user
          url.password = "secret"
          const made: Array<string> = []
          const look = Effect.map(leftIn(administrator), (names) => void made.push(...names))
          const { ended } = yield* ending("SIGTERM", ["--database", url.href], look)
          assert.include(made, nameOf(ended))
          assert.notInclude(yield* leftIn(administrator), nameOf(ended))
        })
    )
  })

  it.scopedLive.skipIf(process.platform !== "linux")(
    "by SIGKILL leaves no process behind",
    () =>
      Effect.gen(function*() {
        const cli = yield* makeSandbox
        const running = yield* cli.start(["torture", ...short])
        const children = yield* working(running)
        running.child.kill("SIGKILL")
        const { stderr } = yield* running.ended
        yield* Effect.repeat(Effect.sync(() => children.some(isAlive)), {
          while: (areAlive) => areAlive,
          schedule: Schedule.spaced("20 millis")
        })
        yield* Effect.promise(() => fs.promises.rm(notesOf(nameOf({ stderr })), { recursive: true }))
      })
  )
})

describe("what is asked of a torture", () => {
  it.scopedLive("is refused with exit code 2 where it makes no sense, before anything is made", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      const refused = (args: ReadonlyArray<string>, problem: RegExp) =>
        Effect.map(cli.run(["torture", ...args]), ({ code, stderr, stdout }) => {
          assert.strictEqual(code, 2, stderr)
          assert.match(stderr, problem)
          assert.strictEqual(stdout, "")
        })
      yield* refused(["--minutes", "0"], /--minutes: write a number from 0\.1 to 1440/)
      yield* refused(["--minutes", "NaN"], /minutes/)
      yield* refused(["--minutes", "1e9"], /--minutes: write a number from 0\.1 to 1440/)
      yield* refused(["--workers", "1"], /--workers: write a whole number from 2 to 16/)
      yield* refused(["--writers", "65"], /--writers: write a whole number from 1 to 64/)
      yield* refused(["--seed", "-1"], /--seed: write a whole number from 0/)
      yield* refused(["--database", "oracle://db"], /--database: "oracle:\/\/db" is not accepted; write sqlite:/)
      yield* refused(["--database", "postgres://ann:secret@db/"], /\*\*\*@db/)
      assert.deepStrictEqual(yield* cli.list, [])
    }))

  it.scopedLive("ends with exit code 3 where the database is not there", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      const server = yield* cli.run(["torture", "--database", "postgres://ann@127.0.0.1:1/app"])
      assert.strictEqual(server.code, 3)
      assert.match(server.stderr, /cannot connect to PostgreSQL at 127\.0\.0\.1/)
      const file = yield* cli.run(["torture", "--database", "sqlite:nowhere/trustlog.db"])
      assert.strictEqual(file.code, 3)
      assert.match(file.stderr, /a folder for the torture cannot be made in .*nowhere/)
    }))

  it("is planned with bounds that say what it may do to a database", () => {
    const database = { _tag: "Sqlite", filename: "trustlog.db" } as const
    const plan = Torture.plan({ database, seed: 7 })
    if (plan._tag === "Left") return assert.fail(plan.left)
    assert.deepInclude(plan.right, { minutes: 1, workers: 4, writers: 8, seed: 7, keep: false, leaseSeconds: 5 })
    assert.strictEqual(plan.right.connections, 0)
    assert.match(plan.right.name, /^trustlog_torture_[0-9a-f]{12}$/)
  })
})
