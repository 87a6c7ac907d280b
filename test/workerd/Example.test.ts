/**
 * The example of the edge, as a user would bundle and run it: in workerd, against a receiver over HTTP and a Pulsar.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import type { Metafile } from "esbuild"
import * as fs from "node:fs/promises"
import { fileURLToPath } from "node:url"
import { gzipSync } from "node:zlib"
import { idOf } from "../messages.ts"
import * as Receiver from "../servers/Receiver.ts"
import * as SharedPulsar from "../servers/SharedPulsar.ts"
import * as Topic from "../servers/Topic.ts"
import * as Workerd from "./Workerd.ts"

const example = fileURLToPath(new URL("../../examples/edge/", import.meta.url))

const isInstalled = await Workerd.isInstalled()

/** The example in workerd, delivering to a URL. */
const serve = (publisher: string, others: Record<string, string> = {}) =>
  Effect.gen(function*() {
    const { code } = yield* Effect.promise(() => Workerd.bundle(`${example}worker.ts`, { minify: true }))
    const config = yield* Effect.promise(() => fs.readFile(`${example}workerd.capnp`, "utf8"))
    return yield* Workerd.serve({ code, config, env: { PUBLISHER_URL: publisher, ...others } })
  })

const ask = (workerd: Workerd.Workerd, path: string, init?: RequestInit) =>
  Effect.promise(async () => {
    const response = await fetch(`${workerd.url()}${path}`, init)
    return { status: response.status, body: await response.json() }
  })

const operation = (n: number, fields: Record<string, unknown> = {}) =>
  JSON.stringify({ id: idOf(n), actor: "alice", action: "file.read", target: `file/${n}`, ...fields })

const post = (workerd: Workerd.Workerd, body: string, type = "application/json") =>
  ask(workerd, "/operations", { method: "POST", headers: { "content-type": type }, body })

const lines = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => operation(from + i)).join("\n")

const idsOf = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => idOf(from + i))

const idsAt = ({ received }: Receiver.Receiver) => Array.from(new Set(received.map(({ id }) => id))).toSorted()

const test = (sentence: string, body: () => Effect.Effect<void, unknown, Scope.Scope>) =>
  isInstalled ? it.scopedLive(sentence, body) : it.skip(sentence, () => {})

describe("the example of the edge", () => {
  test("refuses what is no operation, with field and cure, takes others once, and delivers them", () =>
    Effect.gen(function*() {
      const receiver = yield* Receiver.make
      const workerd = yield* serve(receiver.url)
      const refused = yield* post(workerd, operation(1, { clientIp: "somewhere" }))
      assert.strictEqual(refused.status, 400)
      assert.deepInclude(refused.body, { field: "clientIp", reason: "format" })
      assert.match(refused.body.cure, /^write an IPv4 or IPv6 address/)
      assert.strictEqual((yield* post(workerd, "{")).status, 400)

      const first = yield* post(workerd, operation(1))
      assert.deepInclude(first.body[0], { id: idOf(1), outcome: "appended" })
      assert.deepInclude((yield* post(workerd, operation(1))).body[0], { id: idOf(1), outcome: "duplicate" })
      assert.deepInclude(yield* post(workerd, operation(1, { target: "file/2" })), { status: 409 })
      yield* post(workerd, lines(2, 300), "application/jsonl")
      yield* receiver.until(299)
      yield* ask(workerd, "/actors/delivery/Drain", { method: "POST" })
      const { body } = yield* ask(workerd, "/status")
      assert.deepInclude(body, { undelivered: 0, delivered: 299 })
      assert.deepStrictEqual(idsAt(receiver), idsOf(1, 300))
      assert.strictEqual((yield* ask(workerd, "/")).status, 404)
    }))

  test("killed with -9 while it delivers, and started again on its storage, it loses nothing", () =>
    Effect.gen(function*() {
      const receiver = yield* Receiver.make
      const workerd = yield* serve(receiver.url)
      const acknowledged: Array<string> = []
      let next = 0
      for (const deaths of [1, 2]) {
        const came = acknowledged.length
        // The receiver stores some, and leaves the answer to others out, until the process is gone.
        let answered = 0
        receiver.answer(({ method }) => method === "POST" && ++answered > 20 ? "hung" : undefined)
        for (let n = 0; n < 5; n++) {
          const { status } = yield* post(workerd, lines(next, next + 40), "application/jsonl")
          assert.strictEqual(status, 200)
          acknowledged.push(...idsOf(next, next + 40))
          next += 40
        }
        yield* receiver.until(came + 20)
        yield* workerd.kill
        assert.isBelow(idsAt(receiver).length, acknowledged.length, `death ${deaths}`)
        receiver.answer(() => undefined)
        // Nobody asks it anything from now on: its alarm alone goes on with the delivery.
        yield* workerd.start
        yield* receiver.until(acknowledged.length)
      }
      assert.deepStrictEqual(idsAt(receiver), acknowledged)
      yield* ask(workerd, "/actors/delivery/Drain", { method: "POST" })
      assert.deepInclude((yield* ask(workerd, "/status")).body, { undelivered: 0, delivered: acknowledged.length })
    }))

  test("stays paused when it is killed, and goes on when it is resumed", () =>
    Effect.gen(function*() {
      const receiver = yield* Receiver.make
      const workerd = yield* serve(receiver.url)
      assert.deepInclude((yield* ask(workerd, "/actors/delivery/Pause", { method: "POST" })).body, {
        identity: "delivery"
      })
      yield* post(workerd, operation(1))
      yield* workerd.kill
      yield* workerd.start
      const { body } = yield* ask(workerd, "/status")
      assert.deepInclude(body, { pending: 1 })
      assert.deepInclude(body.actors[0], { identity: "delivery", state: "paused" })
      assert.deepStrictEqual(receiver.received, [])
      yield* ask(workerd, "/actors/delivery/Resume", { method: "POST" })
      yield* receiver.until(1)
    }))

  SharedPulsar.on((broker) => {
    test("delivers to a Pulsar over WebSocket, every record at least once under its id", () =>
      Effect.gen(function*() {
        const topic = yield* Topic.make(broker)
        const workerd = yield* serve(broker.wsUrl, { OPERATION_TOPIC: topic })
        yield* post(workerd, lines(1, 51), "application/jsonl")
        yield* ask(workerd, "/actors/delivery/Drain", { method: "POST" })
        assert.deepInclude((yield* ask(workerd, "/status")).body, { undelivered: 0, delivered: 50 })
        const messages = yield* Topic.messages(broker, topic)
        assert.deepStrictEqual(Array.from(new Set(messages.map(({ key }) => key))).toSorted(), idsOf(1, 51))
      }))
  })
})

