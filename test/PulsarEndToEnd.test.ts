/**
 * A hundred thousand records from PostgreSQL to a Pulsar, and back through a subscriber.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Envelope from "../src/Envelope.ts"
import * as Subscriber from "../src/Subscriber.ts"
import * as SubscriberPulsarWebSocket from "../src/Subscriber/PulsarWebSocket.ts"
import * as Ws from "../src/WebSocketClient/Ws.ts"
import * as sha256 from "../src/internal/sha256.ts"
import { append, application, noAttemptUsed } from "./faults/pulsarScene.ts"
import { range, until } from "./faults/scene.ts"
import * as Server from "./servers/Server.ts"
import * as SharedPulsar from "./servers/SharedPulsar.ts"
import * as Topic from "./servers/Topic.ts"

const count = 100_000

Server.on("postgresql-18", (server) => {
  SharedPulsar.on((broker) => {
    it.scopedLive("a hundred thousand records come back as they were: same ids, same bytes, same hashes, none lost", () =>
      Effect.gen(function*() {
        const topic = yield* Topic.make(broker)
        const received = new Map<string, string>()
        const mistaken: Array<string> = []
        const subscriber = SubscriberPulsarWebSocket.layer({ serviceUrl: broker.wsUrl }).pipe(Layer.provide(Ws.layer))
        yield* Subscriber.run({ topics: [topic], subscription: "everything" }, (entries) =>
          Effect.sync(() => {
            for (const { bytes, envelope, key, properties } of entries) {
              const hash = sha256.hexOfBytes(bytes)
              const written = Envelope.encode(envelope.stream, envelope, { isStored: envelope.isStored })
              if (
                key !== envelope.id || hash !== envelope.contentHash || properties["content-hash"] !== hash ||
                Buffer.compare(written.bytes, bytes) !== 0
              ) mistaken.push(envelope.id)
              received.set(envelope.id, hash)
            }
          })).pipe(Effect.provide(subscriber), Effect.forkScoped)
        yield* Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          yield* append(range(1, count))
          yield* until(Effect.sync(() => received.size >= count))
          yield* noAttemptUsed
          const rows = yield* sql<{ readonly id: string; readonly content_hash: string }>`
            SELECT id, content_hash FROM operation`
          const lost = rows.filter(({ content_hash, id }) => received.get(id) !== content_hash)
          assert.deepStrictEqual({ rows: rows.length, received: received.size, lost, mistaken }, {
            rows: count,
            received: count,
            lost: [],
            mistaken: []
          })
        }).pipe(Effect.provide(application(yield* Server.database(server), topic, { serviceUrl: broker.wsUrl })))
      }))
  })
})
