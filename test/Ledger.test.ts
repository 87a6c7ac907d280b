import * as NodeContext from "@effect/platform-node/NodeContext"
import { assert, describe, it } from "@effect/vitest"
import { hexToBytes } from "@noble/hashes/utils.js"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Stream from "effect/Stream"
import { execFile } from "node:child_process"
import * as crypto from "node:crypto"
import * as fs from "node:fs/promises"
import * as os from "node:os"
import * as path from "node:path"
import { promisify } from "node:util"
import { afterAll, beforeAll } from "vitest"
import packageJson from "../package.json" with { type: "json" }
import * as Envelope from "../src/Envelope.ts"
import * as Ledger from "../src/Ledger.ts"
import { LedgerError } from "../src/TrustlogError.ts"
import * as keys from "../src/internal/ledger/key.ts"
import * as merkle from "../src/internal/merkle.ts"
import * as tiles from "../src/internal/tiles.ts"
import { version } from "../src/internal/version.ts"
import * as Faulty from "./FaultyFileSystem.ts"
import { idOf, message, messages } from "./messages.ts"

let root = ""
beforeAll(async () => {
  root = await fs.mkdtemp(path.join(os.tmpdir(), "trustlog-ledger-"))
})
afterAll(() => fs.rm(root, { recursive: true }))

let names = 0
const fresh = (): string => path.join(root, `ledger-${names++}`)

const run = <A, E>(effect: Effect.Effect<A, E, NodeContext.NodeContext>): Promise<A> =>
  Effect.runPromise(Effect.provide(effect, NodeContext.layer))

/** How an effect fails; it is an error if it does not. */
const failure = (effect: Effect.Effect<unknown, LedgerError, NodeContext.NodeContext>): Promise<LedgerError> =>
  run(Effect.flip(effect))

const withLedger = <A>(
  ledger: string,
  use: (opened: Ledger.Ledger) => Effect.Effect<A, LedgerError>,
  options: Partial<Ledger.Options> = {}
) => Effect.scoped(Effect.flatMap(Ledger.make({ path: ledger, ...options }), use))

const append = (ledger: string, from: number, to: number) =>
  withLedger(ledger, (opened) => opened.append(messages(from, to)))

const health = (ledger: string) => withLedger(ledger, (opened) => opened.health)

const findings = (ledger: string) =>
  Effect.gen(function*() {
    const reader = yield* Ledger.read(ledger)
    return Chunk.toReadonlyArray(yield* Stream.runCollect(reader.findings))
  })

const collect = (reader: Ledger.Reader, from: number, to: number) =>
  Effect.map(Stream.runCollect(reader.entries(from, to)), Chunk.toReadonlyArray)

const execute = promisify(execFile)

/** Copies by another process: one that opens and closes an SQLite file loses the locks that it has on it. */
const copy = (from: string, to: string) => execute("cp", ["-rp", from, to])

/** A born ledger with some entries besides the birth record, appended in three batches. */
const made = async (size: number): Promise<string> => {
  const ledger = fresh()
  await run(Ledger.init({ path: ledger }))
  const third = Math.ceil(size / 3)
  for (let from = 0; from < size; from += third) await run(append(ledger, from, Math.min(size, from + third)))
  return ledger
}

/** A copy of a ledger that was made once, since most tests spoil one. */
const copyOf = async (original: Promise<string>): Promise<string> => {
  const ledger = fresh()
  await copy(await original, ledger)
  await copy(`${await original}.key`, `${ledger}.key`)
  return ledger
}

const originals = new Map<number, Promise<string>>()
const spoilable = (size: number): Promise<string> => {
  const original = originals.get(size) ?? made(size)
  originals.set(size, original)
  return copyOf(original)
}

