/**
 * MySQL and MariaDB as a `SqlClient`: that of `@effect/sql-mysql2`, with TLS that verifies, and connections that do not
 * wait for ever for a server that hangs.
 *
 * Any other layer of `@effect/sql-mysql2` may be given to trustlog in its place.
 */
import * as MysqlClient from "@effect/sql-mysql2/MysqlClient"
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as net from "node:net"
import type { Server } from "../DatabaseUrl.ts"
import { DatabaseError } from "../TrustlogError.ts"
import { classify, messageOf } from "../internal/dialects/mysqlErrors.ts"
import * as socket from "../internal/socket.ts"

export interface Options {
  /** What `DatabaseUrl.fromText` gives for a `mysql://` URL. */
  readonly server: Server
  /** So many connections at most; 10 by default. */
  readonly maxConnections?: number | undefined
  readonly transformResultNames?: ((name: string) => string) | undefined
  readonly transformQueryNames?: ((name: string) => string) | undefined
}

/** Connects. Fails when the server cannot be reached, or does not let us in. */
export const layer = (
  { maxConnections = 10, server, transformQueryNames, transformResultNames }: Options
): Layer.Layer<SqlClient.SqlClient, DatabaseError> =>
  Layer.unwrapEffect(
    Effect.map(Effect.zipRight(isNameable(server), socket.secured(server)), (ssl) =>
      MysqlClient.layer({
        host: server.host,
        port: server.port,
        database: server.database,
        username: server.username,
        password: server.password,
        maxConnections,
        poolConfig: {
          ...ssl === undefined ? {} : { ssl },
          stream: () =>
            server.host.startsWith("/")
              ? socket.patient().connect(server.host)
              : socket.patient().connect(server.port, server.host),
          connectTimeout: socket.connectTimeout,
          maxIdle: maxConnections,
          charset: "utf8mb4_bin"
        },
        transformQueryNames,
        transformResultNames
      }).pipe(Layer.mapError((error) =>
        new DatabaseError({
          reason: classify(error),
          problem: `cannot connect to MySQL at ${server.host}: ${messageOf(error)}`,
          cause: error
        })
      )))
  )

/** Asked for an address, the driver looks whether the certificate is made out to `localhost`. */
const isNameable = ({ host, tls }: Server): Effect.Effect<void, DatabaseError> =>
  tls.mode === "verify-full" && net.isIP(host) !== 0
    ? new DatabaseError({
      reason: "denied",
      problem:
        `the MySQL driver compares a certificate with names, and ${host} is an address: write the server's name ` +
        "into the URL, or ssl-mode=VERIFY_CA"
    })
    : Effect.void
