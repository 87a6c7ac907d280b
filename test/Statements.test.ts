import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import { build } from "esbuild"
import { fileURLToPath } from "node:url"
import * as Drain from "../src/Drain.ts"
import * as Envelope from "../src/Envelope.ts"
import { fromUnknown, type Input, timestampOf } from "../src/Operation.ts"
import * as Memory from "../src/Publisher/Memory.ts"
import { maxBatch, Repository } from "../src/Repository.ts"
import * as Statements from "../src/Statements.ts"
import * as Trustlog from "../src/Trustlog.ts"
import { layer as workers, uuid } from "./workers.ts"

const stream = "0b8a3ad2-1c6b-4f0e-9d5b-3f0e6a1b2c3d"
const read = { actor: "alice", action: "read", target: "file/1" }

type Refined = Partial<Statements.Options>

const append = (operations: ReadonlyArray<Input>, more: Refined = {}) => {
  const options: Statements.Options = { dialect: "sqlite", stream, operations, ...more }
  return Statements.append(options)
}

const statements = (operations: ReadonlyArray<Input>, more: Refined = {}) =>
  Either.getOrThrowWith(append(operations, more), (error) => error).statements

/** A statement's text on one line. */
const line = ({ sql }: Statements.Statement) => sql.replace(/\s+/g, " ")

/** What refuses, as its field and its reason. */
const refusal = (result: Either.Either<unknown, unknown>) => {
  const error: unknown = Either.getOrThrow(Either.flip(result))
  return typeof error === "object" && error !== null && "reason" in error
    ? "field" in error ? [error.field, error.reason] : [error.reason]
    : []
}

const columns = "id, kind, lane, strategy, occurred_at, actor, action, target, source, payload, payload_bytes, " +
  "request_hash, response_hash, client_ip, server_ip, traceparent, content_hash"
const marks = (count: number) => Array.from({ length: count }, () => "?").join(", ")

describe("the statements' text", () => {
  it("SQLite gets two statements, or one for what is only stored", () => {
    const [insert, pending, ...others] = statements([{ ...read, id: uuid(1) }, { ...read, id: uuid(2) }])
    assert.deepStrictEqual(others, [])
    if (insert === undefined || pending === undefined) return assert.fail("there are two statements")
    assert.strictEqual(
      line(insert),
      `INSERT INTO "operation" (${columns}) VALUES (${marks(17)}), (${marks(17)})`
    )
    assert.strictEqual(
      line(pending),
      `INSERT INTO "trustlog_pending" (lane, position) SELECT lane, position FROM "operation" WHERE id IN (?, ?)`
    )
    assert.deepStrictEqual(pending.params, [uuid(1), uuid(2)])
    assert.deepStrictEqual(
      statements([{ ...read, id: uuid(1) }], { strategy: "DbOnly" }).map(line),
      [`INSERT INTO "operation" (${columns}) VALUES (${marks(17)})`]
    )
  })

  it("MySQL gets ids as 16 bytes, times without a zone, and nothing but text, numbers and NULL", () => {
    const operation = { ...read, id: uuid(1), occurredAt: "2026-11-23T15:50:42.123456+01:00", payload: "é" }
    const [insert, pending] = statements([operation], { dialect: "mysql", prefix: "a_", schema: "log" })
    if (insert === undefined || pending === undefined) return assert.fail("there are two statements")
    assert.strictEqual(line(insert), `INSERT INTO \`log\`.\`a_operation\` (${columns}) VALUES (UNHEX(?), ${marks(16)})`)
    const { contentHash } = Envelope.encode(
      stream,
      Envelope.recorded(Either.getOrThrow(fromUnknown(operation)), timestampOf(0))
    )
    assert.deepStrictEqual(insert.params, [
      uuid(1).replaceAll("-", ""),
      "operation",
      "operation",
      "DbAndTrustlog",
      "2026-11-23 14:50:42.123456",
      "alice",
      "read",
      "file/1",
      null,
      "\"é\"",
      4,
      null,
      null,
      null,
      null,
      null,
      contentHash
    ])
    assert.match(line(pending), /^INSERT INTO `log`\.`a_trustlog_pending` /)
    assert.deepStrictEqual(pending.params, [uuid(1).replaceAll("-", "")])
  })

  it("PostgreSQL gets one statement, its parameters numbered or as question marks", () => {
    const [numbered, ...others] = statements([read, read], { dialect: "postgresql", prefix: "a_", schema: "log" })
    assert.deepStrictEqual(others, [])
    if (numbered === undefined) return assert.fail("there is a statement")
    assert.strictEqual(numbered.params.length, 36)
    assert.deepStrictEqual(
      Array.from(numbered.sql.matchAll(/\$(\d+)::/g), ([, n]) => Number(n)),
      Array.from({ length: 36 }, (_, n) => n + 1)
    )
    assert.include(numbered.sql, `"log"."a_operation"`)
    const [question] = statements([read, read], { dialect: "postgresql", placeholders: "question" })
    assert.strictEqual(question?.sql.match(/\?/g)?.length, 36)
    assert.notInclude(question?.sql ?? "$", "$")
  })

  it("the text between the parameters is a template's, for clients that take those", () => {
    const raw = (strings: TemplateStringsArray, ...params: ReadonlyArray<unknown>) => [String.raw(strings, ...params)]
    for (const statement of statements([{ ...read, id: uuid(1) }])) {
      assert.strictEqual(statement.strings.join("?"), statement.sql)
      assert.strictEqual(statement.strings.length, statement.params.length + 1)
      assert.deepStrictEqual(raw(statement.strings, ...statement.params.map(() => "?")), [statement.sql])
    }
  })

  it("hostile values are parameters and never text", () => {
    const hostile = "'; DROP TABLE operation; --\\"
    for (const dialect of ["postgresql", "mysql", "sqlite"] as const) {
      const operation = { actor: hostile, action: hostile, target: hostile, source: hostile, payload: hostile }
      for (const { sql } of statements([operation], { dialect })) assert.notInclude(sql, "DROP")
    }
  })

  it("a statement takes 500 operations and 4 MiB, and one that is larger goes alone", () => {
    const many = Array.from({ length: 1001 }, () => read)
    assert.deepStrictEqual(
      statements(many, { strategy: "DbOnly" }).map(({ params }) => params.length / 17),
      [500, 500, 1]
    )
    const payload = "x".repeat(3 * 1024 * 1024)
    const large = [read, { ...read, payload }, { ...read, payload }, read]
    assert.deepStrictEqual(
      statements(large, { strategy: "DbOnly" }).map(({ params }) => params.length / 17),
      [2, 2]
    )
  })

  it("no operations need no statement", () => {
    assert.deepStrictEqual(append([]), Either.right({ ids: [], statements: [] }))
  })
})

