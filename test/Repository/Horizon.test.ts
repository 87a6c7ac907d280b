/**
 * Who keeps PostgreSQL from removing dead rows, as stats tell it.
 */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { once } from "node:events"
import * as net from "node:net"
import { Client } from "pg"
import * as Migrations from "../../src/Migrations.ts"
import { Repository } from "../../src/Repository.ts"
import * as Sql from "../../src/Repository/Sql.ts"
import { client } from "../serverDatabase.ts"
import { query } from "../servers/Database.ts"
import * as Instance from "../servers/Instance.ts"
import * as Server from "../servers/Server.ts"

const horizon = Effect.flatMap(Repository, (repository) => Effect.map(repository.stats, (stats) => stats.horizon))

/** A connection of somebody else's, after some statements. */
const connected = (url: string, ...statements: ReadonlyArray<string>): Effect.Effect<Client, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const client = new Client({ connectionString: url, application_name: "reports" })
      client.on("error", () => {})
      await client.connect()
      for (const statement of statements) await client.query(statement)
      return client
    }),
    (client) => Effect.promise(() => client.end())
  )

const say = (client: Client, ...statements: ReadonlyArray<string>) =>
  Effect.promise(async () => {
    for (const statement of statements) await client.query(statement)
  })

const pidOf = (client: Client) =>
  Effect.promise(async () => {
    const { rows } = await client.query<{ readonly pid: number }>("SELECT pg_backend_pid() AS pid")
    return rows[0]?.pid ?? Number.NaN
  })

const repository = (url: string): Layer.Layer<Repository> =>
  Layer.orDie(Layer.provide(Layer.provide(Sql.layer(), Migrations.layer()), client(url)))

/** What connections of a moment ago held is soon let go. */
const settled = (expected: (kind: string | undefined) => boolean) =>
  Effect.repeat(horizon, { until: (found) => expected(found?.kind) })

/** What a standby with `hot_standby_feedback` says to the server: the oldest transaction that its queries see. */
const feedback = (
  port: number,
  slot: string,
  lsn: string,
  xmin: number
): Effect.Effect<net.Socket, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const socket = net.connect(port, "127.0.0.1")
      const framed = (type: string, body: Buffer) => {
        const length = Buffer.alloc(4)
        length.writeInt32BE(body.length + 4)
        socket.write(Buffer.concat([Buffer.from(type, "latin1"), length, body]))
      }
      const until = async (type: string) => {
        let read = Buffer.alloc(0)
        for (;;) {
          const [chunk]: Array<Buffer> = await once(socket, "data")
          read = Buffer.concat([read, chunk ?? Buffer.alloc(0)])
          for (let at = 0; at + 5 <= read.length; at += 1 + read.readInt32BE(at + 1)) {
            const kind = read.toString("latin1", at, at + 1)
            if (kind === type) return
            if (kind === "E") throw new Error(read.toString("utf8", at))
          }
        }
      }
      await once(socket, "connect")
      const version = Buffer.alloc(4)
      version.writeInt32BE(196_608)
      framed("", Buffer.concat([version, Buffer.from("user\0postgres\0replication\0true\0\0")]))
      await until("Z")
      const streaming = until("W")
      framed("Q", Buffer.from(`START_REPLICATION SLOT ${slot} PHYSICAL ${lsn}\0`))
      await streaming
      const message = Buffer.alloc(25)
      message.write("h", 0, "latin1")
      message.writeUInt32BE(xmin, 9)
      framed("d", message)
      return socket
    }),
    (socket) => Effect.sync(() => socket.destroy())
  )