/** What an edge runtime can load: everything but what these need. */
const modules = [
  "Actor",
  "CircuitBreaker",
  "CursorWorker",
  "Database/DurableObject",
  "Delivery",
  "Drain",
  "Envelope",
  "Host",
  "Host/DurableObject",
  "Host/Local",
  "JsonLines",
  "LaneLease",
  "Membership",
  "Migrations",
  "Monitor",
  "Operation",
  "Publisher",
  "Publisher/Http",
  "Publisher/Memory",
  "Publisher/PulsarWebSocket",
  "PublisherUrl",
  "PulsarCluster",
  "Receipt",
  "Repository",
  "Repository/Sql",
  "RetryPolicy",
  "RetryWorker",
  "Signature",
  "Signer",
  "Statements",
  "Strategy",
  "Subscriber",
  "Subscriber/PulsarWebSocket",
  "Topics",
  "Trustlog",
  "TrustlogError",
  "TrustlogMetrics",
  "WebSocketClient",
  "WebSocketClient/Standard",
  "WorkerConfig"
]

/** Packages of an edge bundle; what imports a module of Node cannot be bundled at all. */
const packagesOf = (metafile: Metafile) =>
  Array.from(
    new Set(
      Object.keys(metafile.inputs).flatMap((input) => /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(input)?.[1] ?? [])
    )
  ).toSorted()

const packages = [
  "@effect/experimental",
  "@effect/platform",
  "@effect/sql",
  "@noble/hashes",
  "effect",
  "fast-check",
  "find-my-way-ts",
  "ipaddr.js",
  "multipasta",
  "pure-rand",
  "uuid"
]

describe("bundles for the edge", () => {
  it("the example needs no module of Node and no driver, and is smaller than 170 KB", async () => {
    const { code, metafile } = await Workerd.bundle(`${example}worker.ts`, { minify: true })
    assert.deepStrictEqual(packagesOf(metafile).filter((name) => !packages.includes(name)), [])
    assert.notMatch(Buffer.from(code).toString(), /["']node:(?!crypto)/)
    assert.isBelow(gzipSync(code, { level: 9 }).length, 170_000)
  })

  it("the configuration for Cloudflare names what the Worker has", async () => {
    const text = await fs.readFile(`${example}wrangler.jsonc`, "utf8")
    const config = JSON.parse(text.replaceAll(/^\s*\/\/.*$/gm, ""))
    assert.deepStrictEqual(config.durable_objects.bindings, [{ name: "AUDIT", class_name: "Audit" }])
    assert.deepStrictEqual(config.migrations, [{ tag: "v1", new_sqlite_classes: ["Audit"] }])
    const worker = await fs.readFile(`${example}${config.main}`, "utf8")
    for (const name of ["export class Audit ", "readonly AUDIT:", ...Object.keys(config.vars)])
      assert.include(worker, name)
  })

  it("no module that the edge can load needs a module of Node", async () => {
    const { metafile } = await Workerd.bundle(
      modules.map((name) => fileURLToPath(new URL(`../../dist/${name}.js`, import.meta.url)))
    )
    assert.strictEqual(Object.keys(metafile.outputs).length, modules.length)
    assert.deepStrictEqual(packagesOf(metafile).filter((name) => !packages.includes(name)), [])
  })
})