it("the module needs no driver, and no runtime of its own", async () => {
  const { errors, metafile } = await build({
    entryPoints: [fileURLToPath(new URL("../src/Statements.ts", import.meta.url))],
    bundle: true,
    format: "esm",
    metafile: true,
    // It knows no module of Node.
    platform: "neutral",
    mainFields: ["module", "main"],
    write: false
  })
  assert.deepStrictEqual(errors, [])
  const packages = new Set(
    Object.keys(metafile.inputs).flatMap((file) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(file)?.[1] ?? [])
  )
  // Two of them are dependencies of Effect's Schema.
  assert.deepStrictEqual(Array.from(packages).sort(), [
    "@noble/hashes",
    "effect",
    "fast-check",
    "ipaddr.js",
    "pure-rand",
    "uuid"
  ])
})

describe("what is refused", () => {
  it("an operation is validated, and named by its index where there are several", () => {
    assert.deepStrictEqual(refusal(append([{ ...read, actor: "" }])), ["actor", "format"])
    assert.deepStrictEqual(refusal(append([read, { ...read, clientIp: "x" }])), ["[1].clientIp", "format"])
    // It fits by itself, and not with the other fields.
    const payload = "x".repeat(4 * 1024 * 1024 - 10)
    assert.deepStrictEqual(refusal(append([read, { ...read, payload }])), ["[1].payload", "tooLarge"])
  })

  it("options that make no sense are named", () => {
    assert.deepStrictEqual(refusal(append([read], { lane: "a/b" })), ["lane", "format"])
    assert.deepStrictEqual(refusal(append([read], { prefix: "a\"; --" })), ["prefix", "format"])
    assert.deepStrictEqual(refusal(append([read], { schema: "a.b" })), ["schema", "format"])
    assert.deepStrictEqual(refusal(append([read], { stream: "" })), ["stream", "format"])
    // As a program without types may say it.
    const untyped = (more: object) => refusal(append([read], JSON.parse(JSON.stringify(more))))
    assert.deepStrictEqual(untyped({ dialect: "oracle" }), ["dialect", "format"])
    assert.deepStrictEqual(untyped({ strategy: "TrustlogOnly" }), ["strategy", "format"])
    assert.deepStrictEqual(untyped({ dialect: "postgresql", placeholders: "named" }), ["placeholders", "format"])
    assert.deepStrictEqual(untyped({ operations: {} }), ["operations", "type"])
  })

  it("a batch that is too large is refused as a whole", () => {
    const many = Array.from({ length: maxBatch.rows + 1 }, () => read)
    assert.deepStrictEqual(refusal(append(many)), ["", "tooLarge"])
  })

  it("an id that is stated twice is appended once, and with other content is a conflict", () => {
    const operation = { ...read, id: uuid(1) }
    const twice = Either.getOrThrow(append([operation, { ...operation, kind: "operation" }]))
    assert.deepStrictEqual(twice.ids.map(String), [uuid(1), uuid(1)])
    assert.strictEqual(twice.statements[0]?.params.length, 17)
    assert.deepStrictEqual(refusal(append([operation, { ...operation, actor: "bob" }])), ["content"])
    assert.deepStrictEqual(refusal(append([operation, { ...operation, kind: "record" }])), ["lane"])
  })
})

