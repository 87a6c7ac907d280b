/**
 * WebSockets by the package `ws`: with headers, certificates and pings, and with an answer to why there is no connection. For
 * Node, Bun and Deno.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { readFile } from "node:fs/promises"
import type { IncomingMessage } from "node:http"
import type { Socket } from "node:net"
import { type ClientOptions, WebSocket } from "ws"
import type { Tls } from "../PulsarCluster.ts"
import { type Connection, OpenError, WebSocketClient } from "../WebSocketClient.ts"
import * as tlsFiles from "../internal/pulsar/tlsFiles.ts"

/** A message of a broker is at most 5 MiB by default, and a third longer as text. */
const maxMessageBytes = 64 * 1024 * 1024

/** So much of the body of a refusal is read. */
const maxDetail = 4096

/** The contents of the files that TLS needs. */
const secured = (tls: Tls): Effect.Effect<ClientOptions, OpenError> =>
  Effect.map(
    Effect.forEach(tlsFiles.given(tls), ({ material, path, setting }) =>
      Effect.tryPromise({
        try: async () => ({ [material]: await readFile(path) }),
        catch: (cause) =>
          new OpenError({
            reason: "configuration",
            detail: `${path} (${setting}) cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`
          })
      })),
    (read) => Object.assign({ rejectUnauthorized: tls.allowInsecure !== true }, ...read)
  )

const unreachable = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOTFOUND",
  "EAI_AGAIN",
  "ETIMEDOUT",
  "EPIPE"
])

const isTls =
  /^(ERR_SSL_|ERR_TLS_|ERR_OSSL_|CERT_|CRL_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|INVALID_CA|INVALID_PURPOSE|HOSTNAME_MISMATCH|HPE_|EPROTO)/

const openError = (error: Error): OpenError => {
  const code = "code" in error && typeof error.code === "string" ? error.code : undefined
  const reason = code !== undefined && isTls.test(code)
    ? "tls"
    : code !== undefined && unreachable.has(code) || error.message === "Opening handshake has timed out"
    ? "unreachable"
    : "unknown"
  return new OpenError({ reason, code, detail: error.message === "" ? code ?? error.name : error.message })
}

/** Reads the beginning of what a server answers instead of a WebSocket. */
const refusal = (answer: IncomingMessage, told: (error: OpenError) => void): void => {
  let detail = ""
  const tell = () => {
    answer.destroy()
    told(new OpenError({ reason: "refused", status: answer.statusCode, detail: detail.slice(0, maxDetail) }))
  }
  answer.setEncoding("utf8")
  answer.on("data", (text: string) => {
    detail += text
    if (detail.length >= maxDetail) tell()
  })
  answer.once("end", tell)
  answer.once("error", tell)
}

const make = WebSocketClient.of({
  open: ({ patience, tls, token, url }, { onEnd, onPong, onText }) =>
    Effect.flatMap(
      url.startsWith("wss:") ? secured(tls) : Effect.succeed({}),
      (security) =>
        Effect.async<Connection, OpenError>((resume) => {
          const socket = new WebSocket(url, {
            ...security,
            ...token && { headers: { authorization: `Bearer ${Redacted.value(token)}` } },
            handshakeTimeout: Duration.toMillis(patience),
            perMessageDeflate: false,
            maxPayload: maxMessageBytes
          })
          let isOpen = false
          let problem = ""
          let carrier: Socket | undefined
          socket.once("upgrade", (answer) => {
            carrier = answer.socket
          })
          socket.once("open", () => {
            isOpen = true
            resume(Effect.succeed({
              send: (text) => socket.send(text),
              together: (send) => {
                carrier?.cork()
                send()
                carrier?.uncork()
              },
              ping: () => socket.ping(),
              end: () => socket.terminate()
            }))
          })
          socket.on("message", (data, isBinary) => {
            if (!isBinary) onText(data.toString())
          })
          socket.on("pong", onPong)
          socket.once("unexpected-response", (_request, answer) =>
            refusal(answer, (error) => {
              socket.terminate()
              resume(Effect.fail(error))
            }))
          socket.on("error", (error) => {
            problem = error.message
            if (!isOpen) resume(Effect.fail(openError(error)))
          })
          socket.once("close", (code, reason) => {
            if (isOpen) onEnd([`closed with code ${code}`, reason.toString(), problem].filter(Boolean).join(": "))
          })
          return Effect.sync(() => socket.terminate())
        })
    )
})

/** The package `ws`. */
export const layer: Layer.Layer<WebSocketClient> = Layer.succeed(WebSocketClient, make)