describe("init", () => {
  it("makes a ledger whose first entry is its birth record", async () => {
    const ledger = fresh()
    const { isNew, origin } = await run(Ledger.init({ path: ledger }))
    assert.isTrue(isNew)
    assert.match(origin, /^trustlog\.local\/[0-9a-f-]{36}$/)
    const reader = await run(Ledger.read(ledger))
    assert.strictEqual(reader.checkpoint.size, 1)
    assert.strictEqual(reader.origin, origin)
    const [birth] = await run(collect(reader, 0, 1))
    const text = new TextDecoder().decode(birth?.bytes)
    const record: unknown = JSON.parse(text)
    assert.match(
      text,
      /^\{"origin":"[^"]+","software":\{"name":"effect-trustlog","version":"[^"]+"\},"time":"[^"]+Z","type":"birth","verifier":"[^"]+"\}$/
    )
    assert.deepInclude(record, {
      origin,
      type: "birth",
      verifier: reader.verifier,
      software: { name: packageJson.name, version }
    })
    assert.strictEqual(version, packageJson.version)
    assert.strictEqual(await fs.readFile(path.join(ledger, "vkey"), "utf8"), `${reader.verifier}\n`)
  })

  it("makes a key for its owner alone, as PKCS #8 in PEM", async () => {
    const ledger = fresh()
    await run(Ledger.init({ path: ledger }))
    const { mode } = await fs.stat(`${ledger}.key`)
    assert.strictEqual(mode & 0o777, 0o600)
    assert.match(await fs.readFile(`${ledger}.key`, "utf8"), /^-----BEGIN PRIVATE KEY-----\n/)
  })

  it("changes nothing the second time", async () => {
    const ledger = fresh()
    const first = await run(Ledger.init({ path: ledger }))
    const checkpoint = await fs.readFile(path.join(ledger, "checkpoint"), "utf8")
    assert.deepStrictEqual(await run(Ledger.init({ path: ledger })), { origin: first.origin, isNew: false })
    assert.strictEqual(await fs.readFile(path.join(ledger, "checkpoint"), "utf8"), checkpoint)
  })

  it("does not begin a new ledger where the key says that there was one", async () => {
    const ledger = await spoilable(10)
    await fs.rm(ledger, { recursive: true })
    const error = await failure(Ledger.init({ path: ledger }))
    assert.strictEqual(error.reason, "missing")
    assert.include(error.problem, "restore it, or remove the key to begin a new one")
    assert.strictEqual((await failure(health(ledger))).reason, "missing")
    await fs.rm(`${ledger}.key`)
    assert.isTrue((await run(Ledger.init({ path: ledger }))).isNew)
  })

  it("does not begin a new ledger over what is left of one", async () => {
    const noCheckpoint = await spoilable(10)
    await fs.rm(path.join(noCheckpoint, "checkpoint"))
    assert.strictEqual((await failure(Ledger.init({ path: noCheckpoint }))).reason, "inconsistent")
    const onlyTiles = await spoilable(10)
    for (const name of ["checkpoint", "ledger.db"]) await fs.rm(path.join(onlyTiles, name))
    await fs.rm(`${onlyTiles}.key`)
    assert.strictEqual((await failure(Ledger.init({ path: onlyTiles }))).reason, "inconsistent")
  })

  it("leaves folders alone that are somebody else's, and files that are no folders", async () => {
    const folder = fresh()
    await fs.mkdir(folder)
    await fs.writeFile(path.join(folder, "thesis.txt"), "mine")
    assert.strictEqual((await failure(Ledger.init({ path: folder }))).reason, "foreign")
    assert.strictEqual((await failure(Ledger.read(folder))).reason, "foreign")
    assert.deepStrictEqual(await fs.readdir(folder), ["thesis.txt"])
    const file = fresh()
    await fs.writeFile(file, "mine")
    for (const effect of [Ledger.init({ path: file }), Ledger.read(file), health(file)]) {
      const error = await failure(effect)
      assert.strictEqual(error.reason, "foreign")
      assert.include(error.message, "no folder")
    }
  })

  it("takes an empty folder that is there already", async () => {
    const folder = fresh()
    await fs.mkdir(folder)
    assert.isTrue((await run(Ledger.init({ path: folder }))).isNew)
  })
})

