/**
 * Operations that other clients append in their own transactions, against real servers. The clients are the examples'.
 */
import { MysqlClient } from "@effect/sql-mysql2"
import { PgClient } from "@effect/sql-pg"
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import { createConnection, type ResultSetHeader } from "mysql2/promise"
import { randomUUID } from "node:crypto"
import { inspect } from "node:util"
import { Client } from "pg"
import * as drizzle from "../examples/transactions/drizzle.ts"
import * as knex from "../examples/transactions/knex.ts"
import * as kysely from "../examples/transactions/kysely.ts"
import * as mysql2 from "../examples/transactions/mysql2.ts"
import * as pg from "../examples/transactions/pg.ts"
import * as prisma from "../examples/transactions/prisma.ts"
import * as CircuitBreaker from "../src/CircuitBreaker.ts"
import * as Drain from "../src/Drain.ts"
import * as Envelope from "../src/Envelope.ts"
import * as Migrations from "../src/Migrations.ts"
import { fromUnknown, type Input, laneOf } from "../src/Operation.ts"
import * as Memory from "../src/Publisher/Memory.ts"
import { Repository } from "../src/Repository.ts"
import * as Sql from "../src/Repository/Sql.ts"
import * as Statements from "../src/Statements.ts"
import * as Trustlog from "../src/Trustlog.ts"
import { database, onEach, type Server } from "./servers/Server.ts"

type Run = (url: string, invoice: number, operations: ReadonlyArray<Input>) => Promise<unknown>

const clients: Readonly<Record<Server["dialect"], Readonly<Record<string, Run>>>> = {
  pg: {
    pg: pg.postgresql,
    Drizzle: drizzle.postgresql,
    Kysely: kysely.postgresql,
    Knex: knex.postgresql,
    Prisma: prisma.postgresql
  },
  mysql: {
    mysql2: mysql2.mysql,
    Drizzle: drizzle.mysql,
    Kysely: kysely.mysql,
    Knex: knex.mysql,
    Prisma: prisma.mysql
  }
}

class Place extends Context.Tag("test/Place")<Place, { readonly url: string }>() {}

const clientOf = (server: Server, url: string) =>
  server.dialect === "pg" ? PgClient.layer({ url: Redacted.make(url) }) : MysqlClient.layer({ url: Redacted.make(url) })

/** A database with trustlog's tables and the application's, and what the workers need. */
const place = (server: Server) =>
  Layer.unwrapScoped(Effect.map(database(server), (url) => {
    const client = clientOf(server, url)
    const tables = Layer.merge(
      Migrations.layer(),
      Layer.effectDiscard(Effect.flatMap(
        SqlClient.SqlClient,
        (sql) => sql`CREATE TABLE invoice (id INT NOT NULL PRIMARY KEY, state VARCHAR(20) NOT NULL)`
      ))
    )
    const repository = Layer.provideMerge(Layer.provide(Sql.layer(), tables), client)
    return Layer.mergeAll(
      Layer.provideMerge(Trustlog.layer, Layer.merge(repository, Memory.layer)),
      CircuitBreaker.layer,
      Layer.succeed(Place, { url })
    )
  })).pipe(Layer.orDie)

const hostile = [
  "'; DROP TABLE operation; --",
  "\\'; DROP TABLE operation; -- \\",
  "\"quoted\" `quoted` 'quoted' $1 ? ?? :name \\? %s ${x} {{x}}",
  "a\\",
  "\\\\\\",
  "\u0001\b\t\n\r\u001a\u001f",
  "Ünïcödé \u{1f600}\u{20000} \u202e \u0000".replace("\u0000", "\ufffe")
]

const everything = (): ReadonlyArray<Input> => [
  {
    id: randomUUID(),
    kind: "record",
    occurredAt: "2026-11-23T15:50:42.123456+01:00",
    actor: "alice",
    action: "invoice.approve",
    target: "invoice/1",
    source: "billing",
    payload: { b: [1, null, "ü\u{1f600}", hostile], a: { ["__proto__"]: 1.5 } },
    requestHash: "AB".repeat(32),
    responseHash: "cd".repeat(32),
    clientIp: "2001:DB8::1",
    serverIp: "::ffff:192.0.2.1",
    traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
  },
  ...hostile.map((text): Input => ({
    id: randomUUID(),
    actor: text,
    action: text,
    target: text,
    source: text,
    payload: text
  }))
]

const simple = (input: Partial<Input> = {}): Input & { readonly id: string } => ({
  actor: "alice",
  action: "invoice.approve",
  target: "invoice/1",
  ...input,
  id: input.id ?? randomUUID()
})

