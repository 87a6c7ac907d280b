/**
 * End to end: what a database says was delivered, and what a ledger on the log's side has received.
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import { assert, describe, layer } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as LogLevel from "effect/LogLevel"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import * as fs from "node:fs/promises"
import * as path from "node:path"
import * as CircuitBreaker from "../src/CircuitBreaker.ts"
import * as Sqlite from "../src/Database/Sqlite.ts"
import * as Drain from "../src/Drain.ts"
import * as Envelope from "../src/Envelope.ts"
import * as Ledger from "../src/Ledger.ts"
import * as Migrations from "../src/Migrations.ts"
import { fromUnknown, type Input, timestampOf } from "../src/Operation.ts"
import { type Message, messageOf as messageFor, Publisher } from "../src/Publisher.ts"
import * as Memory from "../src/Publisher/Memory.ts"
import { Repository } from "../src/Repository.ts"
import * as RepositorySql from "../src/Repository/Sql.ts"
import * as Signature from "../src/Signature.ts"
import * as Signer from "../src/Signer.ts"
import * as Trustlog from "../src/Trustlog.ts"
import * as Verify from "../src/Verify.ts"
import { first, second, signed, type TestKey } from "./keys.ts"
import { message, stream as strange } from "./messages.ts"
import * as worlds from "./verified.ts"
import { input, plain, range, sql, uuid, type World } from "./verified.ts"

/** When everything was delivered. */
const delivery = Date.UTC(2026, 10, 23, 15)

/** The database's clock is Effect's. */
const at = (millis: number) => {
  const currentTimeMillis = Effect.sync(() => millis)
  return Effect.clockWith((clock) =>
    Effect.succeed<Clock.Clock>({
      [Clock.ClockTypeId]: Clock.ClockTypeId,
      unsafeCurrentTimeMillis: () => millis,
      unsafeCurrentTimeNanos: () => BigInt(millis) * 1_000_000n,
      currentTimeMillis,
      currentTimeNanos: Effect.sync(() => BigInt(millis) * 1_000_000n),
      sleep: (duration) => clock.sleep(duration)
    })
  )
}

const timed = (millis: number) => <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(at(millis), (clock) => Effect.withClock(effect, clock))

/** A log, and what it holds. */
type Log = Effect.Effect.Success<ReturnType<typeof Memory.make>>

const seconds = (n: number): number => delivery + n * 1000

const application = (world: World, log: Log) =>
  Trustlog.layer.pipe(
    Layer.provideMerge(Layer.mergeAll(
      Layer.provideMerge(
        Layer.provide(RepositorySql.layer(), Migrations.layer()),
        Sqlite.layer({ filename: world.database })
      ),
      Layer.succeed(Publisher, log.publisher),
      CircuitBreaker.layer
    )),
    Layer.provideMerge(NodeContext.layer),
    Layer.orDie
  )

/** Records and delivers, and leaves what the log refuses. */
const deliver = (
  world: World,
  log: Log,
  inputs: ReadonlyArray<Input>,
  signer: Layer.Layer<never, unknown> = Signer.layerNone
) =>
  Effect.gen(function*() {
    const trustlog = yield* Trustlog.Trustlog
    for (let from = 0; from < inputs.length; from += 1000) yield* trustlog.appendAll(inputs.slice(from, from + 1000))
    yield* Drain.drainOnce()
  }).pipe(Effect.provide(application(world, log)), Effect.provide(Layer.orDie(signer)), timed(delivery))

const held = (log: Log) => Effect.map(log.control.held, (all) => all.map(({ message }) => message))

/** Appends to the seal, which is made where there is none. */
const seal = (world: World, messages: ReadonlyArray<Message>) =>
  Effect.scoped(Effect.gen(function*() {
    yield* Ledger.init({ path: world.ledger })
    const ledger = yield* Ledger.make({ path: world.ledger })
    const { outcomes } = yield* ledger.append(messages)
    return outcomes
  })).pipe(Effect.provide(NodeContext.layer))

const messageOf = (stream: string, given: Input): Message => {
  const encoded = Either.getOrThrow(
    Either.flatMap(fromUnknown(given), (operation) => Envelope.seal(stream, operation, timestampOf(0)))
  )
  return messageFor(stream, encoded, encoded.bytes, Envelope.contentType)
}

