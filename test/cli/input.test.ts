import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { spawn } from "node:child_process"
import * as runtime from "../runtime.ts"
import { lines, makeSandbox, uuid } from "./sandbox.ts"

const operation = (n: number, more: string): string =>
  `{"id":"${uuid(n)}","actor":"ann","action":"a","target":"t",${more}}`

const bytes = (...parts: ReadonlyArray<string | Uint8Array>): Buffer =>
  Buffer.concat(parts.map((part) => typeof part === "string" ? Buffer.from(part) : part))

describe("append, on bad input", () => {
  it.scopedLive("refuses each line that is not good, says why, and keeps the others", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* cli.run(["init"])
      const good = [
        operation(1, `"payload":"${"x".repeat(70 * 1024)}"`),
        operation(2, `"payload":{"__proto__":{"polluted":true},"constructor":1,"toJSON":2}`),
        operation(3, `"payload":0.1,"clientIp":null,"occurredAt":null`)
      ]
      const bad: ReadonlyArray<readonly [Buffer | string, RegExp]> = [
        [`{"actor":"ann",`, /^write valid JSON/],
        [`"just text"`, /^write an object with its fields$/],
        [
          operation(10, `"payload":"${"x".repeat(5_000_000)}"`),
          /^payload: is too large to be recorded; store it elsewhere/
        ],
        [bytes(`{"actor":"`, Uint8Array.of(0xff, 0xfe), `","action":"a","target":"t"}`), /^the line is not UTF-8/],
        [operation(11, `"source":"a\\u0000b"`), /^source: remove the NUL character/],
        [operation(12, `"payload":{"a":["\\ud800"]}`), /^payload\.a\[0\]: replace the lone surrogate/],
        [operation(13, `"payload":{"a":1,"a":2}`), /^payload\.a: give each key once$/],
        [operation(14, `"__proto__":{}`), /^__proto__: is not a field/],
        [operation(15, `"clientIp":"192.0.2.256"`), /^clientIp: write an IPv4 or IPv6 address/],
        [operation(16, `"occurredAt":"2026-11-23T14:50:42"`), /^occurredAt: write RFC 3339 with a zone/],
        [
          operation(17, `"payload":12345678901234567890`),
          /^payload: 12345678901234567890 is not exact .* as a string$/
        ],
        [operation(18, `"colour":"red"`), /^colour: is not a field of an operation; put it into payload$/],
        [operation(19, `"kind":"oddity"`), /^kind: write operation or record/],
        [`{"id":"4711","actor":"a","action":"a","target":"t"}`, /^id: write a UUID/],
        [operation(20, `"source":"\\u001b[2J"`).replace("\"a\"", "\"\""), /^action: must not be empty/]
      ]
      const stdin = Buffer.concat([...bad.map(([line]) => line), ...good].flatMap((line) => [bytes(line), bytes("\n")]))
      const report = Object(yield* cli.json(1, ["append"], { stdin }))
      assert.deepInclude(report, { read: bad.length + good.length, appended: good.length, rejected: bad.length })
      for (const [i, [, reason]] of bad.entries()) {
        assert.strictEqual(report.errors[i].line, i + 1)
        assert.match(report.errors[i].reason, reason)
      }
      const [row] = yield* cli.sql(`SELECT payload FROM operation WHERE id = '${uuid(2)}'`)
      assert.strictEqual(row?.["payload"], `{"__proto__":{"polluted":true},"constructor":1,"toJSON":2}`)
      assert.deepInclude(yield* cli.json(0, ["drain"]), { delivered: good.length })
      assert.deepInclude(yield* cli.json(0, ["verify"]), { verdict: "complete" })
    }))

  it.scopedLive("reads an empty file, and one of blank lines, as no operations", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* cli.run(["init"])
      yield* cli.write("empty.jsonl", "")
      yield* cli.write("blank.jsonl", "\n \t\r\n\n")
      const nothing = { read: 0, appended: 0, duplicates: 0, rejected: 0, errors: [] }
      assert.deepStrictEqual(yield* cli.json(0, ["append", "empty.jsonl"]), nothing)
      assert.deepStrictEqual(yield* cli.json(0, ["append", "blank.jsonl"]), nothing)
    }))

  it.scopedLive("refuses a line of 50 MB without keeping it, and reads on behind it", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* cli.run(["init"])
      const endless = Buffer.alloc(50_000_000, "x")
      // What the process may have: a line that were kept would not fit.
      const env = { NODE_OPTIONS: "--max-old-space-size=64" }
      yield* cli.write(
        "huge.jsonl",
        Buffer.concat([Buffer.from(lines(0, 1)), endless, Buffer.from(`\n${lines(1, 2)}`)])
      )
      const report = Object(yield* cli.json(1, ["append", "huge.jsonl"], { env }))
      assert.deepInclude(report, { read: 3, appended: 2, rejected: 1 })
      assert.strictEqual(report.errors[0].line, 2)
      assert.match(report.errors[0].reason, /the line is longer than \d+ bytes/)
      yield* cli.write("endless.jsonl", endless)
      const { code, stderr } = yield* cli.run(["append", "endless.jsonl"], { env })
      assert.strictEqual(code, 1)
      assert.match(stderr, /^line 1: the line is longer/)
    }))

  it.scopedLive("records what comes through a pipe while the pipe stays open", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* cli.run(["init"])
      const child = yield* Effect.acquireRelease(
        Effect.sync(() =>
          spawn(...runtime.running(cli.bin, "append"), { cwd: cli.directory, stdio: ["pipe", "pipe", "pipe"] })
        ),
        (child) => Effect.sync(() => child.kill("SIGKILL"))
      )
      child.stdin.write(lines(0, 2))
      const pending = Effect.map(cli.json(0, ["status"]), (status) => Object(status).pending)
      assert.strictEqual(yield* Effect.repeat(pending, { until: (pending) => pending === 2 }), 2)
      child.stdin.end(lines(2, 3))
      const code = yield* Effect.promise(() => new Promise((resolve) => child.on("close", resolve)))
      assert.strictEqual(code, 0)
      assert.strictEqual(yield* pending, 3)
    }))

  it.scopedLive("shows no terminal command that a stranger has written into a line", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* cli.run(["init"])
      const { stderr } = yield* cli.run(["append"], {
        stdin: bytes(
          `{"\x1b[2J":1}\n`,
          operation(1, `"\\u001b]0;owned\\u0007":1`),
          "\n",
          operation(2, `"payload":{"\\u009b1m":"\\ud800"}`),
          "\n"
        )
      })
      assert.notMatch(stderr.replaceAll("\n", ""), /\p{Cc}/u)
      assert.lengthOf(stderr.trimEnd().split("\n"), 3)
    }))
})
