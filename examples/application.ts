/**
 * An application that records what it does in the transaction in which it does it.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Sqlite from "effect-trustlog/Database/Sqlite"
import * as Embedded from "effect-trustlog/Embedded"
import * as Trustlog from "effect-trustlog/Trustlog"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"

const approve = (invoice: number) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const trustlog = yield* Trustlog.Trustlog
    yield* trustlog.transaction(Effect.gen(function*() {
      yield* sql`INSERT INTO invoice (id, state) VALUES (${invoice}, 'approved')`
      yield* trustlog.append({ actor: "alice", action: "invoice.approve", target: `invoice/${invoice}` })
    }))
  })

const program = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql`CREATE TABLE IF NOT EXISTS invoice (id INTEGER PRIMARY KEY, state TEXT NOT NULL)`
  yield* approve(1)
  // The second one fails, and is rolled back: neither the invoice nor the operation is there.
  yield* Effect.either(approve(1))
  const recorded = yield* sql`SELECT id FROM operation`
  yield* Console.log(`${recorded.length} operation recorded`)
})

program.pipe(
  Effect.provide(Embedded.layer({ ledger: "audit-ledger" })),
  Effect.provide(Sqlite.layer({ filename: "app.db" })),
  NodeRuntime.runMain
)
