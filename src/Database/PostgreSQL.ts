/**
 * PostgreSQL as a `SqlClient`: that of `@effect/sql-pg`, with TLS that verifies, and connections that do not wait for ever
 * for a server that hangs. It also listens for what other processes append (see `Listener`), over a connection of its
 * own.
 *
 * Any other layer of `@effect/sql-pg` may be given to trustlog in its place.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import type * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Pg from "pg"
import type { Server } from "../DatabaseUrl.ts"
import type { Listener } from "../Listener.ts"
import * as ListenerPostgreSQL from "../Listener/PostgreSQL.ts"
import { DatabaseError } from "../TrustlogError.ts"
import { classify, messageOf } from "../internal/dialects/postgresqlErrors.ts"
import * as driver from "../internal/drivers/postgresql.ts"
import { prepare } from "../internal/preparedStatements.ts"
import * as socket from "../internal/socket.ts"

export interface Options {
  /** What `DatabaseUrl.fromText` gives for a `postgres://` URL. */
  readonly server: Server
  /**
   * Where to listen, if not there: a server behind a pooler, reached directly. Behind a pooler that hands out connections
   * by transaction nothing can be listened to, and what is appended elsewhere is found within a quarter of a second.
   */
  readonly listen?: Server | undefined
  /** So many connections at most; 10 by default. */
  readonly maxConnections?: number | undefined
  readonly transformResultNames?: ((name: string) => string) | undefined
  readonly transformQueryNames?: ((name: string) => string) | undefined
}

/** Whether a connection is to the server itself, and not to a pooler that hands it on. */
const isDirect = async (client: Pg.PoolClient): Promise<boolean> => {
  const { rows: [row] } = await client.query<{ readonly pid: number }>("SELECT pg_backend_pid() AS pid")
  return row?.pid === Reflect.get(client, "processID")
}

/** The connections. One that is lost is made again when it is needed. */
const pool = (options: Pg.PoolConfig) =>
  Effect.acquireRelease(
    Effect.tryPromise({
      try: async () => {
        const pool = new Pg.Pool(options)
        pool.on("error", () => {})
        try {
          const client = await pool.connect()
          try {
            if (await isDirect(client)) {
              prepare(client)
              pool.on("connect", prepare)
            }
          } finally {
            client.release()
          }
          return pool
        } catch (error) {
          await pool.end()
          throw error
        }
      },
      catch: (cause) => new SqlError({ cause, message: "Failed to connect" })
    }),
    (pool) => Effect.promise(() => pool.end()).pipe(Effect.interruptible, Effect.timeoutOption("1 second"))
  ).pipe(Effect.timeoutFail({
    duration: socket.connectTimeout,
    onTimeout: () => new SqlError({ cause: new Error("no answer"), message: "Failed to connect" })
  }))

/** Connects. Fails when the server cannot be reached, or does not let us in. */
export const layer = (
  { listen, maxConnections = 10, server, transformQueryNames, transformResultNames }: Options
): Layer.Layer<SqlClient.SqlClient | Listener, DatabaseError> =>
  Layer.unwrapEffect(Effect.map(driver.config(server), (config) =>
    Layer.merge(
      PgClient.layerFromPool({
        acquire: pool({ ...config, stream: socket.patient, max: maxConnections }),
        transformQueryNames,
        transformResultNames
      }).pipe(Layer.mapError((error) =>
        new DatabaseError({
          reason: classify(error),
          problem: `cannot connect to PostgreSQL at ${server.host}: ${messageOf(error)}`,
          cause: error
        })
      )),
      ListenerPostgreSQL.layer(listen ?? server)
    )))