const verify = (world: World, options: Partial<Verify.Options> = {}, now = seconds(3600)) =>
  Verify.verify({ ledger: undefined, seal: { path: world.ledger }, ...options }).pipe(
    Effect.provide(worlds.repository(world)),
    timed(now)
  )

const trusting = (...keys: ReadonlyArray<TestKey>) => Signature.layerTrustedKeys(keys.map(({ publicPem }) => publicPem))

const told = (report: Verify.Report) => JSON.stringify(report, undefined, 2)

/** What is found, by kind. */
interface Found {
  readonly missing?: ReadonlyArray<string>
  readonly altered?: ReadonlyArray<string>
  readonly surplus?: ReadonlyArray<string>
}

/** Exactly these are named. */
const assertFound = (report: Verify.Report, { altered = [], missing = [], surplus = [] }: Found) => {
  const ids = (findings: ReadonlyArray<Verify.Finding>) => Array.from(new Set(findings.map(({ id }) => id))).sort()
  assert.deepStrictEqual(
    { missing: ids(report.missing), altered: ids(report.altered), surplus: ids(report.surplus) },
    { missing: missing.toSorted(), altered: altered.toSorted(), surplus: surplus.toSorted() },
    told(report)
  )
  const isFound = missing.length + altered.length + surplus.length > 0
  assert.strictEqual(report.verdict === "tampered", isFound, told(report))
}

/** A database of every kind of operation, and the messages of its log. */
class Delivered extends Context.Tag("test/Delivered")<Delivered, {
  readonly world: World
  readonly messages: ReadonlyArray<Message>
  readonly stream: string
}>() {}

const numbers = {
  operations: range(1, 301),
  records: range(1001, 1061),
  large: 3001,
  plain: 4001,
  stored: 5001,
  promoted: 5002,
  sent: 6001,
  neighbour: range(7001, 7011),
  retrying: 8001,
  dead: 8002,
  pending: 8003
} as const

const made = Layer.scoped(
  Delivered,
  Effect.gen(function*() {
    const world = worlds.worldIn((yield* worlds.empty).directory)
    const neighbour = worlds.neighbourOf(world)
    const log = yield* Memory.make()
    yield* log.control.refuse(uuid(numbers.retrying), "rejected")
    yield* log.control.refuse(uuid(numbers.dead), "tooLarge")
    yield* deliver(neighbour, log, numbers.neighbour.map((n) => input(n)))
    yield* Effect.gen(function*() {
      const { append, appendAll } = yield* Trustlog.Trustlog
      for (let from = 0; from < 300; from += 100) {
        yield* appendAll(numbers.operations.slice(from, from + 100).map((n) => input(n)))
        yield* appendAll(numbers.records.slice(from / 5, from / 5 + 20).map((n) => input(n, { kind: "record" })))
        yield* Drain.drainOnce()
      }
      yield* append(input(numbers.large, { payload: "x".repeat(70_000) }))
      yield* plain(numbers.plain)
      yield* appendAll([input(numbers.stored), input(numbers.promoted)], { strategy: "DbOnly" })
      yield* append(input(numbers.promoted))
      yield* append(input(numbers.sent), { strategy: "TrustlogOnly" })
      yield* appendAll([input(numbers.retrying), input(numbers.dead)])
      yield* Drain.drainOnce()
      yield* append(input(numbers.pending))
    }).pipe(Effect.provide(application(world, log)), timed(delivery))
    const { stream } = yield* Effect.provide(Repository, worlds.repository(world))
    return { world, messages: yield* held(log), stream }
  }).pipe(Effect.provide(Logger.minimumLogLevel(LogLevel.Error)))
)

const fresh = Effect.gen(function*() {
  const { messages, stream, world } = yield* Delivered
  return { world: yield* worlds.copyOf(world), messages, stream }
})

/** All but the birth record: 300 and 60, four of the others, and the neighbour's. */
const sealed = 1 + 360 + 4 + 10

const without = (...numbers: ReadonlyArray<number>) => {
  const ids = new Set(numbers.map(uuid))
  return (messages: ReadonlyArray<Message>) => messages.filter(({ id }) => !ids.has(id))
}

