/**
 * What a broker shows of itself to anybody who asks: its clock and its certificate.
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type { ClientRequest, IncomingMessage } from "node:http"
import * as http from "node:http"
import * as https from "node:https"
import * as tls from "node:tls"

export interface Peer {
  /** Its time in milliseconds since 1970, to the second; `undefined` where it does not say. */
  readonly time: number | undefined
  /** Until when its certificate is valid, in milliseconds since 1970; `undefined` without TLS. */
  readonly validUntil: number | undefined
}

/** What we show to a broker that asks who we are. */
export type Material = Pick<tls.SecureContextOptions, "ca" | "cert" | "key">

const silence = 10_000

/** Trust is no matter here: it is judged where something is sent. */
const options = (material: Material) => ({ ...material, rejectUnauthorized: false, timeout: silence })

const validUntil = (socket: unknown): number | undefined => {
  if (!(socket instanceof tls.TLSSocket)) return undefined
  const until = Date.parse(socket.getPeerCertificate().valid_to ?? "")
  return Number.isNaN(until) ? undefined : until
}

const overHttp = (
  url: URL,
  material: Material,
  token: Redacted.Redacted<string> | undefined
): Effect.Effect<Peer | undefined> =>
  Effect.async((resume) => {
    const answered = (answer: IncomingMessage) => {
      const time = Date.parse(answer.headers.date ?? "")
      resume(Effect.succeed({ time: Number.isNaN(time) ? undefined : time, validUntil: validUntil(answer.socket) }))
      answer.destroy()
    }
    // Only what a resource answers is dated; this one is small.
    const at = new URL("/admin/v2/clusters", url.href.replace(/^ws/, "http"))
    const headers = token === undefined ? {} : { authorization: `Bearer ${Redacted.value(token)}` }
    const request: ClientRequest = at.protocol === "https:"
      ? https.get(at, { ...options(material), headers, agent: false }, answered)
      : http.get(at, { timeout: silence, headers, agent: false }, answered)
    request.once("error", () => resume(Effect.succeed(undefined)))
    request.once("timeout", () => request.destroy(new Error("no answer")))
    return Effect.sync(() => request.destroy())
  })

const overTls = (host: string, port: number, material: Material): Effect.Effect<Peer | undefined> =>
  Effect.async((resume) => {
    const socket = tls.connect({ host, port, servername: host, ...options(material) }, () => {
      resume(Effect.succeed({ time: undefined, validUntil: validUntil(socket) }))
      socket.destroy()
    })
    socket.once("error", () => resume(Effect.succeed(undefined)))
    socket.once("timeout", () => socket.destroy(new Error("no answer")))
    return Effect.sync(() => socket.destroy())
  })

/** Asks the first host of a service URL; `undefined` where there is nothing to ask, or no answer. */
export const ask = (
  serviceUrl: string,
  material: Material,
  token: Redacted.Redacted<string> | undefined
): Effect.Effect<Peer | undefined> => {
  if (/^wss?:/.test(serviceUrl)) return overHttp(new URL(serviceUrl), material, token)
  const [, host, port] = /^pulsar\+ssl:\/\/([^,]+?)(?::(\d+))?(?:[,/]|$)/.exec(serviceUrl) ?? []
  return host === undefined ? Effect.succeed(undefined) : overTls(host, Number(port ?? 6651), material)
}
