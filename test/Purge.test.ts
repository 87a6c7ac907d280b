import * as NodeContext from "@effect/platform-node/NodeContext"
import { assert, describe, it, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as LogLevel from "effect/LogLevel"
import * as Logger from "effect/Logger"
import * as TestClock from "effect/TestClock"
import * as TestContext from "effect/TestContext"
import { type ChildProcess, spawn } from "node:child_process"
import * as fs from "node:fs/promises"
import { fileURLToPath } from "node:url"
import * as Sqlite from "../src/Database/Sqlite.ts"
import * as Drain from "../src/Drain.ts"
import * as Ledger from "../src/Ledger.ts"
import * as Purge from "../src/Purge.ts"
import { Repository } from "../src/Repository.ts"
import * as Sql from "../src/Repository/Sql.ts"
import * as Trustlog from "../src/Trustlog.ts"
import { LedgerError } from "../src/TrustlogError.ts"
import * as Verify from "../src/Verify.ts"
import * as WorkerConfig from "../src/WorkerConfig.ts"
import { bundle } from "./Program.ts"
import * as runtime from "./runtime.ts"
import * as worlds from "./verified.ts"
import { input, purge, sql, uuid, verify, type World } from "./verified.ts"
import * as workers from "./workers.ts"

/** The databases and ledgers that every test copies. */
class Worlds extends Context.Tag("test/Worlds")<Worlds, {
  /** Everything is delivered: 367 operations in ten receipts; two are only stored. */
  readonly settled: World
  /** Something is in every state. */
  readonly unsettled: World
}>() {}

const quiet = Logger.minimumLogLevel(LogLevel.Error)

const made = Layer.scoped(
  Worlds,
  Effect.gen(function*() {
    const settled = yield* worlds.empty
    yield* worlds.makeSettled(settled)
    const unsettled = yield* worlds.copyOf(settled)
    yield* worlds.makeUnsettled(unsettled)
    return { settled, unsettled }
  }).pipe(Effect.provide(quiet))
)

const settled = Effect.flatMap(Worlds, (all) => worlds.copyOf(all.settled))
const unsettled = Effect.flatMap(Worlds, (all) => worlds.copyOf(all.unsettled))

/** How many operations are there. */
const count = (world: World) =>
  Effect.map(sql(world, "SELECT count(*) AS count FROM operation"), ([row]) => Number(row?.["count"]))

const told = (report: Verify.Report) => JSON.stringify(report, undefined, 2)

const program = Effect.promise(() => bundle(fileURLToPath(new URL("./programs/purge.ts", import.meta.url))))

/** Another process that purges. */
const started = (world: World) =>
  Effect.flatMap(program, (module) =>
    Effect.acquireRelease(
      Effect.sync(() =>
        spawn(...runtime.running(module, world.database, world.ledger), { stdio: ["ignore", "pipe", "inherit"] })
      ),
      (child) => Effect.sync(() => child.kill("SIGKILL"))
    ))

const ended = (child: ChildProcess) =>
  Effect.async<number | null>((resume) => {
    if (child.exitCode !== null || child.signalCode !== null) resume(Effect.succeed(child.exitCode))
    else child.once("exit", (code) => resume(Effect.succeed(code)))
  })

/** Waits until a process has said a line. */
const says = (child: ChildProcess, line: string) =>
  Effect.async<void>((resume) => {
    let said = ""
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      said += text
      if (`\n${said}`.includes(`\n${line}\n`)) resume(Effect.void)
    })
  })

