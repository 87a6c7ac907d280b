/**
 * The PersistedQueue of Effect over its SQL store, with as many takers as were found to be fast.
 */
import * as PersistedQueue from "@effect/experimental/PersistedQueue"
import * as PgClient from "@effect/sql-pg/PgClient"
import * as SqlClient from "@effect/sql/SqlClient"
import * as SqlPersistedQueue from "@effect/sql/SqlPersistedQueue"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as LogLevel from "effect/LogLevel"
import * as Logger from "effect/Logger"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type { Contender } from "../Contender.ts"
import { message, type Sample } from "../Sample.ts"

const takers = 1_000

const takerConnections = 20

/** Its default, which it keeps nowhere in the table. */
const maxAttempts = 10

const quiet = Logger.minimumLogLevel(LogLevel.None)

const layer = (url: string, maxConnections: number) =>
  PersistedQueue.layer.pipe(
    Layer.provide(SqlPersistedQueue.layerStore({ pollInterval: "10 millis" })),
    Layer.provideMerge(PgClient.layer({ url: Redacted.make(url), maxConnections })),
    Layer.merge(quiet)
  )

const open = PersistedQueue.make({ name: "operation", schema: Schema.Unknown })

const counts = Effect.flatMap(SqlClient.SqlClient, (sql) =>
  sql<{ readonly pending: number; readonly dead: number }>`
    SELECT count(*) FILTER (WHERE attempts < ${maxAttempts})::int AS pending,
      count(*) FILTER (WHERE attempts >= ${maxAttempts})::int AS dead
    FROM effect_queue WHERE NOT completed`)

export const effectPersistedQueue: Contender = {
  note: "1000 takers, polls every 10 ms; 10 attempts without delay, then given up for good: no API brings it back",
  open: async (url, { connections }) => {
    const runtime = ManagedRuntime.make(layer(url, connections + 2))
    const queue = await runtime.runPromise(open)
    const transaction = <A, E>(effect: Effect.Effect<A, E>) =>
      runtime.runPromise(Effect.flatMap(SqlClient.SqlClient, (sql) => sql.withTransaction(effect)))
    const offer = (sample: Sample) => Effect.suspend(() => queue.offer(message(sample)))
    return {
      append: async (sample) => void await runtime.runPromise(offer(sample)),
      appendAll: (samples) => transaction(Effect.forEach(samples, offer, { discard: true })),
      appendLate: (sample, millis) => transaction(Effect.zipRight(offer(sample), Effect.sleep(millis))),
      left: async () => {
        const [row] = await runtime.runPromise(counts)
        return row ?? { pending: 0, dead: 0 }
      },
      work: async (publish) => {
        const working = ManagedRuntime.make(layer(url, takerConnections))
        const taken = await working.runPromise(open)
        const take = taken.take((payload) =>
          Effect.uninterruptible(Effect.tryPromise(() => publish([JSON.stringify(payload)])))
        )
        const taking = working.runFork(
          Effect.all(Array.from({ length: takers }, () => Effect.forever(Effect.exit(take))), {
            concurrency: "unbounded",
            discard: true
          })
        )
        return async () => {
          await working.runPromise(Fiber.interrupt(taking))
          await working.dispose()
        }
      },
      close: () => runtime.dispose()
    }
  }
}