describe("the key", () => {
  it("is missed, cut, of another kind, or another ledger's: each is said, and nothing is appended", async () => {
    const ledger = await spoilable(10)
    const key = `${ledger}.key`
    const pem = await fs.readFile(key, "utf8")
    const other = crypto.generateKeyPairSync("ed25519").privateKey.export({ format: "pem", type: "pkcs8" })
    const p256 = crypto.generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey
    const cases: ReadonlyArray<readonly [string | Buffer | undefined, LedgerError["reason"]]> = [
      [undefined, "missing"],
      ["", "corrupt"],
      [pem.slice(0, 60), "corrupt"],
      ["\u0000\uffff", "corrupt"],
      [p256.export({ format: "pem", type: "pkcs8" }), "foreign"],
      [other, "foreign"]
    ]
    for (const [content, reason] of cases) {
      await (content === undefined ? fs.rm(key) : fs.writeFile(key, content))
      for (const effect of [append(ledger, 20, 21), Ledger.init({ path: ledger })]) {
        const error = await failure(effect)
        assert.strictEqual(error.reason, reason, String(content))
        assert.strictEqual(error.path, key)
      }
    }
    await fs.writeFile(key, pem)
    assert.deepStrictEqual(await run(findings(ledger)), [])
    assert.strictEqual((await run(append(ledger, 20, 21))).checkpoint?.size, 12)
  })

  it("that others may read is used with a warning", async () => {
    const ledger = await spoilable(10)
    await fs.chmod(`${ledger}.key`, 0o644)
    const warnings: Array<unknown> = []
    const logger = Logger.make(({ logLevel, message }) => warnings.push(logLevel.label, message))
    await run(Effect.provide(health(ledger), Logger.replace(Logger.defaultLogger, logger)))
    assert.deepStrictEqual(warnings, [
      "WARN",
      [`${ledger}.key: others than its owner may read or change this signing key; run chmod 600`]
    ])
  })

  it("stands beside the folder, however its path is written", async () => {
    const ledger = fresh()
    await run(Ledger.init({ path: `${ledger}//` }))
    assert.isTrue((await fs.stat(`${ledger}.key`)).isFile())
    await run(health(ledger))
  })

  it("can stand elsewhere", async () => {
    const ledger = fresh()
    const keyFile = path.join(root, "keys", "of the ledger", "signing.pem")
    await run(Ledger.init({ path: ledger, keyFile }))
    assert.strictEqual((await failure(health(ledger))).reason, "missing")
    await run(withLedger(ledger, (opened) => opened.health, { keyFile }))
  })

  it("is made on its own, once, however many ask for it", async () => {
    const keyFile = path.join(root, "trustlog.key")
    const made = await Promise.all(Array.from({ length: 8 }, () => run(Ledger.makeKey(keyFile))))
    assert.deepStrictEqual(made.filter(Boolean), [true])
    const { privateKey } = await run(keys.load(keyFile))
    assert.strictEqual(privateKey.asymmetricKeyType, "ed25519")
    assert.deepStrictEqual((await fs.readdir(root)).filter((name) => name.startsWith("trustlog.key.")), [])
  })
})

