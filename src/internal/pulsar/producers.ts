/**
 * The producers of a cluster over Pulsar's WebSocket interface: one a topic, made when it is needed.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { PublisherError } from "../../TrustlogError.ts"
import type { WebSocketClient } from "../../WebSocketClient.ts"
import * as producers from "./producer.ts"
import * as topics from "./topic.ts"

/** The topic's producer, by the topic's full name; fails where that is none. */
export type ProducerOf = (topic: string) => Effect.Effect<producers.Producer, PublisherError>

/** When the scope closes, so do all of them. */
export const make = (
  options: producers.Options
): Effect.Effect<ProducerOf, never, WebSocketClient | Scope.Scope> =>
  Effect.map(Effect.context<WebSocketClient | Scope.Scope>(), (context) => {
    const known = new Map<string, producers.Producer>()
    return (name) =>
      Effect.suspend(() => {
        const found = known.get(name)
        return found !== undefined ? Effect.succeed(found) : topics.named(name).pipe(
          Effect.flatMap((topic) => producers.make(topic, options)),
          Effect.tap((made) => {
            known.set(name, made)
          }),
          Effect.provide(context)
        )
      })
  })
