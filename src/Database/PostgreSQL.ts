/**
 * PostgreSQL as a `SqlClient`: that of `@effect/sql-pg`, with TLS that verifies, and connections that do not wait for ever
 * for a server that hangs. It also listens for what other processes append (see `Listener`), over a connection of its
 * own.
 *
 * Any other layer of `@effect/sql-pg` may be given to trustlog in its place.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Server } from "../DatabaseUrl.ts"
import type { Listener } from "../Listener.ts"
import * as ListenerPostgreSQL from "../Listener/PostgreSQL.ts"
import { DatabaseError } from "../TrustlogError.ts"
import { classify, messageOf } from "../internal/dialects/postgresqlErrors.ts"
import * as driver from "../internal/drivers/postgresql.ts"
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

/** Connects. Fails when the server cannot be reached, or does not let us in. */
export const layer = (
  { listen, maxConnections = 10, server, transformQueryNames, transformResultNames }: Options
): Layer.Layer<SqlClient.SqlClient | Listener, DatabaseError> =>
  Layer.unwrapEffect(Effect.map(driver.tls(server), (ssl) =>
    Layer.merge(
      PgClient.layer({
        host: server.host,
        port: server.port,
        database: server.database,
        username: server.username,
        password: server.password,
        applicationName: server.applicationName,
        ssl,
        stream: socket.patient,
        connectTimeout: socket.connectTimeout,
        maxConnections,
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
