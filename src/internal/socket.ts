/**
 * Sockets to database servers, and what protects them.
 */
import * as Effect from "effect/Effect"
import * as fs from "node:fs"
import * as net from "node:net"
import type { Server, Tls } from "../DatabaseUrl.ts"
import { DatabaseError } from "../TrustlogError.ts"

/**
 * A server that has not said anything for so long is given up: it may hang, or be behind a network that is cut, and then
 * nobody would ever tell us. A connection that nobody uses is closed by it as well.
 */
const silence = 60_000

/** A server has so long to let us in. */
export const connectTimeout = 10_000

/** A socket that ends itself when the other side is silent. */
export const patient = (): net.Socket => {
  const socket = new net.Socket()
  socket.setTimeout(
    silence,
    () => socket.destroy(Object.assign(new Error(`no answer for ${silence / 1000} seconds`), { code: "ETIMEDOUT" }))
  )
  return socket
}

/** What `node:tls` and the drivers are told; `undefined` for a connection that is not protected. */
export interface Secured {
  readonly ca?: Buffer
  readonly cert?: Buffer
  readonly key?: Buffer
  readonly rejectUnauthorized: boolean
  /** Whether the certificate must be made out to the host. */
  readonly verifyIdentity: boolean
}

const read = (what: string, file: string | undefined): Effect.Effect<Buffer | undefined, DatabaseError> =>
  file === undefined ? Effect.succeed(undefined) : Effect.try({
    try: () => fs.readFileSync(file),
    catch: (cause) =>
      new DatabaseError({
        reason: "denied",
        problem: `the database URL names ${what} ${file}, which cannot be read: ${
          cause instanceof Error ? cause.message : String(cause)
        }`,
        cause
      })
  })

const files = (tls: Tls): Effect.Effect<Secured, DatabaseError> =>
  Effect.gen(function*() {
    const ca = yield* read("a CA file", tls.ca)
    const cert = yield* read("a certificate", tls.certificate)
    const key = yield* read("a key", tls.key)
    return {
      ...ca && { ca },
      ...cert && { cert },
      ...key && { key },
      rejectUnauthorized: tls.mode !== "require",
      verifyIdentity: tls.mode === "verify-full"
    }
  })

/** Reads the files that a URL names, and warns where the server is not verified. */
export const secured = ({ host, tls }: Server): Effect.Effect<Secured | undefined, DatabaseError> =>
  Effect.gen(function*() {
    if (tls.mode === "disable") return undefined
    if (tls.mode === "require") {
      yield* Effect.logWarning(
        `the connection to ${host} is encrypted, but whoever answers is believed; verify-full looks at the certificate`
      )
    }
    return yield* files(tls)
  })
