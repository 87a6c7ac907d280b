/**
 * A broker's WebSocket interface in memory, for time that does not pass by itself.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { type Handlers, OpenError, WebSocketClient } from "../../src/WebSocketClient.ts"

const frame = /"context":"(\d+)","key":"([^"]+)"/

/** What the broker does from now on. */
export interface Broker {
  /** Nobody takes connections. */
  isAway: boolean
  /** Connections stay open, and nothing is answered. */
  isHung: boolean
  /** Connections end as soon as they are open, before anybody has them. */
  isFickle: boolean
  /** How often somebody tried to connect. */
  attempts: number
  /** How often somebody asked whether it is there. */
  pings: number
  /** The keys of what it has taken. */
  readonly held: Array<string>
  /** The connections that are open. */
  readonly open: Set<Handlers>
}

export const make = (): { readonly broker: Broker; readonly client: Layer.Layer<WebSocketClient> } => {
  const broker: Broker = {
    isAway: false,
    isHung: false,
    isFickle: false,
    attempts: 0,
    pings: 0,
    held: [],
    open: new Set()
  }
  const client = WebSocketClient.of({
    open: (_, handlers) =>
      Effect.suspend(() => {
        broker.attempts++
        if (broker.isAway) return Effect.fail(new OpenError({ reason: "unreachable", detail: "connection refused" }))
        if (broker.isHung) return Effect.fail(new OpenError({ reason: "unreachable", detail: "no answer" }))
        broker.open.add(handlers)
        if (broker.isFickle) handlers.onEnd("closed with code 1011")
        return Effect.succeed({
          send: (text: string) => {
            const [, context, key] = frame.exec(text) ?? []
            if (broker.isHung || context === undefined || key === undefined) return
            broker.held.push(key)
            const entry = Buffer.from([8, 1, 16, broker.held.length & 127]).toString("base64")
            queueMicrotask(() => handlers.onText(JSON.stringify({ result: "ok", messageId: entry, context })))
          },
          together: (send: () => void) => send(),
          ping: () => {
            broker.pings++
            if (!broker.isHung) handlers.onPong()
          },
          end: () => void broker.open.delete(handlers)
        })
      })
  })
  return { broker, client: Layer.succeed(WebSocketClient, client) }
}