Server.onEach((server) => {
  it.scopedLive(
    "an idle transaction that has written is the horizon, and who holds it is told",
    () =>
      Effect.gen(function*() {
        const url = yield* Server.database(server)
        const writer = yield* connected(
          url,
          "CREATE TABLE note (text text)",
          "BEGIN",
          "INSERT INTO note VALUES ('held')"
        )
        yield* Effect.gen(function*() {
          const found = yield* horizon
          assert.deepInclude(found, {
            kind: "backend",
            pid: yield* pidOf(writer),
            name: null,
            user: decodeURIComponent(new URL(server.url).username),
            application: "reports",
            state: "idle in transaction"
          })
          assert.isAtLeast(found?.ageSeconds ?? -1, 0)
          assert.isBelow(found?.ageSeconds ?? Number.NaN, 60)
          assert.match(found?.since ?? "", /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/)
          yield* say(writer, "COMMIT")
          yield* settled((kind) => kind === undefined)
        }).pipe(Effect.provide(repository(url)))
      }),
    60_000
  )

  it.scopedLive(
    "so is a snapshot that was taken only to read, and the older of two is told",
    () =>
      Effect.gen(function*() {
        const url = yield* Server.database(server)
        const snapshot = ["BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "SELECT 1 FROM pg_class"]
        yield* Effect.gen(function*() {
          const older = yield* connected(url, ...snapshot)
          const other = yield* connected(url, "CREATE TABLE note (text text)", "INSERT INTO note VALUES ('gone')")
          yield* say(other, ...snapshot)
          assert.deepInclude(yield* horizon, { kind: "backend", pid: yield* pidOf(older) })
          assert.isAtLeast((yield* horizon)?.ageTransactions ?? 0, 2)
          yield* say(older, "COMMIT")
          assert.deepInclude(yield* horizon, { kind: "backend", pid: yield* pidOf(other) })
        }).pipe(Effect.provide(repository(url)))
      }),
    60_000
  )

  it.scopedLive(
    "what holds nothing back is none: a transaction that forgets what it saw, another database, ourselves",
    () =>
      Effect.gen(function*() {
        const url = yield* Server.database(server)
        yield* connected(url, "BEGIN", "SELECT 1 FROM pg_class")
        yield* connected(
          yield* Server.database(server),
          "CREATE TABLE note (text text)",
          "BEGIN",
          "INSERT INTO note VALUES ('')"
        )
        assert.isNull(yield* Effect.provide(settled((kind) => kind === undefined), repository(url)))
      }),
    60_000
  )
}, "pg")

Server.having("postgresql18", () => {
  it.scopedLive(
    "prepared transactions and standbys are the horizon too, and who may not look sees at least who it is",
    () =>
      Effect.gen(function*() {
        const instance = yield* Instance.PostgreSQL({
          settings: { max_prepared_transactions: "5", wal_level: "logical", autovacuum: "off" }
        })
        const url = yield* Server.database({ dialect: "pg", url: instance.url })
        yield* Effect.gen(function*() {
          yield* query(url, "CREATE TABLE note (text text)")
          yield* query(url, "BEGIN", "INSERT INTO note VALUES ('held')", "PREPARE TRANSACTION 'bob''s'")
          assert.deepInclude(yield* settled((kind) => kind !== "backend"), {
            kind: "prepared",
            name: "bob's",
            pid: null,
            user: "postgres",
            state: null
          })
          yield* query(url, "ROLLBACK PREPARED 'bob''s'")

          // A logical slot holds back the system's tables only.
          yield* query(url, "SELECT pg_create_logical_replication_slot('decoder', 'pgoutput')")
          assert.isNull(yield* settled((kind) => kind === undefined))
          yield* query(url, "SELECT pg_drop_replication_slot('decoder')")

          const [slot] = yield* query(
            url,
            "SELECT lsn::text, pg_current_xact_id()::text AS xid FROM pg_create_physical_replication_slot('standby', true)"
          )
          const { lsn, xid } = Object(slot)
          const socket = yield* feedback(Number(new URL(url).port), "standby", String(lsn), Number(xid))
          const standby = yield* settled((kind) => kind === "replicationSlot")
          assert.deepInclude(standby, { name: "standby", ageSeconds: null, user: null, state: "active" })
          assert.isNumber(standby?.pid)
          socket.destroy()
          const gone = yield* Effect.repeat(horizon, { until: (found) => found?.state === "inactive" })
          assert.deepInclude(gone, { kind: "replicationSlot", name: "standby", pid: null })
          yield* query(url, "SELECT pg_drop_replication_slot('standby')")
        }).pipe(Effect.provide(repository(url)))

        yield* query(
          url,
          "CREATE ROLE plain LOGIN",
          "GRANT SELECT ON ALL TABLES IN SCHEMA public TO plain",
          "GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO plain"
        )
        const writer = yield* connected(url, "BEGIN", "INSERT INTO note VALUES ('held')")
        const plain = new URL(url)
        plain.username = "plain"
        const seen = yield* Effect.flatMap(Repository, (repository) => repository.stats).pipe(
          Effect.provide(Layer.orDie(Layer.provide(Sql.layer(), client(plain.href))))
        )
        assert.deepInclude(seen.horizon, {
          kind: "backend",
          pid: yield* pidOf(writer),
          user: "postgres",
          application: "reports",
          ageSeconds: null,
          state: null,
          since: null
        })
      }),
    120_000
  )
})