describe("what a database answers", () => {
  const row = { id: uuid(1), reason: null }

  it("outcomes are told, and what needs a look is an error", () => {
    const outcomes = ["appended", "promoted", "duplicate"].map((outcome) => ({ ...row, outcome }))
    assert.deepStrictEqual(
      Either.getOrThrow(Statements.outcomes(outcomes)).map((told) => ({ ...told, reason: null })),
      outcomes.map(({ id, outcome }) => ({ id, outcome, reason: null }))
    )
    assert.deepStrictEqual(
      refusal(
        Statements.outcomes([{ ...row, outcome: "appended" }, { ...row, outcome: "conflict", reason: "content" }])
      ),
      ["content"]
    )
    assert.deepStrictEqual(refusal(Statements.outcomes([{ ...row, outcome: "conflict", reason: "lane" }])), ["lane"])
    assert.deepStrictEqual(refusal(Statements.outcomes([{ ...row, outcome: "unseen" }])), ["locked"])
  })

  it("rows of something else are none", () => {
    for (const other of [null, "x", {}, { id: uuid(1) }, { outcome: 1 }]) {
      assert.deepStrictEqual(refusal(Statements.outcomes([other])), ["unknown"])
    }
  })

  it("a database without a stream has not been initialised", () => {
    assert.deepStrictEqual(Statements.streamOf([{ stream }]), Either.right(stream))
    for (const rows of [[], [{ stream: null }], [{}], [null]]) {
      assert.deepStrictEqual(refusal(Statements.streamOf(rows)), ["missing"])
    }
  })
})

describe("on SQLite", () => {
  const layer = Layer.provideMerge(Trustlog.layer, workers)

  const execute = (statements: ReadonlyArray<Statements.Statement>) =>
    Effect.flatMap(
      SqlClient.SqlClient,
      (sql) => sql.withTransaction(Effect.forEach(statements, ({ params, sql: text }) => sql.unsafe(text, params)))
    )

  const streamOf = Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const { sql: text } = yield* Statements.stream({ dialect: "sqlite" })
    return yield* Statements.streamOf(yield* sql.unsafe(text))
  })

  it.effect("what is appended is as `append` stores it, in its order, and is delivered", () =>
    Effect.gen(function*() {
      const stream = yield* streamOf
      assert.strictEqual(stream, (yield* Repository).stream)
      const operations: ReadonlyArray<Input> = [
        { ...read, id: uuid(1), occurredAt: "2026-11-23T15:50:42.1+01:00", payload: { b: ["ü\u{1f600}"], a: 1.5 } },
        ...Array.from({ length: 600 }, (_, n) => ({ ...read, id: uuid(n + 2), actor: `'${n}"\\` }))
      ]
      yield* execute(statements(operations, { stream }))
      const trustlog = yield* Trustlog.Trustlog
      const again = yield* trustlog.appendAll(operations)
      assert.deepStrictEqual(
        again.map((result) => "position" in result ? [result.position, result.outcome] : []),
        operations.map((_, n) => [n + 1, "duplicate"])
      )
      assert.deepInclude(yield* Drain.drainOnce(), { delivered: 601, refused: 0, outage: undefined })
      assert.strictEqual((yield* (yield* Memory.Control).held).length, 601)
    }).pipe(Effect.provide(layer)))

  it.effect("a repeated id is refused by the database, and nothing of the transaction is there", () =>
    Effect.gen(function*() {
      const stream = yield* streamOf
      const sql = yield* SqlClient.SqlClient
      const operation = { ...read, id: uuid(1) }
      yield* execute(statements([operation], { stream }))
      const error = yield* Effect.flip(execute(statements([{ ...read, id: uuid(2) }, operation], { stream })))
      assert.strictEqual(error._tag, "SqlError")
      assert.strictEqual((yield* sql`SELECT id FROM operation`).length, 1)
      assert.strictEqual((yield* sql`SELECT position FROM trustlog_pending`).length, 1)
    }).pipe(Effect.provide(layer)))

  it.effect("what is only stored is not delivered, and a named lane is kept", () =>
    Effect.gen(function*() {
      const stream = yield* streamOf
      const sql = yield* SqlClient.SqlClient
      yield* execute(statements([read], { stream, strategy: "DbOnly" }))
      yield* execute(statements([{ ...read, kind: "record" }], { stream, lane: "tenant-7" }))
      assert.deepStrictEqual(
        (yield* sql<{ readonly lane: string; readonly status: string }>`SELECT lane, status FROM trustlog_status
          ORDER BY position`).map(({ lane, status }) => [lane, status]),
        [["operation", "db_only"], ["record/tenant-7", "pending"]]
      )
      assert.deepInclude(yield* Drain.drainOnce(), { delivered: 1, refused: 0 })
    }).pipe(Effect.provide(layer)))
})