interface Case {
  readonly what: string
  /** What the seal receives of what the log has. */
  readonly receive?: (messages: ReadonlyArray<Message>, stream: string) => ReadonlyArray<Message>
  readonly tamper?: (world: World, messages: ReadonlyArray<Message>) => Effect.Effect<unknown, unknown>
  readonly found: Found
}

const inDatabase = (statement: string, ...params: ReadonlyArray<unknown>) => (world: World) =>
  sql(world, statement, ...params)

const inMap = (statement: string) => (world: World) =>
  sql({ ...world, database: path.join(world.ledger, "ledger.db") }, statement)

const inFile = (name: string, change: (bytes: Buffer) => Uint8Array) => (world: World) =>
  Effect.promise(async () => {
    const file = path.join(world.ledger, name)
    await fs.writeFile(file, change(await fs.readFile(file)))
  })

const mapFiles = ["ledger.db", "ledger.db-wal", "ledger.db-shm"]

const withoutMap = (world: World) =>
  Effect.promise(() => Promise.all(mapFiles.map((name) => fs.rm(path.join(world.ledger, name), { force: true }))))

const replaced = (n: number, by: (stream: string) => Message): NonNullable<Case["receive"]> => (messages, stream) =>
  messages.map((message) => message.id === uuid(n) ? by(stream) : message)

