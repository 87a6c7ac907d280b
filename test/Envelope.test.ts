import { assert, describe, it } from "@effect/vitest"
import canonicalize from "canonicalize"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import { createHash } from "node:crypto"
import * as Envelope from "../src/Envelope.ts"
import * as Operation from "../src/Operation.ts"
import * as json from "../src/internal/json.ts"

const stream = "01926f3e-7d4c-7b1a-9c55-3f0e6a1b2c3d"
const now = Operation.timestampOf(Date.UTC(2026, 10, 23))

const operationOf = (input: unknown): Operation.Operation => Either.getOrThrow(Operation.fromUnknown(input))

const full = operationOf({
  id: "01926f3e-7d4c-7b1a-9c55-3f0e6a1b2c3e",
  kind: "record",
  occurredAt: "2026-11-23T14:50:42.123456Z",
  actor: "Ann \"the\" Smith",
  action: "document.keep",
  target: "document/7",
  source: "archive",
  payload: { b: [1, null, "x"], a: "é" },
  requestHash: "a".repeat(64),
  responseHash: "0".repeat(64),
  clientIp: "2001:db8::1",
  serverIp: "192.0.2.1",
  traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
})

const recorded = Envelope.recorded(full, now)

const lineOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)
const bytesOf = (line: string): Uint8Array => new TextEncoder().encode(line)

const line = lineOf(Envelope.encode(stream, recorded).bytes)

const isWellFormed = (text: string): boolean => json.textProblem(text) === undefined

const text = FastCheck.oneof(FastCheck.string16bits(), FastCheck.fullUnicodeString(), FastCheck.string())
  .filter((text) => text !== "" && isWellFormed(text))

const payload = FastCheck.oneof(
  FastCheck.jsonValue(),
  FastCheck.object({ key: text, values: [text, FastCheck.double()] })
)
  .filter((value) => json.inspect(value, "payload", Operation.maxEnvelopeBytes) === undefined)