describe("append", () => {
  it("keeps the sent bytes as entries, and the digest form of those that are too long for one", async () => {
    const ledger = fresh()
    await run(Ledger.init({ path: ledger }))
    const long = message(1, { payload: "é".repeat(40_000) })
    // One byte more than an entry holds, and exactly what it holds.
    const overhead = message(2, { payload: "" }).bytes.length
    const exact = message(2, { payload: "x".repeat(tiles.maxEntryBytes - overhead) })
    const over = message(3, { payload: "x".repeat(tiles.maxEntryBytes - overhead + 1) })
    assert.strictEqual(exact.bytes.length, tiles.maxEntryBytes)
    assert.strictEqual(over.bytes.length, tiles.maxEntryBytes + 1)
    const sent = [message(0), long, exact, over]
    const { outcomes } = await run(withLedger(ledger, (opened) => opened.append(sent)))
    assert.deepStrictEqual(outcomes.map((outcome) => outcome._tag), Array(4).fill("Acknowledged"))
    const entries = await run(Effect.flatMap(Ledger.read(ledger), (reader) => collect(reader, 1, 5)))
    const envelopes = entries.map((entry) => Either.getOrThrow(Envelope.decode(entry.bytes)))
    assert.deepStrictEqual(envelopes.map((envelope) => envelope.isDigest), [false, true, false, true])
    envelopes.forEach((envelope, i) => assert.strictEqual(envelope.contentHash, sent[i]?.contentHash))
    assert.deepStrictEqual(Buffer.from(entries[2]?.bytes ?? []), Buffer.from(exact.bytes))
    // Sent again after the map was lost, they are known by the same hash.
    await fs.rm(path.join(ledger, "ledger.db"))
    await run(Ledger.init({ path: ledger }))
    const again = await run(withLedger(ledger, (opened) => opened.append(sent)))
    assert.deepStrictEqual(again.outcomes, outcomes)
    assert.strictEqual(again.checkpoint?.size, 5)
  })

  it("refuses bytes that are too long for an entry and have no digest form", async () => {
    const ledger = await spoilable(10)
    const strange = { ...message(50), bytes: new Uint8Array(70_000).fill(0x20) }
    const { outcomes } = await run(withLedger(ledger, (opened) => opened.append([strange, message(51)])))
    assert.deepStrictEqual(outcomes.map((outcome) => outcome._tag), ["Refused", "Acknowledged"])
    assert.strictEqual(outcomes[0]?._tag === "Refused" ? outcomes[0].reason : "", "tooLarge")
  })

  it("takes entries that are no envelopes, hostile names included, each once", async () => {
    const ledger = await spoilable(10)
    const streams = [
      "",
      "'; DROP TABLE entry; --",
      "\u0000",
      "\u0000a",
      "\ud800",
      "𝄞",
      "x".repeat(100_000),
      "[\"a\",1]"
    ]
    const sent = streams.map((stream, i) => ({ ...message(100), stream, bytes: new Uint8Array(i) }))
    const first = await run(withLedger(ledger, (opened) => opened.append(sent)))
    assert.deepStrictEqual(first.outcomes.map((outcome) => outcome._tag), Array(8).fill("Acknowledged"))
    assert.strictEqual(first.checkpoint?.size, 11 + 8)
    assert.strictEqual(first.before, 11)
    const second = await run(withLedger(ledger, (opened) => opened.append(sent)))
    assert.deepStrictEqual(second, { ...first, before: 11 + 8 })
    assert.deepStrictEqual(await run(findings(ledger)), [])
  })

  it("keeps the receipts of a whole history over many openings and sizes of batches", async () => {
    const ledger = fresh()
    await run(Ledger.init({ path: ledger }))
    let next = 0
    for (const size of [1, 1, 253, 1, 1, 255, 256, 300, 1]) {
      const { checkpoint, outcomes } = await run(append(ledger, next, next + size))
      outcomes.forEach((outcome, i) =>
        assert.strictEqual(
          outcome._tag === "Acknowledged" ? Ledger.unpackIndex(outcome.messageId) : undefined,
          1 + next + i
        )
      )
      next += size
      assert.strictEqual(checkpoint?.size, 1 + next)
      assert.deepStrictEqual(await run(findings(ledger)), [])
    }
    // The partial tiles that have become full are gone, the others are there.
    const left = await fs.readdir(path.join(ledger, "tile", "entries"))
    assert.deepStrictEqual(left.sort(), ["000", "001", "002", "003", "004.p"])
  })
})

describe("durability", () => {
  it("has every file and every name on the disk before the checkpoint is seen, and the checkpoint before the answer", async () => {
    const ledger = await spoilable(300)
    const calls: Array<string> = []
    const files = Faulty.layer((call) =>
      Effect.sync(() => calls.push(`${call.operation} ${path.relative(ledger, call.path)}`))
    )
    const appended = append(ledger, 300, 900)
    await Effect.runPromise(Effect.provide(appended, Layer.provideMerge(files, NodeContext.layer)))
    const published = calls.indexOf("rename checkpoint")
    const before = calls.slice(0, published)
    const written = before.filter((call) => call.startsWith("write ")).map((call) => call.slice("write ".length))
    assert.includeMembers(written, [
      "checkpoint.new",
      "tile/entries/001",
      "tile/entries/003.p/133",
      "tile/0/002",
      "tile/0/003.p/133",
      "tile/1/000.p/3"
    ])
    for (const name of written) {
      const writing = before.indexOf(`write ${name}`)
      const syncing = before.indexOf(`sync ${name}`)
      assert.isAbove(syncing, writing, name)
      if (name === "checkpoint.new") continue
      // The folder is synced after the file was made in it.
      assert.isAbove(before.lastIndexOf(`sync ${path.dirname(name)}`), before.indexOf(`open ${name}`), name)
    }
    for (const made of before.filter((call) => call.startsWith("makeDirectory "))) {
      const name = made.slice("makeDirectory ".length)
      assert.isAbove(before.lastIndexOf(`sync ${path.dirname(name)}`), before.indexOf(made), made)
    }
    assert.strictEqual(calls[published + 1], "open ")
    assert.strictEqual(calls[published + 2], "sync ")
    // Nothing that a published checkpoint needs is removed before its successor is there.
    assert.isAbove(calls.findIndex((call) => call.startsWith("remove ")), published)
  })
})

