/**
 * The servers of the tests do what the tests rely on.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import { execFileSync, spawn } from "node:child_process"
import { once } from "node:events"
import * as fs from "node:fs"
import * as http from "node:http"
import * as https from "node:https"
import * as net from "node:net"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { Client } from "pg"
import { inject } from "vitest"
import { bundle } from "../Program.ts"
import { query } from "./Database.ts"
import * as Instance from "./Instance.ts"
import * as PgBouncer from "./PgBouncer.ts"
import * as Proxy from "./Proxy.ts"
import * as Server from "./Server.ts"
import * as SharedPulsar from "./SharedPulsar.ts"
import * as SmallDisk from "./SmallDisk.ts"
import * as Topic from "./Topic.ts"

const says: Record<Server.Name, RegExp> = {
  "postgresql-15": /"PostgreSQL 15\./,
  "postgresql-18": /"PostgreSQL 18\./,
  mysql: /^(?!.*MariaDB).*"(8|9|\d\d)\.\d/,
  mariadb: /MariaDB/
}

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

describe("servers", () => {
  Server.onEach((server) => {
    it.scopedLive("answer, and are of the version that their name says", () =>
      Effect.gen(function*() {
        const [row] = yield* query(server.url, "SELECT version() AS version")
        assert.match(JSON.stringify(row), says[server.name])
      }))

    it.scopedLive("have fresh databases that do not see each other", () =>
      Effect.gen(function*() {
        const [one, two] = yield* Effect.all([Server.database(server), Server.database(server)])
        yield* query(one, "CREATE TABLE note (text VARCHAR(20))", "INSERT INTO note VALUES ('here')")
        yield* query(two, "CREATE TABLE note (text VARCHAR(20))")
        assert.deepStrictEqual((yield* query(one, "SELECT text FROM note")).length, 1)
        assert.deepStrictEqual((yield* query(two, "SELECT text FROM note")).length, 0)
      }))

    it.scopedLive("have databases that are gone after, whoever is in a transaction there", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const url = yield* Scope.extend(Server.database(server), scope)
        const holder = yield* Effect.fork(Effect.exit(query(
          url,
          "CREATE TABLE note (text VARCHAR(20))",
          server.dialect === "pg" ? "BEGIN" : "START TRANSACTION",
          "INSERT INTO note VALUES ('held')",
          server.dialect === "pg" ? "SELECT pg_sleep(600)" : "SELECT sleep(600)"
        )))
        const name = new URL(url).pathname.slice(1)
        const busy = server.dialect === "pg"
          ? `SELECT 1 FROM pg_stat_activity WHERE datname = '${name}' AND query LIKE '%sleep%'`
          : `SELECT 1 FROM information_schema.processlist WHERE db = '${name}' AND info LIKE '%sleep%'`
        yield* Effect.repeat(query(server.url, busy), { until: (rows) => rows.length > 0 })
        yield* Scope.close(scope, Exit.void)
        yield* Fiber.join(holder)
        const names = server.dialect === "pg"
          ? "SELECT datname AS name FROM pg_database"
          : "SELECT schema_name AS name FROM information_schema.schemata"
        assert.notInclude(JSON.stringify(yield* query(server.url, names)), name)
      }))
  })
})

/** The temporary folder with the data of a server's process. */
const folderOf = (pid: number): string =>
  /[^\s=]*\/trustlog-[^/\s]+(?=\/data)/.exec(execFileSync("ps", ["-o", "args=", "-p", `${pid}`], { encoding: "utf8" }))
    ?.[0] ?? ""

const instances: ReadonlyArray<
  readonly [
    Parameters<typeof Server.having>[0],
    (options?: Instance.Options) => Effect.Effect<Instance.Instance, never, Scope.Scope>,
    megabytes: number
  ]
> = [
  ["postgresql15", (options) => Instance.PostgreSQL({ version: 15, ...options }), 64],
  ["postgresql18", (options) => Instance.PostgreSQL({ version: 18, ...options }), 64],
  ["mysql", Instance.MySQL, 192],
  ["mariadb", Instance.MariaDB, 192]
]

