import { assert, describe, it } from "@effect/vitest"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import { runInNewContext } from "node:vm"
import * as json from "../../src/internal/json.ts"

const maxBytes = 1000

const refusalOf = (text: string): readonly [field: string, reason: string] | undefined =>
  Either.match(json.parse(text), { onLeft: (error) => [error.field, error.reason], onRight: () => undefined })

const findingOf = (value: unknown): readonly [field: string, reason: string] | undefined => {
  const finding = json.inspect(value, "payload", maxBytes)
  return finding === undefined ? undefined : [finding.field, finding.reason]
}

describe("parse", () => {
  it("reads any JSON as JSON.parse does", () => {
    FastCheck.assert(
      FastCheck.property(FastCheck.jsonValue({ maxDepth: 6 }), FastCheck.nat(4), (value, indent) => {
        const text = JSON.stringify(value, null, indent)
        assert.deepStrictEqual(json.parse(text), Either.right(JSON.parse(text)))
      }),
      { numRuns: 2000 }
    )
  })

  it.each([
    ["{\"a\":1,\"a\":1}", "a"],
    ["{\"a\":1,\"\\u0061\":2}", "a"],
    ["{\"\\\"\":1,\"b\":{},\"\\u0022\":2}", "[\"\\\"\"]"],
    ["{\"__proto__\":1,\"__proto__\":2}", "__proto__"],
    ["{\"constructor\":{\"x\":[0,{\"y\":1,\"z\":\"}\",\"y\":1}]}}", "constructor.x[1].y"],
    ["{\"\":1,\"\":2}", "[\"\"]"]
  ])("refuses the duplicate key of %s and names it", (text, field) => {
    assert.deepStrictEqual(refusalOf(text), [field, "duplicateKey"])
  })

  it.each([
    "{\"a\":{\"b\":1},\"b\":{\"b\":1}}",
    "[{\"a\":1},{\"a\":1}]",
    "{\"a\":\"a\",\"b\":\"a\"}",
    "{\"\\\\\":1,\"\\\"\":2}",
    "{\"a\":[\",\",\"a\"],\"c\":\"\\\"a\\\":\"}"
  ])("takes the same word in different places, as in %s", (text) => {
    assert.isUndefined(refusalOf(text))
  })

  it.each([
    "12345678901234567890",
    "9007199254740993",
    "-9007199254740993",
    "0.1234567890123456789",
    "1e400",
    "-1e400",
    "1e-400",
    "4.9e-325",
    "1e-99999999999999999999",
    "123456789012345678e-5",
    "3.141592653589793238"
  ])("refuses the number %s, which a double does not hold", (literal) => {
    assert.deepStrictEqual(refusalOf(`{"a":[0,${literal}]}`), ["a[1]", "inexactNumber"])
  })

  it.each([
    "0",
    "-0",
    "-0.0e-5",
    "0e99999999999999999999",
    "0.1",
    "100000000000000000000",
    "1.0000000000000000000000",
    "123456789012345680000",
    "9007199254740992",
    "1E+2",
    "5e-324",
    "1.7976931348623157e308",
    "17976931348623157e292",
    "0.30000000000000004",
    "999999999999999",
    "0.000001234567890123"
  ])("takes the number %s", (literal) => {
    assert.deepStrictEqual(json.parse(`[${literal}]`), Either.right([Number(literal)]))
  })

  it("takes every number that JSON.stringify writes, and no neighbour of it that a double confuses with it", () => {
    FastCheck.assert(
      FastCheck.property(FastCheck.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        const literal = JSON.stringify(value)
        assert.isUndefined(refusalOf(literal))
        if (!literal.includes("e") && literal.replace(/\D/g, "").length === 17) {
          assert.strictEqual(refusalOf(`${literal}1`)?.[1], "inexactNumber")
        }
      })
    )
  })

  it("needs no more than linear time for numbers of a million digits", () => {
    const zeros = "0".repeat(1_000_000)
    assert.deepStrictEqual(refusalOf(`[1${zeros}1]`)?.[1], "inexactNumber")
    assert.deepStrictEqual(refusalOf(`[0.1${zeros}1]`)?.[1], "inexactNumber")
    assert.isUndefined(refusalOf(`[1.${zeros}]`))
    assert.deepStrictEqual(refusalOf(`[1e${"9".repeat(1_000_000)}]`)?.[1], "inexactNumber")
  })

  it("needs no more than linear time for strings of a million backslashes and quotes", () => {
    const text = JSON.stringify({ ["\\".repeat(500_000)]: "\\\"".repeat(500_000) })
    assert.isUndefined(refusalOf(text))
  })

  it(`takes ${json.maxDepth} levels and refuses one more, at any place`, () => {
    const nested = (levels: number) => "[".repeat(levels) + "]".repeat(levels)
    assert.isUndefined(refusalOf(nested(json.maxDepth)))
    assert.strictEqual(refusalOf(nested(json.maxDepth + 1))?.[1], "notJson")
    assert.strictEqual(refusalOf(nested(1_000_000))?.[1], "notJson")
    assert.isUndefined(refusalOf(JSON.stringify(["[".repeat(1000), ...Array.from({ length: 1000 }, () => [])])))
  })

  it.each([
    "",
    " ",
    "{",
    "{\"a\":1,}",
    "{'a':1}",
    "NaN",
    "[1 2]",
    "{\"a\":1}{\"b\":2}",
    "\ufeff{}",
    "[01]",
    "\"\u0001\""
  ])(
    "refuses %j, which is not JSON",
    (text) => {
      assert.deepStrictEqual(refusalOf(text), ["", "notJson"])
    }
  )

  it("shows nothing in its messages that could steer a terminal", () => {
    for (const text of ["\u001b[2J", "{\"\u009b2J\":1,\"\u009b2J\":2}", "[\u202e]"]) {
      const result = json.parse(text)
      assert.isTrue(Either.isLeft(result))
      if (Either.isLeft(result)) assert.notMatch(result.left.message, /\p{C}/u)
    }
  })
})

