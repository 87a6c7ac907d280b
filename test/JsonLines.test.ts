import { assert, describe, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Stream from "effect/Stream"
import { execFileSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import * as Envelope from "../src/Envelope.ts"
import * as JsonLines from "../src/JsonLines.ts"
import { maxEnvelopeBytes, Operation, timestampOf } from "../src/Operation.ts"
import * as runtime from "./runtime.ts"

const encoder = new TextEncoder()

const valid = (actor: string) => `{"actor":${JSON.stringify(actor)},"action":"a","target":"t"}`

/** `[line, actor]` of an operation, `[line, field, reason]` of a refusal. */
const show = ({ line, result }: JsonLines.Line): ReadonlyArray<string | number> =>
  Either.match(result, {
    onLeft: (error) => [line, error.field, error.reason],
    onRight: (operation) => [line, operation.actor]
  })

const read = <E, R>(bytes: Stream.Stream<Uint8Array, E, R>) =>
  Effect.map(Stream.runCollect(JsonLines.fromBytes(bytes)), (lines) => Chunk.toReadonlyArray(lines).map(show))

const readText = (text: string) => read(Stream.succeed(encoder.encode(text)))

const mixed = [
  valid("Ann"),
  "",
  ` \t${valid("Дмитрий")}\r`,
  "\r",
  "nonsense",
  valid("语言 😀"),
  "  \u00a0",
  "{\"actor\":1,\"action\":\"a\",\"target\":\"t\"}",
  valid("last")
].join("\n")

const expected = [[1, "Ann"], [3, "Дмитрий"], [5, "", "notJson"], [6, "语言 😀"], [8, "actor", "type"], [9, "last"]]

describe("fromBytes", () => {
  it.effect("numbers lines as an editor does, skips blank ones, and goes on after a refused one", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* readText(mixed), expected)
      assert.deepStrictEqual(yield* readText(`${mixed}\n`), expected)
      assert.deepStrictEqual(yield* readText(`${mixed}\n\n \n`), expected)
    }))

  it.effect("reads the same wherever the input is cut into pieces", () =>
    Effect.gen(function*() {
      const bytes = encoder.encode(mixed)
      for (let at = 0; at <= bytes.length; at++) {
        assert.deepStrictEqual(yield* read(Stream.make(bytes.subarray(0, at), bytes.subarray(at))), expected)
      }
      for (const size of [1, 2, 3, 7]) {
        const pieces = Array.from(
          { length: Math.ceil(bytes.length / size) },
          (_, i) => bytes.subarray(i * size, (i + 1) * size)
        )
        assert.deepStrictEqual(yield* read(Stream.fromIterable(pieces)), expected)
        assert.deepStrictEqual(yield* read(Stream.rechunk(Stream.fromIterable(pieces), 1)), expected)
      }
    }))

  it.effect("does not mind that the owner of a piece writes the next one over it", () =>
    Effect.gen(function*() {
      const bytes = encoder.encode(mixed)
      const buffer = new Uint8Array(5)
      const pieces = Stream.range(0, Math.ceil(bytes.length / 5) - 1).pipe(
        Stream.rechunk(1),
        Stream.map((i) => {
          buffer.set(bytes.subarray(i * 5, i * 5 + 5))
          return buffer.subarray(0, Math.min(5, bytes.length - i * 5))
        })
      )
      assert.deepStrictEqual(yield* read(pieces), expected)
    }))

  it.effect("finds nothing in an empty input or in blank lines", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* read(Stream.empty), [])
      for (const text of ["", "\n", "\r\n\r\n", "\ufeff", "\ufeff\n", " \n\t"]) {
        assert.deepStrictEqual(yield* readText(text), [])
      }
    }))

  it.effect("ends lines at LF only", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* readText(`${valid("a")}\r${valid("b")}\n${valid("c")}`), [[1, "", "notJson"], [
        2,
        "c"
      ]])
      assert.deepStrictEqual(yield* readText(`${valid("a\u2028b\u0085c")}\r\n${valid("d")}`), [[1, "a\u2028b\u0085c"], [
        2,
        "d"
      ]])
    }))

  it.effect("drops a byte order mark at the beginning, and refuses one elsewhere", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(
        yield* readText(`\ufeff${valid("a")}\n\ufeff${valid("b")}`),
        [[1, "a"], [2, "", "notJson"]]
      )
      assert.deepStrictEqual(yield* readText(`\ufeff\ufeff${valid("a")}`), [[1, "", "notJson"]])
    }))

  it.effect("refuses the lines alone that are not UTF-8", () =>
    Effect.gen(function*() {
      const bad = [[0xff], [0xc3], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf5, 0x80, 0x80, 0x80]]
      const bytes = bad.flatMap((
        bytes
      ) => [...encoder.encode("{\"actor\":\""), ...bytes, ...encoder.encode(`"}\n${valid("ok")}\n`)])
      assert.deepStrictEqual(
        yield* read(Stream.succeed(new Uint8Array(bytes))),
        bad.flatMap((_, i) => [[2 * i + 1, "", "encoding"], [2 * i + 2, "ok"]])
      )
      const utf16 = new Uint8Array([0xff, 0xfe, ...Buffer.from(`${valid("a")}\n${valid("b")}`, "utf16le")])
      assert.isTrue((yield* read(Stream.succeed(utf16))).every((line) => line.length === 3))
    }))

  it.effect("refuses a line that is too long without keeping it, and reads on after it", () =>
    Effect.gen(function*() {
      const piece = new Uint8Array(65_536).fill(0x78)
      // 4 GiB without a line feed: kept, they would not fit.
      const endless = Stream.repeatValue(piece).pipe(Stream.take(65_536), Stream.rechunk(1))
      const input = Stream.succeed(encoder.encode(`${valid("first")}\n{"actor":"`)).pipe(
        Stream.concat(endless),
        Stream.concat(Stream.succeed(encoder.encode(`"}\n${valid("second")}\n`)))
      )
      assert.deepStrictEqual(yield* read(input), [[1, "first"], [2, "", "tooLarge"], [3, "second"]])
      assert.deepStrictEqual(yield* read(Stream.take(Stream.repeatValue(piece), 300)), [[1, "", "tooLarge"]])
      const twice = new Uint8Array(2 * (JsonLines.maxLineBytes + 1) + 1).fill(0x20)
      twice[JsonLines.maxLineBytes + 1] = 0x0a
      assert.deepStrictEqual(yield* read(Stream.succeed(twice)), [[1, "", "tooLarge"], [2, "", "tooLarge"]])
    }))

  it.effect("takes a line of the greatest length, and tells a payload that is too large from a line that is", () =>
    Effect.gen(function*() {
      const line = (payload: string) => `{"actor":"a","action":"b","target":"c","payload":"${payload}"}`
      const escaped = line("\\u0439".repeat(2_000_000))
      assert.isAbove(escaped.length, 2.8 * maxEnvelopeBytes)
      assert.deepStrictEqual(yield* readText(escaped), [[1, "a"]])
      assert.deepStrictEqual(yield* readText(valid("a").padEnd(JsonLines.maxLineBytes)), [[1, "a"]])
      assert.deepStrictEqual(yield* readText(valid("a").padEnd(JsonLines.maxLineBytes + 1)), [[1, "", "tooLarge"]])
      assert.deepStrictEqual(yield* readText(line("x".repeat(5_000_000))), [[1, "payload", "tooLarge"]])
    }))

  it.effect("refuses NUL characters, raw or escaped", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(
        yield* readText("\u0000\n{\"actor\":\"\u0000\"}\n{\"actor\":\"\\u0000\",\"action\":\"a\",\"target\":\"t\"}"),
        [[1, "", "notJson"], [2, "", "notJson"], [3, "actor", "encoding"]]
      )
    }))

  it.effect("gives the lines of one piece as one chunk", () =>
    Effect.gen(function*() {
      const bytes = encoder.encode(`${valid("a")}\n`.repeat(100))
      const sizes = yield* JsonLines.fromBytes(Stream.rechunk(Stream.make(bytes, bytes), 1)).pipe(
        Stream.chunks,
        Stream.map(Chunk.size),
        Stream.filter((size) => size > 0),
        Stream.runCollect
      )
      assert.deepStrictEqual(Chunk.toReadonlyArray(sizes), [100, 100])
    }))

  it.effect("fails as its input fails, after the lines that were whole", () =>
    Effect.gen(function*() {
      const input = Stream.concat(Stream.succeed(encoder.encode(`${valid("a")}\n${valid("b")}`)), Stream.fail("gone"))
      const seen: Array<unknown> = []
      const failure = yield* Effect.flip(
        Stream.runForEach(JsonLines.fromBytes(input), (line) => Effect.sync(() => seen.push(show(line))))
      )
      assert.deepStrictEqual([failure, seen], ["gone", [[1, "a"]]])
    }))

  it.effect("starts from the beginning whenever it is run", () =>
    Effect.gen(function*() {
      const lines = JsonLines.fromBytes(Stream.succeed(encoder.encode(valid("a"))))
      assert.deepStrictEqual((yield* Stream.runCollect(lines)).length, 1)
      assert.deepStrictEqual(Chunk.toReadonlyArray(yield* Stream.runCollect(lines)).map(show), [[1, "a"]])
    }))
})

