/**
 * Ledgers of signed envelopes: what they keep, and what a verification says of them.
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as FileSystem from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as LogLevel from "effect/LogLevel"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as Drain from "../src/Drain.ts"
import * as Envelope from "../src/Envelope.ts"
import * as Ledger from "../src/Ledger.ts"
import { type Message, Publisher } from "../src/Publisher.ts"
import * as Signature from "../src/Signature.ts"
import * as Signer from "../src/Signer.ts"
import * as Trustlog from "../src/Trustlog.ts"
import type * as Verify from "../src/Verify.ts"
import * as tiles from "../src/internal/tiles.ts"
import { first, fresh, second, signed, signedBy, type TestKey } from "./keys.ts"
import { message, messages } from "./messages.ts"
import * as worlds from "./verified.ts"
import { input, range, uuid, verify, type World } from "./verified.ts"

const born = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const path = `${yield* fs.makeTempDirectoryScoped({ prefix: "trustlog-signed-" })}/ledger`
  yield* Ledger.init({ path })
  return path
})

const appendTo = (path: string, batch: ReadonlyArray<Message>) =>
  Effect.scoped(Effect.flatMap(Ledger.make({ path }), (ledger) => ledger.append(batch)))

/** Loses the map, and makes it anew from the entries. */
const rebuildMap = (path: string) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    for (const name of ["ledger.db", "ledger.db-wal", "ledger.db-shm"])
      yield* fs.remove(`${path}/${name}`, { force: true })
    yield* Ledger.init({ path })
  })

const entries = (path: string) =>
  Effect.flatMap(
    Ledger.read(path),
    (reader) =>
      Effect.map(Stream.runCollect(reader.entries(1, reader.checkpoint.size)), (chunk) =>
        Chunk.toReadonlyArray(chunk).map((entry) => new Uint8Array(entry.bytes)))
  )

