/**
 * How `pg` connects to a server.
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type { ConnectionOptions } from "node:tls"
import type { Server } from "../../DatabaseUrl.ts"
import type { DatabaseError } from "../../TrustlogError.ts"
import * as socket from "../socket.ts"

/** `false` for a connection that is not protected. */
export const tls = (server: Server): Effect.Effect<ConnectionOptions | false, DatabaseError> =>
  Effect.map(socket.secured(server), (secured) => {
    if (secured === undefined) return false
    const { verifyIdentity, ...options } = secured
    return verifyIdentity ? options : { ...options, checkServerIdentity: () => undefined }
  })

/** What a connection of one's own is made with. */
export const config = (server: Server) =>
  Effect.map(tls(server), (ssl) => ({
    host: server.host,
    port: server.port,
    database: server.database,
    user: server.username,
    ...server.password === undefined ? {} : { password: Redacted.value(server.password) },
    application_name: server.applicationName,
    ssl,
    connectionTimeoutMillis: socket.connectTimeout,
    keepAlive: true
  }))