let invoices = 0
const nextInvoice = () => ++invoices

const invoiceCount = (id: number) =>
  Effect.flatMap(
    SqlClient.SqlClient,
    (sql) => Effect.map(sql`SELECT id FROM invoice WHERE id = ${id}`, (rows) => rows.length)
  )

/** What has become of operations, by the view. */
const statuses = (operations: ReadonlyArray<Input>) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const rows = yield* sql<{ readonly id: string; readonly status: string }>`
      SELECT CAST(id AS CHAR(36)) AS id, status FROM trustlog_status`
    const found = new Map(rows.map(({ id, status }) => [id, status]))
    return operations.map(({ id = "" }) => found.get(id))
  })

const all = <A>(operations: ReadonlyArray<Input>, value: A) => operations.map(() => value)

/** Delivers what is pending, and sees that what the log got is what was stated. */
const delivered = (operations: ReadonlyArray<Input>) =>
  Effect.gen(function*() {
    const { stream } = yield* Repository
    const control = yield* Memory.Control
    const sql = yield* SqlClient.SqlClient
    const drained = yield* Drain.drainOnce()
    assert.deepInclude(drained, { refused: 0, outage: undefined })
    const held = new Map((yield* control.held).map(({ message }) => [String(message.id), message]))
    for (const input of operations) {
      const message = held.get(input.id ?? "")
      assert.isDefined(message)
      const envelope = Either.getOrThrow(Envelope.decode(message?.bytes ?? new Uint8Array()))
      const stated = Either.getOrThrow(fromUnknown(input))
      const expected = Envelope.encode(stream, Envelope.recorded(stated, envelope.occurredAt))
      assert.strictEqual(message?.contentHash, expected.contentHash)
      const rows = yield* sql`SELECT position FROM operation WHERE content_hash = ${expected.contentHash}`
      assert.strictEqual(rows.length, 1)
    }
  })

const failure = (run: () => Promise<unknown>) =>
  Effect.promise(() => run().then(() => assert.fail("it was done"), (error: unknown) => error))

/** A connection of another client, closed with the scope. */
const pgConnection = Effect.flatMap(Place, ({ url }) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const client = new Client({ connectionString: url })
      await client.connect()
      return client
    }),
    (client) => Effect.promise(() => client.end())
  ))

const mysqlConnection = Effect.flatMap(
  Place,
  ({ url }) =>
    Effect.acquireRelease(Effect.promise(() => createConnection(url)), (client) => Effect.promise(() => client.end()))
)

type More = Pick<Statements.Options, "lane" | "prefix" | "schema" | "strategy">

const statementsOf = (dialect: "postgresql" | "mysql", operations: ReadonlyArray<Input>, more: More = {}) =>
  Effect.flatMap(
    Repository,
    ({ stream }) =>
      Effect.map(Statements.append({ ...more, dialect, stream, operations }), ({ statements }) => statements)
  )

/** Until a connection waits for another one's transaction. */
const untilBlocked = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) =>
    sql`SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`.pipe(
      Effect.filterOrFail((rows) => rows.length > 0, () => "nobody waits yet" as const),
      Effect.retry(Schedule.spaced("10 millis"))
    )
)

/** Executes statements; on PostgreSQL, gives what became of each id. */
const pgOutcomes = (client: Client, statements: ReadonlyArray<Statements.Statement>) =>
  Effect.flatMap(
    Effect.promise(async () => {
      const rows: Array<unknown> = []
      for (const { params, sql } of statements) rows.push(...(await client.query(sql, [...params])).rows)
      return rows
    }),
    (rows) => Effect.map(Statements.outcomes(rows), (outcomes) => outcomes.map(({ outcome }) => outcome))
  )

const mysqlExecuted = (
  client: Effect.Effect.Success<typeof mysqlConnection>,
  statements: ReadonlyArray<Statements.Statement>
) =>
  Effect.promise(async () => {
    for (const { params, sql } of statements) await client.execute(sql, [...params])
  })

