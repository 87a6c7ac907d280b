import * as NodeContext from "@effect/platform-node/NodeContext"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as CircuitBreaker from "../../src/CircuitBreaker.ts"
import * as Sqlite from "../../src/Database/Sqlite.ts"
import * as Drain from "../../src/Drain.ts"
import * as Envelope from "../../src/Envelope.ts"
import * as Ledger from "../../src/Ledger.ts"
import * as Migrations from "../../src/Migrations.ts"
import { fromUnknown } from "../../src/Operation.ts"
import { messageOf } from "../../src/Publisher.ts"
import * as Memory from "../../src/Publisher/Memory.ts"
import { Repository } from "../../src/Repository.ts"
import * as RepositorySql from "../../src/Repository/Sql.ts"
import * as Trustlog from "../../src/Trustlog.ts"
import { lines, makeSandbox, type Sandbox, uuid } from "./sandbox.ts"

/** A log that is no ledger, and that a verification does not ask. */
const options = { env: { TRUSTLOG_PUBLISHER_URL: "ws://127.0.0.1:1" } }

/** Appends what was delivered to a ledger, as somebody does who consumes the log, from one number up to another. */
const seal = (cli: Sandbox, name: string, from: number, to: number) =>
  Effect.scoped(Effect.gen(function*() {
    const { evidence, stream } = yield* Repository
    const rows = yield* evidence.operations({ after: from, limit: to - from })
    yield* Ledger.init({ path: cli.file(name) })
    const ledger = yield* Ledger.make({ path: cli.file(name) })
    return yield* ledger.append(rows.map((row) => {
      const encoded = Either.getOrThrow(Envelope.ofRow(stream, row))
      return messageOf(stream, encoded, encoded.bytes, Envelope.contentType)
    }))
  })).pipe(
    Effect.provide(Layer.provide(RepositorySql.layer(), Sqlite.layer({ filename: cli.file("trustlog.db") }))),
    Effect.provide(NodeContext.layer)
  )

const delivered = (count: number) =>
  Effect.gen(function*() {
    const cli = yield* makeSandbox
    const repository = Layer.provideMerge(
      Layer.provide(RepositorySql.layer(), Migrations.layer()),
      Sqlite.layer({ filename: cli.file("trustlog.db") })
    )
    yield* Effect.gen(function*() {
      yield* (yield* Trustlog.Trustlog).appendAll(
        lines(0, count).trim().split("\n").map((line) => Either.getOrThrow(fromUnknown(JSON.parse(line))))
      )
      yield* Drain.drainOnce()
    }).pipe(
      Effect.provide(Layer.provideMerge(Trustlog.layer, Layer.mergeAll(repository, Memory.layer, CircuitBreaker.layer)))
    )
    return cli
  })

describe("trustlog verify --ledger", () => {
  it.scopedLive("proves that the ledger on the log's side has what was delivered, and says what is on its way", () =>
    Effect.gen(function*() {
      const cli = yield* delivered(30)
      const json = (code: number, ...args: ReadonlyArray<string>) => cli.json(code, ["verify", ...args], options)
      assert.deepInclude(yield* json(0), { verdict: "complete", unsealed: null, ledgerSize: null, otherEntries: null })
      yield* seal(cli, "seal", 0, 28)
      const report = {
        verdict: "incomplete",
        operations: 30,
        delivered: 30,
        purged: 0,
        pending: 0,
        retrying: 0,
        dead: 0,
        unsealed: 2,
        ledgerSize: 29,
        otherEntries: 0,
        missing: [],
        altered: [],
        surplus: [],
        missingTotal: 0,
        alteredTotal: 0,
        surplusTotal: 0
      }
      assert.deepStrictEqual(yield* json(1, "--ledger", "seal", "--grace", "1h"), report)
      assert.deepStrictEqual(yield* json(0, "--ledger", "seal", "--grace", "1d", "--allow-pending"), report)
      const young = yield* cli.run(["verify", "--ledger", "seal", "--grace", "1h"], options)
      assert.strictEqual(
        young.stdout,
        "30 operations: 30 delivered, 0 pending, 0 retrying, 0 dead letters\n" +
          "2 of what was delivered are on the way to the seal\n" +
          "the seal has 29 entries\n" +
          "verdict: incomplete: nothing is missing or altered, but not everything is delivered and received yet\n"
      )
      const old = yield* json(1, "--ledger", "seal", "--grace", "1ms")
      assert.deepInclude(old, { verdict: "tampered", unsealed: 0, missingTotal: 2 })
      yield* seal(cli, "seal", 0, 30)
      assert.deepStrictEqual(yield* json(0, "--ledger", "seal"), {
        ...report,
        verdict: "complete",
        unsealed: 0,
        ledgerSize: 31
      })
      const { stdout } = yield* cli.run(["verify", "--ledger", "seal"], options)
      assert.match(stdout, /^the seal has 31 entries\nverdict: complete: the log received every operation/m)
      // What the database says is not what the log received.
      yield* cli.sql(`UPDATE operation SET actor = 'mallory' WHERE id = '${uuid(3)}'`)
      assert.deepInclude(yield* json(1, "--ledger", "seal"), { verdict: "tampered", alteredTotal: 1 })
    }))

  it.scopedLive("is the usual one where it names the publisher's own ledger", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* cli.run(["init"])
      yield* cli.run(["append"], { stdin: lines(0, 3) })
      yield* cli.run(["drain"])
      const report = yield* cli.json(0, ["verify"])
      assert.deepInclude(report, { verdict: "complete", unsealed: null, ledgerSize: 4 })
      assert.deepStrictEqual(yield* cli.json(0, ["verify", "--ledger", "./trustlog-ledger/", "--grace", "1ms"]), report)
    }))

  it.scopedLive("refuses what makes no sense, before it reads anything", () =>
    Effect.gen(function*() {
      const cli = yield* delivered(1)
      const refuses = (message: RegExp, ...args: ReadonlyArray<string>) =>
        Effect.map(cli.run(["verify", ...args, "--json"], options), ({ code, stderr, stdout }) => {
          assert.strictEqual(code, 2, stderr)
          assert.match(stderr, message)
          assert.strictEqual(stdout, "")
        })
      yield* refuses(/--grace is for a ledger on the log's side: name it with --ledger/, "--grace", "60s")
      yield* refuses(/--grace: .*write a number and a unit/, "--ledger", "seal", "--grace", "soon")
      yield* refuses(/--grace: .*write a number and a unit/, "--ledger", "seal", "--grace", "0s")
      yield* refuses(/--ledger: write the path of a folder/, "--ledger", "")
      yield* refuses(/there is no ledger here: name the folder that `trustlog seal` fills/, "--ledger", "seal")
      yield* cli.write("notes.txt", "mine")
      yield* refuses(/notes\.txt: is no folder/, "--ledger", "notes.txt")
      assert.notInclude(yield* cli.list, "seal")
    }))
})
