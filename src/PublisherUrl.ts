/**
 * Which log, as a URL says it: `ledger:<folder>`, `ws://…` and `wss://…` (Apache Pulsar over WebSocket), `pulsar://…` and
 * `pulsar+ssl://…` (its native client), `http://…` and `https://…` (whatever takes records by POST).
 */
import * as Either from "effect/Either"
import { refusal } from "./DatabaseUrl.ts"

export interface LedgerUrl {
  readonly _tag: "Ledger"
  /** The ledger's folder. */
  readonly path: string
  /** Records of more bytes are refused; `undefined` refuses none. */
  readonly maxEntryBytes: number | undefined
}

export interface PulsarUrl {
  /** By which interface of Pulsar: its WebSocket one, or its own protocol, which needs the package `pulsar-client`. */
  readonly _tag: "PulsarWebSocket" | "Pulsar"
  /** The URL without its parameters. */
  readonly serviceUrl: string
  /** Whether messages are put together into entries. */
  readonly batching: boolean
  /** The broker's limit of a frame, where it is not 1 MiB (WebSocket only). */
  readonly maxFrameBytes: number | undefined
}

export interface HttpUrl {
  readonly _tag: "Http"
  /** Where records are posted to. */
  readonly url: string
}

/** `memory:` is for tests. */
export type PublisherUrl = LedgerUrl | PulsarUrl | HttpUrl | { readonly _tag: "Memory" }

/** Whether it is a cluster of Apache Pulsar. */
export const isPulsar = (url: PublisherUrl): url is PulsarUrl => url._tag === "Pulsar" || url._tag === "PulsarWebSocket"

/** The URL for people. It holds no secret: none is accepted in it. */
export const describe = (url: PublisherUrl): string => {
  switch (url._tag) {
    case "Memory":
      return "memory:"
    case "Ledger":
      return url.path
    case "Http":
      return url.url
    default:
      return url.serviceUrl
  }
}

const ledgerForm = "write ledger:<folder> or ledger:<folder>?maxEntryBytes=<bytes>"

const form = "write ledger:<folder>, ws://<host>:<port> or wss://<host>:<port> (Apache Pulsar over WebSocket), " +
  "pulsar://<host>:<port> or pulsar+ssl://<host>:<port> (its native client), or http://<host>/<path> or https://<host>/<path>"

const bytes = /^[1-9]\d{0,14}$/

const ledger = (text: string): Either.Either<PublisherUrl, string> => {
  const match = /^ledger:(?:\/\/(?=\/))?([^?]+)(?:\?(.*))?$/i.exec(text)
  const path = match?.[1]?.replace(/(.)\/+$/, "$1")
  const query = match?.[2]
  const maxEntryBytes = query === undefined ? undefined : /^maxEntryBytes=([1-9]\d{0,14})$/.exec(query)?.[1]
  if (path === undefined || /^\/\/[^/]/.test(path) || (query !== undefined && maxEntryBytes === undefined)) {
    return Either.left(refusal(text, ledgerForm))
  }
  return Either.right({
    _tag: "Ledger",
    path,
    maxEntryBytes: maxEntryBytes === undefined ? undefined : Number(maxEntryBytes)
  })
}

const pulsar = (text: string): Either.Either<PublisherUrl, string> => {
  // What stands behind a question mark may be a token.
  const [address = "", query = ""] = text.split("?", 2)
  const refuse = (cure: string) => Either.left(refusal(query === "" ? text : `${address}?…`, cure))
  if (address.includes("@") || /[?&]?(token|password)=/i.test(query)) {
    return refuse("keep secrets out of the URL: set TRUSTLOG_PULSAR_TOKEN or TRUSTLOG_PULSAR_TOKEN_FILE")
  }
  const isWebSocket = /^wss?:/i.test(address)
  const hosts = /^[a-z+]+:\/\/([^/#]+)(\/[^#]*)?$/i.exec(address)
  const all = (hosts?.[1] ?? "").split(",")
  const isHost = (host: string): boolean => /^(\[[0-9a-f:.]+\]|[^\s:[\]]+)(:\d{1,5})?$/i.test(host)
  if (
    hosts === null || !all.every(isHost) || (isWebSocket && all.length > 1) ||
    (!isWebSocket && hosts[2] !== undefined && hosts[2] !== "/")
  ) {
    return refuse(form)
  }
  const given = new URLSearchParams(query)
  const known = isWebSocket ? ["batching", "maxFrameBytes"] : ["batching"]
  for (const [name, value] of given) {
    if (!known.includes(name)) return refuse(`the parameters that are known here: ${known.join(", ")}`)
    if (given.getAll(name).length > 1) return refuse(`give the parameter ${name} once`)
    if (name === "batching" && !/^(true|false)$/.test(value)) return refuse("write batching as true or false")
    if (name === "maxFrameBytes" && !bytes.test(value)) return refuse("write maxFrameBytes as a number of bytes")
  }
  const maxFrameBytes = given.get("maxFrameBytes")
  return Either.right({
    _tag: isWebSocket ? "PulsarWebSocket" : "Pulsar",
    serviceUrl: address.replace(/^[^:]+/, (scheme) => scheme.toLowerCase()).replace(/\/+$/, ""),
    batching: given.get("batching") === "true",
    maxFrameBytes: maxFrameBytes === null ? undefined : Number(maxFrameBytes)
  })
}

const http = (text: string): Either.Either<PublisherUrl, string> => {
  const [address = ""] = text.split("?", 1)
  const refuse = (cure: string) => Either.left(refusal(address === text ? text : `${address}?…`, cure))
  if (/^[^/]*\/\/[^/]*@/.test(address) || /[?&][^=&]*(token|password|secret|key)=/i.test(text)) {
    return refuse("keep secrets out of the URL: set TRUSTLOG_HTTP_TOKEN or TRUSTLOG_HTTP_TOKEN_FILE")
  }
  return /^https?:\/\/[^/?#\s]+/i.test(text) && !/[#\s]/.test(text) && URL.canParse(text)
    ? Either.right({ _tag: "Http", url: new URL(text).href })
    : refuse(form)
}

/** Reads a URL; says what to write instead where it is not accepted, without showing what may be secret. */
export const fromText = (text: string): Either.Either<PublisherUrl, string> => {
  if (/^memory:$/i.test(text)) return Either.right({ _tag: "Memory" })
  if (/^(pulsar(\+ssl)?|wss?):/i.test(text)) return pulsar(text)
  if (/^https?:/i.test(text)) return http(text)
  return /^ledger:/i.test(text) ? ledger(text) : Either.left(refusal(text, form))
}