onEach((server) => {
  layer(place(server), { excludeTestServices: true })("transactions of other clients", (it) => {
    for (const [name, run] of Object.entries(clients[server.dialect])) {
      describe(name, () => {
        it.effect("what commits is stored as `append` stores it, and delivered", () =>
          Effect.gen(function*() {
            const { url } = yield* Place
            const trustlog = yield* Trustlog.Trustlog
            const operations = everything()
            const invoice = nextInvoice()
            yield* Effect.promise(() => run(url, invoice, operations))
            assert.strictEqual(yield* invoiceCount(invoice), 1)
            assert.deepStrictEqual(yield* statuses(operations), all(operations, "pending"))
            const again = yield* trustlog.appendAll(operations)
            assert.deepStrictEqual(again.map(({ outcome }) => outcome), all(operations, "duplicate"))
            yield* delivered(operations)
            assert.deepStrictEqual(yield* statuses(operations), all(operations, "delivered"))
          }))

        it.effect("what rolls back is not there", () =>
          Effect.gen(function*() {
            const { url } = yield* Place
            const invoice = nextInvoice()
            const [first, second] = [[simple()], [simple(), simple()]]
            yield* Effect.promise(() => run(url, invoice, first))
            yield* failure(() => run(url, invoice, second))
            assert.deepStrictEqual(yield* statuses([...first, ...second]), ["pending", undefined, undefined])
          }))

        it.effect("a repeated id is told, and changes nothing", () =>
          Effect.gen(function*() {
            const { url } = yield* Place
            const operation = simple()
            const invoice = nextInvoice()
            yield* Effect.promise(() => run(url, nextInvoice(), [operation]))
            if (server.dialect === "pg") {
              assert.deepStrictEqual(
                yield* Effect.promise(() => run(url, nextInvoice(), [operation, simple(operation)])),
                [
                  { id: operation.id, outcome: "duplicate" }
                ]
              )
              const error = yield* failure(() => run(url, invoice, [simple(), simple({ ...operation, actor: "bob" })]))
              assert.deepInclude(error, { _tag: "OperationConflict", id: operation.id, reason: "content" })
            } else {
              const error = yield* failure(() => run(url, invoice, [simple(), operation]))
              assert.match(inspect(error, { depth: 10 }), /1062|UniqueConstraintViolation/)
            }
            assert.strictEqual(yield* invoiceCount(invoice), 0)
            assert.deepStrictEqual(yield* statuses([operation]), ["pending"])
            yield* delivered([operation])
          }))

        it.effect("an envelope of 4 MiB is taken", () =>
          Effect.gen(function*() {
            const { url } = yield* Place
            const operations = [simple({ payload: "'\"\u{1f600}x".repeat(4 * 1024 * 1024 / 8 - 100) })]
            yield* Effect.promise(() => run(url, nextInvoice(), operations))
            yield* delivered(operations)
          }))

        it.effect("a thousand operations are stored in their order", () =>
          Effect.gen(function*() {
            const { url } = yield* Place
            const sql = yield* SqlClient.SqlClient
            const operations = Array.from({ length: 1000 }, (_, n) => simple({ actor: `${n}`, target: `all/${name}` }))
            yield* Effect.promise(() => run(url, nextInvoice(), operations))
            const rows = yield* sql<{ readonly actor: string }>`SELECT actor FROM operation
              WHERE target = ${`all/${name}`} ORDER BY position`
            assert.deepStrictEqual(rows.map(({ actor }) => actor), operations.map(({ actor }) => actor))
            yield* delivered(operations)
          }))
      })
    }
  })
})

/** Tables of another name, in another schema. */
const named = { prefix: "audit_", schema: "log" } as const

onEach((server) => {
  layer(place(server), { excludeTestServices: true })("statements", (it) => {
    it.scoped("statements name the tables by their prefix and schema, and read their stream", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const { url } = yield* Place
        // On MySQL a schema is a database: one whose name this run removes.
        const schema = server.dialect === "pg" ? named.schema : `${new URL(url).pathname.slice(1)}_log`
        const naming = { ...named, schema }
        yield* Migrations.run(naming)
        const repository = yield* Sql.make(naming)
        const dialect = server.dialect === "pg" ? "postgresql" : "mysql"
        const operations = everything()
        const { sql: text } = yield* Statements.stream({ dialect, ...naming })
        assert.strictEqual(yield* Statements.streamOf(yield* sql.unsafe(text)), repository.stream)

        const append = yield* Statements.append({ dialect, stream: repository.stream, operations, ...naming })
        for (const { params, sql: text } of append.statements) yield* sql.unsafe(text, params)
        const lease = yield* repository.acquire(laneOf("operation"), "test", Duration.seconds(10))
        assert.isDefined(lease)
        if (lease === undefined) return
        const { rows } = yield* repository.page(lease, { after: 0, limit: 100, maxBytes: 8_000_000 })
        assert.deepStrictEqual(rows.map(({ id }) => id), append.ids.slice(1))
        for (const row of rows) yield* Envelope.ofRow(repository.stream, row)
        assert.deepStrictEqual(yield* statuses(operations), all(operations, undefined))
      }))
  })
})