describe("instances", () => {
  for (const [program, make, megabytes] of instances) {
    Server.having(program, () => {
      it.scopedLive("come back with what was committed after kill -9, and under the same URL", () =>
        Effect.gen(function*() {
          const instance = yield* make()
          const { pid } = instance
          const dialect = instance.url.startsWith("mysql:") ? "mysql" : "pg"
          const url = yield* Server.database({ dialect, url: instance.url })
          yield* query(url, "CREATE TABLE note (text VARCHAR(20))", "INSERT INTO note VALUES ('kept')")
          yield* instance.kill
          assert.isFalse(isAlive(pid))
          assert.isTrue(Exit.isFailure(yield* Effect.exit(query(url, "SELECT 1"))))
          yield* instance.start
          assert.notStrictEqual(instance.pid, pid)
          assert.deepStrictEqual(JSON.stringify(yield* query(url, "SELECT text FROM note")), "[{\"text\":\"kept\"}]")
          yield* instance.stop
          yield* instance.start
          assert.strictEqual((yield* query(url, "SELECT text FROM note")).length, 1)
        }))

      it.scopedLive("answer nothing while frozen, and everything after", () =>
        Effect.gen(function*() {
          const instance = yield* make()
          yield* instance.freeze
          const stat = execFileSync("ps", ["-A", "-o", "pid=,ppid=,stat="], { encoding: "utf8" })
          const states = stat.split("\n").map((line) => line.trim().split(/\s+/))
            .filter(([pid, parent]) => pid === `${instance.pid}` || parent === `${instance.pid}`)
          assert.isNotEmpty(states)
          for (const [, , state] of states) assert.match(state ?? "", /^T/)
          const answer = yield* Effect.fork(query(instance.url, "SELECT 1"))
          yield* Effect.sleep("300 millis")
          assert.isNull(answer.unsafePoll())
          yield* instance.thaw
          assert.strictEqual((yield* Fiber.join(answer)).length, 1)
        }))

      it.live("leave nothing behind", () =>
        Effect.gen(function*() {
          const scope = yield* Scope.make()
          const { pid } = yield* Scope.extend(make(), scope)
          const folder = folderOf(pid)
          assert.isTrue(fs.existsSync(folder))
          yield* Scope.close(scope, Exit.void)
          assert.isFalse(isAlive(pid))
          assert.isFalse(fs.existsSync(folder))
        }))

      Server.having("mount", () => {
        it.scopedLive("fill a small disk, say so, and go on when there is room again", () =>
          Effect.gen(function*() {
            const dataDirectory = yield* SmallDisk.make({ megabytes })
            const instance = yield* make({ dataDirectory })
            const dialect = instance.url.startsWith("mysql:") ? "mysql" : "pg"
            const url = yield* Server.database({ dialect, url: instance.url })
            yield* query(url, "CREATE TABLE note (text VARCHAR(1000))", "INSERT INTO note VALUES ('kept')")
            const rows = Array.from({ length: 10_000 }, () => `('${"x".repeat(1000)}')`).join()
            const insert = query(url, `INSERT INTO note VALUES ${rows}`)
            const refused = yield* Effect.scoped(Effect.zipRight(SmallDisk.fill(dataDirectory), Effect.exit(insert)))
            if (Exit.isSuccess(refused)) return assert.fail("there was room")
            assert.match(Cause.pretty(refused.cause), /No space left on device|is full/)
            yield* insert
            assert.strictEqual((yield* query(url, "SELECT text FROM note")).length, 10_001)
          }))
      })
    })
  }
})

