import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as Schema from "effect/Schema"
import * as messageId from "../../src/internal/pulsar/messageId.ts"
import { verdictOf } from "../../src/internal/pulsar/sendError.ts"
import { expiryOf } from "../../src/internal/pulsar/token.ts"
import * as topic from "../../src/internal/pulsar/topic.ts"

describe("message ids", () => {
  it("are what the broker said, however they are written", () => {
    const id = { ledger: 18n, entry: 0n, partition: -1, batch: 14 }
    assert.deepStrictEqual(messageId.ofText("(18,0,-1,14)"), id)
    assert.deepStrictEqual(messageId.unpack(messageId.pack(id)), id)
    // The last of a message in chunks.
    assert.deepStrictEqual(messageId.ofText("(16,12,-1,-1);(16,14,-1,-1)"), {
      ...id,
      ledger: 16n,
      entry: 14n,
      batch: -1
    })
    // A field of the size of a batch is there, or not.
    assert.deepStrictEqual(messageId.ofBase64("CBcQACAAMAA="), messageId.ofBase64("CBcQACAAMAI="))
    assert.strictEqual(messageId.format(id), "18:0:-1:14")
    assert.strictEqual(messageId.format({ ...id, batch: -1 }), "18:0")
  })

  it("come back from their bytes, and fit a receipt", () => {
    const big = FastCheck.bigInt({ min: 0n, max: (1n << 63n) - 1n })
    const small = FastCheck.integer({ min: -1, max: 2 ** 31 - 1 })
    FastCheck.assert(
      FastCheck.property(big, big, small, small, (ledger, entry, partition, batch) => {
        const id = { ledger, entry, partition, batch }
        const bytes = messageId.pack(id)
        assert.isAtMost(bytes.length, 34)
        assert.deepStrictEqual(messageId.unpack(bytes), id)
      })
    )
  })

  it("are not read out of anything else", () => {
    FastCheck.assert(
      FastCheck.property(Arbitrary.make(Schema.Uint8ArrayFromSelf), (bytes) => {
        const id = messageId.unpack(bytes)
        if (id !== undefined) assert.deepStrictEqual(messageId.unpack(messageId.pack(id)), id)
      })
    )
    for (const text of ["", "!", "CBcQ", "CBc="]) assert.isUndefined(messageId.ofBase64(text))
    for (const text of ["", "(1,2)", "1,2,3,4", "(a,b,c,d)"]) assert.isUndefined(messageId.ofText(text))
  })

  it("are packed from what the WebSocket interface gives as they are read and packed, whatever it is", () => {
    const expected = (text: string) => {
      const id = messageId.ofBase64(text)
      return id === undefined || messageId.isDropped(id) ? undefined : messageId.pack(id)
    }
    const varint = FastCheck.oneof(
      FastCheck.constantFrom([0], [127], [128, 1], [128, 0], Array.from({ length: 9 }, () => 255).concat(1), [255]),
      FastCheck.bigInt({ min: -1n, max: (1n << 63n) - 1n }).map((entry) =>
        Array.from(messageId.pack({ ledger: 0n, entry, partition: -1, batch: -1 }).subarray(3))
      )
    )
    const field = FastCheck.tuple(FastCheck.integer({ min: 0, max: 255 }), varint).map((
      [tag, value]
    ) => [tag, ...value])
    const ordered = FastCheck.array(varint, { maxLength: 7 }).map((values) =>
      values.flatMap((value, i) => [(i + 1) << 3, ...value])
    )
    const bytes = FastCheck.oneof(
      ordered,
      FastCheck.tuple(ordered, FastCheck.array(field, { maxLength: 2 })).map((parts) => parts.flat(2)),
      FastCheck.uint8Array({ maxLength: 12 }).map((bytes) => Array.from(bytes))
    )
    FastCheck.assert(
      FastCheck.property(bytes, (bytes) => {
        const text = Buffer.from(bytes).toString("base64")
        assert.deepStrictEqual(messageId.packedOfBase64(text), expected(text))
      }),
      { numRuns: 5_000 }
    )
    for (const text of ["CBcQACAAMAA=", "CBcQABgBIAIwAA==", "", "!", "CBc="]) {
      assert.deepStrictEqual(messageId.packedOfBase64(text), expected(text))
    }
  })

  it("of what a broker has dropped are told from those of what it holds", () => {
    const dropped = messageId.ofText("(-1,-1,-1,-1)")
    assert.isTrue(dropped !== undefined && messageId.isDropped(dropped))
    const held = messageId.ofText("(0,0,-1,-1)")
    assert.isFalse(held === undefined || messageId.isDropped(held))
  })
})

describe("topics", () => {
  it("have a full name, and are kept on disks", () => {
    const full = "persistent://acme/audit/operation v1".replace(" ", "-")
    assert.strictEqual(topic.format(Either.getOrThrow(topic.parse(full))), full)
    assert.strictEqual(topic.path(Either.getOrThrow(topic.parse("persistent://a/b/c&d"))), "persistent/a/b/c%26d")
    for (
      const name of [
        "",
        "operation",
        "a/b/c",
        "persistent://a/b",
        "persistent://a/b/c/d",
        "persistent://a/b/c?d",
        "persistent://a b/c/d"
      ]
    ) {
      assert.match(
        Either.getOrElse(Either.flip(topic.parse(name)), () => "accepted"),
        /has no full name; write persistent:/
      )
    }
    assert.match(
      Either.getOrElse(Either.flip(topic.parse("non-persistent://a/b/c")), () => "accepted"),
      /kept in memory only/
    )
  })
})

describe("what a broker answers to a message that it did not store", () => {
  const judge = (result: string, text: string) => {
    const { outage, outcome } = verdictOf(result, text)
    return [outcome._tag === "Refused" ? outcome.reason : outcome._tag, outage?.reason]
  }

  it("is about the record, about the log, or unknown", () => {
    const java = "org.apache.pulsar.client.api.PulsarClientException$"
    assert.deepStrictEqual(judge("send-error:7", "Text '1' could not be parsed at index 0"), ["encoding", undefined])
    assert.deepStrictEqual(
      judge(
        "send-error:8",
        `${java}InvalidMessageException: The producer x sends a  message with 120000 bytes that exceeds 100000 bytes`
      ),
      ["tooLarge", undefined]
    )
    assert.deepStrictEqual(judge("send-error:8", "Message size 120028 is bigger than 100000 bytes"), [
      "tooLarge",
      undefined
    ])
    assert.deepStrictEqual(judge("send-error:8", `${java}NotAllowedException: policy`), ["rejected", undefined])
    assert.deepStrictEqual(
      judge(
        "send-error:8",
        `${java}TimeoutException: The producer x can not send message to the topic y within given timeout`
      ),
      ["Unknown", "unavailable"]
    )
    assert.deepStrictEqual(judge("send-error:8", `${java}TopicTerminatedException: x`), ["Unknown", "misconfigured"])
    assert.deepStrictEqual(judge("send-error:8", `${java}SomethingNewException: x`), ["Unknown", undefined])
    assert.deepStrictEqual(judge("send-error:8", ""), ["Unknown", undefined])
  })
})

describe("a token", () => {
  it("says when it expires, or nothing", () => {
    const token = (claims: unknown) => `x.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.y`
    assert.strictEqual(expiryOf(token({ exp: 12 })), 12_000)
    for (const text of ["", "abc", "a.b.c", token({}), token({ exp: "12" }), token(null), token([])]) {
      assert.isUndefined(expiryOf(text))
    }
  })
})
