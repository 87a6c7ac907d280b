/**
 * Ports for servers that are started, stopped and started again on the same one.
 */
import * as Effect from "effect/Effect"
import { randomInt } from "node:crypto"
import { createServer } from "node:net"

// The system takes the ports of outgoing connections from above these: none of them takes the port of a server that is down.
const [first, last] = [15_000, 32_000]

const isFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer()
    server.once("error", () => resolve(false))
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)))
  })

/** A port of 127.0.0.1 on which nothing listens. */
export const free: Effect.Effect<number> = Effect.promise(async () => {
  for (;;) {
    const port = randomInt(first, last)
    if (await isFree(port)) return port
  }
})
