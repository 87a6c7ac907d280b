/**
 * A TCP proxy whose connections a test cuts, stalls and refuses.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { once } from "node:events"
import * as net from "node:net"
import * as Port from "./Port.ts"

export interface Proxy {
  readonly host: string
  readonly port: number
  /** A URL of what is behind it, as the URL through it. */
  readonly url: (behind: string) => string
  /** Destroys all connections, on both sides. New ones are taken. */
  readonly cut: Effect.Effect<void>
  /** Forwards nothing more; connections stay open, and new ones are taken. */
  readonly stall: Effect.Effect<void>
  /** Forwards what is said to the server, and nothing that it answers. `cut` and `resume` end it. */
  readonly mute: Effect.Effect<void>
  /** Ends `stall` and `mute`: what was held back is forwarded. */
  readonly resume: Effect.Effect<void>
  /** Listens no more: new connections are refused, those that are open go on. */
  readonly refuse: Effect.Effect<void>
  /** Ends `refuse`, on the same port. */
  readonly accept: Effect.Effect<void>
}

/** In front of a host and port, or of what a URL names. */
export const make = (
  to: string | { readonly host: string; readonly port: number }
): Effect.Effect<Proxy, never, Scope.Scope> =>
  Effect.gen(function*() {
    const behind = typeof to === "string" ? new URL(to) : undefined
    const target = typeof to === "string" ? { host: new URL(to).hostname, port: Number(new URL(to).port) } : to
    if (!(target.port > 0)) return yield* Effect.dieMessage(`${behind?.href} names no port`)
    const host = "127.0.0.1"
    const port = yield* Port.free
    const pairs = new Set<readonly [net.Socket, net.Socket]>()
    /** Which directions are held back. */
    let isStalled = false
    let isMute = false

    const flow = ([near, far]: readonly [net.Socket, net.Socket]): void => {
      near.pipe(far)
      if (!isMute) far.pipe(near)
    }
    const hold = ([near, far]: readonly [net.Socket, net.Socket]): void => {
      near.unpipe(far).pause()
      far.unpipe(near).pause()
    }

    const server = net.createServer({ allowHalfOpen: true }, (near) => {
      const far = net.connect({ ...target, allowHalfOpen: true })
      const pair = [near, far] as const
      const end = () => {
        pairs.delete(pair)
        near.destroy()
        far.destroy()
      }
      for (const socket of pair) socket.setNoDelay(true).on("error", end).on("close", end)
      pairs.add(pair)
      if (!isStalled) flow(pair)
    })

    const listen = Effect.promise(async () => {
      if (server.listening) return
      server.listen(port, host)
      await once(server, "listening")
    })
    const cut = Effect.sync(() => {
      for (const [near, far] of pairs) {
        near.resetAndDestroy()
        far.resetAndDestroy()
      }
    })
    // It is said to be closed when its last connection is, but listens no more at once.
    const refuse = Effect.sync(() => {
      if (server.listening) server.close()
    })

    yield* Effect.acquireRelease(listen, () => Effect.zipRight(refuse, cut))

    return {
      host,
      port,
      url: (behind) => {
        const url = new URL(behind)
        url.hostname = host
        url.port = `${port}`
        return url.href
      },
      cut: Effect.zipRight(
        Effect.sync(() => {
          isMute = false
        }),
        cut
      ),
      mute: Effect.sync(() => {
        isMute = true
        for (const [near, far] of pairs) far.unpipe(near).pause()
      }),
      stall: Effect.sync(() => {
        isStalled = true
        for (const pair of pairs) hold(pair)
      }),
      resume: Effect.sync(() => {
        if (!isStalled && !isMute) return
        isStalled = false
        isMute = false
        for (const pair of pairs) {
          // What flows already would flow twice.
          hold(pair)
          flow(pair)
        }
      }),
      refuse,
      accept: listen
    }
  })
