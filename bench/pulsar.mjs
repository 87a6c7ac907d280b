// How much of a bare publish loop's rate remains when trustlog delivers from PostgreSQL to Pulsar: the same broker, the same
// protocol, the same window, every acknowledgement awaited in both, in alternating rounds of one run.
//
//   npm run build && npm run --prefix bench pulsar
//
// TRUSTLOG_BENCH_DATABASE_URL (postgres://…) and TRUSTLOG_BENCH_PULSAR_URL (ws://…) say where; what is made there is removed.
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as LogLevel from "effect/LogLevel"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import { randomUUID } from "node:crypto"
import { WebSocket } from "ws"
import * as CircuitBreaker from "../dist/CircuitBreaker.js"
import * as CursorWorker from "../dist/CursorWorker.js"
import * as HostLocal from "../dist/Host/Local.js"
import * as Migrations from "../dist/Migrations.js"
import { Publisher } from "../dist/Publisher.js"
import * as PulsarWebSocket from "../dist/Publisher/PulsarWebSocket.js"
import * as Sql from "../dist/Repository/Sql.js"
import * as RetryWorker from "../dist/RetryWorker.js"
import { Topics } from "../dist/Topics.js"
import * as Trustlog from "../dist/Trustlog.js"
import * as Ws from "../dist/WebSocketClient/Ws.js"

const databaseUrl = process.env.TRUSTLOG_BENCH_DATABASE_URL ?? "postgres://postgres@127.0.0.1:5432/test"
const pulsarUrl = process.env.TRUSTLOG_BENCH_PULSAR_URL ?? "ws://127.0.0.1:8080"
const count = Number(process.env.TRUSTLOG_BENCH_RECORDS ?? 20_000)
const rounds = Number(process.env.TRUSTLOG_BENCH_ROUNDS ?? 5)
const window = 500
const batching = process.env.TRUSTLOG_BENCH_BATCHING === "true"

const schema = `trustlog_bench_${randomUUID().slice(0, 8)}`
const topicOf = (what) => `persistent://public/default/${schema}_${what}`

const operations = (n) =>
  Array.from({ length: n }, (_, i) => ({
    actor: "alice@example.org",
    action: "invoice.approve",
    target: `invoice/${i}`,
    source: "billing",
    payload: { amount: "12.50", currency: "EUR", note: "x".repeat(150) }
  }))

const bareMessage = ({ bytes, contentHash, contentType, id, stream }) => ({
  bytes: Buffer.from(bytes),
  key: id,
  properties: { "content-type": contentType, "schema-version": "1", "content-hash": contentHash, stream }
})

/** The shortest script that publishes some messages and knows that each was stored. */
const bare = async (topic, messages) => {
  const url = `${pulsarUrl}/ws/v2/producer/${topic.replace("://", "/")}?maxPendingMessages=${2 * window}` +
    (batching ? "&batchingEnabled=true&batchingMaxPublishDelay=1" : "")
  const socket = new WebSocket(url, { perMessageDeflate: false })
  await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject))
  const started = performance.now()
  await new Promise((resolve, reject) => {
    let next = 0
    let acknowledged = 0
    const pump = () => {
      while (next < messages.length && next - acknowledged < window) {
        const { bytes, key, properties } = messages[next]
        socket.send(JSON.stringify({ payload: bytes.toString("base64"), key, properties, context: String(next++) }))
      }
    }
    socket.on("message", (text) => {
      if (JSON.parse(text.toString()).result !== "ok") return reject(new Error(text.toString()))
      if (++acknowledged === messages.length) resolve()
      else pump()
    })
    pump()
  })
  const elapsed = performance.now() - started
  socket.terminate()
  return messages.length / elapsed * 1000
}

/** The messages of the first round, for the bare loop to publish in every round: to keep them in each would be work of its own. */
const messages = []

/** Delivers what is pending with the workers of `trustlog run`; rate from the first publish to the last acknowledgement. */
const run = (topic) =>
  Effect.gen(function*() {
    const done = yield* Deferred.make()
    let started
    let acknowledged = 0
    const watched = Layer.effect(
      Publisher,
      Effect.map(Publisher, ({ health, publish }) => ({
        health,
        publish: (topic, batch) =>
          Effect.suspend(() => {
            started ??= performance.now()
            if (messages.length < count) { for (const message of batch) messages.push(bareMessage(message)) }
            return publish(topic, batch)
          }).pipe(Effect.tap(({ outcomes }) => {
            acknowledged += outcomes.filter(({ _tag }) => _tag === "Acknowledged").length
            return acknowledged < count ? Effect.void : Deferred.succeed(done, performance.now())
          }))
      }))
    ).pipe(Layer.provide(PulsarWebSocket.layer({ serviceUrl: pulsarUrl, window, batching })), Layer.provide(Ws.layer))
    const workers = Layer.merge(CursorWorker.layer, RetryWorker.layer).pipe(
      Layer.provide([CircuitBreaker.layer, HostLocal.layer, watched, Layer.succeed(Topics, () => topic)])
    )
    const ended = yield* Effect.provide(Deferred.await(done), workers)
    return count / (ended - started) * 1000
  })

const url = new URL(databaseUrl)
const database = PgClient.layer({ url: Redacted.make(url.href), maxConnections: 10 })

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]
const shown = (rate) => `${Math.round(rate).toLocaleString("en").padStart(7)}/s`

const bench = Effect.gen(function*() {
  const { appendAll } = yield* Trustlog.Trustlog
  console.log(
    `${count} records of ${rounds} rounds, window ${window}, ${
      batching ? "in batches" : "not in batches"
    }; Node ${process.version}`
  )
  console.log("round      bare loop   trustlog run   ratio")
  const ratios = []
  for (let round = 0; round <= rounds; round++) {
    for (let at = 0; at < count; at += 1000) yield* appendAll(operations(1000))
    const delivered = yield* run(topicOf(`run${round}`))
    const rate = yield* Effect.promise(() => bare(topicOf(`bare${round}`), messages))
    // The first round warms everything up.
    if (round === 0) continue
    ratios.push(delivered / rate)
    console.log(
      `${String(round).padEnd(8)} ${shown(rate)}     ${shown(delivered)}    ${(delivered / rate).toFixed(2)}`
    )
  }
  console.log(
    `median ratio ${median(ratios).toFixed(2)} (${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)})`
  )
})

const repository = Layer.provide(Sql.layer({ schema }), Migrations.layer({ schema }))
const nowhere = Layer.succeed(Publisher, { publish: () => Effect.dieMessage("not used"), health: () => Effect.void })
const application = Layer.provideMerge(Trustlog.layer, Layer.merge(repository, nowhere))

await bench.pipe(
  Effect.provide(application),
  Effect.ensuring(
    Effect.flatMap(PgClient.PgClient, (sql) => Effect.orDie(sql`DROP SCHEMA IF EXISTS ${sql(schema)} CASCADE`))
  ),
  Effect.provide(database),
  Logger.withMinimumLogLevel(LogLevel.Warning),
  Effect.runPromise
)
