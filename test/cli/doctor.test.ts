/**
 * `trustlog doctor`: what is wrong is named, in plain words, with what puts it right.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as fs from "node:fs/promises"
import { ofClock, ofExpiry } from "../../src/internal/doctor/finding.ts"
import { query } from "../servers/Database.ts"
import * as Instance from "../servers/Instance.ts"
import * as Server from "../servers/Server.ts"
import { lines, makeSandbox } from "./sandbox.ts"

const Report = Schema.Struct({
  isWell: Schema.Boolean,
  problems: Schema.Number,
  warnings: Schema.Number,
  findings: Schema.Array(
    Schema.Struct({
      subject: Schema.String,
      verdict: Schema.Literal("ok", "warning", "problem"),
      words: Schema.String
    })
  )
})

const sandbox = Effect.map(makeSandbox, (cli) => ({
  ...cli,
  examine: (code: 0 | 1, env: Record<string, string> = {}) =>
    Effect.map(
      Effect.flatMap(cli.json(code, ["doctor"], { env }), Schema.decodeUnknown(Report)),
      ({ findings, isWell }) => {
        assert.strictEqual(isWell, code === 0)
        return {
          /** The subjects of a verdict. */
          of: (verdict: "ok" | "warning" | "problem") =>
            findings.filter((finding) => finding.verdict === verdict).map(({ subject }) => subject),
          /** What is said of a subject. */
          words: (subject: string) =>
            findings.filter((finding) => finding.subject === subject).map(({ words }) => words).join("; ")
        }
      }
    )
}))