describe("message ids", () => {
  it("are indices, big-endian and as short as can be", () => {
    for (
      const [index, bytes] of [[0, [0]], [255, [255]], [256, [1, 0]], [2 ** 53 - 1, [
        31,
        255,
        255,
        255,
        255,
        255,
        255
      ]]] as const
    ) {
      assert.deepStrictEqual([...Ledger.packIndex(index)], [...bytes])
      assert.strictEqual(Ledger.unpackIndex(Ledger.packIndex(index)), index)
    }
    for (const bytes of [[], [0, 1], [32, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0]]) {
      assert.isUndefined(Ledger.unpackIndex(Uint8Array.from(bytes)))
    }
  })
})

describe("read", () => {
  it("says that there is none, or that it is cut", async () => {
    assert.strictEqual((await failure(Ledger.read(fresh()))).reason, "missing")
    for (
      const [name, content, reason] of [
        ["checkpoint", undefined, "corrupt"],
        ["checkpoint", "", "corrupt"],
        ["checkpoint", "trustlog\n1\n", "corrupt"],
        ["vkey", undefined, "corrupt"],
        ["vkey", "a+b+c", "corrupt"]
      ] as const
    ) {
      const ledger = await spoilable(10)
      const file = path.join(ledger, name)
      await (content === undefined ? fs.rm(file) : fs.writeFile(file, content))
      const error = await failure(Ledger.read(ledger))
      assert.strictEqual(error.reason, reason)
      assert.strictEqual(error.path, file)
    }
  })

  it("reads any range of entries, and none outside", async () => {
    const reader = await run(Effect.flatMap(Effect.promise(() => spoilable(700)), Ledger.read))
    for (const [from, to] of [[0, 701], [1, 2], [255, 257], [256, 512], [300, 600], [700, 701], [700, 9999]] as const) {
      const entries = await run(collect(reader, from, to))
      const end = Math.min(to, 701)
      assert.deepStrictEqual(
        entries.map((entry) => entry.index),
        Array.from({ length: end - from }, (_, i) => from + i)
      )
      for (const entry of entries.slice(from === 0 ? 1 : 0)) {
        assert.strictEqual(Either.getOrThrow(Envelope.decode(entry.bytes)).id, idOf(entry.index - 1))
      }
    }
    for (const [from, to] of [[701, 800], [5, 5], [9, 3]] as const) {
      assert.deepStrictEqual(await run(collect(reader, from, to)), [])
    }
  })

  it("stays at its checkpoint while the ledger grows over it", async () => {
    const ledger = await spoilable(700)
    const reader = await run(Ledger.read(ledger))
    await run(append(ledger, 700, 1600))
    assert.strictEqual((await run(collect(reader, 0, Infinity))).length, 701)
    assert.deepStrictEqual(Chunk.toReadonlyArray(await run(Stream.runCollect(reader.findings))), [])
    const now = await run(Ledger.read(ledger))
    assert.strictEqual(await run(now.rootAt(701)), reader.checkpoint.root)
  })

  it("proves every entry and every earlier state", async () => {
    const reader = await run(Effect.flatMap(Effect.promise(() => spoilable(700)), Ledger.read))
    const root = hexToBytes(reader.checkpoint.root)
    const entries = await run(collect(reader, 0, 701))
    for (const { bytes, index } of entries) {
      if (index % 7 !== 0 && index !== 700 && index !== 255) continue
      const leaf = merkle.leafHash(bytes)
      const proof = await run(reader.inclusionProof(index))
      assert.isTrue(Ledger.verifyInclusion({ leaf, index, size: 701, root, proof }))
      const size = index + 1
      const then = hexToBytes(await run(reader.rootAt(size)))
      assert.deepStrictEqual(then, merkle.root(entries.slice(0, size).map((entry) => merkle.leafHash(entry.bytes))))
      assert.isTrue(
        Ledger.verifyConsistency({
          oldSize: size,
          oldRoot: then,
          newSize: 701,
          newRoot: root,
          proof: await run(reader.consistencyProof(size))
        })
      )
      assert.isTrue(
        Ledger.verifyInclusion({ leaf, index, size, root: then, proof: await run(reader.inclusionProof(index, size)) })
      )
    }
    for (
      const effect of [
        reader.inclusionProof(701),
        reader.inclusionProof(-1),
        reader.inclusionProof(0.5),
        reader.inclusionProof(0, 702),
        reader.consistencyProof(702),
        reader.consistencyProof(5, 4),
        reader.rootAt(702)
      ]
    ) assert.strictEqual((await failure(effect)).reason, "missing")
  })

  it("tells what the map remembers, or that it is gone", async () => {
    const ledger = await spoilable(10)
    const { checkpoint, remembered } = await run(Ledger.read(ledger))
    assert.deepStrictEqual(remembered, Either.right(checkpoint))
    assert.deepStrictEqual(await run(Ledger.rememberedHead(ledger)), checkpoint)
    await fs.rm(path.join(ledger, "checkpoint"))
    assert.deepStrictEqual(await run(Ledger.rememberedHead(ledger)), checkpoint)
    await fs.rm(path.join(ledger, "ledger.db"))
    assert.strictEqual((await failure(Ledger.rememberedHead(ledger))).reason, "missing")
    assert.strictEqual((await failure(Ledger.rememberedHead(fresh()))).reason, "missing")
  })
})

