import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { spawnSync } from "node:child_process"
import * as fs from "node:fs/promises"
import * as runtime from "../runtime.ts"
import { lines, makeSandbox, type Options, type Sandbox, uuid } from "./sandbox.ts"

/** Runs a command that must end with an exit code and a message, and print no result. */
const refuses = (cli: Sandbox, code: number, message: RegExp, args: ReadonlyArray<string>, options?: Options) =>
  Effect.map(cli.run(args, options), (ended) => {
    assert.strictEqual(ended.code, code, ended.stderr)
    assert.match(ended.stderr, message)
    assert.strictEqual(ended.stdout, "")
  })

const change = (cli: Sandbox, name: string, f: (content: Buffer) => Uint8Array) =>
  Effect.promise(async () => fs.writeFile(cli.file(name), f(await fs.readFile(cli.file(name)))))

const remove = (cli: Sandbox, name: string) => Effect.promise(() => fs.rm(cli.file(name), { recursive: true }))

// Namespaces of our own: what is mounted there ends with the process, and nobody else sees it. They need no root.
const canMount = spawnSync("unshare", ["-rm", "true"]).status === 0
if (!canMount && process.env["CI"] === undefined) {
  process.stderr.write("SKIPPED: tests of read-only and full disks, which need `unshare -rm`\n")
}

/** Deno 2.9.6 asks the mode of a file, and not whether its disk can be written, and tells no more than SQLite does. */
const unwritable = runtime.name === "deno"
  ? /no permission to write|read-only|unable to open database file/g
  : /no permission to write|read-only/g

/** Runs a script of commands in namespaces of their own; `trustlog` is a command in it. */
const mounted = (cli: Sandbox, script: string) =>
  Effect.scoped(Effect.flatMap(
    cli.spawned("unshare", [
      "-rm",
      "sh",
      "-c",
      `trustlog() { ${cli.quoted} "$@"; echo "exit $?"; }\n${script}`
    ]),
    ({ ended }) => ended
  ))

