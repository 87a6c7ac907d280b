/**
 * A worker whose log takes its time: it says `publishing <ids>` before it waits, and `published` after that. Its first
 * argument is the database, the second how long it waits, in milliseconds.
 */
import * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as CircuitBreaker from "../../src/CircuitBreaker.ts"
import * as CursorWorker from "../../src/CursorWorker.ts"
import * as Sqlite from "../../src/Database/Sqlite.ts"
import * as HostLocal from "../../src/Host/Local.ts"
import { Publisher } from "../../src/Publisher.ts"
import * as Sql from "../../src/Repository/Sql.ts"
import * as WorkerConfig from "../../src/WorkerConfig.ts"

const [, , filename = "", wait = "0"] = process.argv

const publisher = Layer.succeed(Publisher, {
  publish: (_, batch) =>
    Effect.gen(function*() {
      yield* Console.log(`publishing ${batch.map((message) => message.id).join()}`)
      yield* Effect.sleep(Number(wait))
      yield* Console.log("published")
      return {
        outcomes: batch.map(() => ({ _tag: "Acknowledged" as const, messageId: Uint8Array.of(1) })),
        outage: undefined,
        checkpoint: undefined
      }
    }),
  health: () => Effect.void
})

const worker = CursorWorker.layer.pipe(
  Layer.provide([Sql.layer(), publisher, CircuitBreaker.layer, HostLocal.layer]),
  Layer.provide(Sqlite.layer({ filename })),
  Layer.provide(
    Layer.succeed(WorkerConfig.WorkerConfig, {
      ...WorkerConfig.defaults,
      lease: Duration.seconds(2),
      leaseRenewal: Duration.millis(500)
    })
  ),
  Layer.provide(Logger.replace(Logger.defaultLogger, Logger.withConsoleError(Logger.logfmtLogger)))
)

void Effect.runPromise(Layer.launch(worker))
