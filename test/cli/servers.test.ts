/**
 * The command line on database servers.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Client } from "pg"
import type { Horizon } from "../../src/Repository.ts"
import { horizonShown } from "../../src/cli/commands/status.ts"
import { query } from "../servers/Database.ts"
import { free } from "../servers/Port.ts"
import { database, on, onEach } from "../servers/Server.ts"
import { examples, lines, makeSandbox, uuid } from "./sandbox.ts"

onEach((server) => {
  describe("the command line", () => {
    it.scopedLive("records, delivers and verifies, in a schema and under a prefix of its own", () =>
      Effect.gen(function*() {
        const cli = yield* makeSandbox
        const url = yield* database(server)
        const env = {
          TRUSTLOG_DATABASE_URL: url,
          TRUSTLOG_TABLE_PREFIX: "audit_",
          ...server.dialect === "pg" ? { TRUSTLOG_SCHEMA: "evidence" } : {}
        }
        const init = yield* cli.json(0, ["init"], { env })
        const { host, pathname } = new URL(url)
        assert.include(init, {
          database: `${server.dialect === "pg" ? "postgres" : "mysql"}://${host}${pathname}`,
          ledger: "trustlog-ledger"
        })
        assert.deepStrictEqual(yield* cli.json(0, ["init"], { env }), init)
        assert.include(yield* cli.json(0, ["append", examples], { env }), { read: 2821, appended: 2821, rejected: 0 })
        assert.include(yield* cli.json(0, ["append", examples], { env }), { appended: 0, duplicates: 2821 })
        assert.include(yield* cli.json(0, ["append", "--strategy", "DbOnly"], { env, stdin: lines(0, 3) }), {
          appended: 3
        })
        assert.include(yield* cli.json(0, ["drain"], { env }), { delivered: 2821 })
        assert.include(yield* cli.json(0, ["status"], { env }), { pending: 0, delivered: 2821, dead: 0 })
        assert.include(yield* cli.json(0, ["promote", uuid(0), uuid(1)], { env }), { promoted: 2 })
        assert.include(yield* cli.json(0, ["drain"], { env }), { delivered: 2 })
        assert.include(yield* cli.json(0, ["verify"], { env }), {
          verdict: "complete",
          operations: 2824,
          delivered: 2823,
          ledgerSize: 2824
        })
        const table = server.dialect === "pg" ? "evidence.audit_operation" : "audit_operation"
        yield* query(url, `UPDATE ${table} SET actor = 'mallory' WHERE position = 7`)
        assert.include(yield* cli.json(1, ["verify"], { env }), { verdict: "tampered", alteredTotal: 1 })
      }))

    it.scopedLive("shows dead letters, and delivers them when they are replayed", () =>
      Effect.gen(function*() {
        const cli = yield* makeSandbox
        const env = { TRUSTLOG_DATABASE_URL: yield* database(server) }
        const refusing = { ...env, TRUSTLOG_PUBLISHER_URL: "ledger:trustlog-ledger?maxEntryBytes=10" }
        yield* cli.json(0, ["init"], { env })
        yield* cli.json(0, ["append"], { env, stdin: lines(0, 3) })
        assert.include(yield* cli.json(1, ["drain"], { env: refusing }), { delivered: 0, refused: 3, dead: 3 })
        const listed = yield* cli.run(["dead-letters", "list"], { env })
        assert.match(listed.stdout, new RegExp(`${uuid(0)}.*tooLarge`))
        assert.include(yield* cli.json(0, ["dead-letters", "replay", "--all"], { env }), { replayed: 3 })
        assert.include(yield* cli.json(0, ["drain"], { env }), { delivered: 3 })
        assert.include(yield* cli.json(0, ["verify"], { env }), { verdict: "complete" })
      }))

    it.scopedLive("delivers until it is told to end, what other programs write as well", () =>
      Effect.gen(function*() {
        const cli = yield* makeSandbox
        const env = { TRUSTLOG_DATABASE_URL: yield* database(server) }
        yield* cli.json(0, ["init"], { env })
        const running = yield* cli.start(["run", "--json"], { env })
        yield* running.says("started")
        yield* cli.json(0, ["append"], { env, stdin: lines(0, 30) })
        const delivered = Effect.map(cli.json(0, ["status"], { env }), (status) =>
          typeof status === "object" && status !== null && "delivered" in status && status.delivered === 30)
        yield* Effect.repeat(delivered, {
          until: (isDone) =>
            isDone
        })
        running.child.kill("SIGTERM")
        const ended = yield* running.ended
        assert.strictEqual(ended.code, 0, ended.stderr)
        assert.include(JSON.parse(ended.stdout), { delivered: 30, pending: 0 })
      }))

    it.scopedLive("says what is wrong with a server's URL, and shows no password", () =>
      Effect.gen(function*() {
        const cli = yield* makeSandbox
        const url = yield* database(server)
        const changed = (change: (url: URL) => void) => {
          const other = new URL(url)
          change(other)
          return other.href
        }
        const refuses = (code: number, message: RegExp, url: string) =>
          Effect.map(cli.run(["status"], { env: { TRUSTLOG_DATABASE_URL: url } }), (ended) => {
            assert.strictEqual(ended.code, code, ended.stderr)
            assert.match(ended.stderr, message)
            assert.notInclude(ended.stderr + ended.stdout, "s3cret")
            assert.strictEqual(ended.stdout, "")
          })
        yield* refuses(2, /no trustlog tables: run `trustlog init`/, url)
        yield* refuses(
          2,
          /cannot connect to .*: .*nowhere/,
          changed((other) => {
            other.pathname = "/nowhere"
          })
        )
        const port = yield* free
        yield* refuses(
          3,
          /cannot connect to .*: .*ECONNREFUSED/,
          changed((other) => {
            other.port = String(port)
          })
        )
        yield* refuses(
          2,
          /cannot connect to /,
          changed((other) => {
            other.username = "nobody"
            other.password = "s3cret"
          })
        )
        yield* refuses(2, /TRUSTLOG_DATABASE_URL: .* is not accepted; .* is not known here/, `${url}?pool=s3cret`)
      }))
  })
})

on("postgresql-15", (server) => {
  describe("status", () => {
    it.scopedLive("names whoever keeps PostgreSQL from removing dead rows", () =>
      Effect.gen(function*() {
        const cli = yield* makeSandbox
        const url = yield* database(server)
        const env = { TRUSTLOG_DATABASE_URL: url }
        yield* cli.json(0, ["init"], { env })
        const writer = yield* Effect.acquireRelease(
          Effect.promise(async () => {
            const writer = new Client({ connectionString: url, application_name: "reports" })
            await writer.connect()
            await writer.query("CREATE TABLE note (text text)")
            await writer.query("BEGIN")
            await writer.query("INSERT INTO note VALUES ('held')")
            return writer
          }),
          (writer) => Effect.promise(() => writer.end())
        )
        const { horizon } = Object(yield* cli.json(0, ["status"], { env }))
        assert.hasAllKeys(horizon, [
          "kind",
          "ageSeconds",
          "ageTransactions",
          "pid",
          "name",
          "user",
          "application",
          "state",
          "since"
        ])
        assert.include(horizon, { kind: "backend", application: "reports", state: "idle in transaction" })
        // A young one is nothing to tell a person of.
        assert.notInclude((yield* cli.run(["status"], { env })).stdout, "dead rows")
        yield* Effect.promise(() => writer.query("COMMIT"))
      }))
  })
})

describe("an old horizon", () => {
  const horizon: Horizon = {
    kind: "backend",
    ageSeconds: 7300,
    ageTransactions: 12,
    pid: 4711,
    name: null,
    user: "ann",
    application: "re\u001bports",
    state: "idle in transaction",
    since: "2026-11-23T14:50:42.123456Z"
  }

  it("is shown with what to do about it, and nothing in it commands the terminal", () => {
    assert.deepStrictEqual(horizonShown(horizon), [
      "PostgreSQL cannot remove dead rows: connection 4711 (user ann, re\\x1bports, idle in transaction) has held them for 2 h",
      "  end its transaction, or else: SELECT pg_terminate_backend(4711)"
    ])
    assert.deepStrictEqual(horizonShown({ ...horizon, ageSeconds: null, state: null, application: null }), [
      "PostgreSQL cannot remove dead rows: connection 4711 (user ann) has held them for 12 transactions",
      "  end its transaction, or else: SELECT pg_terminate_backend(4711)",
      "  since when is hidden from this user: GRANT pg_read_all_stats"
    ])
    const prepared = horizonShown({ ...horizon, kind: "prepared", pid: null, name: "bob's", state: null })
    assert.include(prepared[1], "ROLLBACK PREPARED 'bob''s'")
    const slot = horizonShown({ ...horizon, kind: "replicationSlot", ageSeconds: null, name: "standby" })
    assert.include(slot[1], "pg_drop_replication_slot('standby')")
    assert.lengthOf(slot, 2)
  })

  it("is one of more than a minute; one that would be a connection's alone is shown only if it has seen transactions", () => {
    assert.deepStrictEqual(horizonShown({ ...horizon, ageSeconds: 59 }), [])
    assert.deepStrictEqual(horizonShown({ ...horizon, ageSeconds: null, ageTransactions: 0 }), [])
    assert.deepStrictEqual(horizonShown(null), [])
  })
})
