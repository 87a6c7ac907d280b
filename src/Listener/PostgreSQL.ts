/**
 * PostgreSQL's LISTEN, on a connection of its own that is made again when it is lost.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Pg from "pg"
import type { Server } from "../DatabaseUrl.ts"
import { Listener } from "../Listener.ts"
import { messageOf } from "../internal/dialects/driverErrors.ts"
import * as driver from "../internal/drivers/postgresql.ts"

/** So long is waited before a lost connection is made again. */
const pause = Duration.seconds(2)

/** What is said when something may have been missed. */
const anything = "*"

/**
 * Listens on a server, reached directly: a pooler that hands out connections by transaction forgets who listens. One is
 * noticed, and then nothing is listened to.
 */
export const layer = (server: Server): Layer.Layer<Listener> =>
  Layer.succeed(Listener, {
    listen: (channel) => {
      /** What one connection hears, until it is lost. It tells whether to try again. */
      const connection = Stream.asyncPush<string, unknown>(
        (emit) =>
          Effect.gen(function*() {
            const config = yield* driver.config(server)
            const client = yield* Effect.acquireRelease(
              Effect.sync(() => new Pg.Client(config)),
              (client) =>
                // Interruptible as a whole it would not even begin, when it is an interruption that ends all.
                Effect.promise(() => client.end().catch(() => undefined)).pipe(
                  Effect.interruptible,
                  Effect.timeoutOption("1 second")
                )
            )
            client.on("error", (error) => emit.fail(error))
            client.on("end", () => emit.end())
            client.on(
              "notification",
              ({ payload }) => emit.single(payload === undefined || payload === "" ? anything : payload)
            )
            yield* Effect.tryPromise(() => client.connect())
            const [row] = (yield* Effect.tryPromise(() =>
              client.query<{ readonly pid: number }>("SELECT pg_backend_pid() AS pid")
            )).rows
            // Behind a pooler the server that answers is not the one that let us in.
            if (row?.pid !== Reflect.get(client, "processID")) {
              yield* Effect.logInfo(
                "the database is behind a pooler: what other processes append is found by looking, " +
                  "unless TRUSTLOG_LISTEN_URL names the server itself"
              )
              yield* Effect.tryPromise(() => client.end())
              return yield* Effect.never
            }
            yield* Effect.tryPromise(() => client.query(`LISTEN ${Pg.escapeIdentifier(channel)}`))
            emit.single(anything)
          }),
        { bufferSize: 1024, strategy: "sliding" }
      )
      return connection.pipe(
        Stream.catchAll((error) =>
          Stream.execute(Effect.logDebug(`the connection that listens was lost: ${messageOf(error)}`))
        ),
        Stream.concat(Stream.execute(Effect.sleep(pause))),
        Stream.forever
      )
    }
  })
