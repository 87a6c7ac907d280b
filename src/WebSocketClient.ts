/**
 * Connections by WebSocket (RFC 6455), of which runtimes give very different ones: the contract of what is in
 * `WebSocketClient/`. Messages are texts, and come as callbacks: there are tens of thousands a second.
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import type { Tls } from "./PulsarCluster.ts"

/** Where to connect, and how. */
export interface Opening {
  readonly url: string
  /** Sent as a bearer token, where the client can set headers; else as the parameter `token`. */
  readonly token: Redacted.Redacted<string> | undefined
  readonly tls: Tls
  /** The other side has so long to let us in. */
  readonly patience: Duration.Duration
}

/** Who is told. Nothing is told before the connection is open, nor after `onEnd`, which is told once. */
export interface Handlers {
  readonly onText: (text: string) => void
  /** The answer to a ping. */
  readonly onPong: () => void
  /** The connection is no more, however it ended; `why` is for people. */
  readonly onEnd: (why: string) => void
}

export interface Connection {
  readonly send: (text: string) => void
  /** Sends what a function sends at once, where the runtime has a way: a system call each costs more than all else. */
  readonly together: (send: () => void) => void
  /** Asks whether the other side is there; `undefined` where the runtime cannot ask. */
  readonly ping: (() => void) | undefined
  /** Ends it at once, without waiting for the other side. */
  readonly end: () => void
}

/**
 * Why there is no connection, as far as the runtime tells.
 *
 * - `refused`: the other side answered with another HTTP status than 101
 * - `tls`: one side does not trust the other, or does not speak TLS; `code` is that of OpenSSL or Node
 * - `unreachable`: nobody answered
 * - `configuration`: a file cannot be read, or this runtime cannot do what is asked for
 * - `unknown`: the runtime does not tell
 */
export class OpenError extends Data.TaggedError("OpenError")<{
  readonly reason: "refused" | "tls" | "unreachable" | "configuration" | "unknown"
  readonly status?: number | undefined
  readonly code?: string | undefined
  /** What the runtime, or the body of the answer, says. */
  readonly detail: string
}> {}

/** What opens connections. */
export class WebSocketClient extends Context.Tag("effect-trustlog/WebSocketClient")<WebSocketClient, {
  /** Connects. Interrupted, it leaves nothing behind; who has the connection ends it. */
  readonly open: (opening: Opening, handlers: Handlers) => Effect.Effect<Connection, OpenError>
}>() {}
