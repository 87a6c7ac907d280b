/**
 * Starts the server whose folder of programs is given, freezes it, says its pid, and waits to be killed.
 */
import * as Effect from "effect/Effect"
import * as Daemon from "../servers/Daemon.ts"
import { startPulsar } from "../servers/Pulsar.ts"

const [kind, from = ""] = process.argv.slice(2)

await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const instance = yield* kind === "pulsar" ? startPulsar(from) : Daemon.startPostgreSQL("held", from)
  yield* instance.freeze
  process.stdout.write(`${instance.pid}\n`)
  yield* Effect.never
})))