describe("what a test process leaves", () => {
  for (const kind of ["postgresql18", "pulsar"] as const) {
    Server.having(kind, () => {
      it.scopedLive("is cleared up when it is killed, a frozen server too", () =>
        Effect.gen(function*() {
          const program = yield* Effect.promise(() =>
            bundle(fileURLToPath(new URL("../programs/holdServer.ts", import.meta.url)))
          )
          const child = yield* Effect.acquireRelease(
            Effect.sync(() =>
              spawn(process.execPath, [program, kind, inject("servers").programs[kind] ?? ""], {
                stdio: ["ignore", "pipe", "inherit"]
              })
            ),
            (child) => Effect.sync(() => child.kill("SIGKILL"))
          )
          const [line] = yield* Effect.promise(() => once(child.stdout.setEncoding("utf8"), "data"))
          const pid = Number(line)
          const folder = folderOf(pid)
          const hasSharedMemory = process.platform === "linux" && kind === "postgresql18"
          if (hasSharedMemory) assert.strictEqual(sharedMemory(pid).length, 1)
          assert.isTrue(isAlive(pid) && fs.existsSync(folder))
          child.kill("SIGKILL")
          while (isAlive(pid) || fs.existsSync(folder)) yield* Effect.sleep("5 millis")
          if (hasSharedMemory) assert.isEmpty(sharedMemory(pid))
        }))
    })
  }
})

/** The segments of shared memory that a process made. */
const sharedMemory = (pid: number): ReadonlyArray<string> =>
  execFileSync("ipcs", ["-m", "-p"], { encoding: "utf8" }).split("\n").filter((line) =>
    line.split(/\s+/)[2] === `${pid}`
  )

describe("the shared Pulsar", () => {
  SharedPulsar.on((broker) => {
    it.live("answers, and gives its topics' messages in their order, however they were published", () =>
      Effect.gen(function*() {
        assert.match(String(yield* broker.admin("GET", "brokers/version")), /^4\.0\./)
        const [topic, other] = yield* Effect.all([Topic.make(broker), Topic.make(broker)])
        assert.deepStrictEqual(yield* Topic.messages(broker, topic), [])
        const [single, batched] = [[1, 2], [3, 4, 5]].map((numbers) =>
          numbers.map((number) => ({ payload: `${number}`, key: `key ${number}`, properties: { number: `${number}` } }))
        )
        yield* Topic.publish(broker, topic, single ?? [])
        assert.strictEqual((yield* Topic.messages(broker, topic)).length, 2)
        yield* Topic.publish(broker, topic, batched ?? [], { isBatched: true })
        assert.strictEqual((yield* Topic.messages(broker, topic)).length, 5)
        yield* Topic.publish(broker, topic, [{ payload: Uint8Array.of(0, 255) }])
        const messages = yield* Topic.messages(broker, topic)
        assert.deepStrictEqual(
          messages.slice(0, 5).map(({ key, payload, properties }) => ({
            payload: Buffer.from(payload).toString(),
            key,
            properties
          })),
          [...single ?? [], ...batched ?? []]
        )
        assert.deepStrictEqual(messages[5]?.payload, Uint8Array.of(0, 255))
        assert.isUndefined(messages[5]?.key)
        assert.deepStrictEqual(yield* Topic.messages(broker, other), [])
      }))

    it.live("gives all messages of a topic that holds more than it sends unasked", () =>
      Effect.gen(function*() {
        const topic = yield* Topic.make(broker)
        const payloads = Array.from({ length: 2500 }, (_, number) => `${number}`)
        yield* Topic.publish(broker, topic, payloads.map((payload) => ({ payload })), { isBatched: true })
        const messages = yield* Topic.messages(broker, topic)
        assert.deepStrictEqual(messages.map(({ payload }) => Buffer.from(payload).toString()), payloads)
        assert.isBelow(new Set(messages.map(({ position }) => position.entry)).size, payloads.length)
      }))

    it.live("forgets a topic that is removed, and says what it does not know", () =>
      Effect.gen(function*() {
        const topic = yield* Topic.make(broker)
        yield* Topic.publish(broker, topic, [{ payload: "gone" }])
        yield* Topic.remove(broker, topic)
        yield* Topic.remove(broker, topic)
        const stats = broker.admin("GET", `${topic.replace("://", "/")}/stats`)
        const error = yield* Effect.flip(Effect.asVoid(stats))
        assert.strictEqual(error.status, 404)
        yield* Topic.create(broker, topic)
        assert.deepStrictEqual(yield* Topic.messages(broker, topic), [])
      }))
  })
})

