/**
 * This project with Apache Pulsar over WebSocket, a topic for each time that it delivers.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as PulsarWebSocket from "../../src/Publisher/PulsarWebSocket.ts"
import { Topics } from "../../src/Topics.ts"
import * as Ws from "../../src/WebSocketClient/Ws.ts"
import { make } from "../topic.ts"
import { delivering, watched } from "./trustlog.ts"

/** So many messages are on their way at most. */
export const window = 500

export const trustlogPulsar = delivering((publish, { log }) => {
  const topic = make(log)
  return Layer.mergeAll(
    watched(Layer.provide(PulsarWebSocket.layer({ serviceUrl: log, window }), Ws.layer), publish),
    Layer.succeed(Topics, () => topic.name)
  ).pipe(
    // Closed after what publishes to it.
    Layer.provide(Layer.scopedDiscard(Effect.addFinalizer(() => Effect.promise(topic.remove))))
  )
})