onEach((server) => {
  layer(place(server), { excludeTestServices: true })("statements", (it) => {
    it.scoped("a lane and a strategy are kept, and an operation that was only stored is promoted", () =>
      Effect.gen(function*() {
        const client = yield* pgConnection
        const operation = simple()
        const lane = { lane: "tenant-7" }
        const stored = yield* statementsOf("postgresql", [operation], { ...lane, strategy: "DbOnly" })
        assert.deepStrictEqual(yield* pgOutcomes(client, stored), ["appended"])
        assert.deepStrictEqual(yield* pgOutcomes(client, stored), ["duplicate"])
        assert.deepStrictEqual(yield* statuses([operation]), ["db_only"])

        const other = yield* Effect.flip(pgOutcomes(client, yield* statementsOf("postgresql", [operation])))
        assert.deepInclude(other, { _tag: "OperationConflict", id: operation.id, reason: "lane" })
        assert.deepStrictEqual(yield* statuses([operation]), ["db_only"])

        const wanted = yield* statementsOf("postgresql", [operation], lane)
        assert.deepStrictEqual(yield* pgOutcomes(client, wanted), ["promoted"])
        assert.deepStrictEqual(yield* pgOutcomes(client, wanted), ["duplicate"])
        assert.deepStrictEqual(yield* statuses([operation]), ["pending"])
        yield* delivered([operation])
      }))

    it.scoped("every field is compared, and a time where it was given", () =>
      Effect.gen(function*() {
        const client = yield* pgConnection
        const [full] = everything()
        if (full === undefined) return
        const first = yield* statementsOf("postgresql", [full])
        assert.deepStrictEqual(yield* pgOutcomes(client, first), ["appended"])
        const { occurredAt: _, ...untimed } = full
        const again = yield* pgOutcomes(client, yield* statementsOf("postgresql", [untimed]))
        assert.deepStrictEqual(again, ["duplicate"])
        const changes: ReadonlyArray<Partial<Input>> = [
          { occurredAt: "2026-11-23T15:50:42.123457+01:00" },
          { actor: "bob" },
          { action: "x" },
          { target: "x" },
          { source: null },
          { payload: {} },
          { payload: null },
          { requestHash: null },
          { responseHash: "00".repeat(32) },
          { clientIp: null },
          { serverIp: "::1" },
          { traceparent: null }
        ]
        for (const change of changes) {
          const changed = yield* statementsOf("postgresql", [{ ...full, ...change }])
          assert.deepInclude(yield* Effect.flip(pgOutcomes(client, changed)), {
            _tag: "OperationConflict",
            reason: "content"
          })
        }
      }))

    it.scoped("an id that another transaction commits meanwhile is met, and seen when the statements run again", () =>
      Effect.gen(function*() {
        const [ours, theirs] = [yield* pgConnection, yield* pgConnection]
        const operation = simple()
        const statements = yield* statementsOf("postgresql", [operation])
        yield* Effect.promise(() => theirs.query("BEGIN"))
        yield* pgOutcomes(theirs, statements)
        yield* Effect.promise(() => ours.query("BEGIN"))
        const waiting = yield* Effect.fork(Effect.flip(pgOutcomes(ours, statements)))
        yield* untilBlocked
        yield* Effect.promise(() => theirs.query("COMMIT"))
        assert.deepInclude(yield* waiting, { _tag: "DatabaseError", reason: "locked" })
        assert.deepStrictEqual(yield* pgOutcomes(ours, statements), ["duplicate"])
        yield* Effect.promise(() => ours.query("COMMIT"))
        assert.deepStrictEqual(yield* statuses([operation]), ["pending"])
      }))

    it.scoped("under REPEATABLE READ such an id is a serialisation failure", () =>
      Effect.gen(function*() {
        const [ours, theirs] = [yield* pgConnection, yield* pgConnection]
        const statements = yield* statementsOf("postgresql", [simple()])
        yield* Effect.promise(() => ours.query("BEGIN ISOLATION LEVEL REPEATABLE READ"))
        yield* Effect.promise(() => ours.query("SELECT 1"))
        yield* pgOutcomes(theirs, statements)
        const error = yield* failure(() => Effect.runPromise(pgOutcomes(ours, statements)))
        assert.match(inspect(error), /could not serialize access/)
        yield* Effect.promise(() => ours.query("ROLLBACK"))
      }))
  })
}, "pg")