describe("the command line, on failures", () => {
  it.scopedLive("refuses wrong usage with exit code 2, before it looks at anything", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* refuses(cli, 2, /Invalid subcommand/, ["nonsense"])
      yield* refuses(cli, 2, /Invalid subcommand/, ["dead-letters", "nonsense"])
      yield* refuses(cli, 2, /unknown argument: '--nonsense'/, ["status", "--nonsense"])
      yield* refuses(cli, 2, /unknown argument: 'b'/, ["append", "a", "b"])
      yield* refuses(cli, 2, /DbAndTrustlog, DbOnly/, ["append", "--strategy", "Sometimes"])
      yield* refuses(cli, 2, /--budget: "soon" is not accepted; write .*30s/, ["drain", "--budget", "soon"])
      yield* refuses(cli, 2, /--older-than/, ["purge"])
      yield* refuses(cli, 2, /--older-than: "90" is not accepted; write .*1d/, ["purge", "--older-than", "90"])
      yield* refuses(cli, 2, /--older-than: "0d" is not accepted/, ["purge", "--older-than", "0d"])
      yield* refuses(cli, 2, /greater than 0/, ["dead-letters", "list", "--limit", "0"])
      yield* refuses(cli, 2, /ID/, ["promote"])
      assert.deepStrictEqual(yield* cli.list, [])
      yield* cli.run(["init"])
      yield* refuses(cli, 2, /"x" is not an operation's id; write a UUID/, ["promote", "x"])
      yield* refuses(cli, 2, /not an operation's id/, ["dead-letters", "show", "x\x1b[31m"])
      yield* refuses(cli, 2, /or --all/, ["dead-letters", "replay"])
      yield* refuses(cli, 2, /or --all/, ["dead-letters", "replay", uuid(1), "--all"])
      yield* refuses(cli, 2, /--json goes with a file/, ["dead-letters", "export", "-", "--json"])
      yield* refuses(cli, 2, /there is no file nothing\.jsonl/, ["append", "nothing.jsonl"])
      yield* refuses(cli, 2, /is a folder/, ["append", "trustlog-ledger"])
    }))

  it.scopedLive("names a wrong URL or value and the form that is accepted, and shows no password", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      const env = { TRUSTLOG_DATABASE_URL: "sqlit:x", TRUSTLOG_PAGE_ROWS: "many" }
      yield* refuses(
        cli,
        2,
        /^trustlog: TRUSTLOG_DATABASE_URL: "sqlit:x" is not accepted; write sqlite:<file>, [^\n]*\ntrustlog: TRUSTLOG_PAGE_ROWS: "many" /,
        ["status"],
        { env }
      )
      const { stderr } = yield* cli.run(["init"], {
        env: { TRUSTLOG_DATABASE_URL: "postgres://u:secret@host/db?x=secret" }
      })
      assert.match(stderr, /TRUSTLOG_DATABASE_URL: .*host.* the parameter "x" is not known here/)
      assert.notInclude(stderr, "secret")
      yield* cli.run(["init"])
      const memory = { env: { TRUSTLOG_PUBLISHER_URL: "memory:" } }
      yield* refuses(cli, 2, /TRUSTLOG_PUBLISHER_URL: a log in memory/, ["run"], memory)
      yield* refuses(cli, 2, /TRUSTLOG_PUBLISHER_URL: a log in memory/, ["drain"], memory)
    }))

  it.scopedLive("makes no database by mistake: only init does", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* Effect.forEach(
        [
          ["append"],
          ["run"],
          ["drain"],
          ["status"],
          ["dead-letters", "list"],
          ["promote", uuid(1)],
          ["purge", "--older-than", "1d"],
          ["verify"]
        ],
        (args) => refuses(cli, 2, /there is no database trustlog\.db: run `trustlog init`/, args),
        { concurrency: 2, discard: true }
      )
      assert.deepStrictEqual(yield* cli.list, [])
      yield* cli.write("trustlog.db", "")
      yield* refuses(cli, 2, /no trustlog tables: run `trustlog init`/, ["status"])
      yield* refuses(cli, 3, /folder .*nowhere does not exist/, ["init"], {
        env: { TRUSTLOG_DATABASE_URL: "sqlite:nowhere/x.db" }
      })
    }))

  it.scopedLive("leaves a database alone that is not ours, or of a newer program", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* cli.write("trustlog.db", "a letter to my mother\n".repeat(100))
      yield* refuses(cli, 2, /not an SQLite database/, ["init"])
      yield* refuses(cli, 2, /not an SQLite database/, ["append"], { stdin: lines(0, 1) })
      assert.deepStrictEqual(yield* cli.list, ["trustlog.db"])
      yield* remove(cli, "trustlog.db")
      yield* cli.sql("CREATE TABLE operation (surgeon TEXT, patient TEXT)")
      yield* refuses(cli, 2, /a table operation that trustlog did not make/, ["init"])
      yield* refuses(cli, 2, /a table operation that trustlog did not make/, ["status"])
      assert.notInclude(yield* cli.list, "trustlog-ledger")
      const env = { TRUSTLOG_TABLE_PREFIX: "audit_" }
      yield* cli.json(0, ["init"], { env })
      yield* cli.sql("UPDATE audit_trustlog_cursor SET value = '999' WHERE name = 'schema'")
      yield* refuses(cli, 2, /newer trustlog/, ["run"], { env })
    }))

  it.scopedLive("takes no ledger that is gone, cut, foreign or restored for a good one", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* cli.run(["init"])
      yield* cli.run(["append"], { stdin: lines(0, 3) })
      yield* cli.run(["drain"])
      yield* Effect.promise(() => fs.cp(cli.file("trustlog-ledger"), cli.file("older"), { recursive: true }))
      yield* cli.run(["append"], { stdin: lines(3, 6) })
      yield* cli.run(["drain"])
      yield* cli.run(["append"], { stdin: lines(6, 9) })
      yield* Effect.promise(() => fs.cp(cli.file("trustlog-ledger"), cli.file("newest"), { recursive: true }))
      const tampered = (id: RegExp) =>
        Effect.map(cli.json(1, ["verify", "--allow-pending"]), (report) => {
          const { altered, missing, surplus, verdict } = Object(report)
          assert.strictEqual(verdict, "tampered")
          assert.isTrue([...altered, ...missing, ...surplus].some((finding) => id.test(finding.id)))
        })
      const put = (name: string) =>
        Effect.promise(async () => {
          await fs.rm(cli.file("trustlog-ledger"), { recursive: true, force: true })
          await fs.cp(cli.file(name), cli.file("trustlog-ledger"), { recursive: true })
        })

      // An older checkpoint beside a map that remembers a newer one.
      yield* put("newest")
      yield* Effect.promise(() => fs.cp(cli.file("older/checkpoint"), cli.file("trustlog-ledger/checkpoint")))
      yield* refuses(cli, 3, /signed/, ["drain"])
      yield* refuses(cli, 3, /signed/, ["run"])
      yield* tampered(/^checkpoint$/)

      yield* put("newest")
      yield* change(cli, "trustlog-ledger/checkpoint", (bytes) => bytes.subarray(0, 20))
      yield* refuses(cli, 3, /checkpoint/, ["drain"])
      yield* tampered(/^checkpoint$/)

      yield* remove(cli, "trustlog-ledger")
      yield* refuses(cli, 2, /no ledger/, ["drain"])
      yield* refuses(cli, 2, /no ledger/, ["run"])
      yield* tampered(/^checkpoint$/)

      yield* Effect.promise(() => fs.mkdir(cli.file("trustlog-ledger")))
      yield* cli.write("trustlog-ledger/holiday.jpg", "a photograph")
      yield* refuses(cli, 2, /holds no ledger/, ["drain"])
      yield* refuses(cli, 2, /holds no ledger/, ["init"])

      yield* put("newest")
      yield* refuses(cli, 2, /no signing key elsewhere\.key: .* TRUSTLOG_KEY_FILE/, ["drain"], {
        env: { TRUSTLOG_KEY_FILE: "elsewhere.key" }
      })

      // Somebody else's ledger.
      yield* cli.run(["init"], { env: { TRUSTLOG_PUBLISHER_URL: "ledger:foreign" } })
      yield* put("foreign")
      yield* refuses(cli, 2, /not the key of the ledger/, ["drain"])

      // The genuine one goes on where it was.
      yield* put("newest")
      assert.deepInclude(yield* cli.json(0, ["drain"]), { delivered: 3 })
      assert.deepInclude(yield* cli.json(0, ["verify"]), { verdict: "complete", ledgerSize: 10 })
    }))

  it.scopedLive("purges nothing without the ledger and its own key", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* cli.run(["init"])
      yield* cli.run(["append"], { stdin: lines(0, 3) })
      yield* cli.run(["drain"])
      const purge = ["purge", "--older-than", "1ms"]
      yield* refuses(cli, 2, /no signing key elsewhere\.key: .* TRUSTLOG_KEY_FILE/, purge, {
        env: { TRUSTLOG_KEY_FILE: "elsewhere.key" }
      })
      yield* cli.run(["init"], { env: { TRUSTLOG_PUBLISHER_URL: "ledger:foreign" } })
      yield* refuses(cli, 2, /foreign\.key: is not the key of the ledger/, purge, {
        env: { TRUSTLOG_KEY_FILE: "foreign.key" }
      })
      yield* cli.write("broken.key", "-----BEGIN PRIVATE KEY-----\n")
      yield* refuses(cli, 3, /is no private key/, purge, { env: { TRUSTLOG_KEY_FILE: "broken.key" } })
      yield* refuses(cli, 2, /no ledger/, purge, {
        env: { TRUSTLOG_PUBLISHER_URL: "ledger:nowhere", TRUSTLOG_KEY_FILE: "trustlog-ledger.key" }
      })
      assert.deepInclude(yield* cli.json(0, ["verify"]), { verdict: "complete", operations: 3, purged: 0 })
    }))

  it.scopedLive("ends a run whose ledger is restored under it, and signs nothing over it", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* cli.run(["init"])
      yield* Effect.promise(() => fs.cp(cli.file("trustlog-ledger/checkpoint"), cli.file("older")))
      yield* cli.run(["append"], { stdin: lines(0, 3) })
      yield* cli.run(["drain"])
      const { ended, says } = yield* cli.start(["run"], { env: { TRUSTLOG_SCAN_INTERVAL: "50ms" } })
      yield* says("started")
      yield* Effect.promise(() => fs.cp(cli.file("older"), cli.file("trustlog-ledger/checkpoint")))
      yield* cli.run(["append"], { stdin: lines(3, 6) })
      const { code, stderr } = yield* ended
      assert.strictEqual(code, 3, stderr)
      assert.match(stderr, /signed before/)
      assert.strictEqual(yield* cli.read("older"), yield* cli.read("trustlog-ledger/checkpoint"))
    }))

  it.scopedLive.runIf(canMount || process.env["CI"] !== undefined)(
    "says that a disk is read-only, and loses nothing",
    () =>
      Effect.gen(function*() {
        const cli = yield* makeSandbox
        yield* cli.run(["init"])
        yield* cli.run(["append"], { stdin: lines(0, 5) })
        yield* cli.write("more.jsonl", lines(5, 10))
        const { stderr, stdout } = yield* mounted(
          cli,
          `mount --bind . . && cd "$PWD" && mount -o remount,ro,bind . || exit
         trustlog append more.jsonl --json
         trustlog drain
         trustlog run
         trustlog promote ${uuid(1)}
         trustlog purge --older-than 1d
         trustlog dead-letters export dead.jsonl
         trustlog status --json
         trustlog verify --allow-pending`
        )
        const codes = Array.from(stdout.matchAll(/^exit (\d+)$/gm), ([, code]) => Number(code))
        assert.deepStrictEqual(codes, [3, 3, 3, 3, 3, 3, 3, 3], stdout + stderr)
        // SQLite keeps an index of its log beside the database, which it makes anew even for readers.
        assert.strictEqual(stderr.match(unwritable)?.length, 8)
        assert.deepInclude(yield* cli.json(0, ["drain"]), { delivered: 5 })
        assert.deepInclude(yield* cli.json(0, ["verify"]), { verdict: "complete", operations: 5 })
      })
  )

  it.scopedLive.runIf(canMount || process.env["CI"] !== undefined)(
    "says that only the ledger is read-only, verifies it as it is, and delivers when it can be written again",
    () =>
      Effect.gen(function*() {
        const cli = yield* makeSandbox
        yield* cli.run(["init"])
        yield* cli.run(["append"], { stdin: lines(0, 5) })
        yield* cli.run(["drain"])
        yield* cli.run(["append"], { stdin: lines(5, 10) })
        const { stderr, stdout } = yield* mounted(
          cli,
          `mount --bind trustlog-ledger trustlog-ledger && mount -o remount,ro,bind trustlog-ledger || exit
         trustlog drain
         trustlog verify --allow-pending
         trustlog purge --older-than 1d`
        )
        const codes = Array.from(stdout.matchAll(/^exit (\d+)$/gm), ([, code]) => Number(code))
        assert.deepStrictEqual(codes, [3, 0, 0], stdout + stderr)
        assert.match(stderr, unwritable)
        assert.deepInclude(yield* cli.json(0, ["drain"]), { delivered: 5, dead: 0, retrying: 0 })
        assert.deepInclude(yield* cli.json(0, ["verify"]), { verdict: "complete", operations: 10 })
      })
  )

  it.scopedLive.runIf(canMount || process.env["CI"] !== undefined)(
    "says that a disk is full, and how far it came",
    () =>
      Effect.gen(function*() {
        const cli = yield* makeSandbox
        yield* cli.write("many.jsonl", lines(0, 20_000, { payload: "x".repeat(200) }))
        const { stderr, stdout } = yield* mounted(
          cli,
          `mkdir small && mount -t tmpfs -o size=4m tmpfs small && cd small || exit
         trustlog init
         trustlog append ../many.jsonl --json
         trustlog append ../many.jsonl
         mount -o remount,size=400m .
         trustlog append ../many.jsonl --json
         mount -o remount,size=$(( $(du -sk . | cut -f1) + 200 ))k .
         trustlog drain
         mount -o remount,size=400m .
         trustlog drain
         trustlog verify`
        )
        const codes = Array.from(stdout.matchAll(/^exit (\d+)$/gm), ([, code]) => Number(code))
        assert.deepStrictEqual(codes.slice(0, 4), [0, 3, 3, 0], stdout + stderr)
        assert.include([1, 3], codes[4])
        assert.deepStrictEqual(codes.slice(5), [0, 0], stdout + stderr)
        assert.match(stderr, /full/)
        const [before, after] = Array.from(
          stdout.matchAll(/^\{"read":\d+,"appended":(\d+),"duplicates":(\d+)/gm),
          ([, appended, duplicates]) => ({ appended: Number(appended), duplicates: Number(duplicates) })
        )
        assert.isAbove(before?.appended ?? 0, 0)
        assert.isAtLeast(after?.duplicates ?? 0, before?.appended ?? 0)
        assert.strictEqual((after?.appended ?? 0) + (after?.duplicates ?? 0), 20_000)
        assert.match(stdout, /^verdict: complete/m)
      })
  )
})