const operations = FastCheck.record({
  id: FastCheck.uuid(),
  kind: FastCheck.constantFrom("operation", "record"),
  occurredAt: FastCheck.constantFrom("2026-11-23T14:50:42.123456+01:00", "1999-12-31T23:59:59Z"),
  actor: text,
  action: text,
  target: text,
  source: text,
  payload,
  requestHash: FastCheck.constant("A".repeat(64)),
  responseHash: FastCheck.constant("b".repeat(64)),
  clientIp: FastCheck.ipV6(),
  serverIp: FastCheck.ipV4(),
  traceparent: FastCheck.constant("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
}, { requiredKeys: ["actor", "action", "target"] }).map(operationOf)

describe("encode", () => {
  it("writes this line for this operation, in this version for ever", () => {
    assert.strictEqual(
      line,
      "{\"action\":\"document.keep\",\"actor\":\"Ann \\\"the\\\" Smith\",\"clientIp\":\"2001:db8::1\"," +
        "\"id\":\"01926f3e-7d4c-7b1a-9c55-3f0e6a1b2c3e\",\"kind\":\"record\"," +
        "\"occurredAt\":\"2026-11-23T14:50:42.123456Z\",\"payload\":{\"a\":\"é\",\"b\":[1,null,\"x\"]}," +
        `"requestHash":"${"a".repeat(64)}","responseHash":"${"0".repeat(64)}","serverIp":"192.0.2.1",` +
        "\"source\":\"archive\",\"stream\":\"01926f3e-7d4c-7b1a-9c55-3f0e6a1b2c3d\",\"target\":\"document/7\"," +
        "\"traceparent\":\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\",\"v\":1}"
    )
    assert.strictEqual(
      Envelope.contentHash(stream, recorded),
      "20f4cd66bbf090872cc7c8a9059b21b8238f217bf0d055b244a0a5b7a74a6474"
    )
  })

  it("writes what the RFC 8785 library writes of the whole, and its SHA-256", () => {
    FastCheck.assert(
      FastCheck.property(operations, FastCheck.boolean(), (operation, isStored) => {
        const sealed = Either.getOrThrow(Envelope.seal(stream, operation, now, { isStored }))
        const present = Object.entries({ ...operation, occurredAt: operation.occurredAt ?? now })
          .filter(([, value]) => value !== null)
        const expected = canonicalize({
          ...Object.fromEntries(present),
          ...(isStored ? {} : { stored: false }),
          stream,
          v: 1
        })
        assert.strictEqual(lineOf(sealed.bytes), expected)
        assert.strictEqual(sealed.contentHash, createHash("sha256").update(sealed.bytes).digest("hex"))
        assert.deepStrictEqual(Envelope.encode(stream, sealed.entry, { isStored }), sealed)
        if (isStored) assert.strictEqual(Envelope.contentHash(stream, sealed.entry), sealed.contentHash)
      }),
      { numRuns: 2000 }
    )
  })

  it("takes the time of the append where the operation gives none", () => {
    const operation = operationOf({ actor: "a", action: "b", target: "c" })
    assert.strictEqual(Envelope.recorded(operation, now).occurredAt, now)
    assert.strictEqual(recorded.occurredAt, full.occurredAt)
  })

  it("gives another hash when any field is changed, added or taken away", () => {
    const changes: ReadonlyArray<Partial<Record<keyof Envelope.Recorded, string | null>>> = [
      { id: stream },
      { kind: "operation" },
      { occurredAt: "2026-11-23T14:50:42.123457Z" },
      { actor: "Ann" },
      { action: "document.drop" },
      { target: "document/8" },
      { source: null },
      { source: "Archive" },
      { payload: null },
      { payload: "null" },
      { payload: "{\"a\": \"é\",\"b\":[1,null,\"x\"]}" },
      { payload: "{\"a\":\"e\\u0301\",\"b\":[1,null,\"x\"]}" },
      { requestHash: null },
      { responseHash: null },
      { requestHash: recorded.responseHash, responseHash: recorded.requestHash },
      { clientIp: null },
      { serverIp: null },
      { clientIp: "192.0.2.1", serverIp: "2001:db8::1" },
      { traceparent: null }
    ]
    const hashes = changes.map((change) => Envelope.contentHash(stream, Object.assign({ ...recorded }, change)))
    assert.strictEqual(new Set([...hashes, Envelope.contentHash(stream, recorded)]).size, changes.length + 1)
    assert.notStrictEqual(Envelope.contentHash(now, recorded), Envelope.contentHash(stream, recorded))
  })

  it("gives another hash when a field's text swallows its neighbour", () => {
    const original = Envelope.contentHash(stream, recorded)
    const swallowed: ReadonlyArray<Partial<Record<keyof Envelope.Recorded, string | null>>> = [
      { payload: `${recorded.payload},"requestHash":"${recorded.requestHash}"`, requestHash: null },
      { id: `${recorded.id}","kind":"${recorded.kind}`, kind: "" },
      { actor: `${recorded.actor}","clientIp":"${recorded.clientIp}`, clientIp: null },
      { clientIp: null, actor: "Ann \\\"the\\\" Smith\",\"clientIp\":\"2001:db8::1" }
    ]
    for (const change of swallowed) {
      assert.notStrictEqual(Envelope.contentHash(stream, Object.assign({ ...recorded }, change)), original)
      assert.notStrictEqual(
        lineOf(Envelope.encode(stream, Object.assign({ ...recorded }, change)).bytes),
        line
      )
    }
    const short = { ...recorded, payload: "\"x\"" }
    const swallowing = { occurredAt: `${recorded.occurredAt}","payload":"x`, payload: null }
    assert.notStrictEqual(
      Envelope.contentHash(stream, Object.assign({ ...short }, swallowing)),
      Envelope.contentHash(stream, short)
    )
    // A payload that is text, and the same text without its quotes.
    const quoted = { ...recorded, payload: "\"hello\"" }
    assert.notStrictEqual(
      Envelope.contentHash(stream, quoted),
      Envelope.contentHash(stream, { ...quoted, payload: "hello" })
    )
  })
})

describe("seal", () => {
  it("keeps an envelope of exactly 4 MiB and refuses one byte more", () => {
    const sealed = (length: number) => Envelope.seal(stream, operationOf({ ...full, payload: "é".repeat(length) }), now)
    const rest = Either.getOrThrow(sealed(0)).bytes.length
    const fitting = Math.floor((Operation.maxEnvelopeBytes - rest) / 2)
    const largest = Either.getOrThrow(sealed(fitting))
    assert.isAtMost(Operation.maxEnvelopeBytes - largest.bytes.length, 1)
    const error = Either.getOrThrow(Either.flip(sealed(fitting + 1)))
    assert.deepStrictEqual([error.field, error.reason], ["payload", "tooLarge"])
    assert.isTrue(Either.isRight(Envelope.decode(largest.bytes)))
    const larger = { ...largest.entry, actor: `${largest.entry.actor}++` }
    assert.isTrue(Either.isLeft(Envelope.decode(Envelope.encode(stream, larger).bytes)))
  })
})

describe("decode", () => {
  it("reads back what was encoded", () => {
    FastCheck.assert(
      FastCheck.property(operations, FastCheck.boolean(), (operation, isStored) => {
        const encoded = Either.getOrThrow(Envelope.seal(stream, operation, now, { isStored }))
        const envelope = Either.getOrThrow(Envelope.decode(encoded.bytes))
        assert.deepStrictEqual(envelope, {
          ...encoded.entry,
          stream,
          isStored,
          contentHash: encoded.contentHash,
          isDigest: false
        })
        const digest = Either.getOrThrow(Envelope.decode(Envelope.digestForm(envelope)))
        assert.deepStrictEqual(digest, { ...envelope, payload: null, isDigest: true })
        assert.deepStrictEqual(Envelope.digestForm(digest), Envelope.digestForm(envelope))
      }),
      { numRuns: 1000 }
    )
  })

  it.each([
    ["nothing", ""],
    ["white space before it", ` ${line}`],
    ["a line feed after it", `${line}\n`],
    ["white space in it", line.replace(",", ", ")],
    ["a byte order mark", `\ufeff${line}`],
    ["two envelopes", line + line],
    ["a cut", line.slice(0, -1)],
    ["an array", `[${line}]`],
    ["a number", "1"],
    ["null", "null"],
    ["a birth record", "{\"origin\":\"trustlog.local/x\",\"type\":\"birth\"}"],
    ["another order", line.replace(/"action":("[^"]*"),"actor":("(?:[^"\\]|\\.)*")/, "\"actor\":$2,\"action\":$1")],
    ["a duplicate key", line.replace("{", "{\"action\":\"document.keep\",")],
    ["another duplicate key", line.replace("\"v\":1", "\"v\":1,\"v\":1")],
    ["a duplicate key in the payload", line.replace("{\"a\":\"é\"", "{\"a\":\"é\",\"a\":\"é\"")],
    ["an unknown key", line.replace("{", "{\"a\":1,")],
    ["a __proto__ key", line.replace("{", "{\"__proto__\":{},")],
    ["another version", line.replace("\"v\":1", "\"v\":2")],
    ["no version", line.replace(",\"v\":1", "")],
    ["a version written otherwise", line.replace("\"v\":1", "\"v\":1.0")],
    ["an escape that need not be", line.replace("archive", "\\u0061rchive")],
    ["an escaped solidus", line.replace("document/7", "document\\/7")],
    ["a null field", line.replace("\"source\":\"archive\"", "\"source\":null")],
    ["a null payload", line.replace(/"payload":\{.*?\},/, "\"payload\":null,")],
    ["stored: true", line.replace("\"stream\"", "\"stored\":true,\"stream\"")],
    [
      "an id in upper case",
      line.replace("01926f3e-7d4c-7b1a-9c55-3f0e6a1b2c3e", "01926F3E-7D4C-7B1A-9C55-3F0E6A1B2C3E")
    ],
    ["no id", line.replace(/"id":"[^"]*",/, "")],
    ["no kind", line.replace("\"kind\":\"record\",", "")],
    ["no time", line.replace(/"occurredAt":"[^"]*",/, "")],
    ["no actor", line.replace(/"actor":"(?:[^"\\]|\\.)*",/, "")],
    ["no stream", line.replace(/"stream":"[^"]*",/, "")],
    ["an empty stream", line.replace(/"stream":"[^"]*"/, "\"stream\":\"\"")],
    ["a lone surrogate in its stream", line.replace(/"stream":"[^"]*"/, "\"stream\":\"\\ud800\"")],
    ["a time with fewer digits", line.replace("42.123456Z", "42.123Z")],
    ["a time with an offset", line.replace("42.123456Z", "42.123456+00:00")],
    ["an IP of another form", line.replace("2001:db8::1", "2001:db8:0::1")],
    ["a hash in upper case", line.replace("a".repeat(64), "A".repeat(64))],
    [
      "a payload out of order",
      line.replace("{\"a\":\"é\",\"b\":[1,null,\"x\"]}", "{\"b\":[1,null,\"x\"],\"a\":\"é\"}")
    ],
    ["a number written otherwise", line.replace("[1,", "[1.0,")],
    ["a number that is not exact", line.replace("[1,", "[12345678901234567890,")],
    ["a lone surrogate in its payload", line.replace("[1,", "[\"\\ud800\",")],
    ["a NUL in its payload", line.replace("[1,", "[\"\\u0000\",")],
    ["a payload that nests too deep", line.replace("[1,", `[${"[".repeat(20_000)}${"]".repeat(20_000)},`)],
    ["both a payload and a digest", line.replace("\"id\"", `"contentHash":"${"0".repeat(64)}","id"`)],
    [
      "a digest that is no hash",
      line.replace(/"payload":\{.*?\},/, "").replace("\"id\"", "\"contentHash\":\"0\",\"id\"")
    ],
    ["an envelope that is too large", line.replace("[1,", `["${"x".repeat(Operation.maxEnvelopeBytes)}",`)]
  ])("refuses %s", (_, text) => {
    assert.notStrictEqual(text, line)
    const result = Envelope.decode(bytesOf(text))
    assert.isTrue(Either.isLeft(result))
    if (Either.isLeft(result)) assert.isBelow(result.left.length, 300)
  })

  it("refuses bytes that are not UTF-8", () => {
    for (const bytes of [[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80]]) {
      const [before = "", after = ""] = line.split("archive")
      assert.isTrue(Either.isLeft(Envelope.decode(new Uint8Array([...bytesOf(before), ...bytes, ...bytesOf(after)]))))
    }
  })

  it("refuses or reads as something else whatever has one bit flipped", () => {
    const bytes = bytesOf(line)
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = Uint8Array.from(bytes)
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      const result = Envelope.decode(flipped)
      if (Either.isRight(result)) {
        assert.notStrictEqual(result.right.contentHash, Envelope.contentHash(stream, recorded))
        assert.deepStrictEqual(Envelope.encode(result.right.stream, result.right, result.right).bytes, flipped)
      }
    }
  })
})

describe("digestForm", () => {
  it("fits 65,535 bytes with every text at its maximum and every character escaped", () => {
    const longest = "\u0001".repeat(Operation.maxTextLength)
    const operation = operationOf({
      ...full,
      actor: longest,
      action: longest,
      target: longest,
      source: longest,
      clientIp: "1111:2222:3333:4444:5555:6666:7777:8888",
      serverIp: "1111:2222:3333:4444:5555:6666:7777:8888",
      payload: "x".repeat(100_000)
    })
    for (const name of [stream, longest]) {
      const encoded = Either.getOrThrow(Envelope.seal(name, operation, now, { isStored: false }))
      const digest = Envelope.digestForm(Either.getOrThrow(Envelope.decode(encoded.bytes)))
      assert.isAtMost(digest.length, 65_535)
      assert.isAbove(digest.length, 4 * 6 * Operation.maxTextLength)
      assert.isTrue(Either.isRight(Envelope.decode(digest)))
    }
  })
})

describe("a row that plain SQL wrote", () => {
  const plain = { ...recorded, contentHash: null }

  it("is sent in canonical form, whatever form its fields have", () => {
    const loose = {
      ...plain,
      id: Operation.OperationId.make(recorded.id.toUpperCase(), { disableValidation: true }),
      occurredAt: Operation.Timestamp.make("2026-11-23T15:50:42.123456+01:00", { disableValidation: true }),
      payload: " { \"b\" : [1.0, null, \"\\u0078\"], \"a\": \"\\u00e9\" }\n",
      requestHash: "A".repeat(64),
      clientIp: "2001:DB8:0::1"
    }
    const encoded = Either.getOrThrow(Envelope.ofRow(stream, loose))
    assert.strictEqual(lineOf(encoded.bytes), line)
    assert.deepStrictEqual(Either.getOrThrow(Envelope.restate(loose)), recorded)
    assert.deepStrictEqual(Either.getOrThrow(Envelope.restate(recorded)), recorded)
    assert.isNull(Either.getOrThrow(Envelope.restate({ ...plain, payload: "null" })).payload)
  })

  it.each([
    ["a payload that is no JSON", { payload: "hello" }, /^payload: write valid JSON/],
    ["a payload with a duplicate key", { payload: "{\"x\":{\"a\":1,\"a\":2}}" }, /^payload\.x\.a: give each key once/],
    ["a payload with a number that is not kept", { payload: "[12345678901234567890]" }, /^payload\[0\]: /],
    ["an empty actor", { actor: "" }, /^actor: /],
    ["a wrong IP", { clientIp: "localhost" }, /^clientIp: /],
    [
      "a local time",
      { occurredAt: Operation.Timestamp.make("2026-11-23 14:50:42", { disableValidation: true }) },
      /^occurredAt: /
    ]
  ])("is refused with %s", (_, change, message) => {
    const unfit = Either.getOrThrow(Either.flip(Envelope.ofRow(stream, { ...plain, ...change })))
    assert.strictEqual(unfit.reason, "schema")
    assert.match(unfit.error, message)
  })

  it("is refused when it holds bytes where text belongs", () => {
    for (const column of ["payload", "actor", "occurredAt", "clientIp"]) {
      const row = Object.assign({ ...plain }, { [column]: new Uint8Array([0x31]) })
      assert.strictEqual(Either.getOrThrow(Either.flip(Envelope.ofRow(stream, row))).reason, "schema")
    }
  })

  it("is refused as too large when its envelope is", () => {
    const payload = JSON.stringify("é".repeat(Operation.maxEnvelopeBytes / 2))
    assert.strictEqual(Either.getOrThrow(Either.flip(Envelope.ofRow(stream, { ...plain, payload }))).reason, "tooLarge")
  })
})

describe("a row with a content hash", () => {
  it("is sent as it is while it matches, and is altered when it does not", () => {
    const row = { ...recorded, contentHash: Envelope.contentHash(stream, recorded) }
    assert.strictEqual(lineOf(Either.getOrThrow(Envelope.ofRow(stream, row)).bytes), line)
    for (const change of [{ actor: "Eve" }, { payload: "nonsense" }, { payload: null }, { clientIp: null }]) {
      assert.strictEqual(
        Either.getOrThrow(Either.flip(Envelope.ofRow(stream, { ...row, ...change }))).reason,
        "altered"
      )
    }
    assert.strictEqual(Either.getOrThrow(Either.flip(Envelope.ofRow(now, row))).reason, "altered")
  })

  it("is not made of a row whose payload has taken in, or given away, a part of its neighbours", () => {
    const payloads = [`{"a":[1,{"b":"}"}]}`, `[{"requestHash":"x"},"]"]`, `"text"`, "12.5", "true", "null", `{}`, `[]`]
    for (const payload of payloads) {
      const sealed = { ...recorded, payload }
      const row = { ...sealed, contentHash: Envelope.contentHash(stream, sealed) }
      assert.isTrue(Either.isRight(Envelope.ofRow(stream, row)))
      const changes = [
        { payload: `${payload},"requestHash":"${row.requestHash}"`, requestHash: null },
        {
          payload: `${payload},"requestHash":"${row.requestHash}","responseHash":"${row.responseHash}"`,
          requestHash: null,
          responseHash: null
        },
        ...Array.from(payload, (_, at) => ({ payload: payload.slice(0, at), requestHash: payload.slice(at) })),
        { payload: `${payload} ` },
        { payload: "" }
      ]
      for (const change of changes) {
        const unfit = Envelope.ofRow(stream, { ...row, ...change })
        assert.strictEqual(Either.isLeft(unfit) && unfit.left.reason, "altered", JSON.stringify(change))
      }
    }
  })
})