/** The status, or the code of what went wrong. */
const outcome = (url: string, options: https.RequestOptions): Effect.Effect<number | string | undefined> =>
  Effect.async((resume) => {
    const { get } = url.startsWith("https:") ? https : http
    get(url, { ...options, agent: false }, (response) => {
      response.resume()
      resume(Effect.succeed(response.statusCode))
    }).on("upgrade", (response, socket) => {
      socket.destroy()
      resume(Effect.succeed(response.statusCode))
    }).on("error", (error) => resume(Effect.succeed("code" in error ? String(error.code) : error.message)))
  })

describe("a Pulsar of a test's own", () => {
  Server.having("pulsar", () => {
    it.live("comes back with what was published after kill -9, at the same ports, and leaves nothing behind", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const instance = yield* Scope.extend(Instance.Pulsar(), scope)
        const { pid } = instance
        const folder = folderOf(pid)
        const topic = yield* Topic.unique
        // A subscription would keep them too.
        yield* Topic.create(instance, topic)
        yield* Topic.publish(instance, topic, [{ payload: "one" }])
        yield* instance.kill
        assert.isFalse(isAlive(pid))
        assert.isTrue(Exit.isFailure(yield* Effect.exit(instance.admin("GET", "clusters"))))
        yield* instance.start
        assert.notStrictEqual(instance.pid, pid)
        yield* Topic.publish(instance, topic, [{ payload: "two" }])
        yield* instance.stop
        yield* instance.start
        yield* Topic.publish(instance, topic, [{ payload: "three" }])
        yield* instance.admin("POST", `${topic.replace("://", "/")}/trim`)
        const messages = yield* Topic.messages(instance, topic)
        assert.deepStrictEqual(messages.map(({ payload }) => Buffer.from(payload).toString()), ["one", "two", "three"])
        // It met no bookie that had been killed.
        const log = fs.readFileSync(path.join(folder, "pulsar.log"), "utf8")
        assert.match(log, /RegisterBookie/)
        assert.notMatch(log, /Deleting path: \/ledgers\/available\/\S+ \(v. Optional.empty\)/)
        const last = instance.pid
        yield* Scope.close(scope, Exit.void)
        assert.isFalse(isAlive(last))
        assert.isFalse(fs.existsSync(folder))
      }))

    it.scopedLive("answers nothing while frozen, and everything after", () =>
      Effect.gen(function*() {
        const instance = yield* Instance.Pulsar()
        const topic = yield* Topic.make(instance)
        yield* instance.freeze
        const answer = yield* Effect.fork(Topic.publish(instance, topic, [{ payload: "late" }]))
        yield* Effect.sleep("300 millis")
        assert.isNull(answer.unsafePoll())
        yield* instance.thaw
        yield* Fiber.join(answer)
        assert.strictEqual((yield* Topic.messages(instance, topic)).length, 1)
      }))

    it.scopedLive("lets in whom a token names, and lets them do what they were granted", () =>
      Effect.gen(function*() {
        const instance = yield* Instance.Pulsar({ tokens: true })
        const topic = yield* Topic.make(instance)
        yield* Topic.publish(instance, topic, [{ payload: "by admin" }])
        assert.strictEqual((yield* Topic.messages(instance, topic)).length, 1)
        const url = `${instance.webUrl}/ws/v2/producer/${topic.replace("://", "/")}`
        const handshake = {
          connection: "upgrade",
          upgrade: "websocket",
          "sec-websocket-key": Buffer.alloc(16).toString("base64"),
          "sec-websocket-version": "13"
        }
        const as = (token?: string) =>
          outcome(url, {
            headers: { ...handshake, ...token === undefined ? {} : { authorization: `Bearer ${token}` } }
          })
        assert.strictEqual(yield* as(), 401)
        const token = instance.token("outbox")
        assert.strictEqual(yield* as(`${token}x`), 401)
        assert.strictEqual(yield* as(instance.token("outbox", { expiresIn: -1 })), 401)
        assert.strictEqual(yield* as(token), 403)
        yield* instance.grant("outbox", ["produce"])
        assert.strictEqual(yield* as(token), 101)
        assert.strictEqual(yield* as(instance.token("outbox", { expiresIn: 600 })), 101)
        assert.strictEqual(yield* as(instance.token("other")), 403)
      }))

    it.scopedLive("speaks TLS as localhost, with clients whose certificate its CA made", () =>
      Effect.gen(function*() {
        const { tls } = yield* Instance.Pulsar({ tls: { requireClientCertificate: true } })
        const url = `${tls.webUrl}/admin/v2/clusters`
        const read = (file: string) => fs.readFileSync(file)
        const ca = read(tls.ca)
        const mutual = { ca, cert: read(tls.client.certificate), key: read(tls.client.key) }
        assert.strictEqual(yield* outcome(url, mutual), 200)
        assert.strictEqual(
          yield* outcome(url.replace("localhost", "127.0.0.1"), mutual),
          "ERR_TLS_CERT_ALTNAME_INVALID"
        )
        assert.strictEqual(
          yield* outcome(url, { ...mutual, ca: read(tls.foreign.ca) }),
          "UNABLE_TO_VERIFY_LEAF_SIGNATURE"
        )
        assert.match(String(yield* outcome(url, { ca })), /BAD_CERTIFICATE|ECONNRESET/)
        const { client } = tls.foreign
        assert.match(
          String(yield* outcome(url, { ca, cert: read(client.certificate), key: read(client.key) })),
          /CERTIFICATE_UNKNOWN|ECONNRESET/
        )
      }))
  })
})

