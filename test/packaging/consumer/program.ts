/**
 * What somebody may write who has installed the package: it is compiled by the compilers, and run by the runtimes, that users have.
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as SqlClient from "@effect/sql/SqlClient"
import * as trustlog from "effect-trustlog"
import * as CircuitBreaker from "effect-trustlog/CircuitBreaker"
import * as PostgreSQL from "effect-trustlog/Database/PostgreSQL"
import * as Sqlite from "effect-trustlog/Database/Sqlite"
import * as Drain from "effect-trustlog/Drain"
import * as Embedded from "effect-trustlog/Embedded"
import * as Ledger from "effect-trustlog/Ledger"
import * as Migrations from "effect-trustlog/Migrations"
import type { Input, OperationId } from "effect-trustlog/Operation"
import * as PublisherLedger from "effect-trustlog/Publisher/Ledger"
import * as Pulsar from "effect-trustlog/Publisher/Pulsar"
import * as PulsarWebSocket from "effect-trustlog/Publisher/PulsarWebSocket"
import * as Sql from "effect-trustlog/Repository/Sql"
import * as Statements from "effect-trustlog/Statements"
import * as Subscriber from "effect-trustlog/Subscriber"
import * as PulsarSubscriber from "effect-trustlog/Subscriber/PulsarWebSocket"
import * as Trustlog from "effect-trustlog/Trustlog"
import type { DatabaseError, PublisherError } from "effect-trustlog/TrustlogError"
import * as Verify from "effect-trustlog/Verify"
import * as Ws from "effect-trustlog/WebSocketClient/Ws"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"

/** An application of a cluster and a server. It is not run here; what its types say is checked. */
export const application = (server: trustlog.DatabaseUrl.Server): {
  readonly everything: Layer.Layer<
    Trustlog.Trustlog | trustlog.Repository.Repository | trustlog.Publisher.Publisher,
    DatabaseError | trustlog.TrustlogError.LedgerError | PublisherError
  >
  readonly alerts: Effect.Effect<void, PublisherError>
  readonly record: (operation: Input) => Effect.Effect<OperationId | DatabaseError["reason"], never, Trustlog.Trustlog>
} => ({
  everything: Embedded.layer({
    publisher: Layer.provide(PulsarWebSocket.layer({ serviceUrl: "wss://pulsar.example.org:8443" }), Ws.layer)
  }).pipe(
    Layer.provide(PostgreSQL.layer({ server })),
    Layer.provide(Layer.succeed(trustlog.RetryPolicy.RetryPolicy, { schedule: Schedule.spaced("1 minute") }))
  ),
  alerts: Subscriber.run(
    { topics: ["persistent://public/default/operation"], subscription: "alerts" },
    (entries) => Effect.forEach(entries, ({ envelope }) => Console.log(envelope.actor), { discard: true })
  ).pipe(Effect.provide(Layer.provide(PulsarSubscriber.layer({ serviceUrl: "ws://127.0.0.1:8080" }), Ws.layer))),
  record: (operation) =>
    Effect.flatMap(Trustlog.Trustlog, ({ append }) => append(operation)).pipe(
      Effect.map(({ id }) => id),
      Effect.catchTags({
        DatabaseError: ({ reason }) => Effect.succeed(reason),
        InvalidOperation: Effect.die,
        OperationConflict: Effect.die,
        PublisherError: Effect.die,
        Rejected: Effect.die
      })
    )
})

const ledger = { path: "audit-ledger" }
const database = Sqlite.layer({ filename: "app.db" })
const log = Layer.unwrapEffect(Effect.as(Ledger.init(ledger), PublisherLedger.layer(ledger)))
const repository = Layer.provide(Sql.layer(), Migrations.layer())
const services = Layer.mergeAll(
  CircuitBreaker.layer,
  Layer.provideMerge(Trustlog.layer, Layer.merge(repository, log))
)

const recorded = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const client = yield* Trustlog.Trustlog
  yield* sql`CREATE TABLE invoice (id INTEGER PRIMARY KEY)`
  yield* client.transaction(Effect.zipRight(
    sql`INSERT INTO invoice (id) VALUES (1)`,
    client.append({ actor: "alice", action: "invoice.approve", target: "invoice/1", payload: { amount: 10 } })
  ))
  const { delivered } = yield* Drain.drainOnce()
  const { verdict } = yield* Verify.verify({ ledger: ledger.path })
  return { delivered, verdict }
}).pipe(Effect.provide(services), Effect.provide(database), Effect.provide(NodeContext.layer))

/** Of a native client that is not installed. */
const native = Layer.build(Pulsar.layer({ serviceUrl: "pulsar://127.0.0.1:6650" })).pipe(Effect.scoped, Effect.flip)

const statement = Statements.append({
  dialect: "postgresql",
  stream: "5f8c1e0a-3f57-4d6f-9a51-0a3c4f6b7d21",
  operations: [{ actor: "alice", action: "login", target: "console" }]
})

const program = Effect.gen(function*() {
  const result = yield* Effect.either(recorded)
  const missing = yield* native
  return {
    modules: Object.keys(trustlog).length,
    recorded: Either.getOrElse(result, ({ message }) => message),
    statements: Either.getOrThrow(statement).statements.length,
    native: missing.message
  }
})

await Effect.runPromise(Effect.flatMap(program, (result) => Console.log(JSON.stringify(result))))