const cases: ReadonlyArray<Case> = [
  { what: "nothing is wrong", found: {} },
  {
    what: "everything comes twice, as from a log that delivers at least once",
    receive: (messages) => [...messages, ...messages.toReversed()],
    found: {}
  },
  { what: "the log gives another order", receive: (messages) => messages.toReversed(), found: {} },
  { what: "one is not received", receive: without(5), found: { missing: [uuid(5)] } },
  {
    what: "the first and the last of a receipt, a large one and one of plain SQL are not received",
    receive: without(101, 200, numbers.large, numbers.plain),
    found: { missing: [101, 200, numbers.large, numbers.plain].map(uuid) }
  },
  {
    what: "nothing of this database is received",
    receive: (messages, stream) => messages.filter((message) => message.stream !== stream),
    found: {
      missing: [...numbers.operations, ...numbers.records, numbers.large, numbers.plain, numbers.promoted].map(uuid)
        .slice(0, 100)
    }
  },
  { what: "what has no row is not received", receive: without(numbers.sent), found: {} },
  {
    what: "one is received with other content",
    receive: replaced(5, (stream) => messageOf(stream, input(5, { actor: "mallory" }))),
    found: { altered: [uuid(5)] }
  },
  {
    what: "a large one is received with other content",
    receive: replaced(
      numbers.large,
      (stream) => messageOf(stream, input(numbers.large, { payload: "y".repeat(70_000) }))
    ),
    found: { altered: [uuid(numbers.large)] }
  },
  {
    what: "one is received under the id of another",
    receive: replaced(5, (stream) => ({ ...messageOf(stream, input(6)), id: messageOf(stream, input(5)).id })),
    // Its bytes say that it is the other one, which is there as well.
    found: { missing: [uuid(5)], altered: ["map"], surplus: [uuid(6)] }
  },
  {
    what: "one is received as of another database",
    receive: replaced(5, () => messageOf(strange, input(5))),
    found: { missing: [uuid(5)] }
  },
  {
    what: "one is received that nobody recorded",
    receive: (messages, stream) => [...messages, messageOf(stream, input(9999))],
    found: { surplus: [uuid(9999)] }
  },
  {
    what: "one is received that is only stored",
    receive: (messages, stream) => [...messages, messageOf(stream, input(numbers.stored))],
    found: { surplus: [uuid(numbers.stored)] }
  },
  {
    what: "something is received that is no record",
    receive: (messages) => [...messages, { ...message(1), bytes: Buffer.from("no record") }],
    found: { surplus: [`entry/${sealed}`], altered: ["map"] }
  },
  {
    what: "much is received of others",
    receive: (messages) => [...messages, ...range(1, 300).map((n) => message(n))],
    found: {}
  },
  {
    what: "what is pending, retried or dead is received",
    receive: (messages, stream) => [
      ...messages,
      ...[numbers.pending, numbers.retrying, numbers.dead].map((n) => messageOf(stream, input(n)))
    ],
    found: {}
  },
  {
    what: "what is pending is received with other content",
    receive: (messages, stream) => [...messages, messageOf(stream, input(numbers.pending, { actor: "mallory" }))],
    found: { altered: [uuid(numbers.pending)] }
  },
  {
    what: "the row of what is pending and received is deleted",
    receive: (messages, stream) => [...messages, messageOf(stream, input(numbers.pending))],
    tamper: (world) =>
      Effect.zipRight(
        sql(world, "DELETE FROM trustlog_pending"),
        sql(world, "DELETE FROM operation WHERE id = ?", uuid(numbers.pending))
      ),
    found: { surplus: [uuid(numbers.pending)] }
  },
  {
    what: "a delivered row is changed",
    tamper: inDatabase("UPDATE operation SET actor = 'mallory' WHERE id = ?", uuid(5)),
    found: { altered: [uuid(5)] }
  },
  {
    what: "a delivered row is deleted",
    tamper: inDatabase("DELETE FROM operation WHERE id = ?", uuid(5)),
    found: { missing: [uuid(5)] }
  },
  {
    what: "the last receipts are deleted",
    tamper: inDatabase("DELETE FROM trustlog_receipt WHERE lane = 'record' AND sequence = 3"),
    found: { missing: ["receipt/record/3", ...range(1041, 1061).map(uuid)] }
  },
  {
    what: "a receipt says that it was given later",
    receive: without(5),
    tamper: inDatabase(
      "UPDATE trustlog_receipt SET delivered_at = ? WHERE lane = 'operation' AND sequence = 1",
      timestampOf(seconds(3599))
    ),
    found: { altered: ["receipt/operation/1"] }
  },
  ...([
    ["forgets an entry", "DELETE FROM entry WHERE position = 20"],
    ["gives an entry another hash", "UPDATE entry SET content_hash = zeroblob(32) WHERE position = 20"],
    ["gives an entry a later index", "UPDATE entry SET position = 21 WHERE position = 20"],
    ["gives an entry an earlier index", "UPDATE entry SET position = 19 WHERE position = 20"],
    ["gives an entry an index beyond the end", "UPDATE entry SET position = 9999 WHERE position = 20"],
    ["gives an entry no index", "UPDATE entry SET position = 'none' WHERE position = 20"],
    ["gives an entry an index before the beginning", "UPDATE entry SET position = -1 WHERE position = 20"],
    ["forgets everything", "DELETE FROM entry"],
    ["forgets what was signed", "DELETE FROM head"],
    [
      "names an entry that is not there",
      "INSERT INTO entry SELECT stream, zeroblob(16), 3, content_hash FROM entry WHERE position = 3"
    ]
  ] as const).map(([what, statement]): Case => ({
    what: `the map ${what}`,
    tamper: inMap(statement),
    found: { altered: ["map"] }
  })),
  {
    what: "the map forgets an entry, and its record is appended once more",
    tamper: (world, messages) =>
      Effect.zipRight(
        inMap("DELETE FROM entry WHERE position = 20")(world),
        seal(world, messages.slice(19, 20))
      ),
    found: { altered: ["map"], surplus: [uuid(10)] }
  },
  {
    what: "the map is no database",
    tamper: (world) =>
      Effect.zipRight(
        withoutMap(world),
        Effect.promise(() => fs.writeFile(path.join(world.ledger, "ledger.db"), "x".repeat(5000)))
      ),
    found: { altered: ["map"] }
  },
  { what: "the map is gone", tamper: withoutMap, found: { missing: ["map"] } },
  {
    what: "an entry changes in the files",
    tamper: inFile(
      "tile/entries/000",
      (bytes) => Buffer.from(bytes.toString("latin1").replace("file/5\"", "file/6\""), "latin1")
    ),
    found: { altered: ["tile/entries/000", "map", uuid(5)] }
  },
  {
    what: "a checkpoint is cut",
    tamper: inFile("checkpoint", (bytes) => bytes.subarray(0, -3)),
    found: { altered: ["checkpoint"] }
  },
  {
    what: "the key is gone that names who signed",
    tamper: (world) => Effect.promise(() => fs.rm(path.join(world.ledger, "vkey"))),
    found: { missing: ["vkey"] }
  }
]

