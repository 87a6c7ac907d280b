/**
 * WebSockets as the web standard has them, which every runtime but Node 20 brings: nothing is imported, so that it works on the
 * edge. It sets no header (a token goes into the URL, where logs of servers may show it), takes no certificates, cannot ping,
 * and does not say why there is no connection: then the same place is asked by HTTP.
 */
import * as Socket from "@effect/platform/Socket"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { type Connection, OpenError, type Opening, WebSocketClient } from "../WebSocketClient.ts"

/** So much of the body of a refusal is read. */
const maxDetail = 4096

const configured = ({ tls, url }: Opening): Effect.Effect<void, OpenError> =>
  url.startsWith("wss:") &&
    (tls.allowInsecure === true || [tls.caFile, tls.certificateFile, tls.keyFile].some((file) => (file ?? "") !== ""))
    ? Effect.fail(
      new OpenError({
        reason: "configuration",
        detail:
          "WebSockets of the web standard take no certificates and verify always: use WebSocketClient/Ws, or leave tls out"
      })
    )
    : Effect.void

/** Why a connection could not be opened: by what a plain request for the topic's place is answered. */
const diagnose = ({ patience, token, url }: Opening): Effect.Effect<OpenError> => {
  const place = url.replace(/^ws/, "http").replace(
    /\/ws\/v2\/(?:producer|consumer|reader)\/(persistent(?:\/[^/?]+){3}).*$/,
    "/lookup/v2/topic/$1"
  )
  return Effect.tryPromise({
    try: async (signal) => {
      const answer = await fetch(place, {
        signal: AbortSignal.any([signal, AbortSignal.timeout(Duration.toMillis(patience))]),
        redirect: "manual",
        ...token && { headers: { authorization: `Bearer ${Redacted.value(token)}` } }
      })
      const detail = (await answer.text()).slice(0, maxDetail)
      return answer.ok
        ? new OpenError({
          reason: "unknown",
          detail: "the connection was not opened, and the runtime does not say why"
        })
        : new OpenError({ reason: "refused", status: answer.status, detail })
    },
    catch: (cause) =>
      new OpenError({ reason: "unreachable", detail: cause instanceof Error ? cause.message : String(cause) })
  }).pipe(Effect.merge)
}

const make = (construct: (url: string) => WebSocket) =>
  WebSocketClient.of({
    open: (opening, { onEnd, onText }) =>
      Effect.zipRight(
        configured(opening),
        Effect.async<Connection, "failed">((resume) => {
          const url = new URL(opening.url)
          if (opening.token) url.searchParams.set("token", Redacted.value(opening.token))
          const socket = construct(url.href)
          let state: "opening" | "open" | "ended" = "opening"
          const end = (why: string) => {
            const was = state
            state = "ended"
            if (was === "opening") resume(Effect.fail("failed"))
            else if (was === "open") onEnd(why)
          }
          socket.addEventListener("open", () => {
            if (state !== "opening") return
            state = "open"
            resume(Effect.succeed({
              send: (text) => socket.send(text),
              together: (send) => send(),
              ping: undefined,
              // The standard's close waits for the other side, which may hang.
              end: () => {
                end("ended by us")
                socket.close()
              }
            }))
          })
          socket.addEventListener("message", ({ data }) => {
            if (state === "open" && typeof data === "string") onText(data)
          })
          socket.addEventListener("error", () => end("the connection broke off"))
          socket.addEventListener(
            "close",
            ({ code, reason }) => end([`closed with code ${code}`, reason].filter(Boolean).join(": "))
          )
          return Effect.sync(() => {
            state = "ended"
            socket.close()
          })
        }).pipe(
          Effect.timeoutFail({ duration: opening.patience, onTimeout: () => "failed" as const }),
          Effect.catchAll(() => Effect.flatMap(diagnose(opening), Effect.fail))
        )
      )
  })

/** The constructor that `Socket.WebSocketConstructor` names: `Socket.layerWebSocketConstructorGlobal` is the runtime's own. */
export const layer: Layer.Layer<WebSocketClient, never, Socket.WebSocketConstructor> = Layer.effect(
  WebSocketClient,
  Effect.map(Socket.WebSocketConstructor, (construct) => make((url) => construct(url)))
)