describe("examples/operations.jsonl", () => {
  const pathOf = (name: string) => fileURLToPath(new URL(`../${name}`, import.meta.url))
  const file = readFileSync(pathOf("examples/operations.jsonl"))

  it("is what its script writes, byte for byte", () => {
    const written = execFileSync(...runtime.running(pathOf("scripts/operations.mjs")), { maxBuffer: 10_000_000 })
    assert.isTrue(written.equals(file))
  })

  it.effect("holds thousands of operations and records, each accepted, with every field in use", () =>
    Effect.gen(function*() {
      const lines = Chunk.toReadonlyArray(yield* Stream.runCollect(JsonLines.fromBytes(Stream.succeed(file))))
      const operations = lines.map(({ result }) => Either.getOrThrow(result))
      assert.isAbove(operations.length, 2_000)
      assert.isBelow(file.length, 2_000_000)
      assert.strictEqual(new Set(operations.map(({ id }) => id)).size, operations.length)
      for (const field of Object.keys(Operation.fields)) {
        const values = new Set(operations.map((operation) => Reflect.get(operation, field)))
        assert.isAbove(values.size, 1, field)
      }
      const sizes = operations.map((operation) =>
        Either.getOrThrow(Envelope.seal("stream", operation, timestampOf(0))).bytes.length
      )
      assert.strictEqual(sizes.filter((size) => size > 65_535).length, 1)
      assert.deepStrictEqual(operations.map(({ id }) => id), operations.map(({ id }) => id).sort())
    }))
})
