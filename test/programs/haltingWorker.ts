/**
 * A worker that halts at some place, says so, and goes on when it is told `go`.
 *
 * `haltingWorker <database URL> <place> <lease in milliseconds>`; places: `publishing` (the log has the records, and has
 * not answered), `settling` (inside a settlement, whose transaction has the lane's row locked), `nowhere`.
 *
 * It says `publishing <ids>` when records reach its log, `at <place>` when it halts, and `<level> <text>` for what it logs.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as fs from "node:fs"
import { createInterface } from "node:readline"
import * as CircuitBreaker from "../../src/CircuitBreaker.ts"
import * as CursorWorker from "../../src/CursorWorker.ts"
import * as HostLocal from "../../src/Host/Local.ts"
import { Publisher } from "../../src/Publisher.ts"
import * as Sql from "../../src/Repository/Sql.ts"
import * as WorkerConfig from "../../src/WorkerConfig.ts"
import { overheard } from "../faults/overheard.ts"
import { client } from "../serverDatabase.ts"

const [, , url = "", place = "nowhere", lease = "10000"] = process.argv

const told = Effect.runSync(Effect.makeLatch())
createInterface(process.stdin).on("line", () => told.unsafeOpen())

let hasHalted = false
/** Only once: whoever has been through it works as others do. */
const halt = (at: string) =>
  Effect.suspend(() => {
    if (hasHalted || at !== place) return Effect.void
    hasHalted = true
    return Effect.zipRight(Console.log(`at ${at}`), told.await)
  })

const publisher = Layer.succeed(Publisher, {
  publish: (_, batch) =>
    Effect.gen(function*() {
      yield* Console.log(`publishing ${batch.map((message) => message.id).join()}`)
      yield* halt("publishing")
      return {
        outcomes: batch.map(() => ({ _tag: "Acknowledged" as const, messageId: Uint8Array.of(1) })),
        outage: undefined,
        checkpoint: undefined
      }
    }),
  health: () => Effect.void
})

const database: Layer.Layer<SqlClient.SqlClient, unknown> = overheard(
  client(url),
  (statement) => /DELETE .*trustlog_pending/s.test(statement) ? halt("settling") : Effect.void
)

const worker = CursorWorker.layer.pipe(
  Layer.provide([Sql.layer(), publisher, CircuitBreaker.layer, HostLocal.layer]),
  Layer.provide(database),
  Layer.provide(
    Layer.succeed(WorkerConfig.WorkerConfig, {
      ...WorkerConfig.defaults,
      lease: Duration.millis(Number(lease)),
      leaseRenewal: Duration.millis(Number(lease) / 3)
    })
  ),
  Layer.provide(Logger.replace(
    Logger.defaultLogger,
    Logger.make(({ logLevel, message }) =>
      fs.writeSync(1, `${logLevel.label} ${String(message).replaceAll("\n", " ")}\n`)
    )
  ))
)

void Effect.runPromise(Layer.launch(worker))