describe("inspect", () => {
  class Money {
    amount = 1
  }
  const cyclic: Array<unknown> = []
  cyclic.push({ again: cyclic })
  const doubling = Array.from({ length: 100 }).reduce((inner) => [inner, inner], [])

  it.each([
    ["undefined member", { a: { b: undefined } }, "payload.a.b", "type"],
    ["function", { a: [() => 1] }, "payload.a[0]", "type"],
    ["symbol", { a: Symbol("a") }, "payload.a", "type"],
    ["big integer", { a: 1n }, "payload.a", "type"],
    ["NaN", Number.NaN, "payload", "type"],
    ["infinity", [Infinity], "payload[0]", "type"],
    ["date", { at: new Date(0) }, "payload.at", "type"],
    ["map", { m: new Map() }, "payload.m", "type"],
    ["class instance", { m: new Money() }, "payload.m", "type"],
    ["boxed number", [Object(1)], "payload[0]", "type"],
    ["bytes", { b: new Uint8Array(2) }, "payload.b", "type"],
    ["hole", [1, , 2], "payload[1]", "type"], // oxlint-disable-line no-sparse-arrays
    ["hidden toJSON", { o: Object.defineProperty({}, "toJSON", { value: () => 1 }) }, "payload.o", "type"],
    ["cycle", cyclic, `payload${"[0].again".repeat(21)}[0].…`, "notJson"],
    ["doubling of shared arrays", doubling, undefined, "tooLarge"],
    ["huge array of holes", Object.assign([], { length: 4_000_000_000 }), "payload[0]", "tooLarge"],
    ["NUL", { a: "x\u0000y" }, "payload.a", "encoding"],
    ["NUL in a key", { "x\u0000y": 1 }, "payload[\"x\\u0000y\"]", "encoding"],
    ["lone high surrogate", ["\ud83d"], "payload[0]", "encoding"],
    ["lone low surrogate", ["a\ude00b"], "payload[0]", "encoding"],
    ["swapped surrogates", ["\ude00\ud83d"], "payload[0]", "encoding"],
    ["lone surrogate in a key", { a: { "\ud83d": 1 } }, "payload.a[\"\\ud83d\"]", "encoding"],
    ["text that is too long", "x".repeat(maxBytes), "payload", "tooLarge"],
    ["keys that are too long", { ["x".repeat(maxBytes)]: 1 }, undefined, "tooLarge"]
  ])("refuses a %s", (_, value, field, reason) => {
    const finding = findingOf(value)
    assert.strictEqual(finding?.[1], reason)
    if (field !== undefined) assert.strictEqual(finding?.[0], field)
  })

  it("counts the operation itself as one level, as parsing its line does", () => {
    const nested = (levels: number): unknown => levels === 0 ? 1 : { a: nested(levels - 1) }
    for (const levels of [json.maxDepth - 1, json.maxDepth]) {
      const isFine = levels < json.maxDepth
      assert.strictEqual(findingOf(nested(levels))?.[1], isFine ? undefined : "notJson")
      assert.strictEqual(refusalOf(JSON.stringify({ payload: nested(levels) }))?.[1], isFine ? undefined : "notJson")
    }
  })

  it("takes every JSON value, from any realm, and names that mean something to JavaScript", () => {
    for (const name of ["__proto__", "constructor", "toJSON", "toString", "hasOwnProperty", "length", ""]) {
      assert.isUndefined(
        findingOf(JSON.parse(`{${JSON.stringify(name)}:{${JSON.stringify(name)}:[1,"😀",null,true]}}`))
      )
    }
    assert.isUndefined(findingOf(Object.assign(Object.create(null), { a: 1 })))
    assert.isUndefined(findingOf(runInNewContext("({ a: [{ b: 1 }] })")))
    assert.strictEqual(findingOf(runInNewContext("({ a: new Date(0) })"))?.[0], "payload.a")
  })
})

