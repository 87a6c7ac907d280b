import * as NodeContext from "@effect/platform-node/NodeContext"
import { assert, describe, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as LogLevel from "effect/LogLevel"
import * as Logger from "effect/Logger"
import { spawn } from "node:child_process"
import * as crypto from "node:crypto"
import * as fs from "node:fs/promises"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import * as Drain from "../src/Drain.ts"
import * as Envelope from "../src/Envelope.ts"
import * as Ledger from "../src/Ledger.ts"
import { fromUnknown, type Input, timestampOf } from "../src/Operation.ts"
import { type Message, messageOf as messageFor, Publisher } from "../src/Publisher.ts"
import * as Receipt from "../src/Receipt.ts"
import { Repository } from "../src/Repository.ts"
import * as Trustlog from "../src/Trustlog.ts"
import * as Verify from "../src/Verify.ts"
import * as keys from "../src/internal/ledger/key.ts"
import * as note from "../src/internal/note.ts"
import * as purges from "../src/internal/purge.ts"
import * as tiles from "../src/internal/tiles.ts"
import { bundle } from "./Program.ts"
import * as runtime from "./runtime.ts"
import * as worlds from "./verified.ts"
import { bustle, input, sql, uuid, verify, type World } from "./verified.ts"

/** The databases and ledgers that every test copies. */
class Worlds extends Context.Tag("test/Worlds")<Worlds, {
  /** Everything is delivered. */
  readonly settled: World
  /** Something is in every state. */
  readonly unsettled: World
  /** The unsettled one, and what is delivered in it was purged. */
  readonly purged: World
}>() {}

const quiet = Logger.minimumLogLevel(LogLevel.Error)

const made = Layer.scoped(
  Worlds,
  Effect.gen(function*() {
    const settled = yield* worlds.empty
    yield* worlds.makeSettled(settled)
    const unsettled = yield* worlds.copyOf(settled)
    yield* worlds.makeUnsettled(unsettled)
    const purged = yield* worlds.copyOf(unsettled)
    yield* worlds.purge(purged)
    return { settled, unsettled, purged }
  }).pipe(Effect.provide(quiet))
)

const settled = Effect.flatMap(Worlds, (all) => worlds.copyOf(all.settled))
const unsettled = Effect.flatMap(Worlds, (all) => worlds.copyOf(all.unsettled))
const purged = Effect.flatMap(Worlds, (all) => worlds.copyOf(all.purged))

/** The whole report, for a failing test to show. */
const told = (report: Verify.Report) => JSON.stringify(report, undefined, 2)

/** The verdict is tampered, and each of these is named. */
const assertNamed = (report: Verify.Report, names: ReadonlyArray<string>) => {
  assert.strictEqual(report.verdict, "tampered", told(report))
  const ids = new Set([...report.missing, ...report.altered, ...report.surplus].map((finding) => finding.id))
  for (const name of names) assert.isTrue(ids.has(name), `${name} is not named: ${told(report)}`)
}

type Tampering = (world: World) => Effect.Effect<unknown, unknown>

interface Case {
  readonly what: string
  readonly tamper: Tampering
  readonly names: ReadonlyArray<string>
}

const statement = (text: string, ...params: ReadonlyArray<unknown>): Tampering => (world) => sql(world, text, ...params)

const both = (...tamperings: ReadonlyArray<Tampering>): Tampering => (world) =>
  Effect.forEach(tamperings, (tamper) => tamper(world), { discard: true })

const at = (n: number) => `(SELECT position FROM operation WHERE id = '${uuid(n)}')`

const zeros = `'${"00".repeat(32)}'`

type Change = readonly [column: string, value: string]

/** Changes to a row, column by column, that leave it a row. */
const changes: ReadonlyArray<Change> = [
  ["id", `'${uuid(9999)}'`],
  ["kind", "'record'"],
  ["lane", "'operation/other'"],
  ["occurred_at", "'2026-11-23T14:50:42.123457Z'"],
  ["actor", "'mallory'"],
  ["actor", "CAST(actor AS BLOB)"],
  ["actor", "actor || char(0) || 'x'"],
  ["actor", "CAST(X'ff' AS TEXT)"],
  ["action", "'file.write'"],
  ["target", "target || ' '"],
  ["source", "'api'"],
  ["source", "NULL"],
  ["payload", `'{"n":6}'`],
  ["payload", "payload || ' '"],
  ["payload", "NULL"],
  ["payload", "'[' || payload"],
  ["payload_bytes", "payload_bytes + 1"],
  ["payload_bytes", "9223372036854775807"],
  ["payload_bytes", "'many'"],
  ["request_hash", zeros],
  ["request_hash", "NULL"],
  ["request_hash", "upper(request_hash)"],
  ["response_hash", zeros],
  ["response_hash", "NULL"],
  ["client_ip", "'192.0.2.2'"],
  ["client_ip", "NULL"],
  ["server_ip", "'2001:db8::2'"],
  ["server_ip", "NULL"],
  ["traceparent", "NULL"],
  ["traceparent", "'00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00'"],
  ["content_hash", zeros],
  ["content_hash", "upper(content_hash)"],
  ["position", "position + 1000000"],
  ["position", "-position"],
  ["position", "9007199254740993"]
]

/** One for each column. */
const firstChanges = changes.filter(([column], i) => changes.findIndex((change) => change[0] === column) === i)

const changesOf = (state: string, n: number, columns: ReadonlyArray<Change>): ReadonlyArray<Case> =>
  columns.map(([column, value]) => ({
    what: `${column} of ${state} operation becomes ${value.slice(0, 40)}`,
    tamper: statement(`UPDATE operation SET ${column} = ${value} WHERE id = ?`, uuid(n)),
    // What is not delivered yet has no other name than the one it says.
    names: [column === "id" && !state.includes("delivered") ? uuid(9999) : uuid(n)]
  }))

/** Puts the value of a column of each of two operations into the other. */
const swap = (column: string, a: number, b: number): Tampering => (world) =>
  Effect.gen(function*() {
    const read = `SELECT ${column} AS value, position FROM operation WHERE id = ?`
    const [first] = yield* sql(world, read, uuid(a))
    const [second] = yield* sql(world, read, uuid(b))
    const write = (from: number | string, value: unknown) =>
      sql(world, `UPDATE operation SET ${column} = ? WHERE position = ?`, value, from)
    const isPosition = column === "position"
    const [firstAt, secondAt] = [Number(first?.["position"]), Number(second?.["position"])]
    yield* write(firstAt, -1)
    yield* write(secondAt, first?.["value"])
    yield* write(isPosition ? -1 : firstAt, second?.["value"])
  })

const rowCases: ReadonlyArray<Case> = [
  ...changesOf("a delivered", 5, [...changes, ["content_hash", "NULL"]]),
  ...changesOf("a retried", 8001, firstChanges),
  ...changesOf("a dead", 8011, firstChanges),
  ...changesOf("a pending", 8021, changes),
  // Of one that is only stored nothing else says where it stood, nor in which lane of its kind.
  ...changesOf("a stored", 5001, changes.filter(([column]) => column !== "lane" && column !== "position")),
  ...changesOf("a stored", 5001, [["lane", "'record'"], ["position", "9007199254740993"]]),
  ...changesOf("a delivered plain", 4001, [
    ...changes.filter(([column, value]) => !/^payload|_hash$|_ip$/.test(column) && value !== "NULL"),
    ["payload", `'{"a":2}'`],
    ["payload", "NULL"],
    ["payload", "'no JSON'"],
    ["request_hash", zeros],
    ["response_hash", zeros],
    ["client_ip", "'192.0.2.2'"],
    ["server_ip", "'192.0.2.2'"],
    ["content_hash", zeros]
  ]),
  ...changesOf("a large delivered", 3001, [["payload", `'"y"'`], ["actor", "'mallory'"]]),
  ...changesOf("a delivered", 5, [["strategy", "'DbOnly'"]]),
  ...changesOf("a stored", 5001, [["strategy", "'DbAndTrustlog'"]]),
  { what: "two payloads change places", tamper: swap("payload", 5, 7), names: [uuid(5), uuid(7)] },
  { what: "two positions change places", tamper: swap("position", 5, 7), names: [uuid(5), uuid(7)] },
  { what: "two ids change places", tamper: swap("id", 5, 7), names: [uuid(5), uuid(7)] },
  { what: "two pending payloads change places", tamper: swap("payload", 8021, 8022), names: [uuid(8021), uuid(8022)] },
  ...[1, 150, 300, 1001, 2001, 3001, 4001, 5003].map((n): Case => ({
    what: `delivered operation ${n} is deleted`,
    tamper: statement("DELETE FROM operation WHERE id = ?", uuid(n)),
    names: [uuid(n)]
  })),
  ...([["pending", 8021], ["retry", 8001], ["retry", 8011], ["pending", 8031]] as const).flatMap(([table, n]) => [
    {
      what: `operation ${n} is deleted, which is ${table}`,
      tamper: (world: World) =>
        Effect.gen(function*() {
          yield* sql(world, `UPDATE trustlog_${table} SET position = 4242 WHERE position = ${at(n)}`)
          yield* sql(world, `UPDATE operation SET position = 4242 WHERE id = ?`, uuid(n))
          yield* sql(world, `DELETE FROM operation WHERE id = ?`, uuid(n))
        }),
      names: [`${table}/4242`]
    },
    {
      what: `the ${table} row of operation ${n} is deleted`,
      tamper: statement(`DELETE FROM trustlog_${table} WHERE position = ${at(n)}`),
      names: [uuid(n)]
    }
  ]),
  {
    what: "every pending row is deleted",
    tamper: statement("DELETE FROM trustlog_pending"),
    names: [8021, 8022, 8023, 8031].map(uuid)
  },
  {
    what: "a pending row moves to another lane",
    tamper: statement(`UPDATE trustlog_pending SET lane = 'operation/other' WHERE position = ${at(8021)}`),
    names: [uuid(8021)]
  },
  {
    what: "a retry moves to another lane",
    tamper: statement(`UPDATE trustlog_retry SET lane = 'operation/other' WHERE position = ${at(8001)}`),
    names: [uuid(8001)]
  },
  {
    what: "a retry comes into a state that does not exist",
    tamper: statement(`UPDATE trustlog_retry SET state = 'gone' WHERE position = ${at(8001)}`),
    names: [uuid(8001)]
  },
  {
    what: "a retried operation is pending as well",
    tamper: statement(`INSERT INTO trustlog_pending (lane, position) VALUES ('operation', ${at(8001)})`),
    names: [uuid(8001)]
  },
  {
    what: "a delivered operation is pending again",
    tamper: statement(`INSERT INTO trustlog_pending (lane, position) VALUES ('operation', ${at(5)})`),
    names: [uuid(5)]
  },
  {
    what: "a delivered operation is a dead letter again",
    tamper: statement(
      `INSERT INTO trustlog_retry (position, lane, state, attempts, reason, error, first_failed_at, last_failed_at)
        VALUES (${at(5)}, 'operation', 'dead', 1, 'rejected', '', '', '')`
    ),
    names: [uuid(5)]
  },
  {
    what: "a pending row is added for nothing",
    tamper: statement("INSERT INTO trustlog_pending (lane, position) VALUES ('operation', 4242)"),
    names: ["pending/4242"]
  },
  {
    what: "the promotion of a delivered operation is deleted",
    tamper: statement(`DELETE FROM trustlog_promotion WHERE position = ${at(5003)}`),
    names: [uuid(5003)]
  },
  {
    what: "the promotion of a pending operation is deleted",
    tamper: statement(`DELETE FROM trustlog_promotion WHERE position = ${at(8031)}`),
    names: [uuid(8031)]
  },
  {
    what: "a promotion is added",
    tamper: statement(`INSERT INTO trustlog_promotion (position, promoted_at) VALUES (${at(5001)}, '')`),
    names: [uuid(5001)]
  },
  {
    what: "a promotion is added for nothing",
    tamper: statement("INSERT INTO trustlog_promotion (position, promoted_at) VALUES (4242, '')"),
    names: ["promotion/4242"]
  },
  {
    what: "an operation is added that is said to be delivered",
    tamper: statement(
      `INSERT INTO operation (id, kind, lane, occurred_at, actor, action, target)
        VALUES (?, 'operation', 'operation', '2026-11-23T14:50:42.000000Z', 'mallory', 'a', 't')`,
      uuid(9999)
    ),
    names: [uuid(9999)]
  },
  {
    what: "the database says that it is another one",
    tamper: statement("UPDATE trustlog_cursor SET value = ? WHERE name = 'stream'", uuid(9999)),
    names: [uuid(1)]
  }
]

const middle = "lane = 'operation' AND sequence = 2"
const lastOf = "lane = 'operation' AND sequence = (SELECT max(sequence) FROM trustlog_receipt WHERE lane = 'operation')"

/** The lane `operation` has four receipts, `record` three and `operation/eu` three. */
const receiptCases: ReadonlyArray<Case> = [
  ...([["a middle", middle, "receipt/operation/2"], ["the last", lastOf, "receipt/operation/4"]] as const).flatMap((
    [which, where, name]
  ) =>
    ([
      ["lane", "'operation/eu2'"],
      ["lane", "'operation' || char(0)"],
      ["sequence", "99"],
      ["sequence", "-1"],
      ["sequence", "9007199254740993"],
      ["previous", zeros],
      ["previous", "CAST(X'ff' AS TEXT)"],
      ["first_position", "first_position + 1"],
      ["last_position", "last_position + 1"],
      ["count", "count + 1"],
      ["count", "'many'"],
      ["topic", "'other'"],
      ["topic", "topic || char(0)"],
      ["root", zeros],
      ["leaves", "substr(leaves, 1, length(leaves) - 1)"],
      ["leaves", "substr(leaves, 1, length(leaves) - 60)"],
      ["leaves", "leaves || X'00'"],
      ["leaves", "X''"],
      ["leaves", "1e15"],
      ["leaves", "'text'"],
      ["ledger_size", "ledger_size + 1"],
      ["ledger_size", "ledger_size - 1"],
      ["ledger_size", "NULL"],
      ["ledger_root", zeros],
      ["ledger_root", "NULL"],
      ["delivered_at", "'2026-11-23T14:50:42.000000Z'"]
    ] as const).map(([column, value]): Case => ({
      what: `${column} of ${which} receipt becomes ${value.slice(0, 40)}`,
      tamper: statement(`UPDATE trustlog_receipt SET ${column} = ${value} WHERE ${where}`),
      names: [name]
    }))
  ),
  ...[0, 1, 16, 17, 48, 49, 50, 51, 52, 53].map((offset): Case => ({
    what: `byte ${offset} of a receipt's leaves changes`,
    tamper: (world) =>
      Effect.flatMap(sql(world, `SELECT leaves FROM trustlog_receipt WHERE ${middle}`), ([row]) => {
        const leaves = row?.["leaves"]
        if (!(leaves instanceof Uint8Array)) return Effect.dieMessage("no leaves")
        const changed = leaves.map((byte, i) => i === offset ? byte ^ 1 : byte)
        return sql(world, `UPDATE trustlog_receipt SET leaves = ? WHERE ${middle}`, changed)
      }),
    names: ["receipt/operation/2"]
  })),
  ...[1, 2, 4].map((sequence): Case => ({
    what: `receipt ${sequence} of 4 is deleted`,
    tamper: statement("DELETE FROM trustlog_receipt WHERE lane = 'operation' AND sequence = ?", sequence),
    names: [`receipt/operation/${sequence}`, uuid(sequence === 1 ? 1 : sequence === 2 ? 101 : 3001)]
  })),
  {
    what: "every receipt of a lane is deleted",
    tamper: statement("DELETE FROM trustlog_receipt WHERE lane = 'record'"),
    names: ["receipt/record/1", uuid(1001), uuid(1060)]
  },
  {
    what: "every receipt of a lane is deleted, and its row",
    tamper: both(
      statement("DELETE FROM trustlog_receipt WHERE lane = 'record'"),
      statement("DELETE FROM trustlog_cursor WHERE name = 'lane/record'")
    ),
    names: [uuid(1001), uuid(1060)]
  },
  {
    what: "two receipts change places",
    tamper: both(
      statement("UPDATE trustlog_receipt SET sequence = -1 WHERE lane = 'operation' AND sequence = 2"),
      statement("UPDATE trustlog_receipt SET sequence = 2 WHERE lane = 'operation' AND sequence = 3"),
      statement("UPDATE trustlog_receipt SET sequence = 3 WHERE lane = 'operation' AND sequence = -1")
    ),
    names: ["receipt/operation/2"]
  },
  {
    what: "a receipt is there twice",
    tamper: statement(
      `INSERT INTO trustlog_receipt SELECT lane, 5, previous, first_position, last_position, count, topic, root, leaves,
        ledger_size, ledger_root, delivered_at, NULL, NULL FROM trustlog_receipt WHERE ${middle}`
    ),
    names: [uuid(101), uuid(200)]
  },
  {
    what: "the row of a lane is deleted",
    tamper: statement("DELETE FROM trustlog_cursor WHERE name = 'lane/operation'"),
    names: ["lane/operation"]
  },
  {
    what: "the row of a lane names another receipt as the last",
    tamper: statement(
      "UPDATE trustlog_cursor SET value = (SELECT previous FROM trustlog_receipt " +
        "WHERE lane = 'operation' AND sequence = 3) WHERE name = 'lane/operation'"
    ),
    names: ["receipt/operation/4"]
  },
  {
    what: "the row of a lane counts more records than there are receipts of",
    tamper: statement("UPDATE trustlog_cursor SET delivered = delivered + 1 WHERE name = 'lane/operation'"),
    names: ["lane/operation"]
  },
  {
    what: "a lane is added that cannot be",
    tamper: statement("INSERT INTO trustlog_cursor (name, updated_at) VALUES ('lane/x', '')"),
    names: ["lane/x"]
  }
]

/** Signs the purge of a receipt with a key. */
const signPurge = (world: World, where: string, key: keys.Key, more: Partial<purges.Statement> = {}) =>
  Effect.gen(function*() {
    const [row] = yield* sql(
      world,
      `SELECT lane, sequence, root, coalesce(purged_at, '2026-11-23T14:50:42.000000Z') AS at FROM trustlog_receipt
        WHERE ${where}`
    )
    const purgedAt = String(row?.["at"])
    const statement = {
      lane: String(row?.["lane"]),
      sequence: Number(row?.["sequence"]),
      root: String(row?.["root"]),
      purgedAt
    }
    yield* sql(
      world,
      `UPDATE trustlog_receipt SET purged_at = ?, purge_signature = ? WHERE ${where}`,
      purgedAt,
      purges.signWith(key)({ ...statement, ...more })
    )
  })

const keyOf = (world: World) => Effect.provide(keys.load(`${world.ledger}.key`), NodeContext.layer)

/** The first two receipts of a lane, whose purges are taken for each other's. */
const swapPurges: Tampering = (world) =>
  Effect.gen(function*() {
    const [first, second] = yield* sql(
      world,
      "SELECT purged_at, purge_signature FROM trustlog_receipt WHERE lane = 'operation' AND sequence <= 2 ORDER BY sequence"
    )
    for (const [sequence, row] of [[1, second], [2, first]] as const) {
      yield* sql(
        world,
        "UPDATE trustlog_receipt SET purged_at = ?, purge_signature = ? WHERE lane = 'operation' AND sequence = ?",
        row?.["purged_at"],
        row?.["purge_signature"],
        sequence
      )
    }
  })

/** What became of receipts after their rows were purged. */
const purgedCases: ReadonlyArray<Case> = [
  ...([
    ["purged_at", "NULL"],
    ["purged_at", "'2026-11-23T14:50:42.000000Z'"],
    ["purged_at", "purged_at || char(0)"],
    ["purged_at", "CAST(X'ff' AS TEXT)"],
    ["purged_at", "CAST(purged_at AS BLOB)"],
    ["purged_at", "''"],
    ["purged_at", "1"],
    ["purge_signature", "NULL"],
    ["purge_signature", "''"],
    ["purge_signature", "'signed'"],
    ["purge_signature", "purge_signature || ' '"],
    ["purge_signature", "substr(purge_signature, 1, 88)"],
    ["purge_signature", "replace(purge_signature, 'A', 'B') || 'A'"],
    ["purge_signature", "lower(purge_signature)"],
    ["purge_signature", "CAST(purge_signature AS BLOB)"],
    ["purge_signature", "printf('%s', zeroblob(68))"]
  ] as const).map(([column, value]): Case => ({
    what: `${column} of a purged receipt becomes ${value}`,
    tamper: statement(`UPDATE trustlog_receipt SET ${column} = ${value} WHERE ${middle}`),
    names: ["receipt/operation/2", uuid(101)]
  })),
  {
    what: "a purged receipt says no more that it was",
    tamper: statement(`UPDATE trustlog_receipt SET purged_at = NULL, purge_signature = NULL WHERE ${middle}`),
    names: [uuid(101), uuid(200)]
  },
  {
    what: "the purges of two receipts change places",
    tamper: swapPurges,
    names: ["receipt/operation/1", "receipt/operation/2"]
  },
  {
    what: "a purge is signed with another key",
    tamper: (world) => Effect.flatMap(keys.generate, (key) => signPurge(world, middle, key)),
    names: ["receipt/operation/2", uuid(101)]
  },
  ...([
    ["lane", { lane: "record" }],
    ["sequence", { sequence: 1 }],
    ["root", { root: "00".repeat(32) }],
    ["purgedAt", { purgedAt: "2026-11-23T14:50:42.000000Z" }]
  ] as const).map(([what, more]): Case => ({
    what: `the signature of a purge is over another ${what}`,
    tamper: (world) => Effect.flatMap(keyOf(world), (key) => signPurge(world, middle, key, more)),
    names: ["receipt/operation/2"]
  })),
  ...["purged_at", "purge_signature"].map((column): Case => ({
    what: `a receipt that is purged no more keeps its ${column}`,
    tamper: (world) =>
      Effect.gen(function*() {
        const other = column === "purged_at" ? "purge_signature" : "purged_at"
        yield* sql(world, `UPDATE trustlog_receipt SET ${other} = NULL`)
      }),
    names: ["receipt/operation/1", "receipt/operation/2", uuid(1)]
  })),
  ...([
    ["first_position", "first_position + 1"],
    ["last_position", "last_position + 1"],
    ["count", "count + 1"],
    ["root", zeros],
    ["leaves", "substr(leaves, 1, length(leaves) - 60)"],
    ["leaves", "X''"],
    ["leaves", "'text'"],
    ["topic", "'other'"],
    ["previous", zeros],
    ["ledger_size", "NULL"],
    ["delivered_at", "'2026-11-23T14:50:42.000000Z'"]
  ] as const).map(([column, value]): Case => ({
    what: `${column} of a purged receipt becomes ${value}`,
    tamper: statement(`UPDATE trustlog_receipt SET ${column} = ${value} WHERE ${middle}`),
    names: ["receipt/operation/2"]
  })),
  ...[17, 49, 52].map((offset): Case => ({
    what: `byte ${offset} of a purged receipt's leaves changes`,
    tamper: (world) =>
      Effect.flatMap(sql(world, `SELECT leaves FROM trustlog_receipt WHERE ${middle}`), ([row]) => {
        const leaves = row?.["leaves"]
        if (!(leaves instanceof Uint8Array)) return Effect.dieMessage("no leaves")
        const changed = leaves.map((byte, i) => i === offset ? byte ^ 1 : byte)
        return sql(world, `UPDATE trustlog_receipt SET leaves = ? WHERE ${middle}`, changed)
      }),
    names: ["receipt/operation/2"]
  })),
  {
    what: "a purged receipt is deleted",
    tamper: statement(`DELETE FROM trustlog_receipt WHERE ${middle}`),
    names: ["receipt/operation/2", uuid(101)]
  },
  {
    what: "the row of a purged operation is there",
    tamper: statement(
      `INSERT INTO operation (position, id, kind, lane, occurred_at, actor, action, target)
        SELECT first_position, ?, 'operation', 'operation', '2026-11-23T14:50:42.000000Z', 'a', 'a', 'a'
        FROM trustlog_receipt WHERE ${middle}`,
      uuid(101)
    ),
    names: [uuid(101)]
  },
  {
    what: "a purged operation is pending",
    tamper: statement(
      `INSERT INTO trustlog_pending (lane, position) SELECT lane, first_position FROM trustlog_receipt WHERE ${middle}`
    ),
    names: ["pending/122"]
  },
  {
    what: "the entry of a purged operation changes",
    tamper: (world) =>
      Effect.promise(async () => {
        const file = path.join(world.ledger, "tile/entries/000")
        const bytes = await fs.readFile(file)
        await fs.writeFile(file, Buffer.from(bytes.toString("latin1").replace("file/5\"", "file/6\""), "latin1"))
      }),
    names: ["tile/entries/000", uuid(5)]
  },
  {
    what: "the ledger is gone, after a purge",
    tamper: (world) => Effect.promise(() => fs.rm(world.ledger, { recursive: true })),
    names: ["checkpoint", "key"]
  }
]

/** Purges by hand, of somebody who has no key. */
const unsignedCases: ReadonlyArray<Case> = [
  {
    what: "rows are deleted and their receipt says that they were purged",
    tamper: both(
      statement("DELETE FROM operation WHERE id = ?", uuid(101)),
      statement(`UPDATE trustlog_receipt SET purged_at = delivered_at WHERE ${middle}`)
    ),
    names: ["receipt/operation/2", uuid(101)]
  },
  {
    what: "a receipt whose rows are all there says that they were purged",
    tamper: statement(`UPDATE trustlog_receipt SET purged_at = delivered_at WHERE ${middle}`),
    names: ["receipt/operation/2"]
  },
  {
    what: "a receipt whose rows are all there says so under the key's own signature",
    tamper: (world) => Effect.flatMap(keyOf(world), (key) => signPurge(world, middle, key)),
    names: [uuid(101)]
  }
]

const files = ["tile", "checkpoint", "vkey"]
const map = ["ledger.db"]

const inLedger = (name: string, change: (bytes: Buffer) => Uint8Array | undefined): Tampering => (world) =>
  Effect.promise(async () => {
    const file = path.join(world.ledger, name)
    const bytes = change(await fs.readFile(file))
    await (bytes === undefined ? fs.rm(file) : fs.writeFile(file, bytes))
  })

const flip = (offset: number) => (bytes: Buffer): Uint8Array => {
  const changed = Uint8Array.from(bytes)
  const index = offset < 0 ? bytes.length + offset : offset
  changed[index] = (changed[index] ?? 0) ^ 1
  return changed
}

const mapSql = (world: World, text: string, ...params: ReadonlyArray<unknown>) =>
  sql({ ...world, database: path.join(world.ledger, "ledger.db") }, text, ...params)

const mapStatement = (text: string): Tampering => (world) => mapSql(world, text)

/** The settled ledger has 380 entries: the birth record, ten of the neighbour's, and ours. */
const tileFiles = ["tile/0/000", "tile/0/001.p/124", "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/124"]

/** Partial tiles of earlier checkpoints, that have receipts. */
const oldFiles = ["tile/0/001.p/97", "tile/0/001.p/118", "tile/entries/001.p/97", "tile/entries/001.p/118"]

const lineOf = (n: number, change: (line: string) => string) => (bytes: Buffer) =>
  Buffer.from(bytes.toString("utf8").split("\n").map((line, i) => i === n ? change(line) : line).join("\n"))

/** Replaces the key: everything in the folder is as it was, under another signature. */
const signAnew = (change: (checkpoint: note.Checkpoint) => Partial<note.Checkpoint>): Tampering => (world) =>
  Effect.promise(async () => {
    const { privateKey, publicKey } = await Effect.runPromise(keys.generate)
    const { text } = Either.getOrThrow(note.parseNote(await fs.readFile(path.join(world.ledger, "checkpoint"))))
    const checkpoint = Either.getOrThrow(note.parseCheckpoint(text))
    const verifier = { name: checkpoint.origin, publicKey }
    const signed = note.sign(note.format({ ...checkpoint, ...change(checkpoint) }), verifier, privateKey)
    await fs.writeFile(path.join(world.ledger, "checkpoint"), signed)
    await fs.writeFile(path.join(world.ledger, "vkey"), `${note.formatVerifier(verifier)}\n`)
  })

const ledgerCases: ReadonlyArray<Case> = [
  ...tileFiles.flatMap((file) => [
    ...[0, 1, 2, 20, -1].map((offset): Case => ({
      what: `byte ${offset} of ${file} changes`,
      tamper: inLedger(file, flip(offset)),
      names: [file]
    })),
    { what: `${file} is cut`, tamper: inLedger(file, (bytes) => bytes.subarray(0, -1)), names: [file] },
    { what: `${file} is emptied`, tamper: inLedger(file, () => new Uint8Array()), names: [file] },
    { what: `${file} is longer`, tamper: inLedger(file, (bytes) => Buffer.concat([bytes, bytes])), names: [file] },
    { what: `${file} is deleted`, tamper: inLedger(file, () => undefined), names: [file] }
  ]),
  ...oldFiles.flatMap((file) => [
    ...[0, -1].map((offset): Case => ({
      what: `byte ${offset} of ${file}, of an earlier checkpoint, changes`,
      tamper: inLedger(file, flip(offset)),
      names: [file]
    })),
    {
      what: `${file}, of an earlier checkpoint, is emptied`,
      tamper: inLedger(file, () => new Uint8Array()),
      names: [file]
    }
  ]),
  {
    what: "an entry changes, and the operation is named that it was of",
    tamper: inLedger(
      "tile/entries/000",
      (bytes) => Buffer.from(bytes.toString("latin1").replace("file/5\"", "file/6\""), "latin1")
    ),
    names: ["tile/entries/000", uuid(5)]
  },
  {
    what: "an entry is added to a bundle without the key",
    tamper: inLedger(
      "tile/entries/001.p/124",
      (bytes) => Buffer.concat([bytes, tiles.encodeBundle([Buffer.from("{}")])])
    ),
    names: ["tile/entries/001.p/124"]
  },
  ...["checkpoint", "vkey"].flatMap((file): ReadonlyArray<Case> => [
    { what: `${file} is deleted`, tamper: inLedger(file, () => undefined), names: [file] },
    { what: `${file} is emptied`, tamper: inLedger(file, () => new Uint8Array()), names: [file] },
    { what: `${file} is cut`, tamper: inLedger(file, (bytes) => bytes.subarray(0, -3)), names: [file] }
  ]),
  ...([
    ["origin", 0, (line: string) => `${line}x`],
    ["size", 1, (line: string) => String(Number(line) - 1)],
    ["size", 1, (line: string) => String(Number(line) + 1)],
    ["root", 2, (line: string) => line.replace(/^./, (c) => c === "A" ? "B" : "A")],
    ["blank line", 3, () => "extension"],
    ["signature", 4, (line: string) => line.replace(/.{8}$/, "AAAAAA==")]
  ] as const).map(([what, line, change]): Case => ({
    what: `the ${what} of the checkpoint changes`,
    tamper: inLedger("checkpoint", lineOf(line, change)),
    names: ["checkpoint"]
  })),
  {
    what: "the verifier key becomes another",
    tamper: (world) =>
      Effect.flatMap(
        keys.generate,
        ({ publicKey }) =>
          inLedger("vkey", () => Buffer.from(`${note.formatVerifier({ name: "trustlog.local/x", publicKey })}\n`))(
            world
          )
      ),
    names: ["checkpoint"]
  },
  { what: "key and checkpoint become another's", tamper: signAnew(() => ({})), names: ["entry/0"] },
  {
    what: "key and checkpoint become another's, which lets the tail out",
    tamper: signAnew(({ size }) => ({ size: size - 1 })),
    names: ["entry/0", "checkpoint"]
  },
  {
    what: "the ledger is gone",
    tamper: (world) => Effect.promise(() => fs.rm(world.ledger, { recursive: true })),
    names: ["checkpoint"]
  },
  {
    what: "the ledger is gone, but for the map",
    tamper: (world) =>
      Effect.promise(async () => {
        for (const name of ["tile", "checkpoint", "vkey"])
          await fs.rm(path.join(world.ledger, name), { recursive: true })
      }),
    names: ["checkpoint"]
  },
  {
    what: "the ledger is an empty folder",
    tamper: (world) =>
      Effect.promise(async () => {
        await fs.rm(world.ledger, { recursive: true })
        await fs.mkdir(world.ledger)
      }),
    names: ["checkpoint"]
  },
  {
    what: "the ledger is a file",
    tamper: (world) =>
      Effect.promise(async () => {
        await fs.rm(world.ledger, { recursive: true })
        await fs.writeFile(world.ledger, "")
      }),
    names: ["checkpoint"]
  },
  {
    what: "another ledger stands in its place",
    tamper: (world) =>
      Effect.promise(async () => {
        await fs.rm(world.ledger, { recursive: true })
        await fs.rm(`${world.ledger}.key`)
      }).pipe(Effect.zipRight(Effect.scoped(Layer.build(worlds.application(worlds.neighbourOf(world)))))),
    names: ["checkpoint", uuid(5)]
  },
  {
    what: "the map is gone",
    tamper: (world) =>
      Effect.promise(async () => {
        for (const name of ["ledger.db", "ledger.db-wal", "ledger.db-shm"]) {
          await fs.rm(path.join(world.ledger, name), { force: true })
        }
      }),
    names: ["map"]
  },
  {
    what: "the map is no database",
    tamper: inLedger("ledger.db", () => Buffer.from("x".repeat(5000))),
    names: ["map"]
  },
  { what: "the map forgets an entry", tamper: mapStatement("DELETE FROM entry WHERE position = 20"), names: ["map"] },
  {
    what: "the map gives an entry another hash",
    tamper: mapStatement("UPDATE entry SET content_hash = zeroblob(32) WHERE position = 20"),
    names: ["map"]
  },
  {
    what: "the map gives an entry another index",
    tamper: mapStatement("UPDATE entry SET position = 21 WHERE position = 20"),
    names: ["map"]
  },
  {
    what: "the map forgets an entry of another database",
    tamper: mapStatement("DELETE FROM entry WHERE position = 3"),
    names: ["map"]
  },
  {
    what: "the map names an entry that is not there",
    tamper: mapStatement(
      "INSERT INTO entry SELECT stream, zeroblob(16), 3, content_hash FROM entry WHERE position = 3"
    ),
    names: ["map"]
  },
  {
    what: "the map names an entry beyond the ledger",
    tamper: mapStatement(
      "INSERT INTO entry SELECT stream, zeroblob(16), 999, content_hash FROM entry WHERE position = 3"
    ),
    names: ["map"]
  },
  {
    what: "the map remembers another root",
    tamper: mapStatement(`UPDATE head SET root = ${zeros}`),
    names: ["checkpoint"]
  },
  {
    what: "the map remembers more entries",
    tamper: mapStatement("UPDATE head SET size = size + 1"),
    names: ["checkpoint"]
  }
]

const messageOf = (stream: string, given: Input, isStored = true): Message => {
  const encoded = Either.getOrThrow(
    Either.flatMap(
      fromUnknown(given),
      (operation) => Envelope.seal(stream, operation, timestampOf(0), { isStored })
    )
  )
  return messageFor(stream, encoded, encoded.bytes, Envelope.contentType)
}

/** Adds entries to the ledger as its own key's owner may. */
const publish = (world: World, messages: (stream: string) => ReadonlyArray<Message>) =>
  Effect.provide(
    Effect.gen(function*() {
      const { stream } = yield* Repository
      return yield* (yield* Publisher).publish("topic", messages(stream))
    }),
    worlds.application(world)
  )

const signedCases: ReadonlyArray<Case> = [
  {
    what: "an entry of ours is added under an id that nobody recorded",
    tamper: (world) => publish(world, (stream) => [messageOf(stream, input(9999))]),
    names: [uuid(9999)]
  },
  {
    what: "an entry of an operation is added that is only stored",
    tamper: (world) => publish(world, (stream) => [messageOf(stream, input(5001))]),
    names: [uuid(5001)]
  },
  {
    what: "an entry is added that is no record",
    tamper: (world) =>
      publish(world, (stream) => [{ ...messageOf(stream, input(9999)), bytes: Buffer.from("no record") }]),
    names: ["entry/380"]
  },
  {
    what: "an entry has another content than the operation that waits to be settled",
    tamper: (world) => publish(world, (stream) => [messageOf(stream, input(8021, { actor: "mallory" }))]),
    names: [uuid(8021)]
  }
]

/** Writes a lane's receipts anew, as somebody does who knows how they are chained. */
const forge = (
  world: World,
  lane: string,
  change: (leaf: Receipt.Leaf) => ReadonlyArray<Receipt.Leaf>,
  more: Partial<Receipt.Receipt> = {}
) =>
  Effect.gen(function*() {
    const { evidence } = yield* Repository
    let previous = Receipt.genesis
    for (const receipt of yield* evidence.receipts({ lane, after: 0, limit: 100 })) {
      const leaves = Either.getOrThrow(Receipt.open(receipt)).flatMap(change)
      const forged = { ...receipt, previous, ...Receipt.seal(leaves), ...more }
      previous = Receipt.hash(forged)
      const columns = Object.entries({
        previous: forged.previous,
        first_position: forged.firstPosition,
        last_position: forged.lastPosition,
        count: forged.count,
        topic: forged.topic,
        root: forged.root,
        leaves: forged.leaves,
        ledger_size: forged.ledger?.size ?? null,
        ledger_root: forged.ledger?.root ?? null
      })
      yield* sql(
        world,
        `UPDATE trustlog_receipt SET ${columns.map(([column]) => `${column} = ?`).join(", ")}
          WHERE lane = ? AND sequence = ?`,
        ...columns.map(([, value]) => value),
        lane,
        receipt.sequence
      )
    }
    yield* sql(
      world,
      `UPDATE trustlog_cursor SET value = ?, delivered = (SELECT sum(count) FROM trustlog_receipt WHERE lane = ?)
        WHERE name = 'lane/' || ?`,
      previous,
      lane,
      lane
    )
  }).pipe(Effect.provide(worlds.repository(world)))

/** Changes a row together with its content hash, and returns the new hash. */
const rewrite = (world: World, n: number, set: string) =>
  Effect.gen(function*() {
    yield* sql(world, `UPDATE operation SET ${set} WHERE id = ?`, uuid(n))
    const { evidence, stream } = yield* Repository
    const [row] = yield* evidence.operationsOf([uuid(n)])
    const hash = row === undefined ? "" : Envelope.contentHash(stream, row)
    yield* sql(world, "UPDATE operation SET content_hash = ? WHERE id = ?", hash, uuid(n))
    return hash
  }).pipe(Effect.provide(worlds.repository(world)))

const forgedCases: ReadonlyArray<Case> = [
  {
    what: "an operation changes with its hash, its receipt and the chain after it",
    tamper: (world) =>
      Effect.flatMap(
        rewrite(world, 5, "actor = 'mallory'"),
        (contentHash) => forge(world, "operation", (leaf) => [leaf.id === uuid(5) ? { ...leaf, contentHash } : leaf])
      ),
    names: [uuid(5)]
  },
  {
    what: "an operation changes with its hash",
    tamper: (world) => rewrite(world, 5, "actor = 'mallory'"),
    names: [uuid(5)]
  },
  {
    what: "an operation is deleted with its receipt's leaf and the chain after it",
    tamper: (world) =>
      Effect.zipRight(
        sql(world, "DELETE FROM operation WHERE id = ?", uuid(5)),
        forge(world, "operation", (leaf) => leaf.id === uuid(5) ? [] : [leaf])
      ),
    names: [uuid(5)]
  },
  {
    what: "receipts forget the ledger, one operation changes with its hash, and the chain after it",
    tamper: (world) =>
      Effect.flatMap(
        rewrite(world, 5, "actor = 'mallory'"),
        (contentHash) =>
          forge(world, "operation", (leaf) => [leaf.id === uuid(5) ? { ...leaf, contentHash } : leaf], { ledger: null })
      ),
    names: [uuid(1), uuid(5)]
  },
  {
    what: "receipts name another root of the ledger, with the chain after it",
    tamper: (world) => forge(world, "operation", (leaf) => [leaf], { ledger: { size: 380, root: "00".repeat(32) } }),
    names: ["receipt/operation/1", "receipt/operation/4"]
  },
  {
    what: "a leaf says another id, with the chain after it",
    tamper: (world) => forge(world, "operation", (leaf) => [leaf.id === uuid(5) ? { ...leaf, id: uuid(9999) } : leaf]),
    names: [uuid(9999)]
  },
  {
    what: "a leaf names another's entry, with the chain after it",
    tamper: (world) =>
      forge(world, "operation", (leaf) => [leaf.id === uuid(5) ? { ...leaf, messageId: Ledger.packIndex(20) } : leaf]),
    names: [uuid(5)]
  },
  {
    what: "a leaf names an entry that is not there yet, with the chain after it",
    tamper: (world) =>
      forge(world, "operation", (leaf) => [leaf.id === uuid(5) ? { ...leaf, messageId: Ledger.packIndex(999) } : leaf]),
    names: [uuid(5)]
  },
  {
    what: "a leaf's message id is no index, with the chain after it",
    tamper: (world) =>
      forge(world, "operation", (leaf) => [leaf.id === uuid(5) ? { ...leaf, messageId: new Uint8Array(9) } : leaf]),
    names: [uuid(5)]
  },
  {
    what: "the leaf of a hashed row says that it was not, and the row loses its hash and changes",
    tamper: (world) =>
      Effect.zipRight(
        sql(world, "UPDATE operation SET content_hash = NULL, actor = 'mallory' WHERE id = ?", uuid(5)),
        forge(world, "operation", (leaf) => [leaf.id === uuid(5) ? { ...leaf, isHashed: false } : leaf])
      ),
    names: [uuid(5)]
  },
  {
    what: "an operation that was published, and not settled yet, changes with its hash",
    tamper: (world) =>
      Effect.zipRight(
        publish(world, (stream) => [messageOf(stream, input(8021))]),
        rewrite(world, 8021, "actor = 'mallory'")
      ),
    names: [uuid(8021)]
  }
]

/** Delivers five operations more; the ledger had 380 entries before. */
const goOn = (world: World) =>
  Effect.gen(function*() {
    yield* (yield* Trustlog.Trustlog).appendAll(later.map((n) => input(n)))
    yield* Drain.drainOnce()
  }).pipe(Effect.provide(worlds.application(world)))

const later = [9001, 9002, 9003, 9004, 9005]

const restore = (from: World, names: ReadonlyArray<string>): Tampering => (world) =>
  Effect.promise(async () => {
    for (const name of names) {
      await fs.rm(path.join(world.ledger, name), { recursive: true, force: true })
      await fs.cp(path.join(from.ledger, name), path.join(world.ledger, name), { recursive: true })
    }
  })

/** Takes back what `goOn` did to the receipts, and to the lanes' rows. */
const forgetReceipts = (from: World): Tampering => (world) =>
  Effect.gen(function*() {
    yield* sql(world, "DELETE FROM trustlog_receipt WHERE ledger_size > 380")
    for (
      const lane of yield* sql(from, "SELECT name, value, delivered FROM trustlog_cursor WHERE name LIKE 'lane/%'")
    ) {
      yield* sql(
        world,
        "UPDATE trustlog_cursor SET value = ?, delivered = ? WHERE name = ?",
        lane["value"],
        lane["delivered"],
        lane["name"]
      )
    }
  })

const forgetRows: Tampering = (world) =>
  sql(world, `DELETE FROM operation WHERE id >= '${uuid(9001)}' AND id <= '${uuid(9005)}'`)

/** The tail of the ledger goes, as far as somebody can who has the files and not the key. */
const cutWithoutKey: Tampering = (world) =>
  Effect.promise(async () => {
    const file = (name: string) => path.join(world.ledger, name)
    const bundle = Either.getOrThrow(tiles.decodeBundle(await fs.readFile(file("tile/entries/001.p/124")), 124))
    const hashes = Either.getOrThrow(tiles.decodeHashes(await fs.readFile(file("tile/0/001.p/124")), 124))
    const first = Either.getOrThrow(tiles.decodeHashes(await fs.readFile(file("tile/1/000.p/1")), 1))
    await fs.writeFile(file("tile/entries/001.p/119"), tiles.encodeBundle(bundle.slice(0, 119)))
    await fs.writeFile(file("tile/0/001.p/119"), tiles.encodeHashes(hashes.slice(0, 119)))
    await fs.rm(file("tile/entries/001.p/124"))
    await fs.rm(file("tile/0/001.p/124"))
    const root = tiles.rootOf({ levels: [hashes.slice(0, 119), first] })
    const lines = (await fs.readFile(file("checkpoint"), "utf8")).split("\n")
    lines[1] = "375"
    lines[2] = Buffer.from(root).toString("base64")
    await fs.writeFile(file("checkpoint"), lines.join("\n"))
  })

/** What an older copy brings back, and what is named then. */
const restored = (
  what: string,
  tamper: (from: World) => Tampering,
  names: ReadonlyArray<string>
) => ({ what, tamper, names })

const restoredCases = [
  restored("the ledger's files", (from) => restore(from, files), ["checkpoint", ...later.map(uuid)]),
  restored("the ledger with its map", (from) => restore(from, [...files, ...map]), ["checkpoint", ...later.map(uuid)]),
  restored(
    "the ledger's files, and the receipts of the tail are deleted",
    (from) => both(restore(from, files), forgetReceipts(from)),
    ["checkpoint", ...later.map(uuid)]
  ),
  restored(
    "the ledger's files, and receipts and rows of the tail are deleted",
    (from) => both(restore(from, files), forgetReceipts(from), forgetRows),
    ["checkpoint"]
  ),
  restored(
    "the ledger with its map, and the receipts of the tail are deleted",
    (from) => both(restore(from, [...files, ...map]), forgetReceipts(from)),
    later.map(uuid)
  ),
  restored(
    "the database",
    (from) => (world) => Effect.promise(() => fs.copyFile(from.database, world.database)),
    later.map(uuid)
  )
]

layer(made, { excludeTestServices: true })("Verify", (it) => {
  const cases = (name: string, world: typeof settled, all: ReadonlyArray<Case>, isPurged = false) =>
    describe(name, () => {
      for (const { names, tamper, what } of all) {
        it.scoped(`${what}: tampered, and named${isPurged ? ", also after a purge" : ""}`, () =>
          Effect.gen(function*() {
            const copy = yield* world
            yield* tamper(copy)
            assertNamed(yield* verify(copy), names)
            if (!isPurged) return
            yield* worlds.purge(copy)
            assertNamed(yield* verify(copy), names)
          }))
      }
    })

  it.scoped("everything delivered is complete", () =>
    Effect.gen(function*() {
      const report = yield* verify(yield* settled)
      assert.deepStrictEqual(report, {
        verdict: "complete",
        operations: 369,
        delivered: 367,
        purged: 0,
        pending: 0,
        retrying: 0,
        dead: 0,
        unsealed: null,
        ledgerSize: 380,
        otherEntries: 10,
        missing: [],
        altered: [],
        surplus: [],
        missingTotal: 0,
        alteredTotal: 0,
        surplusTotal: 0
      })
    }))

  it.scoped("what is pending, retried or dead makes it incomplete", () =>
    Effect.gen(function*() {
      const report = yield* verify(yield* unsettled)
      assert.deepInclude(
        report,
        { verdict: "incomplete", operations: 377, pending: 4, retrying: 2, dead: 2 },
        told(report)
      )
    }))

  it.scoped("what was purged is accounted for by its receipts", () =>
    Effect.gen(function*() {
      const report = yield* verify(yield* purged)
      assert.deepInclude(
        report,
        { verdict: "incomplete", operations: 10, delivered: 0, purged: 367, pending: 4, retrying: 2, dead: 2 },
        told(report)
      )
    }))

  it.scoped("without a ledger, purges are checked with the key, or its public half", () =>
    Effect.gen(function*() {
      const world = yield* purged
      const keyFile = `${world.ledger}.key`
      const publicFile = path.join(world.directory, "public.pem")
      const withKey = (keyFile?: string) => verify(world, { ledger: undefined, keyFile })
      const { privateKey } = yield* keyOf(world)
      yield* Effect.promise(() =>
        fs.writeFile(publicFile, crypto.createPublicKey(privateKey).export({ format: "pem", type: "spki" }))
      )
      for (const file of [keyFile, publicFile]) {
        const report = yield* withKey(file)
        assert.deepInclude(report, { verdict: "incomplete", purged: 367, ledgerSize: null }, told(report))
      }
      for (const file of [undefined, path.join(world.directory, "none.key")]) {
        const report = yield* withKey(file)
        assertNamed(report, ["key"])
        assert.deepInclude(report, { alteredTotal: 1, missingTotal: 0 })
      }
      yield* Effect.provide(Ledger.makeKey(`${keyFile}.other`), NodeContext.layer)
      assertNamed(yield* withKey(`${keyFile}.other`), ["receipt/operation/1", uuid(1)])
      yield* Effect.promise(() => fs.writeFile(publicFile, "no key"))
      assert.deepInclude(yield* Effect.flip(withKey(publicFile)), { _tag: "LedgerError", reason: "corrupt" })
      // A ledger names its own key, whatever else is given.
      assert.deepInclude(yield* verify(world, { keyFile: publicFile }), { verdict: "incomplete", purged: 367 })
    }))

  it.scoped("the neighbour in the same ledger is complete as well", () =>
    Effect.gen(function*() {
      const report = yield* verify(worlds.neighbourOf(yield* settled))
      assert.deepInclude(report, { verdict: "complete", operations: 10, delivered: 10, ledgerSize: 380 }, told(report))
    }))

  cases("a row", unsettled, rowCases, true)
  cases("a receipt", unsettled, receiptCases, true)
  cases("a receipt, after its purge", purged, purgedCases)
  cases("a purge without the key", unsettled, unsignedCases, true)
  cases("the ledger's files", settled, ledgerCases)
  cases("the ledger, by its own key", unsettled, signedCases)
  cases("row and receipts together", unsettled, forgedCases, true)

  describe("an older copy brings back", () => {
    for (const { names, tamper, what } of restoredCases) {
      it.scoped(`${what}: tampered, and named`, () =>
        Effect.gen(function*() {
          const before = yield* settled
          const world = yield* worlds.copyOf(before)
          yield* goOn(world)
          assert.strictEqual((yield* verify(world)).verdict, "complete")
          yield* tamper(before)(world)
          assertNamed(yield* verify(world), names)
        }))
    }

    it.scoped("everything together: nothing is left that could tell", () =>
      Effect.gen(function*() {
        const before = yield* settled
        const world = yield* worlds.copyOf(before)
        yield* goOn(world)
        yield* restore(before, [...files, ...map])(world)
        yield* Effect.promise(() => fs.copyFile(before.database, world.database))
        assert.strictEqual((yield* verify(world)).verdict, "complete")
      }))
  })

  it.scoped("the tail of the ledger is cut without the key: tampered, and named", () =>
    Effect.gen(function*() {
      const world = yield* settled
      yield* cutWithoutKey(world)
      assertNamed(yield* verify(world), ["checkpoint"])
    }))

  it.scoped("what was published and not settled, as a crash leaves it, raises no alarm", () =>
    Effect.gen(function*() {
      const world = yield* unsettled
      yield* publish(world, (stream) => [8021, 8022].map((n) => messageOf(stream, input(n))))
      const report = yield* verify(world)
      assert.deepInclude(report, { verdict: "incomplete", pending: 4, ledgerSize: 382 }, told(report))
    }))

  /** Verifies while something happens between the look at the database and the last one at the ledger. */
  const verifyMeanwhile = (world: World, meanwhile: Effect.Effect<unknown, unknown>) =>
    Effect.flatMap(
      Repository,
      (repository) =>
        Effect.provideService(Verify.verify({ ledger: world.ledger }), Repository, {
          ...repository,
          evidence: {
            ...repository.evidence,
            // As another process does it: a fibre of ours would be inside the snapshot.
            heads: Effect.tap(repository.evidence.heads, () => Effect.promise(() => Effect.runPromise(meanwhile)))
          }
        })
    ).pipe(Effect.provide(worlds.repository(world)))

  it.scoped("what is appended and delivered while it looks raises no alarm", () =>
    Effect.gen(function*() {
      const world = yield* settled
      const report = yield* verifyMeanwhile(world, goOn(world))
      assert.deepInclude(report, { verdict: "complete", delivered: 367, ledgerSize: 385 }, told(report))
    }))

  it.scoped("an older copy of the ledger that comes while it looks: tampered, and named", () =>
    Effect.gen(function*() {
      const before = yield* settled
      const world = yield* worlds.copyOf(before)
      yield* goOn(world)
      yield* both(forgetReceipts(before), forgetRows)(world)
      const report = yield* verifyMeanwhile(world, restore(before, [...files, ...map])(world))
      assertNamed(report, ["checkpoint"])
    }))

  it.scoped("a map that is behind the ledger, as a loss of power leaves it, raises no alarm", () =>
    Effect.gen(function*() {
      const before = yield* settled
      const world = yield* worlds.copyOf(before)
      yield* goOn(world)
      yield* restore(before, map)(world)
      const report = yield* verify(world)
      assert.strictEqual(report.verdict, "complete", told(report))
    }))

  it.scoped("what a crash leaves in the folder raises no alarm", () =>
    Effect.gen(function*() {
      const world = yield* settled
      for (
        const name of ["tile/0/001.p/119", "tile/entries/001.p/119", "tile/0/001", "tile/0/002.p/3", "checkpoint.new"]
      ) {
        yield* Effect.promise(async () => {
          const file = path.join(world.ledger, name)
          await fs.mkdir(path.dirname(file), { recursive: true })
          await fs.writeFile(file, "left")
        })
      }
      const report = yield* verify(world)
      assert.strictEqual(report.verdict, "complete", told(report))
    }))

  it.scoped("without a ledger, rows and receipts are compared with each other alone", () =>
    Effect.gen(function*() {
      const world = yield* settled
      const report = yield* verify(world, { ledger: undefined })
      assert.deepInclude(report, { verdict: "complete", delivered: 367, ledgerSize: null }, told(report))
      yield* sql(world, "UPDATE operation SET actor = 'mallory' WHERE id = ?", uuid(5))
      assertNamed(yield* verify(world, { ledger: undefined }), [uuid(5)])
    }))

  it.scoped("a ledger that nothing remembers is an error, and no verdict", () =>
    Effect.gen(function*() {
      const world = yield* worlds.empty
      yield* Effect.scoped(Layer.build(worlds.application(world)))
      yield* Effect.promise(() => fs.rm(world.ledger, { recursive: true }))
      const error = yield* Effect.flip(verify(world))
      assert.deepInclude(error, { _tag: "LedgerError", reason: "missing" })
    }))

  it.scoped("a ledger that only its map remembers is tampered", () =>
    Effect.gen(function*() {
      const world = yield* worlds.empty
      yield* Effect.scoped(Layer.build(worlds.application(world)))
      assert.deepInclude(yield* verify(world), { verdict: "complete", operations: 0, ledgerSize: 1 })
      yield* Effect.promise(() =>
        Promise.all(files.map((name) => fs.rm(path.join(world.ledger, name), { recursive: true })))
      )
      assertNamed(yield* verify(world), ["checkpoint"])
    }))

  it.scoped("of a thousand findings the first hundred are told and all are counted", () =>
    Effect.gen(function*() {
      const world = yield* settled
      yield* sql(world, "UPDATE operation SET actor = 'mallory'")
      const report = yield* verify(world)
      assert.strictEqual(report.altered.length, 100)
      assert.strictEqual(report.alteredTotal, 369)
    }))

  it.scoped("says how far it has come", () =>
    Effect.gen(function*() {
      const counts: Array<number> = []
      yield* verify(yield* settled, {
        onProgress: (count) => Effect.sync(() => counts.push(count))
      })
      assert.deepStrictEqual(counts, counts.toSorted((a, b) => a - b))
      assert.strictEqual(counts.at(-1), 367 + 369 + 380)
    }))

  it.scoped("changes nothing", () =>
    Effect.gen(function*() {
      const world = yield* unsettled
      const state = Effect.promise(async () => {
        const names = await fs.readdir(world.ledger, { recursive: true })
        return Promise.all(
          names.filter((name) => !/-(wal|shm)$/.test(name)).sort().map(async (name) => {
            const file = path.join(world.ledger, name)
            return [name, (await fs.stat(file)).isFile() ? (await fs.readFile(file)).toString("base64") : ""]
          })
        )
      })
      const before = yield* state
      yield* verify(world)
      assert.deepStrictEqual(yield* state, before)
    }))

  /** Verifies again and again until so much was delivered; every report must be free of findings. */
  const verifyUntil = (world: World, delivered: number) =>
    Effect.gen(function*() {
      let rounds = 0
      let report = yield* verify(world)
      while (report.delivered < delivered) {
        rounds++
        assert.notStrictEqual(report.verdict, "tampered", told(report))
        report = yield* verify(world)
      }
      assert.notStrictEqual(report.verdict, "tampered", told(report))
      return rounds
    })

  it.scoped("beside workers of this process it raises no false alarm", () =>
    Effect.gen(function*() {
      const world = yield* settled
      yield* Effect.forkScoped(bustle(world))
      yield* verifyUntil(world, 800)
    }))

  it.scoped("beside workers of another process, and after its kill, it raises no false alarm", () =>
    Effect.gen(function*() {
      const world = yield* settled
      const program = yield* Effect.promise(() => bundle(fileURLToPath(new URL("verifiedProgram.ts", import.meta.url))))
      const child = yield* Effect.acquireRelease(
        Effect.sync(() => spawn(...runtime.running(program, world.directory), { stdio: "inherit" })),
        (child) => Effect.sync(() => child.kill("SIGKILL"))
      )
      const exit = Effect.async<number | null>((resume) =>
        void child.once("exit", (code) => resume(Effect.succeed(code)))
      )
      const ended = yield* Effect.forkScoped(exit)
      yield* verifyUntil(world, 1000)
      child.kill("SIGKILL")
      yield* Fiber.join(ended)
      const killed = yield* verify(world)
      assert.notStrictEqual(killed.verdict, "tampered", told(killed))
      yield* Effect.provide(Drain.drainOnce(), worlds.application(world))
      const drained = yield* verify(world)
      assert.deepInclude(drained, { pending: 0, missingTotal: 0, alteredTotal: 0, surplusTotal: 0 }, told(drained))
    }))
})
