/**
 * Testing what records operations: with a mock, where only the calls matter, and with the real repository and a log in
 * memory, where it matters what would be delivered.
 */
import * as CircuitBreaker from "effect-trustlog/CircuitBreaker"
import * as Sqlite from "effect-trustlog/Database/Sqlite"
import * as Drain from "effect-trustlog/Drain"
import * as Migrations from "effect-trustlog/Migrations"
import * as Operation from "effect-trustlog/Operation"
import * as Memory from "effect-trustlog/Publisher/Memory"
import * as Sql from "effect-trustlog/Repository/Sql"
import * as Trustlog from "effect-trustlog/Trustlog"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

/** What is to be tested. */
const login = (user: string) =>
  Effect.flatMap(Trustlog.Trustlog, (trustlog) => trustlog.append({ actor: user, action: "login", target: "console" }))

const calls: Array<string> = []
const mock = Layer.mock(Trustlog.Trustlog, {
  append: (operation) =>
    Effect.sync(() => {
      calls.push(`${operation.actor} ${operation.action}`)
      return { id: Operation.OperationId.make("00000000-0000-7000-8000-000000000001"), outcome: "sent" as const }
    })
})

const database = Layer.provideMerge(
  Layer.provide(Sql.layer(), Migrations.layer()),
  Sqlite.layer({ filename: ":memory:" })
)
const inMemory = Layer.mergeAll(
  Layer.provideMerge(Trustlog.layer, Layer.merge(database, Memory.layer)),
  CircuitBreaker.layer
)

const delivered = Effect.gen(function*() {
  yield* login("bob")
  yield* Drain.drainOnce()
  const control = yield* Memory.Control
  return (yield* control.held).map(({ message }) => new TextDecoder().decode(message.bytes))
})

const program = Effect.gen(function*() {
  yield* Effect.provide(login("alice"), mock)
  yield* Console.log(calls.join())
  const envelopes = yield* Effect.provide(delivered, inMemory)
  yield* Console.log(envelopes.map((envelope) => String(JSON.parse(envelope).actor)).join())
})

await Effect.runPromise(program)