describe("canonical", () => {
  it("records nothing that has become no JSON since it was inspected", () => {
    assert.strictEqual(json.canonical({ b: undefined, a: 1 }), "{\"a\":1}")
    for (const value of [[undefined], { a: Number.NaN }, { a: new Date() }, { a: () => 1 }, 1n]) {
      assert.throws(() => json.canonical(value), TypeError)
    }
  })

  it.each([
    ["{\"b\":1,\"a\":2}", "{\"a\":2,\"b\":1}"],
    [
      "{\"\\ufb33\":1,\"\\ud83d\\ude02\":2,\"\\u20ac\":3,\"\\r\":4,\"1\":5,\"10\":6,\"2\":7}",
      "{\"\\r\":4,\"1\":5,\"10\":6,\"2\":7,\"€\":3,\"😂\":2,\"\ufb33\":1}"
    ],
    ["[-0, 1e21, 1E-7, 100, 4.50, 2e-3, 333333333.33333329]", "[0,1e+21,1e-7,100,4.5,0.002,333333333.3333333]"],
    [
      "\"\\u20ac$\\u000F\\u000aA'\\u0042\\u0022\\u005c\\\\\\\"\\/\\u007f\\u2028\"",
      "\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\u007f\u2028\""
    ],
    [
      "{\"__proto__\":{\"toJSON\":1},\"toJSON\":\"x\",\"constructor\":[]}",
      "{\"__proto__\":{\"toJSON\":1},\"constructor\":[],\"toJSON\":\"x\"}"
    ],
    ["{\"\":{},\"a\":[]}", "{\"\":{},\"a\":[]}"]
  ])("writes %s as RFC 8785 says", (text, expected) => {
    assert.strictEqual(json.canonical(JSON.parse(text)), expected)
  })
})