describe("a checkpoint that does not extend what was signed", () => {
  const refused = async (ledger: string, problem: string) => {
    const before = await fs.readFile(path.join(ledger, "checkpoint")).catch(() => undefined)
    for (const effect of [append(ledger, 900, 901), health(ledger), Ledger.init({ path: ledger })]) {
      const error = await failure(effect)
      assert.strictEqual(error.reason, "inconsistent", error.message)
      assert.include(error.message, problem)
      assert.isFalse(error.isRetryable)
    }
    assert.deepStrictEqual(await fs.readFile(path.join(ledger, "checkpoint")).catch(() => undefined), before)
  }

  it("is an older one, restored alone", async () => {
    const ledger = await spoilable(10)
    const older = await fs.readFile(path.join(ledger, "checkpoint"))
    await run(append(ledger, 10, 20))
    await fs.writeFile(path.join(ledger, "checkpoint"), older)
    await refused(ledger, "has 11 entries, and 21 were signed before")
    assert.deepStrictEqual((await run(findings(ledger))).map((finding) => finding.thing), ["checkpoint"])
  })

  it("is an older one, restored with its tiles", async () => {
    const ledger = await spoilable(10)
    const backup = fresh()
    await copy(ledger, backup)
    await run(append(ledger, 10, 600))
    for (const name of ["tile", "checkpoint"]) {
      await fs.rm(path.join(ledger, name), { recursive: true })
      await copy(path.join(backup, name), path.join(ledger, name))
    }
    await refused(ledger, "has 11 entries, and 601 were signed before")
    assert.deepStrictEqual((await run(findings(ledger))).map((finding) => finding.thing), ["checkpoint"])
  })

  it("is of another history, signed by the same key", async () => {
    const ledger = await spoilable(10)
    const fork = fresh()
    await copy(ledger, fork)
    await copy(`${ledger}.key`, `${fork}.key`)
    await run(append(ledger, 10, 20))
    await run(append(fork, 500, 600))
    for (const name of ["tile", "checkpoint"]) {
      await fs.rm(path.join(ledger, name), { recursive: true })
      await copy(path.join(fork, name), path.join(ledger, name))
    }
    await refused(ledger, "does not extend the 21 entries that were signed before")
    assert.deepStrictEqual((await run(findings(ledger))).map((finding) => finding.thing), ["checkpoint"])
  })

  it("is gone, cut, altered or another ledger's", async () => {
    const foreign = await fs.readFile(path.join(await spoilable(5), "checkpoint"), "utf8")
    const cases: ReadonlyArray<readonly [(text: string) => string | undefined, string]> = [
      [() => undefined, "is gone"],
      [() => "", "is empty"],
      [(text) => text.slice(0, -20), "cut"],
      [(text) => text.replace("\n11\n", "\n12\n"), "a signature that does not verify"],
      [() => foreign, "is not signed by the ledger's key"]
    ]
    for (const [change, problem] of cases) {
      const ledger = await spoilable(10)
      const file = path.join(ledger, "checkpoint")
      const changed = change(await fs.readFile(file, "utf8"))
      await (changed === undefined ? fs.rm(file) : fs.writeFile(file, changed))
      await refused(ledger, problem)
    }
  })

  it("is one whose map is gone: only init makes it anew", async () => {
    const ledger = await spoilable(300)
    await fs.rm(path.join(ledger, "ledger.db"))
    for (const effect of [append(ledger, 0, 1), health(ledger)]) {
      const error = await failure(effect)
      assert.strictEqual(error.reason, "inconsistent")
      assert.include(error.problem, "`trustlog init` makes it anew")
    }
    await run(Ledger.init({ path: ledger }))
    const { checkpoint, outcomes } = await run(append(ledger, 0, 300))
    assert.strictEqual(checkpoint?.size, 301)
    assert.deepStrictEqual(outcomes.map((outcome) => outcome._tag), Array(300).fill("Acknowledged"))
  })

  it("is noticed under a process that has the ledger open", async () => {
    const ledger = await spoilable(10)
    const error = await failure(withLedger(ledger, (opened) =>
      Effect.gen(function*() {
        yield* opened.append(messages(10, 20))
        // The folder is exchanged for a copy of the same state, as by a careless restore.
        yield* Effect.promise(async () => {
          await copy(ledger, `${ledger}.copy`)
          await fs.rename(ledger, `${ledger}.old`)
          await fs.rename(`${ledger}.copy`, ledger)
        })
        return yield* opened.append(messages(20, 30))
      })))
    assert.strictEqual(error.reason, "inconsistent")
    assert.include(error.problem, "the ledger was replaced under a running process")
    const gone = await spoilable(10)
    const missing = await failure(
      withLedger(gone, (opened) =>
        Effect.zipRight(
          Effect.promise(() => fs.rm(gone, { recursive: true })),
          opened.append(messages(20, 30))
        ))
    )
    assert.strictEqual(missing.reason, "inconsistent")
  })
})

