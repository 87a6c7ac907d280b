import { assert, describe, it } from "@effect/vitest"
import * as Either from "effect/Either"
import * as PublisherUrl from "../src/PublisherUrl.ts"

const problemOf = (text: string): string =>
  Either.getOrElse(Either.flip(PublisherUrl.fromText(text)), () => `${text} was accepted`)

const urlOf = (text: string): PublisherUrl.PublisherUrl => Either.getOrThrow(PublisherUrl.fromText(text))

describe("PublisherUrl", () => {
  it("reads a ledger's folder, and the limit of its entries", () => {
    assert.deepStrictEqual(urlOf("memory:"), { _tag: "Memory" })
    assert.deepStrictEqual(urlOf("ledger:///var/ledger"), {
      _tag: "Ledger",
      path: "/var/ledger",
      maxEntryBytes: undefined
    })
    assert.deepStrictEqual(urlOf("ledger:x?maxEntryBytes=10"), { _tag: "Ledger", path: "x", maxEntryBytes: 10 })
  })

  it("reads where a cluster of Pulsar is, and by which interface", () => {
    const pulsar = { _tag: "PulsarWebSocket" as const, batching: false, maxFrameBytes: undefined }
    assert.deepStrictEqual(urlOf("ws://broker:8080"), { ...pulsar, serviceUrl: "ws://broker:8080" })
    assert.deepStrictEqual(urlOf("WSS://broker/gate/?batching=true&maxFrameBytes=2000000"), {
      ...pulsar,
      serviceUrl: "wss://broker/gate",
      batching: true,
      maxFrameBytes: 2_000_000
    })
    assert.deepStrictEqual(urlOf("pulsar+ssl://a:6651,[::1]:6652"), {
      ...pulsar,
      _tag: "Pulsar",
      serviceUrl: "pulsar+ssl://a:6651,[::1]:6652"
    })
    assert.isTrue(PublisherUrl.isPulsar(urlOf("pulsar://a")))
    assert.isFalse(PublisherUrl.isPulsar(urlOf("ledger:a")))
    assert.strictEqual(PublisherUrl.describe(urlOf("ws://broker:8080?batching=true")), "ws://broker:8080")
  })

  it("names the accepted forms where it accepts none", () => {
    for (
      const text of [
        "ledger:",
        "ledger://host/x",
        "ledger:x?",
        "ledger:x?maxEntryBytes=",
        "ledger:x?maxEntryBytes=0",
        "ledger:x?maxEntryBytes=1e3",
        "ledger:x?max=1",
        "ledger:x?maxEntryBytes=1&maxEntryBytes=2"
      ]
    ) assert.match(problemOf(text), /is not accepted; write ledger:<folder> or ledger:<folder>\?maxEntryBytes=<bytes>$/)
    for (
      const text of [
        "",
        "memory:x",
        "https://",
        "https:example.org",
        "https://example.org/#a",
        "https://example.org/a b",
        "ws:broker",
        "ws://",
        "ws://a,b",
        "ws://a#b",
        "ws://a b",
        "pulsar://a/b",
        "pulsar://a:port",
        "pulsar://a,,b"
      ]
    ) assert.match(problemOf(text), /is not accepted; write ledger:<folder>, ws:\/\/<host>:<port> or wss:/)
    assert.match(problemOf("pulsar://a?maxFrameBytes=1"), /the parameters that are known here: batching$/)
    assert.match(problemOf("ws://a?batch=true"), /known here: batching, maxFrameBytes$/)
    assert.match(problemOf("ws://a?batching=yes"), /write batching as true or false$/)
    assert.match(problemOf("ws://a?batching=true&batching=true"), /give the parameter batching once$/)
    assert.match(problemOf("ws://a?maxFrameBytes=1e6"), /write maxFrameBytes as a number of bytes$/)
  })

  it("reads where a receiver over HTTP is", () => {
    assert.deepStrictEqual(urlOf("HTTPS://Example.org/records?tenant=7"), {
      _tag: "Http",
      url: "https://example.org/records?tenant=7"
    })
    assert.deepStrictEqual(urlOf("http://127.0.0.1:8080"), { _tag: "Http", url: "http://127.0.0.1:8080/" })
    assert.strictEqual(PublisherUrl.describe(urlOf("http://a/b")), "http://a/b")
    for (const text of ["https://me:hidden@a/", "https://a/?token=hidden", "http://a?x=1&api_key=hidden"]) {
      assert.match(problemOf(text), /TRUSTLOG_HTTP_TOKEN_FILE$/)
      assert.notInclude(problemOf(text), "hidden")
    }
  })

  it("takes no secret, and repeats none", () => {
    for (const text of ["ws://me:hidden@a", "ws://a?token=hidden", "pulsar://a?x=1&token=hidden", "wss://hidden@a"]) {
      assert.match(problemOf(text), /TRUSTLOG_PULSAR_TOKEN_FILE$/)
      assert.notInclude(problemOf(text), "hidden")
    }
  })
})
