/**
 * A receiver of records over HTTP, which misbehaves when it is told to.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { once } from "node:events"
import { createServer, type IncomingHttpHeaders, type Server } from "node:http"
import * as Port from "./Port.ts"

export interface Received {
  readonly method: string
  readonly id: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** What becomes of a request: an answer, the end of its connection, or nothing until the receiver is closed. */
export type Fate =
  | { readonly status: number; readonly headers?: Record<string, string>; readonly text?: string }
  | "lost"
  | "hung"

export interface Receiver {
  readonly url: string
  /** Every POST so far, whatever became of it, in the order of arrival. */
  readonly received: ReadonlyArray<Received>
  /** Says what becomes of requests from now on: 204 where it says nothing. */
  readonly answer: (fate: (request: Received) => Fate | undefined) => void
  /** Completes when so many records have come, or more: each counts once. */
  readonly until: (count: number) => Effect.Effect<void>
  /** Nobody listens until the scope closes. */
  readonly down: Effect.Effect<void, never, Scope.Scope>
  /** Lets go of what hangs. */
  readonly release: Effect.Effect<void>
}

/** A receiver, until the scope closes. */
export const make: Effect.Effect<Receiver, never, Scope.Scope> = Effect.gen(function*() {
  const port = yield* Port.free
  const received: Array<Received> = []
  const known = new Set<string>()
  const waiting = new Set<() => void>()
  let fateOf: (request: Received) => Fate | undefined = () => undefined

  const open = Effect.promise(async (): Promise<Server> => {
    const server = createServer((request, response) => {
      const parts: Array<Buffer> = []
      request.on("data", (part: Buffer) => parts.push(part))
      request.on("end", () => {
        const one: Received = {
          method: request.method ?? "",
          id: String(request.headers["idempotency-key"]),
          headers: request.headers,
          body: Buffer.concat(parts).toString()
        }
        const fate = fateOf(one) ?? { status: 204 }
        if (one.method === "POST") {
          received.push(one)
          known.add(one.id)
        }
        for (const wake of waiting) wake()
        if (fate === "lost") request.socket.destroy()
        else if (fate !== "hung") response.writeHead(fate.status, fate.headers).end(fate.text)
      })
    })
    server.listen(port, "127.0.0.1")
    await once(server, "listening")
    return server
  })
  const close = (server: Server) =>
    Effect.promise(async () => {
      const closed = once(server, "close")
      server.close()
      server.closeAllConnections()
      await closed
    })

  let server = yield* open
  yield* Effect.addFinalizer(() => close(server))
  return {
    url: `http://127.0.0.1:${port}/records`,
    received,
    answer: (fate) => {
      fateOf = fate
    },
    until: (count) =>
      Effect.async<void>((resume) => {
        const wake = () => {
          if (known.size < count) return
          waiting.delete(wake)
          resume(Effect.void)
        }
        waiting.add(wake)
        wake()
        return Effect.sync(() => waiting.delete(wake))
      }),
    down: Effect.acquireRelease(
      Effect.suspend(() => close(server)),
      () =>
        Effect.map(open, (opened) => {
          server = opened
        })
    ),
    release: Effect.sync(() => server.closeAllConnections())
  }
})