describe("a small disk", () => {
  Server.having("mount", () => {
    it.live("is full when its size is reached, and gone after", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const folder = yield* Scope.extend(SmallDisk.make({ megabytes: 8 }), scope)
        const file = path.join(folder, "file")
        yield* Effect.scoped(Effect.gen(function*() {
          yield* SmallDisk.fill(folder)
          assert.strictEqual(fs.statSync(path.join(folder, "ballast")).size, 8 * 2 ** 20)
          assert.throws(() => fs.writeFileSync(file, "more"), "ENOSPC")
        }))
        fs.writeFileSync(file, "more")
        yield* Scope.close(scope, Exit.void)
        assert.isFalse(fs.existsSync(folder))
        assert.notInclude(fs.readFileSync("/proc/mounts", "utf8"), folder)
      }))
  })
})

describe("PgBouncer", () => {
  Server.on("postgresql-15", (server) => {
    Server.having("pgbouncer", () => {
      it.scopedLive("hands one connection of the server to two clients in turn, transaction by transaction", () =>
        Effect.gen(function*() {
          const url = yield* PgBouncer.make(yield* Server.database(server), { poolSize: 1 })
          const [one, two] = yield* Effect.all([client(url), client(url)])
          const backend = (client: Client) =>
            Effect.promise(async () => (await client.query("SELECT pg_backend_pid() AS pid")).rows[0])
          const { pid } = yield* backend(one)
          assert.deepStrictEqual(yield* backend(two), { pid })
          yield* Effect.promise(() => one.query("BEGIN"))
          yield* backend(one)
          const waiting = yield* Effect.fork(backend(two))
          yield* Effect.sleep("100 millis")
          assert.isNull(waiting.unsafePoll())
          yield* Effect.promise(() => one.query("COMMIT"))
          assert.deepStrictEqual(yield* Fiber.join(waiting), { pid })
        }))
    })
  })
})

const client = (url: string) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const client = new Client({ connectionString: url })
      await client.connect()
      return client
    }),
    (client) => Effect.promise(() => client.end())
  )

/** A server that says everything back. */
const echo = Effect.map(
  Effect.acquireRelease(
    Effect.promise(async () => {
      const server = net.createServer((socket) => {
        socket.on("error", () => {})
        socket.pipe(socket)
      })
      server.listen(0, "127.0.0.1")
      await once(server, "listening")
      return server
    }),
    (server) => Effect.promise(() => new Promise((resolve) => server.close(resolve)))
  ),
  (server) => {
    const address = server.address()
    if (typeof address !== "object" || address === null) throw new Error("it has no port")
    return { host: "127.0.0.1", port: address.port }
  }
)

