import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { lines, makeSandbox } from "./sandbox.ts"

describe("the command line, ended from outside", () => {
  it.scopedLive("run delivers what is pending, gives its lanes back and ends with exit code 0 on SIGTERM", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* cli.run(["init"])
      const { child, ended, says } = yield* cli.start(["run", "--json"])
      yield* says("started")
      yield* cli.run(["append"], { stdin: lines(0, 3000) })
      child.kill("SIGTERM")
      const { code, stderr, stdout } = yield* ended
      assert.strictEqual(code, 0, stderr)
      assert.match(stderr, /^\S+Z INFO started/)
      assert.deepStrictEqual(JSON.parse(stdout), { delivered: 3000, refused: 0, dead: 0, pending: 0, retrying: 0 })
      const status = Object(yield* cli.json(0, ["status"]))
      assert.deepStrictEqual(status.lanes.map((lane: { owner: unknown }) => lane.owner), [null, null])
    }))

  it.scopedLive("run ends with exit code 0 on SIGINT while it has nothing to do", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* cli.run(["init"])
      const { child, ended, says } = yield* cli.start(["run"])
      yield* says("started")
      child.kill("SIGINT")
      const { code, stdout } = yield* ended
      assert.strictEqual(code, 0)
      assert.match(stdout, /^ended: 0 delivered/)
    }))

  it.scopedLive("append tells on SIGINT how far it came, and the same file again records each operation once", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* cli.run(["init"])
      yield* cli.write("many.jsonl", `{}\n${lines(0, 50_000)}`)
      const { child, ended, says } = yield* cli.start(["append", "many.jsonl"])
      // The first batch has been recorded.
      yield* says("line 1: ")
      child.kill("SIGINT")
      const { code, stderr, stdout } = yield* ended
      assert.strictEqual(code, 130)
      assert.match(stderr, /Ended early\./)
      const before = Number(/([\d,]+) appended/.exec(stdout)?.[1]?.replaceAll(",", ""))
      assert.isTrue(before > 0 && before < 50_000, stdout)
      assert.deepInclude(yield* cli.json(1, ["append", "many.jsonl"]), {
        read: 50_001,
        appended: 50_000 - before,
        duplicates: before,
        rejected: 1
      })
    }))

  it.scopedLive("a drain that is interrupted gives its lane back", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* cli.run(["init"])
      yield* cli.run(["append"], { stdin: lines(0, 20_000) })
      const { child, ended } = yield* cli.start(["drain"])
      const owned = Effect.map(cli.sql("SELECT owner FROM trustlog_cursor WHERE owner IS NOT NULL"), (rows) =>
        rows.length)
      yield* Effect.repeat(owned, {
        until: (count) =>
          count > 0
      })
      child.kill("SIGINT")
      assert.strictEqual((yield* ended).code, 130)
      assert.strictEqual(yield* owned, 0)
    }))

  it.scopedLive("a reader that has seen enough is no error, and a full disk behind standard output is", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* cli.run(["init"])
      yield* cli.run(["append"], { stdin: lines(0, 2000) })
      yield* cli.run(["drain"], { env: { TRUSTLOG_PUBLISHER_URL: "ledger:trustlog-ledger?maxEntryBytes=10" } })
      const shell = (script: string) =>
        Effect.flatMap(
          cli.spawned("bash", ["-c", `trustlog() { ${cli.quoted} "$@"; }\n${script}`]),
          ({ ended }) => ended
        )
      const closed = yield* shell(`trustlog dead-letters export - | head -1; exit "\${PIPESTATUS[0]}"`)
      assert.strictEqual(closed.code, 0)
      assert.lengthOf(closed.stdout.trimEnd().split("\n"), 1)
      const help = yield* shell(`trustlog --help | true; exit "\${PIPESTATUS[0]}"`)
      assert.deepInclude(help, { code: 0, stderr: "" })
      const full = yield* shell(`trustlog status > /dev/full`)
      assert.strictEqual(full.code, 3)
      assert.match(full.stderr, /^trustlog: standard output cannot be written: ENOSPC/)
    }))
})
