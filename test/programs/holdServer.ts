/**
 * Starts the PostgreSQL whose folder of programs is given, freezes it, says its pid, and waits to be killed.
 */
import * as Effect from "effect/Effect"
import * as Daemon from "../servers/Daemon.ts"

const [name = "", bin = ""] = process.argv.slice(2)

await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const instance = yield* Daemon.startPostgreSQL(name, bin)
  yield* instance.freeze
  process.stdout.write(`${instance.pid}\n`)
  yield* Effect.never
})))