describe("a map that is behind its checkpoint", () => {
  it("is brought up from the entries", async () => {
    const ledger = await spoilable(10)
    const older = fresh()
    await copy(path.join(ledger, "ledger.db"), older)
    const first = await run(append(ledger, 10, 700))
    for (const name of ["ledger.db", "ledger.db-wal", "ledger.db-shm"]) {
      await fs.rm(path.join(ledger, name), { force: true })
    }
    await copy(older, path.join(ledger, "ledger.db"))
    const again = await run(append(ledger, 10, 700))
    assert.deepStrictEqual(again, { ...first, before: 701 })
    assert.deepStrictEqual(await run(findings(ledger)), [])
  })

  it("does not follow entries that are not the signed ones", async () => {
    const ledger = await spoilable(10)
    const older = fresh()
    await copy(path.join(ledger, "ledger.db"), older)
    await run(append(ledger, 10, 20))
    for (const name of ["ledger.db", "ledger.db-wal", "ledger.db-shm"]) {
      await fs.rm(path.join(ledger, name), { force: true })
    }
    await copy(older, path.join(ledger, "ledger.db"))
    const bundle = path.join(ledger, "tile/entries/000.p/21")
    const bytes = await fs.readFile(bundle)
    bytes[bytes.length - 5] = 0x21
    await fs.writeFile(bundle, bytes)
    const error = await failure(append(ledger, 20, 21))
    assert.strictEqual(error.reason, "inconsistent")
  })

  it("that is no database, or not the map, is said to be so", async () => {
    for (const content of ["not a database, but long enough to be looked at".repeat(30), ""]) {
      const ledger = await spoilable(10)
      for (const name of ["ledger.db-wal", "ledger.db-shm"]) await fs.rm(path.join(ledger, name), { force: true })
      await fs.writeFile(path.join(ledger, "ledger.db"), content)
      const error = await failure(append(ledger, 20, 21))
      assert.strictEqual(error.reason, "corrupt")
      assert.include(error.path, "ledger.db")
    }
  })
})