onEach((server) => {
  layer(place(server), { excludeTestServices: true })("statements", (it) => {
    for (const isolation of ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]) {
      it.scoped(`under ${isolation} open transactions that append never wait for each other`, () =>
        Effect.gen(function*() {
          const [ours, theirs] = [yield* mysqlConnection, yield* mysqlConnection]
          const stated: Array<Input> = []
          const append = (client: typeof ours, count: number) =>
            Effect.gen(function*() {
              const operations = Array.from({ length: count }, () => simple())
              stated.push(...operations)
              yield* mysqlExecuted(client, yield* statementsOf("mysql", operations))
            })
          for (const client of [ours, theirs]) {
            yield* Effect.promise(() => client.query(`SET SESSION TRANSACTION ISOLATION LEVEL ${isolation}`))
            yield* Effect.promise(() => client.query("SET innodb_lock_wait_timeout = 1"))
            yield* Effect.promise(() => client.query("BEGIN"))
          }
          for (const count of [1, 2, 5, 30, 600, 1]) {
            yield* append(ours, count)
            yield* append(theirs, count)
          }
          yield* Effect.promise(() => theirs.query("COMMIT"))
          yield* append(ours, 3)
          yield* Effect.promise(() => ours.query("COMMIT"))
          assert.deepStrictEqual(yield* statuses(stated), all(stated, "pending"))
        }))
    }

    for (const mode of ["STRICT_ALL_TABLES", ""]) {
      it.scoped(`another INSERT in between is refused with the SQL mode '${mode}', since nothing would be delivered`, () =>
        Effect.gen(function*() {
          const client = yield* mysqlConnection
          const sql = yield* SqlClient.SqlClient
          yield* sql`CREATE TABLE IF NOT EXISTS line (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, text VARCHAR(20))`
          yield* Effect.promise(() => client.query(`SET sql_mode = '${mode}'`))
          for (const operations of [[simple()], [simple(), simple(), simple()]]) {
            const [first, second] = yield* statementsOf("mysql", operations)
            if (first === undefined || second === undefined) return assert.fail("there are two statements")
            yield* Effect.promise(() => client.query("BEGIN"))
            yield* mysqlExecuted(client, [first])
            yield* Effect.promise(() => client.query("INSERT INTO line (text) VALUES ('in between')"))
            const error = yield* failure(() => client.execute(second.sql, [...second.params]))
            assert.deepInclude(error, { code: "ER_DATA_OUT_OF_RANGE" })
            yield* Effect.promise(() => client.query("ROLLBACK"))
            assert.deepStrictEqual(yield* statuses(operations), all(operations, undefined))
          }
        }))
    }

    it.scoped("positions may be given in steps, as several primaries do", () =>
      Effect.gen(function*() {
        const client = yield* mysqlConnection
        const operations = [simple(), simple(), simple()]
        yield* Effect.promise(() => client.query("SET auto_increment_increment = 7, auto_increment_offset = 3"))
        yield* mysqlExecuted(client, yield* statementsOf("mysql", operations))
        assert.deepStrictEqual(yield* statuses(operations), all(operations, "pending"))
        yield* delivered(operations)
      }))

    it.scoped("any SQL mode will do where the server binds the values", () =>
      Effect.gen(function*() {
        const client = yield* mysqlConnection
        const operations = everything()
        yield* Effect.promise(() =>
          client.query<ResultSetHeader>(
            "SET sql_mode = 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES,PIPES_AS_CONCAT,STRICT_ALL_TABLES'"
          )
        )
        yield* mysqlExecuted(client, yield* statementsOf("mysql", operations))
        yield* delivered(operations)
      }))

    it.scoped("a lane and a strategy are kept", () =>
      Effect.gen(function*() {
        const client = yield* mysqlConnection
        const sql = yield* SqlClient.SqlClient
        const [stored, named] = [[simple()], [simple({ kind: "record", target: "lane" })]]
        yield* mysqlExecuted(client, yield* statementsOf("mysql", stored, { strategy: "DbOnly" }))
        yield* mysqlExecuted(client, yield* statementsOf("mysql", named, { lane: "tenant-7" }))
        assert.deepStrictEqual(yield* statuses([...stored, ...named]), ["db_only", "pending"])
        const rows = yield* sql<{ readonly lane: string }>`SELECT lane FROM operation WHERE target = 'lane'`
        assert.deepStrictEqual(rows.map(({ lane }) => lane), ["record/tenant-7"])
      }))
  })
}, "mysql")