describe("a ledger", () => {
  it.scopedLive("keeps signed envelopes as they were sent, and knows them from its entries alone", () =>
    Effect.gen(function*() {
      const path = yield* born
      const batch = messages(0, 300).map((sent, i) => signed(sent, i % 2 === 0 ? first : second))
      const { outcomes } = yield* appendTo(path, batch)
      assert.deepStrictEqual(yield* entries(path), batch.map(({ bytes }) => new Uint8Array(bytes)))
      yield* rebuildMap(path)
      const again = yield* appendTo(path, batch)
      assert.deepStrictEqual(again.outcomes, outcomes)
      assert.strictEqual(again.checkpoint?.size, 301)
      const other = signed(message(7, { payload: "other" }), first)
      const { outcomes: [conflict] } = yield* appendTo(path, [other])
      assert.include(conflict, { _tag: "Refused", reason: "conflict" })
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scopedLive("has a record once, however it is signed when it is sent again, and whatever became of the map", () =>
    Effect.gen(function*() {
      const path = yield* born
      const record = message(1)
      const forms = [record, signed(record, first), signed(record, second), signed(record, first, second)]
      const others = messages(10, 13).map((other, i) => i === 1 ? signed(other, first) : other)
      const one = yield* appendTo(path, [...others, ...forms])
      assert.deepStrictEqual(
        one.outcomes.map((outcome) => outcome._tag === "Acknowledged" && Ledger.unpackIndex(outcome.messageId)),
        [1, 2, 3, 4, 4, 4, 4]
      )
      yield* rebuildMap(path)
      for (const form of [...forms, ...forms.toReversed()]) {
        assert.deepStrictEqual((yield* appendTo(path, [form])).outcomes, one.outcomes.slice(3, 4))
      }
      const swapped = [others[0], signed(others[0] ?? record, second), others[1], messages(11, 12)[0]]
        .filter((form) => form !== undefined)
      const two = yield* appendTo(path, swapped)
      assert.deepStrictEqual(
        two.outcomes,
        [one.outcomes[0], one.outcomes[0], one.outcomes[1], one.outcomes[1]].filter((outcome) => outcome !== undefined)
      )
      assert.strictEqual(two.checkpoint?.size, 5)
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scopedLive("has the digest form of what is too long with its signature, and knows it by the same hash", () =>
    Effect.gen(function*() {
      const path = yield* born
      const overhead = signed(message(1, { payload: "" }), first).bytes.length
      // Four bytes for each three that are added.
      const room = Math.floor((tiles.maxEntryBytes - overhead) / 4) * 3
      const fits = message(1, { payload: "x".repeat(room - 3) })
      const exceeds = message(2, { payload: "x".repeat(room + 3) })
      const batch = [fits, exceeds].map((sent) => signed(sent, first))
      assert.isAtMost(batch[0]?.bytes.length ?? 0, tiles.maxEntryBytes)
      assert.isAbove(batch[1]?.bytes.length ?? 0, tiles.maxEntryBytes)
      assert.isBelow(exceeds.bytes.length, tiles.maxEntryBytes)
      const { outcomes } = yield* appendTo(path, batch)
      const kept = yield* entries(path)
      assert.deepStrictEqual(kept[0], new Uint8Array(batch[0]?.bytes ?? []))
      assert.deepInclude(Either.getOrThrow(Envelope.decode(kept[1] ?? new Uint8Array())), {
        isDigest: true,
        contentHash: exceeds.contentHash
      })
      yield* rebuildMap(path)
      assert.deepStrictEqual((yield* appendTo(path, [fits, exceeds])).outcomes, outcomes)
      const strange = { ...message(3), bytes: signedBy([first], new Uint8Array(60_000).fill(0x20)) }
      const { outcomes: [refused] } = yield* appendTo(path, [strange])
      assert.include(refused, { _tag: "Refused", reason: "tooLarge" })
    }).pipe(Effect.provide(NodeContext.layer)))
})

const trusting = (...keys: ReadonlyArray<TestKey>) => Signature.layerTrustedKeys(keys.map(({ publicPem }) => publicPem))

const verifyWith = (world: World, ...keys: ReadonlyArray<TestKey>) =>
  keys.length === 0 ? verify(world) : Effect.provide(verify(world), trusting(...keys))

const signing = (key: TestKey) => Signer.layerEd25519({ key: Redacted.make(key.pem) })

/** The whole report, for a failing test to show. */
const told = (report: Verify.Report) => JSON.stringify(report, undefined, 2)

const reasonsOf = (report: Verify.Report): Record<string, ReadonlyArray<string>> => {
  const reasons: Record<string, Array<string>> = {}
  for (const { id, reason } of [...report.altered, ...report.missing, ...report.surplus]) {
    reasons[id] = [...reasons[id] ?? [], reason.replace(/entry \d+/, "entry N")]
  }
  return reasons
}

const append = (world: World, numbers: ReadonlyArray<number>) =>
  Effect.provide(
    Effect.flatMap(Trustlog.Trustlog, (trustlog) => trustlog.appendAll(numbers.map((n) => input(n)))),
    worlds.application(world)
  )

const drain = (world: World, signer: Layer.Layer<never, unknown>) =>
  Drain.drainOnce().pipe(Effect.provide(worlds.application(world)), Effect.provide(Layer.orDie(signer)))

const deliver = (world: World, numbers: ReadonlyArray<number>, signer: Layer.Layer<never, unknown>) =>
  Effect.zipRight(append(world, numbers), drain(world, signer))

/** Adds entries as the owner of the ledger's key may. */
const publish = (world: World, batch: ReadonlyArray<Message>) =>
  Effect.provide(
    Effect.flatMap(Publisher, (publisher) => publisher.publish("topic", batch)),
    worlds.application(world)
  )

describe("a verification", () => {
  it.scopedLive("is complete where everything is signed by who is trusted, digest forms and neighbours included", () =>
    Effect.gen(function*() {
      const world = yield* worlds.empty
      yield* Effect.provide(worlds.makeSettled(world), Layer.orDie(signing(first)))
      const report = yield* verify(world)
      assert.deepInclude(report, { verdict: "complete", delivered: 367, ledgerSize: 380 }, told(report))
      assert.deepStrictEqual(yield* verifyWith(world, first), report)
      assert.deepStrictEqual(yield* verifyWith(world, second, first), report)
      const neighbour = yield* verifyWith(worlds.neighbourOf(world), first)
      assert.deepInclude(neighbour, { verdict: "complete", delivered: 10 }, told(neighbour))
      // All of them but the birth record and the one that is there in digest form, of either database.
      const strict = yield* verifyWith(world, second)
      assert.deepInclude(strict, { verdict: "tampered", alteredTotal: 378, missingTotal: 0, surplusTotal: 0 })
      for (const { reason } of strict.altered) {
        assert.match(
          reason,
          new RegExp(`^entry \\d+ of the ledger is signed by ${first.id}, and by no key that is trusted$`)
        )
      }
      // What was purged is there in the ledger, with its signature.
      yield* worlds.purge(world)
      assert.deepInclude(yield* verifyWith(world, first), { verdict: "complete", purged: 367 })
    }).pipe(Effect.provide(Logger.minimumLogLevel(LogLevel.Error))))

  it.scopedLive("follows a change of keys: what the old one signed needs the old one", () =>
    Effect.gen(function*() {
      const world = yield* worlds.empty
      yield* deliver(world, range(1, 6), signing(first))
      yield* deliver(world, range(6, 11), signing(second))
      assert.deepInclude(yield* verifyWith(world, first, second), { verdict: "complete", delivered: 10 })
      const late = yield* verifyWith(world, second)
      assert.sameMembers(late.altered.map(({ id }) => id), range(1, 6).map(uuid))
      assert.strictEqual(late.alteredTotal, 5)
    }))

  it.scopedLive("asks for signatures from the entry on that it is told, in the middle of a bundle and at its ends", () =>
    Effect.gen(function*() {
      const world = yield* worlds.empty
      yield* deliver(world, range(1, 261), Signer.layerNone)
      const altered = (signedFrom: number) =>
        Effect.map(
          Effect.provide(verify(world, { signedFrom }), trusting(first)),
          (report) => [report.alteredTotal, report.altered[0]?.id]
        )
      assert.deepStrictEqual(yield* altered(0), [260, uuid(1)])
      assert.deepStrictEqual(yield* altered(1), [260, uuid(1)])
      assert.deepStrictEqual(yield* altered(100), [161, uuid(100)])
      assert.deepStrictEqual(yield* altered(255), [6, uuid(255)])
      assert.deepStrictEqual(yield* altered(256), [5, uuid(256)])
      assert.deepStrictEqual(yield* altered(258), [3, uuid(258)])
      yield* deliver(world, [261], signing(first))
      assert.deepStrictEqual(yield* altered(261), [0, undefined])
      const report = yield* Effect.provide(verify(world, { signedFrom: 260 }), trusting(first))
      assert.deepInclude(report.altered, { id: uuid(260), reason: "entry 260 of the ledger is not signed" })
    }))

  it.scopedLive("takes a record that was sent under two keys, or first without one, for the one that it is", () =>
    Effect.gen(function*() {
      const world = yield* worlds.empty
      for (
        const [n, before, after] of [[1, signing(first), signing(second)], [
          2,
          Signer.layerNone,
          signing(first)
        ]] as const
      ) {
        yield* append(world, [n])
        const files = yield* FileSystem.FileSystem
        yield* files.copyFile(world.database, `${world.database}.copy`)
        yield* drain(world, before)
        // The sender forgets that it has sent it.
        yield* files.copyFile(`${world.database}.copy`, world.database)
        assert.include(yield* drain(world, after), { delivered: 1 })
        assert.deepInclude(yield* verify(world), { verdict: "complete", operations: n, ledgerSize: n + 1 })
      }
      const report = yield* verifyWith(world, first, second)
      assert.deepStrictEqual(reasonsOf(report), { [uuid(2)]: ["entry N of the ledger is not signed"] }, told(report))
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scopedLive("names what whoever has the ledger's key, and not the signer's, has put there", () =>
    Effect.gen(function*() {
      const world = yield* worlds.empty
      const stranger = fresh()
      const line = (bytes: Uint8Array, change: (text: string) => string) =>
        new TextEncoder().encode(change(new TextDecoder().decode(bytes)))
      const byFirst = (bytes: Uint8Array) => signedBy([first], bytes)
      const [other] = messages(99, 100)
      const forgeries: Record<number, (bytes: Uint8Array) => Uint8Array> = {
        // The signature is taken off, is by somebody else, under the key's id or not, is damaged, or another record's.
        1: (bytes) => bytes,
        2: (bytes) => signedBy([stranger], bytes),
        3: (bytes) => signedBy([{ ...stranger, id: first.id }], bytes),
        4: (bytes) =>
          line(
            byFirst(bytes),
            (text) =>
              text.replace(/"sig":"./, (start) =>
                start.endsWith("A") ? start.replace(/.$/, "B") : start.replace(/.$/, "A"))
          ),
        5: (bytes) =>
          Signature.encode({
            payload: bytes,
            signatures: Either.getOrThrow(Signature.open(byFirst(other?.bytes ?? bytes))).signatures
          }),
        // One of two holds.
        6: (bytes) => signedBy([stranger, first], bytes),
        // No form in which envelopes are sent.
        7: (bytes) =>
          line(byFirst(bytes), (text) => text.replace(Signature.payloadType, "application/vnd.in-toto+json")),
        8: (bytes) => line(byFirst(bytes), (text) => text.replace(",", ", ")),
        9: (bytes) => line(byFirst(bytes), (text) => text.replace(/\[.*\]/, "[]")),
        // Something else is under a signature that holds.
        10: () => byFirst(other?.bytes ?? new Uint8Array())
      }
      const forger = Layer.succeed(Signer.Signer, {
        contentType: Signature.contentType,
        sign: (envelopes: ReadonlyArray<Envelope.Encoded>) =>
          Effect.succeed(envelopes.map(({ bytes, id }) => {
            const forge = forgeries[Number.parseInt(id.slice(-12), 16)] ?? byFirst
            return forge(bytes)
          }))
      })
      yield* append(world, range(1, 21))
      yield* drain(world, forger)
      const report = yield* verifyWith(world, first)
      const reasons = reasonsOf(report)
      const not = "entry N of the ledger is not what receipt/operation/1 says was delivered"
      assert.deepStrictEqual(
        reasons,
        {
          [uuid(1)]: ["entry N of the ledger is not signed"],
          [uuid(2)]: [`entry N of the ledger is signed by ${stranger.id}, and by no key that is trusted`],
          [uuid(3)]: [`entry N of the ledger has a signature that the key ${first.id} has not made`],
          [uuid(4)]: [`entry N of the ledger has a signature that the key ${first.id} has not made`],
          [uuid(5)]: [`entry N of the ledger has a signature that the key ${first.id} has not made`],
          [uuid(7)]: [not],
          [uuid(8)]: [not],
          [uuid(9)]: [not],
          [uuid(10)]: [not],
          map: ["names 20 entries where the ledger has 16 records"]
        },
        told(report)
      )
      // Nobody asks for signatures: what the envelopes say is all right, but for those that cannot be read.
      const unasked = yield* verify(world)
      assert.sameMembers(unasked.altered.map(({ id }) => id), ["map", ...[7, 8, 9, 10].map(uuid)], told(unasked))
    }))

  it.scopedLive("names an unsigned entry that no receipt knows, of whichever database, but no digest form", () =>
    Effect.gen(function*() {
      const world = yield* worlds.empty
      yield* deliver(world, [1], signing(first))
      const stream = "5f8c1e0a-3f57-4d6f-9a51-0a3c4f6b7d21"
      const digest = Envelope.digestForm(Either.getOrThrow(Envelope.decode(message(41).bytes)))
      // It says to be a digest form, and is not: it has a payload.
      const sham = new TextEncoder().encode(
        JSON.stringify({ action: "x", contentHash: "00".repeat(32), id: uuid(42), payload: 1, stream })
      )
      yield* publish(world, [
        message(40),
        { ...message(41), bytes: digest },
        { ...message(42), bytes: sham, contentHash: "00".repeat(32) },
        signed(message(43), first)
      ])
      assert.deepStrictEqual(reasonsOf(yield* verifyWith(world, first)), {
        [uuid(40)]: ["entry N of the ledger is not signed"],
        [uuid(42)]: ["entry N of the ledger is not signed"]
      })
      assert.deepInclude(yield* verify(world), { verdict: "complete" })
    }))

  it.scopedLive("finds a signature that was changed in the ledger's files without any key as well", () =>
    Effect.gen(function*() {
      const world = yield* worlds.empty
      yield* deliver(world, [1, 2, 3], signing(first))
      const files = yield* FileSystem.FileSystem
      const bundle = `${world.ledger}/tile/entries/000.p/4`
      const bytes = Buffer.from(yield* files.readFile(bundle))
      const at = bytes.indexOf("\"sig\":\"") + 10
      bytes[at] = bytes[at] === 0x41 ? 0x42 : 0x41
      yield* files.writeFile(bundle, bytes)
      assert.hasAllKeys(reasonsOf(yield* verify(world)), ["tile/entries/000.p/4"])
      assert.deepInclude(reasonsOf(yield* verifyWith(world, first)), {
        [uuid(1)]: [`entry N of the ledger has a signature that the key ${first.id} has not made`]
      })
    }).pipe(Effect.provide(NodeContext.layer)))
})