layer(made, { excludeTestServices: true })("Purge", (it) => {
  it.scoped("takes what was delivered out of the database, and leaves it verified", () =>
    Effect.gen(function*() {
      const world = yield* settled
      const steps: Array<Purge.Progress> = []
      const done = yield* purge(world, { onProgress: (progress) => Effect.sync(() => steps.push(progress)) })
      assert.deepStrictEqual(done, { receipts: 10, operations: 367, skipped: [] })
      assert.lengthOf(steps, 10)
      assert.deepStrictEqual(steps.at(-1), { receipts: 10, operations: 367 })
      const report = yield* verify(world)
      assert.deepInclude(
        report,
        { verdict: "complete", operations: 2, delivered: 0, purged: 367, ledgerSize: 380 },
        told(report)
      )
      assert.deepStrictEqual(yield* purge(world), { receipts: 0, operations: 0, skipped: [] })
      const neighbour = worlds.neighbourOf(world)
      assert.deepInclude(yield* verify(neighbour), { verdict: "complete", delivered: 10, purged: 0 })
    }))

  it.scoped("touches nothing that is not delivered", () =>
    Effect.gen(function*() {
      const world = yield* unsettled
      const undelivered = yield* sql(
        world,
        `SELECT o.* FROM operation o WHERE strategy = 'DbOnly' AND position NOT IN (SELECT position FROM trustlog_promotion)
          OR position IN (SELECT position FROM trustlog_pending UNION SELECT position FROM trustlog_retry) ORDER BY position`
      )
      assert.deepInclude(yield* purge(world), { operations: 367, skipped: [] })
      assert.deepStrictEqual(yield* sql(world, "SELECT * FROM operation ORDER BY position"), undelivered)
      const report = yield* verify(world)
      assert.deepInclude(
        report,
        { verdict: "incomplete", operations: 10, pending: 4, retrying: 2, dead: 2, delivered: 0, purged: 367 },
        told(report)
      )
      yield* Effect.provide(Drain.drainOnce(), worlds.application(world)).pipe(Effect.provide(quiet))
      assert.deepInclude(yield* verify(world), { verdict: "incomplete", delivered: 4, retrying: 2, dead: 2 })
    }))

  it.scoped("leaves a receipt alone of which one row is not what was delivered, and says which", () =>
    Effect.gen(function*() {
      const world = yield* settled
      yield* sql(world, "UPDATE operation SET actor = 'mallory' WHERE id = ?", uuid(150))
      yield* sql(world, "DELETE FROM operation WHERE id = ?", uuid(1001))
      const { operations, skipped } = yield* purge(world)
      assert.strictEqual(operations, 367 - 100 - 20)
      assert.deepStrictEqual(skipped, [
        {
          receipt: "receipt/operation/2",
          reason: `operation ${uuid(150)}: no longer matches its content hash`
        },
        { receipt: "receipt/record/1", reason: `the row of operation ${uuid(1001)} is gone` }
      ])
      const report = yield* verify(world)
      assert.deepInclude(report, { verdict: "tampered", operations: 121, delivered: 119, purged: 247 }, told(report))
      assert.deepStrictEqual(report.altered.map((finding) => finding.id), [uuid(150)])
      assert.deepStrictEqual(report.missing.map((finding) => finding.id), [uuid(1001)])
    }))

  it.scoped("says that a lane is none, and goes on with the others", () =>
    Effect.gen(function*() {
      const world = yield* settled
      yield* sql(
        world,
        "UPDATE trustlog_receipt SET lane = 'nowhere' || char(0) WHERE lane = 'record' AND sequence = 3"
      )
      const { receipts, skipped } = yield* purge(world)
      assert.strictEqual(receipts, 8)
      assert.deepStrictEqual(skipped.map(({ receipt }) => receipt), ["lane/nowhere\u0000", "receipt/record/2"])
    }))

  it.scoped("what is appended once more after that is delivered as before, and verified", () =>
    Effect.gen(function*() {
      const world = yield* settled
      const again = Effect.gen(function*() {
        const trustlog = yield* Trustlog.Trustlog
        const [one, two] = yield* trustlog.appendAll([input(5), input(7)])
        assert.deepInclude(one, { outcome: "appended" })
        assert.deepInclude(two, { outcome: "appended" })
        // In another lane than before, whose receipts are read first.
        yield* trustlog.append(input(2001))
        yield* Drain.drainOnce()
      }).pipe(Effect.provide(worlds.application(world)))
      yield* purge(world)
      yield* again
      const report = yield* verify(world)
      assert.deepInclude(
        report,
        { verdict: "complete", operations: 5, delivered: 3, purged: 367, ledgerSize: 380 },
        told(report)
      )
      yield* purge(world)
      yield* again
      yield* purge(world)
      const twice = yield* verify(world)
      assert.deepInclude(twice, { verdict: "complete", delivered: 0, purged: 373, ledgerSize: 380 }, told(twice))
      // An entry still belongs to one receipt that is not purged.
      yield* sql(world, "UPDATE trustlog_receipt SET purged_at = NULL, purge_signature = NULL")
      const cleared = yield* verify(world)
      assert.strictEqual(cleared.verdict, "tampered")
      assert.isTrue(cleared.altered.some(({ reason }) => reason.endsWith("for it, which is another's")), told(cleared))
    }))

  it.scoped("with other content under an id that was purged, the ledger refuses it", () =>
    Effect.gen(function*() {
      const world = yield* settled
      yield* purge(world)
      yield* Effect.gen(function*() {
        yield* (yield* Trustlog.Trustlog).append(input(5, { actor: "mallory" }))
        assert.deepInclude((yield* Drain.drainOnce()).stats, { dead: 1, pending: 0 })
      }).pipe(Effect.provide(worlds.application(world)), Effect.provide(quiet))
    }))

  describe("deletes nothing when", () => {
    const refuses = (what: string, spoil: (world: World) => Effect.Effect<Partial<Purge.Options>>, expected: object) =>
      it.scoped(what, () =>
        Effect.gen(function*() {
          const world = yield* settled
          const error = yield* Effect.flip(purge(world, yield* spoil(world)))
          assert.instanceOf(error, LedgerError)
          assert.deepInclude(error, expected)
          assert.strictEqual(yield* count(world), 369)
        }))

    refuses("there is no key", (world) => Effect.succeed({ keyFile: `${world.ledger}.lost` }), { reason: "missing" })
    refuses(
      "the key is another ledger's",
      (world) =>
        Effect.gen(function*() {
          yield* Ledger.makeKey(`${world.ledger}.foreign`)
          return { keyFile: `${world.ledger}.foreign` }
        }).pipe(Effect.provide(NodeContext.layer), Effect.orDie),
      { reason: "foreign" }
    )
    refuses(
      "the key is no key",
      (world) => Effect.as(Effect.promise(() => fs.writeFile(`${world.ledger}.key`, "x")), {}),
      { reason: "corrupt" }
    )
    refuses(
      "the ledger is gone",
      (world) => Effect.as(Effect.promise(() => fs.rm(world.ledger, { recursive: true })), {}),
      { reason: "missing" }
    )
    refuses(
      "the ledger's checkpoint is another's",
      (world) =>
        Effect.as(
          Effect.promise(async () => {
            const file = `${world.ledger}/checkpoint`
            await fs.writeFile(file, (await fs.readFile(file, "utf8")).replace("380", "379"))
          }),
          {}
        ),
      { reason: "corrupt" }
    )
  })

  it.scoped("says that a database is read-only", () =>
    Effect.gen(function*() {
      const world = yield* settled
      const error = yield* Purge.purge({ olderThan: 0, keyFile: `${world.ledger}.key`, ledger: world.ledger }).pipe(
        Effect.provide(
          Layer.provideMerge(Sql.layer(), Sqlite.layer({ filename: world.database, readonly: true }))
        ),
        Effect.provide(NodeContext.layer),
        Effect.flip
      )
      assert.deepInclude(error, { _tag: "DatabaseError", reason: "readOnly" })
      assert.strictEqual(yield* count(world), 369)
    }))

  it.scoped("two at once purge everything once, in one process and in two", () =>
    Effect.gen(function*() {
      const world = yield* settled
      const both = yield* Effect.all([purge(world), purge(world), purge(world)], { concurrency: "unbounded" })
      assert.strictEqual(both.reduce((sum, { operations }) => sum + operations, 0), 367)
      assert.deepStrictEqual(both.flatMap(({ skipped }) => skipped), [])
      assert.deepInclude(yield* verify(world), { verdict: "complete", purged: 367 })

      const other = yield* settled
      const children = yield* Effect.all([started(other), started(other)])
      const here = yield* purge(other)
      for (const child of children) assert.strictEqual(yield* ended(child), 0)
      assert.deepStrictEqual(here.skipped, [])
      assert.deepInclude(yield* verify(other), { verdict: "complete", delivered: 0, purged: 367 })
    }))

  it.scoped("killed at any receipt, it leaves whole receipts behind, and goes on when it is run again", () =>
    Effect.gen(function*() {
      for (const receipt of ["1", "4", "8"]) {
        const world = yield* settled
        const child = yield* started(world)
        yield* says(child, receipt)
        child.kill("SIGKILL")
        yield* ended(child)
        const killed = yield* verify(world)
        assert.strictEqual(killed.verdict, "complete", told(killed))
        assert.strictEqual(killed.delivered + killed.purged, 367)
        assert.isAbove(killed.purged, 0)
        const { operations, skipped } = yield* purge(world)
        assert.strictEqual(operations, killed.delivered)
        assert.deepStrictEqual(skipped, [])
        assert.deepInclude(yield* verify(world), { verdict: "complete", delivered: 0, purged: 367 })
      }
    }))

  it.scoped("beside busy workers it purges what they deliver, and nothing raises an alarm", () =>
    Effect.gen(function*() {
      const world = yield* settled
      yield* Effect.forkScoped(worlds.bustle(world))
      let purged = 0
      while (purged < 800) {
        const { operations, skipped } = yield* purge(world)
        assert.deepStrictEqual(skipped, [])
        purged += operations
        const report = yield* verify(world)
        assert.notStrictEqual(report.verdict, "tampered", told(report))
        assert.strictEqual(report.purged, purged)
      }
    }))
})