layer(made, { excludeTestServices: true })("Verify, with a seal", (it) => {
  it.scoped("what the log received is what the database holds", () =>
    Effect.gen(function*() {
      const { messages, world } = yield* fresh
      yield* seal(world, messages)
      assert.deepStrictEqual(yield* verify(world), {
        verdict: "incomplete",
        operations: 367,
        delivered: 363,
        purged: 0,
        pending: 1,
        retrying: 1,
        dead: 1,
        unsealed: 0,
        ledgerSize: sealed,
        otherEntries: 10,
        missing: [],
        altered: [],
        surplus: [],
        missingTotal: 0,
        alteredTotal: 0,
        surplusTotal: 0
      })
      assert.deepInclude(yield* verify(worlds.neighbourOf(world)), {
        verdict: "complete",
        operations: 10,
        delivered: 10,
        unsealed: 0,
        otherEntries: sealed - 11
      })
    }))

  describe("when", () => {
    for (
      const { found, receive = (messages: ReadonlyArray<Message>) => messages, tamper = () => Effect.void, what }
        of cases
    ) {
      it.scoped(`${what}: ${Object.keys(found).length === 0 ? "no alarm" : "tampered, and named"}`, () =>
        Effect.gen(function*() {
          const { messages, stream, world } = yield* fresh
          yield* seal(world, receive(messages, stream))
          yield* tamper(world, messages)
          assertFound(yield* verify(world), found)
        }))
    }
  })

  it.scoped("says how much is missing, and which receipt says that the log has it", () =>
    Effect.gen(function*() {
      const { messages, world } = yield* fresh
      yield* seal(world, messages.slice(0, 10))
      const report = yield* verify(world)
      assert.deepInclude(report, {
        verdict: "tampered",
        missingTotal: 363,
        alteredTotal: 0,
        surplusTotal: 0,
        unsealed: 0
      })
      assert.deepInclude(report.missing, {
        id: uuid(1),
        reason:
          "the log acknowledged it, by receipt/operation/1 of 2026-11-23T15:00:00.000000Z, and the seal has not " +
          "received it"
      })
    }))

  it.scoped("what is young enough is on its way, by the database's clock", () =>
    Effect.gen(function*() {
      const { messages, world } = yield* fresh
      yield* seal(world, without(5, 1001, numbers.large)(messages))
      const after = (millis: number, grace?: Verify.Seal["grace"]) =>
        Effect.map(
          verify(world, { seal: { path: world.ledger, grace } }, delivery + millis),
          ({ missingTotal, unsealed, verdict }) => [verdict, unsealed, missingTotal]
        )
      assert.deepStrictEqual(yield* after(0), ["incomplete", 3, 0])
      assert.deepStrictEqual(yield* after(59_999), ["incomplete", 3, 0])
      assert.deepStrictEqual(yield* after(60_000), ["tampered", 0, 3])
      assert.deepStrictEqual(yield* after(60_000, "2 minutes"), ["incomplete", 3, 0])
      assert.deepStrictEqual(yield* after(1_000, "1 seconds"), ["tampered", 0, 3])
      // A clock that was set back, and one that nobody believes.
      assert.deepStrictEqual(yield* after(-59_999), ["incomplete", 3, 0])
      assert.deepStrictEqual(yield* after(-60_000), ["tampered", 0, 3])
      yield* seal(world, messages)
      assert.deepStrictEqual(yield* after(0), ["incomplete", 0, 0])
    }))

  it.scoped("with nothing else to wait for, what is on its way alone makes it incomplete", () =>
    Effect.gen(function*() {
      const world = yield* worlds.empty
      const log = yield* Memory.make()
      yield* deliver(world, log, range(1, 6).map((n) => input(n)))
      yield* seal(world, (yield* held(log)).slice(0, 3))
      assert.deepInclude(yield* verify(world, {}, seconds(1)), { verdict: "incomplete", delivered: 5, unsealed: 2 })
      yield* seal(world, yield* held(log))
      assert.deepInclude(yield* verify(world, {}, seconds(1)), { verdict: "complete", delivered: 5, unsealed: 0 })
    }))

  it.scoped("a map that is behind, as a loss of power leaves it, raises no alarm", () =>
    Effect.gen(function*() {
      const { messages, world } = yield* fresh
      yield* seal(world, messages.slice(0, 100))
      const older = yield* worlds.copyOf(world)
      yield* seal(world, messages)
      yield* withoutMap(world)
      yield* Effect.promise(async () => {
        for (const name of await fs.readdir(older.ledger)) {
          if (name.startsWith("ledger.db"))
            await fs.copyFile(path.join(older.ledger, name), path.join(world.ledger, name))
        }
      })
      assert.deepInclude(yield* verify(world), { verdict: "incomplete", delivered: 363, unsealed: 0 })
    }))

  it.scoped("without a map it makes none, and leaves nothing behind", () =>
    Effect.gen(function*() {
      const { messages, world } = yield* fresh
      const temporary = path.join(world.directory, "tmp")
      yield* seal(world, messages)
      yield* withoutMap(world)
      const list = Effect.promise(async () =>
        (await fs.readdir(world.directory, { recursive: true })).filter((name) => !/-(wal|shm)$/.test(name)).sort()
      )
      yield* Effect.promise(() => fs.mkdir(temporary))
      const before = yield* list
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          const usual = process.env["TMPDIR"]
          process.env["TMPDIR"] = temporary
          return usual
        }),
        (usual) =>
          Effect.sync(() => {
            if (usual === undefined) delete process.env["TMPDIR"]
            else process.env["TMPDIR"] = usual
          })
      )
      assertFound(yield* verify(world), { missing: ["map"] })
      assert.deepStrictEqual(yield* list, before)
      // It had need of the folder.
      yield* Effect.promise(() => fs.rm(temporary, { recursive: true }))
      assert.deepInclude(yield* Effect.flip(verify(world)), { _tag: "LedgerError", reason: "missing" })
    }))

  /** Verifies while something happens: after the look at the lanes, or at the first look at receipts, when the seal was read. */
  const verifyMeanwhile = (
    world: World,
    when: "heads" | "receipts",
    meanwhile: Effect.Effect<unknown, unknown>,
    now: number
  ) =>
    Effect.gen(function*() {
      const repository = yield* Repository
      // As another process does it: a fibre of ours would be inside the snapshot.
      const once = yield* Effect.cached(Effect.promise(() => Effect.runPromise(meanwhile)))
      const { heads, receipts } = repository.evidence
      return yield* Effect.provideService(
        Verify.verify({ ledger: undefined, seal: { path: world.ledger } }),
        Repository,
        {
          ...repository,
          evidence: {
            ...repository.evidence,
            heads: when === "heads" ? Effect.tap(heads, once) : heads,
            receipts: (options) => when === "receipts" ? Effect.tap(receipts(options), once) : receipts(options)
          }
        }
      )
    }).pipe(Effect.provide(worlds.repository(world)), timed(now))

  it.scoped("what is delivered and received while it looks raises no alarm", () =>
    Effect.gen(function*() {
      const { messages, stream, world } = yield* fresh
      const log = yield* Memory.make()
      yield* seal(world, messages)
      // What is pending there is delivered as well.
      const goOn = Effect.gen(function*() {
        yield* deliver(world, log, range(9001, 9006).map((n) => input(n)))
        yield* seal(world, yield* held(log))
      })
      const report = yield* verifyMeanwhile(world, "heads", goOn, seconds(3600))
      assert.deepInclude(report, { verdict: "incomplete", delivered: 363, ledgerSize: sealed + 6 }, told(report))
      assert.deepInclude(yield* verify(world), { verdict: "incomplete", pending: 0, delivered: 369 })
      assert.strictEqual((yield* held(log)).filter((message) => message.stream === stream).length, 6)
    }))

  it.scoped("what was received before its receipt is written raises no alarm, and neither does what comes after", () =>
    Effect.gen(function*() {
      const { messages, stream, world } = yield* fresh
      yield* seal(world, [...messages, messageOf(stream, input(numbers.pending))])
      assert.deepInclude(yield* verify(world), { verdict: "incomplete", pending: 1, surplusTotal: 0 })
      yield* deliver(world, yield* Memory.make(), [])
      assert.deepInclude(yield* verify(world), { verdict: "incomplete", pending: 0, delivered: 364, unsealed: 0 })
    }))

  it.scoped("what is received after the last look at the checkpoint is on its way, whatever the map knows by then", () =>
    Effect.gen(function*() {
      const { messages, world } = yield* fresh
      yield* seal(world, messages.slice(0, 300))
      const copy = yield* worlds.copyOf(world)
      const young = yield* verifyMeanwhile(world, "receipts", seal(world, messages), seconds(1))
      assert.deepInclude(young, { verdict: "incomplete", ledgerSize: 301, unsealed: 374 - 300 - 1 }, told(young))
      const old = yield* verifyMeanwhile(copy, "receipts", seal(copy, messages), seconds(60))
      assert.deepInclude(old, { verdict: "tampered", unsealed: 0, missingTotal: 374 - 300 - 1, surplusTotal: 0 })
    }))

  it.scoped("purged operations are compared by their receipts, whose purges the application's key has signed", () =>
    Effect.gen(function*() {
      const { messages, world } = yield* fresh
      yield* seal(world, without(5)(messages))
      const keyFile = path.join(world.directory, "purge.key")
      yield* Effect.provide(Ledger.makeKey(keyFile), NodeContext.layer)
      yield* timed(seconds(60))(worlds.purge(world, { keyFile, ledger: undefined }))
      const report = yield* verify(world, { keyFile })
      assertFound(report, { missing: [uuid(5)] })
      assert.deepInclude(report, { operations: 4, delivered: 0, purged: 363, missingTotal: 1 })
      assertFound(yield* verify(world), { missing: [uuid(5)], altered: ["key"] })
      // The seal's key is somebody else's.
      const { altered } = yield* verify(world, { keyFile: `${world.ledger}.key` })
      assert.include(altered.map(({ id }) => id), "receipt/operation/1")
      yield* seal(world, messages)
      assert.deepInclude(yield* verify(world, { keyFile }), { verdict: "incomplete", purged: 363, unsealed: 0 })
      // Recorded once more under its id, it is the record that the seal has.
      const log = yield* Memory.make()
      yield* deliver(world, log, [input(5)])
      yield* seal(world, yield* held(log))
      assert.deepInclude(yield* verify(world, { keyFile }), { verdict: "incomplete", purged: 363, delivered: 2 })
    }))

  it.scoped("signatures are asked for, of every database's records", () =>
    Effect.gen(function*() {
      const world = yield* worlds.empty
      const log = yield* Memory.make()
      const signing = Signer.layerEd25519({ key: Redacted.make(first.pem) })
      yield* deliver(world, log, [
        ...range(1, 21).map((n) => input(n)),
        input(21, { payload: "x".repeat(70_000) })
      ], signing)
      yield* seal(world, [...yield* held(log), signed(message(1), first)])
      const by = (options: Partial<Verify.Options>, ...keys: ReadonlyArray<TestKey>) =>
        Effect.provide(verify(world, options), trusting(...keys))
      assert.deepInclude(yield* verify(world), { verdict: "complete", delivered: 21, otherEntries: 1 })
      assert.deepInclude(yield* by({}, first), { verdict: "complete" })
      assert.deepInclude(yield* by({}, second), { verdict: "tampered", alteredTotal: 21, missingTotal: 0 })
      assert.deepInclude(yield* by({ signedFrom: 20 }, second), { alteredTotal: 2 })
      // Sent again under another key, or without one, it is the record that is there.
      yield* seal(
        world,
        (yield* held(log)).map((sent) =>
          signed({ ...sent, bytes: Either.getOrThrow(Signature.open(sent.bytes)).payload }, second)
        )
      )
      assert.deepInclude(yield* by({}, first), { verdict: "complete", ledgerSize: 23 })
      yield* seal(world, [message(2)])
      assertFound(yield* by({}, first), { altered: [message(2).id] })
    }))

  it.scoped("a seal that is not there is an error, and no verdict, and so is a folder of something else", () =>
    Effect.gen(function*() {
      const { world } = yield* fresh
      const missing = yield* Effect.flip(verify(world))
      assert.deepInclude(missing, { _tag: "LedgerError", reason: "missing", path: world.ledger })
      assert.match(missing.message, /name the folder that `trustlog seal` fills/)
      const foreign = yield* Effect.flip(verify(world, { seal: { path: world.directory } }))
      assert.deepInclude(foreign, { _tag: "LedgerError", reason: "foreign" })
      const file = yield* Effect.flip(verify(world, { seal: { path: world.database } }))
      assert.deepInclude(file, { _tag: "LedgerError", reason: "foreign" })
    }))

  it.scoped("an older copy of a seal, and one that was begun anew, lack what came since", () =>
    Effect.gen(function*() {
      const { messages, world } = yield* fresh
      yield* seal(world, messages.slice(0, 200))
      const older = yield* worlds.copyOf(world)
      yield* seal(world, messages)
      yield* Effect.promise(async () => {
        await fs.rm(world.ledger, { recursive: true })
        await fs.cp(older.ledger, world.ledger, { recursive: true })
      })
      assert.deepInclude(yield* verify(world), { verdict: "tampered", missingTotal: 173, ledgerSize: 201 })
      yield* Effect.promise(async () => {
        await fs.rm(world.ledger, { recursive: true })
        await fs.rm(`${world.ledger}.key`)
      })
      yield* seal(world, [])
      assert.deepInclude(yield* verify(world), { verdict: "tampered", missingTotal: 363, ledgerSize: 1 })
    }))

  it.scoped("the publisher's own ledger, by whichever path, is verified as such; another one is a seal", () =>
    Effect.gen(function*() {
      const world = yield* worlds.empty
      yield* Effect.gen(function*() {
        yield* (yield* Trustlog.Trustlog).appendAll(range(1, 6).map((n) => input(n)))
        yield* Drain.drainOnce()
      }).pipe(Effect.provide(worlds.application(world)), timed(delivery))
      const link = path.join(world.directory, "link")
      yield* Effect.promise(() => fs.symlink(world.ledger, link))
      const plainly = yield* verify(world, { ledger: world.ledger, seal: undefined })
      assert.deepInclude(plainly, { verdict: "complete", delivered: 5, unsealed: null, ledgerSize: 6 })
      for (const name of [world.ledger, `${world.ledger}/`, link]) {
        assert.deepStrictEqual(yield* verify(world, { ledger: world.ledger, seal: { path: name } }), plainly)
      }
      const other = { ...world, ledger: path.join(world.directory, "seal") }
      const { stream } = yield* Effect.provide(Repository, worlds.repository(world))
      yield* seal(other, range(1, 5).map((n) => messageOf(stream, input(n))))
      assertFound(yield* verify(other, { ledger: world.ledger }), { missing: [uuid(5)] })
    }))

  it.scoped("twenty thousand, in receipts of a thousand and of one, from two databases that take turns", () =>
    Effect.gen(function*() {
      const world = yield* worlds.empty
      const neighbour = worlds.neighbourOf(world)
      const logs = [yield* Memory.make(), yield* Memory.make()] as const
      yield* deliver(world, logs[0], range(1, 10_001).map((n) => input(n)))
      yield* deliver(neighbour, logs[1], range(1, 10_001).map((n) => input(n)))
      yield* Effect.gen(function*() {
        const { append } = yield* Trustlog.Trustlog
        for (const n of range(1, 41)) yield* Effect.zipRight(append(input(20_000 + n)), Drain.drainOnce())
      }).pipe(Effect.provide(application(world, logs[0])), timed(delivery))
      const [ours, theirs] = [yield* held(logs[0]), yield* held(logs[1])]
      const mixed = ours.flatMap((message, i) => [message, ...theirs.slice(i, i + 1)])
      for (let from = 0; from < mixed.length; from += 1000) yield* seal(world, mixed.slice(from, from + 1000))
      const counts: Array<number> = []
      const report = yield* verify(world, { onProgress: (count) => Effect.sync(() => counts.push(count)) })
      assert.deepInclude(report, { verdict: "complete", delivered: 10_040, otherEntries: 10_000, ledgerSize: 20_041 })
      assert.strictEqual(counts.at(-1), 20_041 + 10_040 + 10_040)
      yield* withoutMap(world)
      assertFound(yield* verify(neighbour), { missing: ["map"] })
    }))
})
