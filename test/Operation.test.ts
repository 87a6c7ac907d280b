import { assert, describe, it } from "@effect/vitest"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as Schema from "effect/Schema"
import * as Operation from "../src/Operation.ts"
import * as json from "../src/internal/json.ts"
import * as runtime from "./runtime.ts"

const minimal = { actor: "ann", action: "login", target: "console" }

const full = {
  id: "01926f3e-7d4c-7b1a-9c55-3f0e6a1b2c3d",
  kind: "record",
  occurredAt: "2026-11-23T14:50:42.123456Z",
  actor: "Ann",
  action: "document.keep",
  target: "document/7",
  source: "archive",
  payload: { a: [1, null, "x"] },
  requestHash: "a".repeat(64),
  responseHash: "0".repeat(64),
  clientIp: "2001:db8::1",
  serverIp: "192.0.2.1",
  traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
} as const

const accepted = (input: unknown): Operation.Operation => Either.getOrThrow(Operation.fromUnknown(input))

const refused = (input: unknown): readonly [field: string, reason: string, cure: string] => {
  const error = Either.getOrThrow(Either.flip(Operation.fromUnknown(input)))
  return [error.field, error.reason, error.cure]
}

describe("fromUnknown", () => {
  it("takes the three required fields and makes the rest", () => {
    const operation = accepted(minimal)
    assert.match(operation.id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    assert.deepStrictEqual({ ...operation }, {
      ...minimal,
      id: operation.id,
      kind: "operation",
      source: null,
      payload: null,
      requestHash: null,
      responseHash: null,
      clientIp: null,
      serverIp: null,
      traceparent: null
    })
    assert.notStrictEqual(accepted(minimal).id, operation.id)
  })

  it("makes ids that sort by the time they were made", () => {
    const ids = Array.from({ length: 1000 }, () => accepted(minimal).id)
    assert.deepStrictEqual([...ids].sort(), ids)
  })

  it("keeps every field that is canonical as it is, and takes its own results again", () => {
    assert.deepStrictEqual<unknown>({ ...accepted(full) }, full)
    assert.deepStrictEqual<unknown>({ ...accepted({ ...accepted(full) }) }, full)
    const operation = accepted(full)
    assert.strictEqual(accepted(operation), operation)
  })

  it("does what decoding through the schema does", () => {
    const decode = Schema.decodeUnknownEither(Operation.Operation, { onExcessProperty: "error" })
    const encode = Schema.encodeSync(Operation.Operation)
    // Mostly valid, so that many inputs are valid as a whole.
    const mostly = <A>(valid: FastCheck.Arbitrary<A>) =>
      FastCheck.oneof({ arbitrary: valid, weight: 30 }, {
        arbitrary: FastCheck.constantFrom("", "x", 1, null),
        weight: 1
      })
    const text = mostly(FastCheck.fullUnicodeString({ minLength: 1, maxLength: 3 }))
    const inputs = FastCheck.record({
      id: mostly(FastCheck.uuid().map((id) => id.toUpperCase())),
      kind: mostly(FastCheck.constantFrom("operation", "record")),
      occurredAt: mostly(FastCheck.constantFrom("2026-11-23T14:50:42.1+05:30", "2026-11-23t14:50:42z")),
      actor: text,
      action: text,
      target: text,
      source: text,
      payload: FastCheck.oneof(FastCheck.jsonValue(), FastCheck.anything()),
      requestHash: mostly(FastCheck.constant("A".repeat(64))),
      responseHash: mostly(FastCheck.constant("b".repeat(64))),
      clientIp: mostly(FastCheck.ipV4()),
      serverIp: mostly(FastCheck.ipV6()),
      traceparent: mostly(FastCheck.constant(full.traceparent))
    }, { requiredKeys: ["id", "actor", "action", "target"] })
    let both = 0
    FastCheck.assert(
      FastCheck.property(inputs, (input) => {
        const mine = Operation.fromUnknown(input)
        const schema = decode(input)
        assert.strictEqual(Either.isRight(mine), Either.isRight(schema))
        if (Either.isRight(mine) && Either.isRight(schema)) {
          both++
          assert.deepStrictEqual({ ...mine.right }, { ...schema.right })
          assert.deepStrictEqual(accepted(encode(mine.right)), mine.right)
        }
      }),
      { numRuns: 3000 }
    )
    assert.isAbove(both, 300)
  })

  it("treats null and undefined as absent, but for id and kind", () => {
    const nothing = {
      occurredAt: null,
      source: null,
      payload: null,
      requestHash: null,
      responseHash: null,
      clientIp: null,
      serverIp: null,
      traceparent: null
    }
    const id = full.id
    assert.deepStrictEqual(accepted({ ...minimal, id, ...nothing }), accepted({ ...minimal, id }))
    assert.deepStrictEqual(
      accepted({ ...minimal, id, kind: undefined, source: undefined, surplus: undefined }),
      accepted({ ...minimal, id })
    )
    // An id that got lost on its way must not become a new operation at every attempt.
    assert.deepStrictEqual(refused({ ...minimal, id: null }).slice(0, 2), ["id", "type"])
    assert.deepStrictEqual(refused({ ...minimal, kind: null }).slice(0, 2), ["kind", "type"])
  })

  it.each([
    ["a text", "{}", "", "type"],
    ["an array", [minimal], "", "type"],
    ["null", null, "", "type"],
    ["a number", 1, "", "type"],
    ["an unknown field", { ...minimal, actr: "x" }, "actr", "unknownField"],
    ["an unknown field beside a missing one", { action: "a", target: "b", actr: "x" }, "actr", "unknownField"],
    ["an unknown field with an odd name", { ...minimal, "a b": 1 }, "[\"a b\"]", "unknownField"],
    [
      "a __proto__ field",
      JSON.parse("{\"__proto__\":{\"actor\":\"x\"},\"action\":\"a\",\"target\":\"b\"}"),
      "__proto__",
      "unknownField"
    ],
    ["a constructor field", { ...minimal, constructor: 1 }, "constructor", "unknownField"],
    ["a lane, which a file does not name", { ...minimal, lane: "operation/a" }, "lane", "unknownField"],
    ["fields that are only inherited", Object.create(minimal), "actor", "missing"],
    ["a missing actor", { action: "a", target: "b" }, "actor", "missing"],
    ["a null action", { ...minimal, action: null }, "action", "missing"],
    ["an empty target", { ...minimal, target: "" }, "target", "format"],
    ["a numeric actor", { ...minimal, actor: 7 }, "actor", "type"],
    ["an object as source", { ...minimal, source: {} }, "source", "type"],
    ["an empty source", { ...minimal, source: "" }, "source", "format"],
    ["a NUL character", { ...minimal, actor: "a\u0000b" }, "actor", "encoding"],
    ["a lone surrogate", { ...minimal, target: "a\ud83d" }, "target", "encoding"],
    ["another kind", { ...minimal, kind: "event" }, "kind", "format"],
    ["a kind that is not text", { ...minimal, kind: true }, "kind", "type"],
    ["a time that is a number", { ...minimal, occurredAt: 1_700_000_000 }, "occurredAt", "type"],
    ["a time that is a Date", { ...minimal, occurredAt: new Date(0) }, "occurredAt", "type"],
    ["an IP that is a number", { ...minimal, clientIp: 1 }, "clientIp", "type"],
    ["a wrong IP", { ...minimal, serverIp: "300.1.1.1" }, "serverIp", "format"],
    ["an empty IP", { ...minimal, clientIp: "" }, "clientIp", "format"],
    ["a short hash", { ...minimal, requestHash: "ab" }, "requestHash", "format"],
    ["a hash with a prefix", { ...minimal, responseHash: `sha256:${"a".repeat(57)}` }, "responseHash", "format"],
    ["a payload that JSON cannot carry", { ...minimal, payload: { at: new Date(0) } }, "payload.at", "type"],
    ["a NUL character deep in the payload", { ...minimal, payload: [{ x: "\u0000" }] }, "payload[0].x", "encoding"],
    [
      "a payload of more than 4 MiB",
      { ...minimal, payload: "x".repeat(Operation.maxEnvelopeBytes) },
      "payload",
      "tooLarge"
    ]
  ])("refuses %s, names the field and tells the cure", (_, input, field, reason) => {
    const [actualField, actualReason, cure] = refused(input)
    assert.deepStrictEqual([actualField, actualReason], [field, reason])
    assert.match(cure, /^(write|is|must|remove|replace|use) /)
    assert.isBelow(cure.length, 200)
  })

  it(`counts the UTF-16 code units of a text: ${Operation.maxTextLength} are kept, one more is refused`, () => {
    for (const unit of ["a", "й", "語", "\u0001", "\""]) {
      const longest = unit.repeat(Operation.maxTextLength)
      assert.strictEqual(accepted({ ...minimal, actor: longest }).actor, longest)
      assert.deepStrictEqual(refused({ ...minimal, actor: longest + unit }).slice(0, 2), ["actor", "tooLarge"])
    }
    const emoji = "😀".repeat(Operation.maxTextLength / 2)
    assert.strictEqual(accepted({ ...minimal, source: emoji }).source, emoji)
    assert.strictEqual(refused({ ...minimal, source: `${emoji}😀` })[0], "source")
  })

  it("is not fooled by a prototype that somebody has polluted", () => {
    const polluted = { value: "192.0.2.1", configurable: true, writable: true }
    Reflect.defineProperty(Object.prototype, "clientIp", polluted)
    try {
      assert.isNull(accepted({ ...minimal }).clientIp)
    } finally {
      Reflect.deleteProperty(Object.prototype, "clientIp")
    }
  })
})

describe("fromJson", () => {
  it("keeps names in the payload that mean something to JavaScript as data", () => {
    const payload = "{\"__proto__\":{\"polluted\":true},\"constructor\":null,\"toJSON\":\"no function\"}"
    const operation = Either.getOrThrow(
      Operation.fromJson(`{"actor":"a","action":"b","target":"c","payload":${payload}}`)
    )
    assert.strictEqual(json.canonical(operation.payload), payload)
    assert.isUndefined(Reflect.get({}, "polluted"))
  })

  it.each([
    ["", "", "notJson"],
    ["{\"actor\":\"a\"", "", "notJson"],
    ["[]", "", "type"],
    ["{\"actor\":\"a\",\"actor\":\"b\",\"action\":\"c\",\"target\":\"d\"}", "actor", "duplicateKey"],
    [
      "{\"actor\":\"a\",\"action\":\"c\",\"target\":\"d\",\"payload\":{\"n\":12345678901234567890}}",
      "payload.n",
      "inexactNumber"
    ],
    ["{\"actor\":\"a\",\"action\":\"c\",\"target\":\"d\",\"payload\":{\"n\":\"\\u0000\"}}", "payload.n", "encoding"],
    ["{\"actor\":\"a\",\"action\":\"c\",\"target\":\"d\",\"payload\":\"\\ud800\"}", "payload", "encoding"]
  ])("refuses %s", (line, field, reason) => {
    const error = Either.getOrThrow(Either.flip(Operation.fromJson(line)))
    assert.deepStrictEqual([error.field, error.reason], [field, reason])
  })
})

describe("the constructors", () => {
  it("set the kind", () => {
    assert.strictEqual(Either.getOrThrow(Operation.operation(minimal)).kind, "operation")
    assert.strictEqual(Either.getOrThrow(Operation.record(minimal)).kind, "record")
  })

  it("of the schema class refuse what is not canonical", () => {
    assert.throws(() => Operation.OperationId.make("7"))
    assert.throws(() => Operation.Timestamp.make("2026-11-23T14:50:42Z"))
    assert.throws(() => new Operation.Operation({ ...minimal, clientIp: "::FFFF:1.2.3.4" }))
    assert.throws(() => new Operation.Operation({ ...minimal, payload: { f: () => 1 } }))
    assert.throws(() => new Operation.Operation({ ...minimal, actor: "" }))
    assert.deepStrictEqual(
      new Operation.Operation({ ...minimal, id: accepted(full).id }),
      accepted({ ...minimal, id: full.id })
    )
  })
})

describe("occurredAt", () => {
  it.each([
    ["2026-11-23T14:50:42Z", "2026-11-23T14:50:42.000000Z"],
    ["2026-11-23t14:50:42z", "2026-11-23T14:50:42.000000Z"],
    ["2026-11-23T14:50:42.5Z", "2026-11-23T14:50:42.500000Z"],
    ["2026-11-23T14:50:42.123456Z", "2026-11-23T14:50:42.123456Z"],
    ["2026-11-23T14:50:42.123456000Z", "2026-11-23T14:50:42.123456Z"],
    ["2026-11-23T14:50:42.0000000Z", "2026-11-23T14:50:42.000000Z"],
    ["2026-11-23T00:10:00+01:00", "2026-11-22T23:10:00.000000Z"],
    ["2026-11-23T23:10:00.000001-01:30", "2026-11-24T00:40:00.000001Z"],
    ["2026-11-23T12:00:00-00:00", "2026-11-23T12:00:00.000000Z"],
    ["2026-11-23T12:00:00+23:59", "2026-11-22T12:01:00.000000Z"],
    ["2024-02-29T00:00:00+00:01", "2024-02-28T23:59:00.000000Z"],
    ["2000-02-29T12:00:00Z", "2000-02-29T12:00:00.000000Z"],
    ["1000-01-01T00:00:00Z", "1000-01-01T00:00:00.000000Z"],
    ["9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"]
  ])("takes %s as %s", (text, expected) => {
    assert.strictEqual(accepted({ ...minimal, occurredAt: text }).occurredAt, expected)
  })

  it.each([
    "2026-11-23T14:50:42",
    "2026-11-23",
    "2026-11-23 14:50:42Z",
    "2026-11-23T14:50Z",
    "2026-11-23T14:50:42.Z",
    "2026-11-23T14:50:42,5Z",
    "2026-11-23T14:50:42.1234567Z",
    "2026-11-23T14:50:42.123456001Z",
    "2026-02-30T00:00:00Z",
    "2026-02-29T00:00:00Z",
    "1900-02-29T00:00:00Z",
    "2026-04-31T00:00:00Z",
    "2026-13-01T00:00:00Z",
    "2026-00-10T00:00:00Z",
    "2026-11-00T00:00:00Z",
    "2026-11-23T24:00:00Z",
    "2026-11-23T23:60:00Z",
    "2016-12-31T23:59:60Z",
    "2026-11-23T14:50:42+24:00",
    "2026-11-23T14:50:42+01:60",
    "2026-11-23T14:50:42+0100",
    "2026-11-23T14:50:42+01",
    "2026-11-23T14:50:42UTC",
    "0999-12-31T23:59:59Z",
    "1000-01-01T00:00:00+00:01",
    "9999-12-31T23:59:59-00:01",
    "10000-01-01T00:00:00Z",
    "+002026-11-23T14:50:42Z",
    "2026-11-23T14:50:42Z\n",
    " 2026-11-23T14:50:42Z",
    "２０26-11-23T14:50:42Z",
    ""
  ])("refuses %j", (text) => {
    assert.deepStrictEqual(refused({ ...minimal, occurredAt: text }).slice(0, 2), ["occurredAt", "format"])
  })

  it("names the same moment whatever its offset", () => {
    const min = Date.UTC(1000, 0, 2)
    const max = Date.UTC(9999, 11, 30)
    FastCheck.assert(
      FastCheck.property(
        FastCheck.integer({ min, max }),
        FastCheck.integer({ min: -1439, max: 1439 }),
        FastCheck.nat(999),
        (millis, offset, micros) => {
          const local = new Date(millis + offset * 60_000).toISOString().slice(0, 23)
          const two = (n: number) => String(n).padStart(2, "0")
          const zone = `${offset < 0 ? "-" : "+"}${two(Math.floor(Math.abs(offset) / 60))}:${
            two(Math.abs(offset) % 60)
          }`
          const fraction = String(micros).padStart(3, "0")
          const expected = Operation.timestampOf(millis).replace("000Z", `${fraction}Z`)
          assert.strictEqual(accepted({ ...minimal, occurredAt: `${local}${fraction}${zone}` }).occurredAt, expected)
        }
      ),
      { numRuns: 1000 }
    )
  })
})

describe("clientIp and serverIp", () => {
  it.each([
    ["192.0.2.1", "192.0.2.1"],
    ["0.0.0.0", "0.0.0.0"],
    ["255.255.255.255", "255.255.255.255"],
    ["::", "::"],
    ["::1", "::1"],
    ["2001:DB8::A", "2001:db8::a"],
    ["2001:0db8:0000:0000:0000:0000:0002:0001", "2001:db8::2:1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["2001:db8::1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["2001:0:0:1:0:0:0:1", "2001:0:0:1::1"],
    ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"],
    ["::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"],
    ["::ffff:192.0.2.1", "::ffff:192.0.2.1"],
    ["::FFFF:C000:201", "::ffff:192.0.2.1"],
    ["0:0:0:0:0:ffff:192.0.2.1", "::ffff:192.0.2.1"],
    ["::192.0.2.1", "::c000:201"],
    ["64:ff9b::192.0.2.33", "64:ff9b::c000:221"],
    ["fe80::1", "fe80::1"]
  ])("takes %s as %s", (text, expected) => {
    assert.strictEqual(accepted({ ...minimal, clientIp: text }).clientIp, expected)
    assert.strictEqual(accepted({ ...minimal, serverIp: expected }).serverIp, expected)
  })

  it.each([
    "192.0.2",
    "192.0.2.1.1",
    "192.0.2.01",
    "192.0.2.256",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "3221225985",
    "127.1",
    "192.0.2.1/24",
    "192.0.2.1:80",
    " 192.0.2.1",
    "192.0.2.1\n",
    "１92.0.2.1",
    "fe80::1%eth0",
    "fe80::1%1",
    "[::1]",
    "::1/128",
    "1::2::3",
    ":::",
    ":1",
    "1:",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7:8::",
    "::12345",
    "::0001f",
    "::g",
    "::ffff:192.0.2",
    "::ffff:192.0.2.01",
    "::ffff:0x7f.0.0.1",
    "::ffff:192.0.2.256",
    "192.0.2.1::",
    "::192.0.2.1:1",
    "1:2:3:4:5:6:7:192.0.2.1",
    "localhost",
    "null",
    "-"
  ])("refuses %j", (text) => {
    assert.deepStrictEqual(refused({ ...minimal, clientIp: text }).slice(0, 2), ["clientIp", "format"])
  })

  /** Bun 1.4.5 refuses a URL where `::` stands for two groups before an IPv4 tail, such as `1:2:3:4::192.0.2.1`. */
  const isRefusedByBun = (text: string) =>
    runtime.name === "bun" && /::.*\./.test(text) && text.split(":").filter((group) => group !== "").length === 5

  it("have the form of the URL standard, but for IPv4-mapped addresses", () => {
    const group = FastCheck.oneof(
      FastCheck.constant("0"),
      FastCheck.integer({ min: 0, max: 0xffff }).map((n) => n.toString(16))
    )
    const address = FastCheck.array(group, { minLength: 8, maxLength: 8 }).map((groups) => groups.join(":"))
    FastCheck.assert(
      FastCheck.property(FastCheck.oneof(address, FastCheck.ipV6()), (text) => {
        FastCheck.pre(!isRefusedByBun(text))
        const expected = new URL(`http://[${text}]`).hostname.slice(1, -1)
        const actual = accepted({ ...minimal, clientIp: text }).clientIp ?? ""
        if (actual.startsWith("::ffff:") && actual.includes(".")) {
          assert.strictEqual(new URL(`http://[${actual}]`).hostname.slice(1, -1), expected)
        } else assert.strictEqual(actual, expected)
      }),
      { numRuns: 2000 }
    )
  })
})

describe("the other fields", () => {
  it("are put in lower case where they are hex", () => {
    const operation = accepted({ ...minimal, id: full.id.toUpperCase(), requestHash: "AbCdEf01".repeat(8) })
    assert.strictEqual<string>(operation.id, full.id)
    assert.strictEqual(operation.requestHash, "abcdef01".repeat(8))
  })

  it.each([
    "01926f3e7d4c7b1a9c553f0e6a1b2c3d",
    "{01926f3e-7d4c-7b1a-9c55-3f0e6a1b2c3d}",
    "urn:uuid:01926f3e-7d4c-7b1a-9c55-3f0e6a1b2c3d",
    "01926f3e-7d4c-7b1a-9c55-3f0e6a1b2c3",
    "01926f3e-7d4c-7b1a-9c55-3f0e6a1b2c3g",
    "01926f3e-7d4c-7b1a-9c55-3f0e6a1b2c3d\n",
    "7",
    ""
  ])("refuse %j as an id", (id) => {
    assert.deepStrictEqual(refused({ ...minimal, id }).slice(0, 2), ["id", "format"])
  })

  it.each([
    "00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01",
    "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "00-00000000000000000000000000000000-b7ad6b7169203331-01",
    "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
    ""
  ])("refuse %j as a traceparent", (traceparent) => {
    assert.deepStrictEqual(refused({ ...minimal, traceparent }).slice(0, 2), ["traceparent", "format"])
  })
})

describe("lanes", () => {
  it("are named by the kind and, if the host wishes, a name", () => {
    assert.strictEqual(Operation.laneOf("record"), "record")
    assert.strictEqual(Operation.laneOf("operation", "eu-1.payments_x"), "operation/eu-1.payments_x")
    assert.strictEqual(Operation.kindOfLane(Operation.laneOf("record", "operation")), "record")
  })

  it.each(["", "a/b", "-a", ".", "a b", "é", "a\n", "a".repeat(64)])("cannot be named %j", (name) => {
    assert.throws(() => Operation.laneOf("operation", name))
  })
})
