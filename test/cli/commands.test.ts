import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as runtime from "../runtime.ts"
import { examples, lines, makeSandbox, startScript, uuid } from "./sandbox.ts"

/** Refuses every record: the digest form of none is that small. */
const refusing = { TRUSTLOG_PUBLISHER_URL: "ledger:trustlog-ledger?maxEntryBytes=10" }

describe("the command line", () => {
  it.scopedLive("records, delivers and verifies, and does nothing a second time", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* cli.write("operations.jsonl", lines(0, 30))
      const init = yield* cli.json(0, ["init"])
      assert.hasAllKeys(init, ["database", "stream", "ledger", "keyFile"])
      assert.deepInclude(init, { database: "trustlog.db", ledger: "trustlog-ledger", keyFile: "trustlog-ledger.key" })
      assert.deepStrictEqual(yield* cli.json(0, ["init"]), init)
      assert.deepStrictEqual(yield* cli.json(0, ["append", "operations.jsonl"]), {
        read: 30,
        appended: 30,
        duplicates: 0,
        rejected: 0,
        errors: []
      })
      assert.deepStrictEqual(yield* cli.json(0, ["append"], { stdin: lines(0, 31) }), {
        read: 31,
        appended: 1,
        duplicates: 30,
        rejected: 0,
        errors: []
      })
      assert.deepInclude(yield* cli.json(1, ["verify"]), { verdict: "incomplete", pending: 31 })
      assert.deepInclude(yield* cli.json(0, ["verify", "--allow-pending"]), { verdict: "incomplete", pending: 31 })
      assert.deepStrictEqual(yield* cli.json(0, ["drain"]), {
        delivered: 31,
        refused: 0,
        dead: 0,
        pending: 0,
        retrying: 0,
        paused: []
      })
      assert.deepStrictEqual(yield* cli.json(0, ["drain", "--budget", "5s"]), {
        delivered: 0,
        refused: 0,
        dead: 0,
        pending: 0,
        retrying: 0,
        paused: []
      })
      assert.deepStrictEqual(yield* cli.json(0, ["verify"]), {
        verdict: "complete",
        operations: 31,
        delivered: 31,
        purged: 0,
        pending: 0,
        retrying: 0,
        dead: 0,
        unsealed: null,
        ledgerSize: 32,
        otherEntries: 0,
        missing: [],
        altered: [],
        surplus: [],
        missingTotal: 0,
        alteredTotal: 0,
        surplusTotal: 0
      })
    }))

  it.scopedLive("status answers with exactly its keys, whatever there is to tell", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* cli.run(["init"])
      assert.deepStrictEqual(yield* cli.json(0, ["status"]), {
        undelivered: 0,
        pending: 0,
        isEstimate: false,
        oldestPendingSeconds: 0,
        retrying: 0,
        dead: 0,
        isCapped: false,
        delivered: 0,
        purged: 0,
        late: 0,
        breaker: "closed",
        paused: false,
        newLanesPaused: false,
        horizon: null,
        lanes: []
      })
      yield* cli.run(["append"], { stdin: lines(0, 2) })
      const status = yield* cli.json(0, ["status"])
      assert.deepInclude(status, { pending: 2, retrying: 0, dead: 0, delivered: 0, breaker: "closed", paused: false })
      assert.hasAllKeys(Object(status).lanes[0], [
        "lane",
        "topic",
        "position",
        "pending",
        "isEstimate",
        "lagSeconds",
        "lagPositions",
        "owner",
        "delivered",
        "late",
        "breaker",
        "paused"
      ])
      assert.nestedPropertyVal(status, "lanes[0].lane", "operation")
      assert.nestedPropertyVal(status, "lanes[0].topic", "persistent://public/default/operation")
      assert.nestedPropertyVal(status, "lanes[0].owner", null)
      assert.nestedPropertyVal(status, "lanes[0].position", 0)
      assert.nestedPropertyVal(status, "lanes[0].pending", 2)
      assert.nestedProperty(status, "lanes[0].lagSeconds")
      const { stdout } = yield* cli.run(["status"])
      assert.match(stdout, /^pending +2 /m)
    }))

  it.scopedLive("status says what it has estimated, and what it has counted no further", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* cli.run(["init"])
      const numbers = "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 150000)"
      yield* cli.sql(`INSERT INTO trustlog_pending ${numbers} SELECT 'record', n FROM s`)
      yield* cli.sql(
        "INSERT INTO trustlog_retry (position, lane, state, attempts, reason, error, first_failed_at, last_failed_at) " +
          `${numbers} SELECT n, 'record', 'dead', 1, 'rejected', 'no', '', '' FROM s`
      )
      assert.deepInclude(yield* cli.json(0, ["status"]), {
        undelivered: 250_000,
        pending: 150_000,
        isEstimate: true,
        dead: 100_000,
        isCapped: true
      })
      const { stdout } = yield* cli.run(["status"])
      assert.match(stdout, /^pending +~150,000 /m)
      assert.match(stdout, /^dead +100,000\+ /m)
      assert.match(stdout, /^record +~150,000 /m)
    }))

  it.scopedLive("reports every refused line by its number and keeps the others, in the order of lines", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* cli.run(["init"])
      yield* cli.run(["append"], { stdin: lines(5, 6) })
      // The conflicts are found by the database, after everything else about their batch is known.
      const stdin = `${lines(0, 1)}\r\n  \n{broken\n${lines(5, 6, { actor: "bob" })}${lines(1, 5)}{"actor":"x"}\n${
        lines(0, 1, { actor: "bob" })
      }${lines(6, 10)}`
      const { errors, ...counts } = Object(yield* cli.json(1, ["append"], { stdin }))
      assert.deepStrictEqual(counts, { read: 13, appended: 9, duplicates: 0, rejected: 4 })
      assert.deepStrictEqual(errors.map((error: { line: number }) => error.line), [4, 5, 10, 11])
      assert.hasAllKeys(errors[0], ["line", "reason"])
      assert.match(errors[1].reason, /already recorded with other content/)
      assert.match(errors[2].reason, /action: is required/)
      const { code, stderr, stdout } = yield* cli.run(["append"], { stdin })
      assert.strictEqual(code, 1)
      assert.match(stderr, /^line 4: .*\nline 5: .*\nline 10: .*\nline 11: /)
      assert.strictEqual(
        stdout,
        "standard input: 13 lines read, 0 appended, 9 recorded already, 4 refused\n"
      )
    }))

  it.scopedLive("names the first hundred refused lines and counts the others", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* cli.run(["init"])
      const stdin = `${"{}\n".repeat(250)}${lines(0, 1)}`
      const { errors, ...counts } = Object(yield* cli.json(1, ["append"], { stdin }))
      assert.deepStrictEqual(counts, { read: 251, appended: 1, duplicates: 0, rejected: 250 })
      assert.deepStrictEqual(
        errors.map((error: { line: number }) => error.line),
        Array.from({ length: 100 }, (_, i) => i + 1)
      )
      const { stdout } = yield* cli.run(["append"], { stdin })
      assert.match(stdout, /^and 150 more refused lines\n/)
    }))

  it.scopedLive("stores operations only, and promotes them later", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* cli.run(["init"])
      yield* cli.run(["append", "--strategy", "DbOnly"], { stdin: lines(0, 3) })
      yield* cli.run(["append"], { stdin: lines(3, 4) })
      assert.deepInclude(yield* cli.json(0, ["drain"]), { delivered: 1, pending: 0 })
      assert.deepStrictEqual(yield* cli.json(0, ["promote", uuid(0)]), { promoted: 1, unchanged: [] })
      assert.deepStrictEqual(yield* cli.json(0, ["promote", uuid(0), uuid(1), uuid(3)]), {
        promoted: 1,
        unchanged: [{ id: uuid(0), reason: "alreadyPromoted" }, { id: uuid(3), reason: "notDbOnly" }]
      })
      assert.deepStrictEqual(yield* cli.json(1, ["promote", uuid(99)]), {
        promoted: 0,
        unchanged: [{ id: uuid(99), reason: "unknown" }]
      })
      // Appended again with delivery, they are promoted as well.
      assert.deepInclude(yield* cli.json(0, ["append"], { stdin: lines(0, 3) }), { appended: 0, duplicates: 3 })
      assert.deepInclude(yield* cli.json(0, ["drain"]), { delivered: 3, pending: 0 })
    }))

  it.scopedLive("shows dead letters, exports them for another append, and replays them", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* cli.run(["init"])
      const full = {
        id: uuid(1000),
        kind: "record",
        occurredAt: "2026-11-23T14:50:42.123456+01:00",
        actor: "Zoë 🦊",
        action: "document.keep",
        target: "document/\"7\"",
        source: "archive",
        payload: { b: [1, 2.5, null], a: "\u2028", __proto__x: { "": true } },
        requestHash: "A".repeat(64),
        responseHash: "b".repeat(64),
        clientIp: "::ffff:192.0.2.1",
        serverIp: "2001:DB8::1",
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
      }
      yield* cli.run(["append"], { stdin: `${lines(0, 250)}${JSON.stringify(full)}\n` })
      assert.deepStrictEqual(yield* cli.json(1, ["drain"], { env: refusing }), {
        delivered: 0,
        refused: 251,
        dead: 251,
        pending: 0,
        retrying: 0,
        paused: []
      })
      assert.deepInclude(yield* cli.json(1, ["verify"]), { verdict: "incomplete", dead: 251 })

      const listed = Object(yield* cli.json(0, ["dead-letters", "list", "--limit", "2"]))
      assert.strictEqual(listed.total, 251)
      assert.strictEqual(listed.deadLetters.length, 2)
      assert.hasAllKeys(listed.deadLetters[0], [
        "id",
        "kind",
        "lane",
        "reason",
        "error",
        "attempts",
        "firstFailedAt",
        "lastFailedAt"
      ])
      assert.match((yield* cli.run(["dead-letters", "list"])).stdout, /100 of 251 dead letters; --limit shows more/)

      const { deadLetter } = Object(yield* cli.json(0, ["dead-letters", "show", uuid(1000)]))
      assert.deepInclude(deadLetter, { id: uuid(1000), reason: "tooLarge", attempts: 1, actor: "Zoë 🦊" })
      assert.deepStrictEqual(deadLetter.payload, full.payload)
      assert.match((yield* cli.run(["dead-letters", "show", uuid(1000)])).stdout, /^actor +Zoë 🦊$/m)
      assert.deepStrictEqual(yield* cli.json(1, ["dead-letters", "show", uuid(9999)]), { deadLetter: null })

      assert.deepStrictEqual(yield* cli.json(0, ["dead-letters", "export", "dead.jsonl"]), {
        exported: 251,
        skipped: []
      })
      const exported = yield* cli.read("dead.jsonl")
      const piped = yield* cli.run(["dead-letters", "export", "-"])
      assert.strictEqual(piped.stdout, exported)
      assert.match(piped.stderr, /251 dead letters exported/)
      assert.deepStrictEqual((yield* cli.list).filter((name) => name.startsWith(".")), [])
      // Appended where they are recorded already, they are the same operations; elsewhere they are new.
      assert.deepInclude(yield* cli.json(0, ["append", "dead.jsonl"]), { read: 251, duplicates: 251 })
      const elsewhere = { TRUSTLOG_DATABASE_URL: "sqlite:other.db", TRUSTLOG_PUBLISHER_URL: "ledger:other" }
      yield* cli.run(["init"], { env: elsewhere })
      assert.deepInclude(yield* cli.json(0, ["append", "dead.jsonl"], { env: elsewhere }), { appended: 251 })

      assert.deepStrictEqual(yield* cli.json(1, ["dead-letters", "replay", uuid(0), uuid(9999)]), {
        replayed: 1,
        notFound: [uuid(9999)]
      })
      assert.deepStrictEqual(yield* cli.json(0, ["dead-letters", "replay", "--all"]), { replayed: 250, notFound: [] })
      assert.deepInclude(yield* cli.json(0, ["drain"]), { delivered: 251, dead: 0 })
      assert.deepInclude(yield* cli.json(0, ["verify"]), { verdict: "complete" })
    }))

  it.scopedLive("does not export a row of plain SQL that no append would take, and says so", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* cli.run(["init"])
      yield* cli.run(["append"], { stdin: lines(0, 2) })
      yield* cli.run(["drain"], { env: refusing })
      yield* cli.sql(`UPDATE operation SET actor = '', content_hash = NULL WHERE id = '${uuid(1)}'`)
      assert.deepStrictEqual(yield* cli.json(1, ["dead-letters", "export", "dead.jsonl"]), {
        exported: 1,
        skipped: [{ id: uuid(1), reason: "actor: must not be empty" }]
      })
    }))

  it.scopedLive("drain leaves retries that are not due, and says so with exit code 1", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* cli.run(["init"])
      yield* cli.run(["append"], { stdin: lines(0, 2) })
      yield* cli.sql(`UPDATE operation SET actor = '', content_hash = NULL WHERE id = '${uuid(1)}'`)
      assert.deepStrictEqual(yield* cli.json(1, ["drain"]), {
        delivered: 1,
        refused: 1,
        dead: 0,
        pending: 0,
        retrying: 1,
        paused: []
      })
      assert.deepStrictEqual(yield* cli.json(1, ["drain"]), {
        delivered: 0,
        refused: 0,
        dead: 0,
        pending: 0,
        retrying: 1,
        paused: []
      })
    }))

  it.scopedLive("verify names what was tampered with, and exits 1 even if it may be incomplete", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* cli.run(["init"])
      yield* cli.run(["append"], { stdin: lines(0, 3) })
      yield* cli.run(["drain"])
      yield* cli.sql(`UPDATE operation SET actor = 'mallory' WHERE id = '${uuid(1)}'`)
      const report = Object(yield* cli.json(1, ["verify", "--allow-pending"]))
      assert.deepInclude(report, { verdict: "tampered", missing: [], surplus: [] })
      assert.isAbove(report.alteredTotal, 0)
      assert.strictEqual(report.altered[0].id, uuid(1))
      assert.hasAllKeys(report.altered[0], ["id", "reason"])
      const { code, stdout } = yield* cli.run(["verify"])
      assert.strictEqual(code, 1)
      assert.include(stdout, `altered  ${uuid(1)}: `)
      assert.match(stdout, /^verdict: TAMPERED/m)
    }))

  it.scopedLive("pauses lanes, says so, and resumes them", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* cli.run(["init"])
      yield* cli.run(["append"], { stdin: lines(0, 30) })
      assert.deepStrictEqual(yield* cli.json(0, ["pause", "record"]), { paused: true, lane: "record", changed: 1 })
      const left = { delivered: 20, refused: 0, dead: 0, pending: 10, retrying: 0, paused: ["record"] }
      assert.deepStrictEqual(yield* cli.json(1, ["drain"]), left)
      assert.include(
        (yield* cli.run(["drain"])).stdout,
        "1 lane left as it is, paused: record; `trustlog resume` lets delivery go on\n"
      )
      const some = yield* cli.run(["status"])
      assert.match(some.stdout, /^paused +1 lane +`trustlog resume`/m)
      assert.match(some.stdout, /^record +paused +10 /m)
      assert.match(some.stdout, /^operation +0 /m)

      assert.match((yield* cli.run(["pause"])).stdout, /^every lane is paused, and those that come later will be/)
      assert.match((yield* cli.run(["status"])).stdout, /^paused +every lane /m)
      assert.deepStrictEqual(yield* cli.json(0, ["resume", "record"]), { paused: false, lane: "record", changed: 1 })
      assert.deepInclude(yield* cli.json(0, ["drain"]), { delivered: 10, pending: 0, paused: ["operation"] })
      assert.strictEqual((yield* cli.run(["resume", "record"])).stdout, "lane record was not paused\n")
      assert.deepStrictEqual(yield* cli.json(0, ["resume"]), { paused: false, lane: null, changed: 1 })

      const unknown = yield* cli.run(["pause", "operation/nowhere", "--json"])
      assert.deepInclude(unknown, { code: 2, stdout: "" })
      assert.match(unknown.stderr, /^trustlog: there is no lane operation\/nowhere: .*`trustlog status` shows/)
      const misnamed = yield* cli.run(["resume", "invoices\u001b"])
      assert.deepInclude(misnamed, { code: 2, stdout: "" })
      assert.match(misnamed.stderr, /^trustlog: "invoices\\u001b" is not the name of a lane; write operation, record, /)
    }))

  it.scopedLive("purges what was delivered long ago, and tells what it left", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* cli.run(["init"])
      yield* cli.run(["append"], { stdin: lines(0, 30) })
      yield* cli.run(["drain"])
      yield* cli.run(["append"], { stdin: lines(30, 60) })
      yield* cli.run(["drain"])
      yield* cli.run(["append"], { stdin: lines(60, 63) })
      yield* cli.run(["append", "--strategy", "DbOnly"], { stdin: lines(63, 64) })
      assert.deepStrictEqual(yield* cli.json(0, ["purge", "--older-than", "90d"]), {
        receipts: 0,
        operations: 0,
        skipped: []
      })
      assert.strictEqual((yield* cli.run(["purge", "--older-than", "999999999d"])).stdout, "nothing is that old\n")
      yield* cli.sql(`UPDATE operation SET actor = 'mallory' WHERE id = '${uuid(31)}'`)
      const skipped = [{
        receipt: "receipt/operation/2",
        reason: `operation ${uuid(31)}: no longer matches its content hash`
      }]
      assert.deepStrictEqual(yield* cli.json(1, ["purge", "--older-than", "1ms"]), {
        receipts: 3,
        operations: 40,
        skipped
      })
      const again = yield* cli.run(["purge", "--older-than", "1ms"])
      assert.deepInclude(again, {
        code: 1,
        stdout: `skipped  receipt/operation/2: ${skipped[0]?.reason}\nnothing was purged\n` +
          "1 receipt left as it was: `trustlog verify` tells more\n"
      })
      yield* cli.sql(`UPDATE operation SET actor = 'ann' WHERE id = '${uuid(31)}'`)
      const last = yield* cli.run(["purge", "--older-than", "1ms"])
      assert.deepInclude(last, { code: 0, stdout: "20 operations purged, of 1 receipt\n" })
      const report = yield* cli.json(0, ["verify", "--allow-pending"])
      assert.deepInclude(report, { verdict: "incomplete", operations: 4, delivered: 0, purged: 60, pending: 3 })
      assert.match(
        (yield* cli.run(["verify", "--allow-pending"])).stdout,
        /^60 more were purged after their delivery$/m
      )
      assert.deepInclude(yield* cli.json(0, ["status"]), { delivered: 60, purged: 60, pending: 3 })
      assert.match((yield* cli.run(["status"])).stdout, /^delivered +60 +60 of them purged$/m)
      // Whoever clears the mark of a purge has not put the rows back.
      yield* cli.sql("UPDATE trustlog_receipt SET purged_at = NULL, purge_signature = NULL WHERE lane = 'record'")
      assert.deepInclude(yield* cli.json(1, ["verify", "--allow-pending"]), { verdict: "tampered", missingTotal: 20 })
    }))

  it.scopedLive("tells its version, and helps with every command on standard output", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      const version = yield* cli.run(["--version"])
      assert.match(version.stdout, /^\d+\.\d+\.\d+\n$/)
      yield* Effect.forEach(
        [
          [],
          ["init"],
          ["append"],
          ["run"],
          ["drain"],
          ["pause"],
          ["resume"],
          ["status"],
          ["dead-letters"],
          ["dead-letters", "export"],
          ["promote"],
          ["purge"],
          ["verify"],
          ["key"]
        ],
        (args) =>
          // A wrong environment must not keep anybody from reading the help.
          Effect.map(cli.run([...args, "--help"], { env: { TRUSTLOG_DATABASE_URL: "nonsense" } }), (help) => {
            assert.deepInclude(help, { code: 0, stderr: "" })
            assert.include(help.stdout, `$ ${["trustlog", ...args].join(" ")}`)
            assert.match(help.stdout, args.length === 0 ? /FIRST STEPS/ : /EXAMPLES/)
            assert.notInclude(help.stdout, "\x1b")
          }),
        { concurrency: 2, discard: true }
      )
    }))

  it.scopedLive("npm start shows the whole way, command by command, and adds nothing when it runs again", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      const env = {
        TRUSTLOG_DATABASE_URL: `sqlite:${cli.file("trustlog.db")}`,
        TRUSTLOG_PUBLISHER_URL: `ledger:${cli.file("trustlog-ledger")}`
      }
      const start = Effect.scoped(Effect.flatMap(
        cli.spawned(...runtime.running(startScript), { env }),
        ({ ended }) => ended
      ))
      const { ledgerSize, operations } = yield* Effect.gen(function*() {
        const first = yield* start
        assert.strictEqual(first.code, 0, first.stderr)
        assert.match(first.stdout, /^\$ npx trustlog append examples\/operations\.jsonl$/m)
        assert.match(first.stdout, /^verdict: complete/m)
        return Object(yield* cli.json(0, ["verify"]))
      })
      assert.isAtLeast(operations, 2000)
      const second = yield* start
      assert.strictEqual(second.code, 0)
      assert.match(second.stdout, / 0 appended, /)
      assert.match(second.stdout, /^0 delivered, /m)
      assert.deepInclude(yield* cli.json(0, ["verify"]), { verdict: "complete", operations, ledgerSize })
      assert.deepInclude(yield* cli.json(0, ["append", examples]), { appended: 0, rejected: 0 })
    }))
})