describe("trustlog doctor", () => {
  it.scopedLive("says what is not there yet, and that all is well when it is", () =>
    Effect.gen(function*() {
      const cli = yield* sandbox
      const before = yield* cli.examine(1)
      assert.deepStrictEqual(before.of("problem"), ["database", "log"])
      assert.include(before.words("database"), "run `trustlog init`")
      assert.include(before.words("log"), "run `trustlog init`")
      yield* cli.json(0, ["init"])
      const after = yield* cli.examine(0)
      assert.deepStrictEqual(after.of("ok"), [
        "database",
        "database tables",
        "database rights",
        "delivery",
        "ledger"
      ])
      const { code, stdout } = yield* cli.run(["doctor"])
      assert.strictEqual(code, 0)
      assert.match(stdout, /^ok {2}database rights {2}operations can be recorded, and workers can work$/m)
      assert.match(stdout, /everything is well\n$/)
      // Nothing of its look is left behind.
      assert.include(yield* cli.json(0, ["status"]), { pending: 0, delivered: 0 })
      assert.include(yield* cli.json(0, ["verify"]), { operations: 0, verdict: "complete" })
    }))

  it.scopedLive("says that nobody delivers, and that somebody has to look at dead letters", () =>
    Effect.gen(function*() {
      const cli = yield* sandbox
      yield* cli.json(0, ["init"])
      yield* cli.json(0, ["append"], { stdin: lines(0, 2) })
      const waiting = yield* cli.examine(1)
      assert.deepStrictEqual(waiting.of("problem"), ["delivery"])
      assert.include(
        waiting.words("delivery"),
        "2 operations wait, and no process delivers all of them: start `trustlog run`"
      )
      yield* cli.json(1, ["drain"], { env: { TRUSTLOG_PUBLISHER_URL: "ledger:trustlog-ledger?maxEntryBytes=10" } })
      const dead = yield* cli.examine(0)
      assert.deepStrictEqual(dead.of("warning"), ["dead letters"])
      assert.include(dead.words("dead letters"), "2 operations were refused for good: see `trustlog dead-letters list`")
    }))

  it.scopedLive("says what is wrong with a ledger", () =>
    Effect.gen(function*() {
      const cli = yield* sandbox
      yield* cli.json(0, ["init"])
      yield* Effect.promise(() => fs.rm(cli.file("trustlog-ledger.key")))
      const keyless = yield* cli.examine(1)
      assert.match(keyless.words("log"), /trustlog-ledger\.key/)
      const memory = yield* cli.examine(1, { TRUSTLOG_PUBLISHER_URL: "memory:" })
      assert.include(memory.words("log"), "lost with the process")
    }))

  it("tells clocks that differ, and only those", () => {
    const clock = (theirs: number) => ofClock("clock", "the broker's clock", theirs, 1_000_000, 1_000_200)
    assert.strictEqual(clock(1_000_100).verdict, "ok")
    assert.strictEqual(clock(1_004_000).verdict, "ok")
    assert.match(clock(1_060_200).words, /^the broker's clock is 60 s ahead of this machine's clock: /)
    assert.match(clock(940_000).words, /^the broker's clock is 60 s behind this machine's clock: /)
    assert.strictEqual(clock(940_000).verdict, "warning")
  })

  it.effect("tells what has expired, and what soon will", () =>
    Effect.gen(function*() {
      const day = 86_400_000
      const expiry = (until: number) => ofExpiry("token", until, 14, "renew it")
      assert.strictEqual((yield* expiry(0)).verdict, "problem")
      assert.match((yield* expiry(0)).words, /^expired at 1970-01-01T00:00:00.000Z: renew it$/)
      assert.strictEqual((yield* expiry(13 * day)).verdict, "warning")
      assert.strictEqual((yield* expiry(15 * day)).verdict, "ok")
    }))

  Server.onEach((server) => {
    it.scopedLive("says which rights a user lacks, and whether the clocks agree", () =>
      Effect.gen(function*() {
        const cli = yield* sandbox
        const url = yield* Server.database(server)
        yield* cli.json(0, ["init"], { env: { TRUSTLOG_DATABASE_URL: url } })
        const well = yield* cli.examine(0, { TRUSTLOG_DATABASE_URL: url })
        assert.include(well.words("database clock"), "agrees with the database's clock")
        const name = `doctor_${Math.random().toString(36).slice(2, 10)}`
        const reader = new URL(url)
        reader.username = name
        reader.password = "secret"
        const [create, grant, drop] = server.dialect === "pg"
          ? [
            `CREATE ROLE ${name} LOGIN PASSWORD 'secret'`,
            `GRANT SELECT ON ALL TABLES IN SCHEMA public TO ${name}`,
            `DROP OWNED BY ${name}; DROP ROLE ${name}`
          ]
          : [
            `CREATE USER ${name} IDENTIFIED BY 'secret'`,
            `GRANT SELECT ON \`${reader.pathname.slice(1)}\`.* TO ${name}`,
            `DROP USER ${name}`
          ]
        yield* Effect.acquireRelease(query(url, create, grant), () => query(url, drop))
        const denied = yield* cli.examine(1, { TRUSTLOG_DATABASE_URL: reader.href })
        assert.deepStrictEqual(denied.of("problem"), ["database rights"])
        assert.include(denied.words("database rights"), "needs SELECT, INSERT, UPDATE and DELETE on the tables")
      }))
  })

  Server.having("pulsar", () => {
    it.scopedLive("says what is wrong between us and a broker", () =>
      Effect.gen(function*() {
        const cli = yield* sandbox
        const own = yield* Instance.Pulsar({ tls: true, tokens: true })
        yield* cli.json(0, ["init"])
        const topics = ["topic persistent://public/default/operation", "topic persistent://public/default/record"]
        const env = {
          TRUSTLOG_PUBLISHER_URL: own.tls.wsUrl,
          TRUSTLOG_PULSAR_CA_FILE: own.tls.ca,
          TRUSTLOG_PULSAR_TOKEN: own.token("app", { expiresIn: 7200 })
        }
        const guest = yield* cli.examine(1, env)
        assert.deepStrictEqual(guest.of("problem"), topics)
        assert.include(guest.words(topics[0] ?? ""), "does not let us produce")
        assert.include(guest.words("broker's clock"), "agrees")
        assert.deepStrictEqual(guest.of("warning"), ["trusted certificates", "token", "broker's certificate"])

        yield* own.grant("app", ["produce"])
        const well = yield* cli.examine(0, { ...env, TRUSTLOG_PULSAR_TOKEN: own.token("app") })
        assert.includeMembers([...well.of("ok")], [...topics, "token"])

        const expired = yield* cli.examine(1, { ...env, TRUSTLOG_PULSAR_TOKEN: own.token("app", { expiresIn: -5 }) })
        assert.deepStrictEqual(expired.of("problem"), ["token", ...topics])
        assert.match(expired.words("token"), /^expired at .*: renew TRUSTLOG_PULSAR_TOKEN/)

        const distrusted = yield* cli.examine(1, { ...env, TRUSTLOG_PULSAR_CA_FILE: own.tls.foreign.ca })
        assert.include(distrusted.words(topics[0] ?? ""), "TRUSTLOG_PULSAR_CA_FILE")
        const missing = yield* cli.examine(1, { ...env, TRUSTLOG_PULSAR_CA_FILE: "nowhere.pem" })
        assert.include(
          missing.words("trusted certificates"),
          "nowhere.pem cannot be read: correct TRUSTLOG_PULSAR_CA_FILE"
        )

        const insecure = yield* cli.examine(0, {
          TRUSTLOG_PUBLISHER_URL: own.tls.wsUrl,
          TRUSTLOG_PULSAR_TOKEN: own.token("app"),
          TRUSTLOG_PULSAR_ALLOW_INSECURE: "true"
        })
        assert.include(insecure.words("broker's certificate"), "TRUSTLOG_PULSAR_ALLOW_INSECURE")
        yield* own.stop
        const down = yield* cli.examine(1, env)
        assert.include(down.words(topics[1] ?? ""), "ECONNREFUSED")
      }))
  })
})
