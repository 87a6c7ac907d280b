/**
 * Appends batches to a ledger, each id once, and says what was acknowledged: one line per id, `<id> <index>`.
 *
 * `appendToLedger <ledger> <first number> <batches> <size of a batch> [<signal> <n>]`: with a signal, it sends that to
 * itself before its n-th file operation.
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as fs from "node:fs"
import * as Ledger from "../../src/Ledger.ts"
import * as Faulty from "../FaultyFileSystem.ts"
import { messages } from "../messages.ts"

const [path = "", first = "0", batches = "1", size = "1", signal = "", at = "-1"] = process.argv.slice(2)

const files = Faulty.layer((call) =>
  Effect.sync(() => {
    if (call.index === Number(at)) process.kill(process.pid, signal)
  })
)

const program = Effect.gen(function*() {
  const ledger = yield* Ledger.make({ path, lockWait: "60 seconds" })
  for (let batch = 0; batch < Number(batches); batch++) {
    const from = Number(first) + batch * Number(size)
    const sent = messages(from, from + Number(size))
    const { failure, outcomes } = yield* ledger.append(sent)
    if (failure !== undefined) return yield* failure
    const lines = outcomes.map((outcome, i) =>
      outcome._tag === "Acknowledged"
        ? `${sent[i]?.id} ${Ledger.unpackIndex(outcome.messageId)}\n`
        : `${sent[i]?.id} ${outcome._tag}\n`
    )
    // What is said to be acknowledged is said before anything can kill this process.
    fs.writeSync(1, lines.join(""))
  }
}).pipe(Effect.scoped, Effect.provide(Layer.provideMerge(files, NodeContext.layer)))

await Effect.runPromise(program)