describe("findings", () => {
  const size = 66_000

  /** Changes one byte of a file, counted from the end where negative. */
  const flip = async (file: string, at: number) => {
    const bytes = await fs.readFile(file)
    const index = at < 0 ? bytes.length + at : at
    bytes[index] = (bytes[index] ?? 0) ^ 1
    await fs.writeFile(file, bytes)
  }

  const spoil = async (of: number, change: (ledger: string) => Promise<unknown>) => {
    const ledger = await spoilable(of)
    await change(ledger)
    return run(findings(ledger))
  }

  const things = (found: ReadonlyArray<Ledger.Finding>) => found.map((finding) => finding.thing)

  it("name the very file that was altered, cut or removed, and nothing else, at every level", async () => {
    const files = [
      "tile/entries/000",
      "tile/entries/131",
      "tile/0/000",
      "tile/0/255",
      "tile/0/256",
      "tile/1/000",
      "tile/entries/257.p/209",
      "tile/0/257.p/209",
      "tile/1/001.p/1",
      "tile/2/000.p/1"
    ]
    for (const file of files) {
      const altered = await spoil(size, (ledger) => flip(path.join(ledger, file), -1))
      assert.deepStrictEqual(things(altered), [file])
      const removed = await spoil(size, (ledger) => fs.rm(path.join(ledger, file)))
      assert.deepStrictEqual(things(removed), [file])
      assert.strictEqual(removed[0]?.problem, "is gone")
    }
    for (
      const file of ["tile/entries/001", "tile/0/001", "tile/entries/002.p/189", "tile/0/002.p/189", "tile/1/000.p/2"]
    ) {
      for (const length of [0, 31]) {
        const cut = await spoil(700, (ledger) => fs.truncate(path.join(ledger, file), length))
        assert.deepStrictEqual(things(cut), [file])
      }
    }
  })

  it("name the entry that was altered", async () => {
    const [finding, ...others] = await spoil(700, (ledger) => flip(path.join(ledger, "tile/entries/001"), -1))
    assert.deepStrictEqual(others, [])
    assert.strictEqual(finding?.thing, "tile/entries/001")
    assert.strictEqual(finding?.index, 511)
    const first = await spoil(700, (ledger) => flip(path.join(ledger, "tile/entries/000"), 2))
    assert.deepStrictEqual(first.map(({ index }) => index), [0])
  })

  it("name what was altered with all that is above it, up to the checkpoint", async () => {
    // The forger makes an entry's own tile agree, and then the one above as well.
    const forge = async (ledger: string, levels: number) => {
      const bundle = path.join(ledger, "tile/entries/000")
      await flip(bundle, -1)
      const entries = Either.getOrThrow(tiles.decodeBundle(await fs.readFile(bundle), 256))
      const hashes = entries.map(merkle.leafHash)
      await fs.writeFile(path.join(ledger, "tile/0/000"), tiles.encodeHashes(hashes))
      if (levels === 1) return
      const above = path.join(ledger, "tile/1/000.p/2")
      const bytes = await fs.readFile(above)
      bytes.set(merkle.root(hashes), 0)
      await fs.writeFile(above, bytes)
    }
    assert.deepStrictEqual(things(await spoil(700, (ledger) => forge(ledger, 1))), ["tile/0/000"])
    assert.deepStrictEqual(things(await spoil(700, (ledger) => forge(ledger, 2))), ["checkpoint"])
  })

  it("name several files, each once", async () => {
    const found = await spoil(size, async (ledger) => {
      await flip(path.join(ledger, "tile/entries/003"), 100)
      await fs.rm(path.join(ledger, "tile/0/100"))
      await fs.rm(path.join(ledger, "tile/entries/200"))
      await fs.rm(path.join(ledger, "tile/0/200"))
      await flip(path.join(ledger, "tile/1/000"), 50 * 32)
    })
    assert.deepStrictEqual(things(found).toSorted(), [
      "tile/0/100",
      "tile/0/200",
      "tile/1/000",
      "tile/entries/003",
      "tile/entries/200"
    ])
  })

  it("are none where a later partial tile has been left behind by a crash", async () => {
    const found = await spoil(300, async (ledger) => {
      await fs.mkdir(path.join(ledger, "tile/0/001.p"), { recursive: true })
      await fs.writeFile(path.join(ledger, "tile/0/001.p/99"), "what a crash leaves")
      await fs.writeFile(path.join(ledger, "tile/0/001"), "what a crash leaves")
    })
    assert.deepStrictEqual(found, [])
  })
})