// `layer` above has taken the test clock from everything in this file.
describe("Purge, by the database's clock", () => {
  it.scopedLive("takes what was delivered that long ago, whenever it was recorded", () =>
    Effect.gen(function*() {
      const key = yield* keyFile
      const repository = yield* Repository
      yield* repository.append([workers.entry(1, { occurredAt: "2001-01-01T00:00:00Z" })])
      yield* TestClock.adjust("200 days")
      yield* Drain.drainOnce()
      yield* TestClock.adjust("89 days")
      const purge = Purge.purge({ olderThan: "90 days", keyFile: key, ledger: undefined })
      assert.deepInclude(yield* purge, { receipts: 0 })
      yield* repository.append([workers.entry(2)])
      yield* Drain.drainOnce()
      yield* TestClock.adjust("1 day")
      assert.deepInclude(yield* purge, { receipts: 1, operations: 1 })
      assert.deepStrictEqual(
        (yield* repository.evidence.operations({ after: 0, limit: 9 })).map((row) => String(row.id)),
        [uuid(2)]
      )
    }).pipe(Effect.provide([workers.layer, NodeContext.layer]), Effect.provide(TestContext.TestContext)))

  it.scopedLive("no period is too long", () =>
    Effect.gen(function*() {
      const key = yield* keyFile
      yield* workers.appended(3)
      yield* Drain.drainOnce()
      for (const olderThan of [Duration.days(1e9), Duration.infinity]) {
        const done = yield* Purge.purge({ olderThan, keyFile: key, ledger: undefined })
        assert.deepStrictEqual(done, { receipts: 0, operations: 0, skipped: [] })
      }
    }).pipe(Effect.provide([workers.layer, NodeContext.layer]), Effect.provide(TestContext.TestContext)))
})

