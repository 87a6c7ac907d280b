import { assert, describe, it } from "@effect/vitest"
import * as ConfigError from "effect/ConfigError"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as TrustlogConfig from "../src/TrustlogConfig.ts"
import { WorkerConfig } from "../src/WorkerConfig.ts"

const fromEnv = (env: Record<string, string>) =>
  TrustlogConfig.TrustlogConfig.pipe(
    Effect.provide(TrustlogConfig.layerFromEnv()),
    Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(env))))
  )

const messageOf = (env: Record<string, string>) =>
  Effect.map(Effect.flip(fromEnv(env)), (error) => {
    assert.isTrue(ConfigError.isInvalidData(error))
    return error._op === "InvalidData" ? error.message : ""
  })

describe("TrustlogConfig", () => {
  it.effect("has its defaults where nothing is set", () =>
    Effect.gen(function*() {
      const config = yield* fromEnv({})
      assert.deepStrictEqual(config, TrustlogConfig.defaults)
      assert.strictEqual(TrustlogConfig.keyFileOf(config), "trustlog-ledger.key")
    }))

  it.effect("reads every variable", () =>
    Effect.gen(function*() {
      const config = yield* fromEnv({
        TRUSTLOG_DATABASE_URL: "sqlite:/var/lib/app/a b%20c#d.db",
        TRUSTLOG_PUBLISHER_URL: "ledger:logs/audit/?maxEntryBytes=1024",
        TRUSTLOG_KEY_FILE: "/run/secrets/key",
        TRUSTLOG_TABLE_PREFIX: "audit_",
        TRUSTLOG_SCHEMA: "evidence",
        TRUSTLOG_LISTEN_URL: "postgres://ann@db/app",
        TRUSTLOG_SCAN_INTERVAL: "250ms",
        TRUSTLOG_PAGE_ROWS: "2000",
        TRUSTLOG_LEASE: "20s",
        TRUSTLOG_PUBLISH_DEADLINE: "1.5m",
        TRUSTLOG_SHUTDOWN: "1h"
      })
      assert.deepStrictEqual(config.database, { _tag: "Sqlite", filename: "/var/lib/app/a b%20c#d.db" })
      assert.deepStrictEqual(config.publisher, { _tag: "Ledger", path: "logs/audit", maxEntryBytes: 1024 })
      assert.strictEqual(TrustlogConfig.keyFileOf(config), "/run/secrets/key")
      assert.deepStrictEqual(TrustlogConfig.namingOf(config), { prefix: "audit_", schema: "evidence" })
      assert.strictEqual(config.listen?.database, "app")
      assert.deepStrictEqual(config.workers.scanInterval, Duration.millis(250))
      assert.strictEqual(config.workers.pageRows, 2000)
      assert.strictEqual(config.workers.backlogPageRows, 2000)
      assert.deepStrictEqual(config.workers.lease, Duration.seconds(20))
      assert.deepStrictEqual(config.workers.leaseRenewal, Duration.seconds(6))
      assert.deepStrictEqual(config.workers.publishDeadline, Duration.seconds(90))
      assert.deepStrictEqual(config.workers.shutdown, Duration.hours(1))
    }))

  it("accepts the forms of a log's URL, and no other", () => {
    assert.deepStrictEqual(TrustlogConfig.publisherUrl("memory:"), Either.right({ _tag: "Memory" }))
    assert.deepStrictEqual(
      TrustlogConfig.publisherUrl("ledger:///var/ledger"),
      Either.right({ _tag: "Ledger", path: "/var/ledger", maxEntryBytes: undefined })
    )
    for (
      const text of [
        "",
        "ledger:",
        "ledger://host/x",
        "ledger:x?",
        "ledger:x?maxEntryBytes=",
        "ledger:x?maxEntryBytes=0",
        "ledger:x?maxEntryBytes=1e3",
        "ledger:x?max=1",
        "ledger:x?maxEntryBytes=1&maxEntryBytes=2",
        "memory:x",
        "https://example.org"
      ]
    ) {
      assert.match(
        Either.getOrElse(Either.flip(TrustlogConfig.publisherUrl(text)), () => "accepted"),
        /is not accepted; write ledger:<folder> or ledger:<folder>\?maxEntryBytes=<bytes>$/
      )
    }
  })

  it.effect("names the variable, the value and the accepted form, all of them at once", () =>
    Effect.gen(function*() {
      assert.strictEqual(
        yield* messageOf({ TRUSTLOG_DATABASE_URL: "sqlit:x" }),
        "TRUSTLOG_DATABASE_URL: \"sqlit:x\" is not accepted; write sqlite:<file>, " +
          "postgres://<user>:<password>@<host>:<port>/<database> or mysql://<user>:<password>@<host>:<port>/<database>"
      )
      assert.match(yield* messageOf({ TRUSTLOG_SCAN_INTERVAL: "10" }), /^TRUSTLOG_SCAN_INTERVAL: "10" .* such as 500ms/)
      assert.match(yield* messageOf({ TRUSTLOG_SCAN_INTERVAL: "0s" }), /^TRUSTLOG_SCAN_INTERVAL: /)
      assert.match(yield* messageOf({ TRUSTLOG_PAGE_ROWS: "1.5" }), /^TRUSTLOG_PAGE_ROWS: .* from 1 to 9999$/)
      assert.match(yield* messageOf({ TRUSTLOG_TABLE_PREFIX: "a-b" }), /^TRUSTLOG_TABLE_PREFIX: "a-b" .* underscore/)
      assert.match(yield* messageOf({ TRUSTLOG_SCHEMA: "" }), /^TRUSTLOG_SCHEMA: "" .* underscore/)
      assert.match(
        yield* messageOf({ TRUSTLOG_LISTEN_URL: "mysql://a@b/c" }),
        /^TRUSTLOG_LISTEN_URL: .* only PostgreSQL/
      )
      assert.match(yield* messageOf({ TRUSTLOG_KEY_FILE: "" }), /^TRUSTLOG_KEY_FILE: "" .* leave it unset$/)
      const both = yield* Effect.flip(fromEnv({ TRUSTLOG_DATABASE_URL: "x", TRUSTLOG_PUBLISHER_URL: "y" }))
      assert.isTrue(ConfigError.isAnd(both))
    }))

  it.effect("says what comes later, and shows neither passwords nor control characters", () =>
    Effect.gen(function*() {
      const message = yield* messageOf({ TRUSTLOG_DATABASE_URL: "postgres://ann:s3cret@db/x?\x1b[2J=1" })
      assert.match(message, /^TRUSTLOG_DATABASE_URL: .* is not accepted; /)
      assert.notMatch(message, /s3cret|\p{Cc}/u)
      for (const scheme of ["pulsar", "pulsar+ssl", "ws", "wss"]) {
        assert.match(
          yield* messageOf({ TRUSTLOG_PUBLISHER_URL: `${scheme}://broker:6650` }),
          /this version delivers to the embedded ledger: write ledger:<folder>/
        )
      }
    }))

  it.effect("is given in code as well, and makes the workers' knobs", () =>
    Effect.gen(function*() {
      const workers = { ...TrustlogConfig.defaults.workers, pageRows: 7 }
      const layer = TrustlogConfig.layer({ tablePrefix: "x_", workers })
      const context = yield* Effect.scoped(Layer.build(Layer.provideMerge(TrustlogConfig.layerWorkers, layer)))
      assert.strictEqual(Context.get(context, TrustlogConfig.TrustlogConfig).tablePrefix, "x_")
      assert.strictEqual((yield* Effect.provide(WorkerConfig, context)).pageRows, 7)
    }))
})
