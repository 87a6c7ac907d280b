/**
 * An application that records in its own transaction and delivers to Apache Pulsar, and on the other side, here in the same program,
 * a subscriber that reads what has arrived. `docker compose up --detach --wait pulsar` starts a broker for it.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Sqlite from "effect-trustlog/Database/Sqlite"
import * as Embedded from "effect-trustlog/Embedded"
import * as PulsarWebSocket from "effect-trustlog/Publisher/PulsarWebSocket"
import * as Subscriber from "effect-trustlog/Subscriber"
import * as PulsarSubscriber from "effect-trustlog/Subscriber/PulsarWebSocket"
import * as Topics from "effect-trustlog/Topics"
import * as Trustlog from "effect-trustlog/Trustlog"
import * as Ws from "effect-trustlog/WebSocketClient/Ws"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"

/** What the application says of an approval, and the subscriber understands. */
const Approval = Schema.parseJson(Schema.Struct({ amount: Schema.Number, currency: Schema.String }))

const approve = (invoice: number, approval: typeof Approval.Type) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const trustlog = yield* Trustlog.Trustlog
    yield* trustlog.transaction(Effect.gen(function*() {
      yield* sql`INSERT INTO invoice (id, state) VALUES (${invoice}, 'approved')`
      yield* trustlog.append({
        actor: "alice",
        action: "invoice.approve",
        target: `invoice/${invoice}`,
        payload: approval
      })
    }))
  })

const application = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql`CREATE TABLE IF NOT EXISTS invoice (id INTEGER PRIMARY KEY, state TEXT NOT NULL)`
  yield* approve(1, { amount: 120, currency: "EUR" })
  // The second one fails, and is rolled back: the broker never hears of it.
  yield* Effect.either(approve(1, { amount: 999, currency: "EUR" }))
  yield* approve(2, { amount: 80, currency: "EUR" })
})

/** An entry is acknowledged once it is handled; what is not comes again, as after a crash. */
const alerts = (topic: string) =>
  Subscriber.stream({ topics: [topic], subscription: "alerts" }).pipe(
    Stream.take(2),
    Stream.runForEach(({ acknowledge, envelope }) =>
      Effect.gen(function*() {
        const { amount, currency } = yield* Schema.decodeUnknown(Approval)(envelope.payload)
        yield* Console.log(`${envelope.actor} ${envelope.action} ${envelope.target}: ${amount} ${currency}`)
        yield* acknowledge
      })
    )
  )

const program = Effect.gen(function*() {
  const serviceUrl = yield* Config.withDefault(Config.string("PULSAR_URL"), "ws://127.0.0.1:8080")
  const topic = yield* Config.withDefault(Config.string("PULSAR_TOPIC"), "persistent://public/default/invoices")
  const publisher = Layer.provide(PulsarWebSocket.layer({ serviceUrl }), Ws.layer)
  const subscriber = Layer.provide(PulsarSubscriber.layer({ serviceUrl }), Ws.layer)

  yield* Effect.zipRight(application, Effect.provide(alerts(topic), subscriber)).pipe(
    Effect.provide(Embedded.layer({ publisher })),
    Effect.provide(Layer.succeed(Topics.Topics, () => topic)),
    Effect.provide(Sqlite.layer({ filename: "app.db" }))
  )
})

NodeRuntime.runMain(program)