/** A key without a ledger. */
const keyFile = Effect.gen(function*() {
  const { directory } = yield* worlds.empty
  yield* Ledger.makeKey(`${directory}/trustlog.key`)
  return `${directory}/trustlog.key`
})

describe("Purge, without a ledger", () => {
  it.scopedLive("purges ten thousand operations of a thousand receipts, and gives the event loop its turns", () =>
    Effect.gen(function*() {
      const key = yield* keyFile
      yield* workers.appended(10_000)
      const small = { ...WorkerConfig.defaults, pageRows: 10, backlogPageRows: 10 }
      yield* Effect.provideService(Drain.drainOnce(), WorkerConfig.WorkerConfig, small)
      let ticks = 0
      const ticking = yield* Effect.fork(
        Effect.forever(Effect.zipRight(Effect.sync(() => ticks++), Effect.sleep("1 millis")))
      )
      const done = yield* Purge.purge({ olderThan: 0, keyFile: key, ledger: undefined })
      yield* Fiber.interrupt(ticking)
      assert.deepStrictEqual(done, { receipts: 1000, operations: 10_000, skipped: [] })
      assert.isAbove(ticks, 20)
      const report = yield* Verify.verify({ ledger: undefined, keyFile: key })
      assert.deepInclude(report, { verdict: "complete", operations: 0, purged: 10_000 }, told(report))
    }).pipe(Effect.provide(workers.layer), Effect.provide(NodeContext.layer)))
})