class Line {
  readonly socket: net.Socket
  heard = ""
  readonly ended: Promise<string>
  constructor(at: { readonly host: string; readonly port: number }) {
    this.socket = net.connect({ host: at.host, port: at.port })
    this.socket.setEncoding("utf8").on("data", (text: string) => this.heard += text)
    this.ended = new Promise((resolve) => {
      this.socket.once("error", (error) => resolve("code" in error ? String(error.code) : error.message))
      this.socket.once("close", () => resolve("closed"))
    })
  }
  async say(text: string): Promise<string> {
    this.socket.write(text)
    while (!this.heard.endsWith(text)) await once(this.socket, "data")
    return this.heard
  }
}

const line = (at: { readonly host: string; readonly port: number }) =>
  Effect.acquireRelease(Effect.sync(() => new Line(at)), (line) => Effect.sync(() => line.socket.destroy()))

describe("a proxy", () => {
  it.scopedLive("forwards both ways, more than fits into its buffers", () =>
    Effect.gen(function*() {
      const proxy = yield* Proxy.make(yield* echo)
      const caller = yield* line(proxy)
      const text = `${"0123456789".repeat(1_000_000)}.`
      assert.strictEqual(yield* Effect.promise(() => caller.say(text)), text)
    }))

  it.scopedLive("cuts what is open, and takes new connections", () =>
    Effect.gen(function*() {
      const proxy = yield* Proxy.make(yield* echo)
      const caller = yield* line(proxy)
      yield* Effect.promise(() => caller.say("a"))
      yield* proxy.cut
      assert.strictEqual(yield* Effect.promise(() => caller.ended), "ECONNRESET")
      const other = yield* line(proxy)
      assert.strictEqual(yield* Effect.promise(() => other.say("b")), "b")
    }))

  it.scopedLive("stalls old connections and new ones, and loses nothing", () =>
    Effect.gen(function*() {
      const proxy = yield* Proxy.make(yield* echo)
      const before = yield* line(proxy)
      yield* Effect.promise(() => before.say("a"))
      yield* proxy.stall
      const after = yield* line(proxy)
      const answers = yield* Effect.all([
        Effect.fork(Effect.promise(() => before.say("b"))),
        Effect.fork(Effect.promise(() => after.say("c")))
      ])
      yield* Effect.sleep("100 millis")
      for (const answer of answers) assert.isNull(answer.unsafePoll())
      yield* proxy.resume
      assert.deepStrictEqual(yield* Fiber.join(Fiber.all(answers)), ["ab", "c"])
    }))

  it.scopedLive("keeps the answers of a server that it has muted, and goes on telling it things", () =>
    Effect.gen(function*() {
      const proxy = yield* Proxy.make(yield* echo)
      const caller = yield* line(proxy)
      yield* Effect.promise(() => caller.say("a"))
      yield* proxy.mute
      const answer = yield* Effect.fork(Effect.promise(() => caller.say("b")))
      yield* Effect.sleep("100 millis")
      assert.isNull(answer.unsafePoll())
      yield* proxy.resume
      assert.strictEqual(yield* Fiber.join(answer), "ab")
    }))

  it.scopedLive("refuses new connections while those that are open go on, and accepts them again", () =>
    Effect.gen(function*() {
      const proxy = yield* Proxy.make(yield* echo)
      const caller = yield* line(proxy)
      yield* Effect.promise(() => caller.say("a"))
      yield* proxy.refuse
      const refused = yield* line(proxy)
      assert.strictEqual(yield* Effect.promise(() => refused.ended), "ECONNREFUSED")
      assert.strictEqual(yield* Effect.promise(() => caller.say("b")), "ab")
      yield* proxy.accept
      const accepted = yield* line(proxy)
      assert.strictEqual(yield* Effect.promise(() => accepted.say("c")), "c")
    }))

  Server.onEach((server) => {
    it.scopedLive("stands in front of a server by its URL", () =>
      Effect.gen(function*() {
        const proxy = yield* Proxy.make(server.url)
        assert.strictEqual((yield* query(proxy.url(server.url), "SELECT 1")).length, 1)
        yield* proxy.refuse
        assert.isTrue(Exit.isFailure(yield* Effect.exit(query(proxy.url(server.url), "SELECT 1"))))
      }))
  })
})
