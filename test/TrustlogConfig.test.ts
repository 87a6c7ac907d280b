import { assert, describe, it } from "@effect/vitest"
import * as ConfigError from "effect/ConfigError"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
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
        TRUSTLOG_SIGNING_KEY_FILE: "/run/secrets/signing.key",
        TRUSTLOG_TRUSTED_KEY_FILES: "keys/new.pem, keys/the old one.pem",
        TRUSTLOG_TABLE_PREFIX: "audit_",
        TRUSTLOG_SCHEMA: "evidence",
        TRUSTLOG_LISTEN_URL: "postgres://ann@db/app",
        TRUSTLOG_SCAN_INTERVAL: "250ms",
        TRUSTLOG_PAGE_ROWS: "5000",
        TRUSTLOG_LEASE: "20s",
        TRUSTLOG_PUBLISH_DEADLINE: "1.5m",
        TRUSTLOG_SHUTDOWN: "1h"
      })
      assert.deepStrictEqual(config.database, { _tag: "Sqlite", filename: "/var/lib/app/a b%20c#d.db" })
      assert.deepStrictEqual(config.publisher, { _tag: "Ledger", path: "logs/audit", maxEntryBytes: 1024 })
      assert.strictEqual(TrustlogConfig.keyFileOf(config), "/run/secrets/key")
      assert.strictEqual(config.signingKeyFile, "/run/secrets/signing.key")
      assert.deepStrictEqual(config.trustedKeyFiles, ["keys/new.pem", "keys/the old one.pem"])
      assert.deepStrictEqual(TrustlogConfig.namingOf(config), { prefix: "audit_", schema: "evidence" })
      assert.strictEqual(config.listen?.database, "app")
      assert.deepStrictEqual(config.workers.scanInterval, Duration.millis(250))
      assert.strictEqual(config.workers.pageRows, 5000)
      assert.strictEqual(config.workers.backlogPageRows, 5000)
      assert.deepStrictEqual(config.workers.lease, Duration.seconds(20))
      assert.deepStrictEqual(config.workers.leaseRenewal, Duration.seconds(6))
      assert.deepStrictEqual(config.workers.publishDeadline, Duration.seconds(90))
      assert.deepStrictEqual(config.workers.shutdown, Duration.hours(1))
    }))

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
      assert.match(
        yield* messageOf({ TRUSTLOG_SIGNING_KEY_FILE: "" }),
        /^TRUSTLOG_SIGNING_KEY_FILE: "" .* leave it unset$/
      )
      for (const text of ["", " ", ",", "a,", "a,,b"]) {
        assert.match(
          yield* messageOf({ TRUSTLOG_TRUSTED_KEY_FILES: text }),
          /^TRUSTLOG_TRUSTED_KEY_FILES: .* with commas between them, or leave it unset$/
        )
      }
      const both = yield* Effect.flip(fromEnv({ TRUSTLOG_DATABASE_URL: "x", TRUSTLOG_PUBLISHER_URL: "y" }))
      assert.isTrue(ConfigError.isAnd(both))
    }))

  it.effect("shows neither passwords nor control characters", () =>
    Effect.gen(function*() {
      const message = yield* messageOf({ TRUSTLOG_DATABASE_URL: "postgres://ann:s3cret@db/x?\x1b[2J=1" })
      assert.match(message, /^TRUSTLOG_DATABASE_URL: .* is not accepted; /)
      assert.notMatch(message, /s3cret|\p{Cc}/u)
      const config = yield* fromEnv({ TRUSTLOG_PULSAR_TOKEN: "s3cret" })
      assert.notInclude(JSON.stringify(config), "s3cret")
    }))

  it.effect("reads how a cluster of Pulsar is trusted; what is empty is not set", () =>
    Effect.gen(function*() {
      const { publisher, pulsar, topics } = yield* fromEnv({
        TRUSTLOG_PUBLISHER_URL: "wss://broker:8443",
        TRUSTLOG_PULSAR_CA_FILE: "",
        TRUSTLOG_PULSAR_CERT_FILE: "/run/client.pem",
        TRUSTLOG_PULSAR_KEY_FILE: "/run/client.key",
        TRUSTLOG_PULSAR_ALLOW_INSECURE: "false",
        TRUSTLOG_PULSAR_TOKEN: "",
        TRUSTLOG_PULSAR_TOKEN_FILE: "/run/token",
        TRUSTLOG_OPERATION_TOPIC: "persistent://audit/app/operation",
        TRUSTLOG_CLOUD_EVENTS: "true"
      })
      assert.strictEqual(publisher._tag, "PulsarWebSocket")
      assert.isTrue(
        Equal.equals(
          Data.struct({ ...pulsar, tls: Data.struct(pulsar.tls) }),
          Data.struct({
            tls: Data.struct({
              caFile: undefined,
              certificateFile: "/run/client.pem",
              keyFile: "/run/client.key",
              allowInsecure: false
            }),
            token: undefined,
            tokenFile: "/run/token",
            cloudEvents: true
          })
        )
      )
      assert.strictEqual(topics.operation, "persistent://audit/app/operation")
      assert.strictEqual(topics.record, "persistent://public/default/record")
    }))

  it.effect("reads where a receiver over HTTP is, and its token, which it does not show", () =>
    Effect.gen(function*() {
      const config = yield* fromEnv({
        TRUSTLOG_PUBLISHER_URL: "https://receiver.example.org/records",
        TRUSTLOG_HTTP_TOKEN: "s3cret"
      })
      assert.deepStrictEqual(config.publisher, { _tag: "Http", url: "https://receiver.example.org/records" })
      assert.strictEqual(config.http.token && Redacted.value(config.http.token), "s3cret")
      assert.isUndefined(config.pulsar.token)
      assert.notInclude(JSON.stringify(config), "s3cret")
      assert.strictEqual(TrustlogConfig.keyFileOf(config), "trustlog.key")
      const both = yield* messageOf({ TRUSTLOG_HTTP_TOKEN: "a", TRUSTLOG_HTTP_TOKEN_FILE: "b" })
      assert.match(both, /^TRUSTLOG_HTTP_TOKEN and TRUSTLOG_HTTP_TOKEN_FILE are both set/)
    }))

  it.effect("names what contradicts itself in the configuration of Pulsar", () =>
    Effect.gen(function*() {
      const both = yield* messageOf({ TRUSTLOG_PULSAR_TOKEN: "a", TRUSTLOG_PULSAR_TOKEN_FILE: "b" })
      assert.match(both, /^TRUSTLOG_PULSAR_TOKEN and TRUSTLOG_PULSAR_TOKEN_FILE are both set/)
      const topic = yield* messageOf({ TRUSTLOG_RECORD_TOPIC: "record" })
      assert.match(topic, /^TRUSTLOG_RECORD_TOPIC: the topic "record" has no full name; write persistent:/)
      const memory = yield* messageOf({ TRUSTLOG_RECORD_TOPIC: "non-persistent://a/b/c" })
      assert.match(memory, /^TRUSTLOG_RECORD_TOPIC: .* kept in memory only/)
      const flag = yield* messageOf({ TRUSTLOG_PULSAR_ALLOW_INSECURE: "yes" })
      assert.match(flag, /^TRUSTLOG_PULSAR_ALLOW_INSECURE: "yes" is not accepted; write true or false/)
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
