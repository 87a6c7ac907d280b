/**
 * One connection to Pulsar's WebSocket interface, which is watched: a broker that hangs keeps the connection open, and only
 * shows by not answering.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as PulsarCluster from "../../PulsarCluster.ts"
import { PublisherError } from "../../TrustlogError.ts"
import { WebSocketClient } from "../../WebSocketClient.ts"
import * as monotonic from "../monotonic.ts"
import { errorOf } from "./refusal.ts"
import * as topics from "./topic.ts"

/** What is to be opened. */
export interface Place {
  readonly cluster: PulsarCluster.Options
  readonly kind: "producer" | "consumer"
  readonly topic: topics.Topic
  /** What comes after the topic in the path: a consumer's subscription. */
  readonly suffix?: string | undefined
  readonly query: Readonly<Record<string, string>>
}

export interface Handlers {
  readonly onText: (text: string) => void
  /** Told once, when it has ended in whatever way but by `end`. */
  readonly onEnd: (error: PublisherError) => void
  /** Whether an answer is due; without one, a broker that cannot be pinged may be silent for as long as it likes. */
  readonly isAwaiting: () => boolean
}

export interface Connection {
  readonly send: (text: string) => void
  /** Sends what a function sends at once. */
  readonly together: (send: () => void) => void
  /** Succeeds when the broker answers a ping; `undefined` where there are no pings. */
  readonly answers: Effect.Effect<void, PublisherError> | undefined
  /** Ends it without a word to the handlers. */
  readonly end: () => void
}

export const defaultPatience = Duration.seconds(5)

/** The address of a place, which holds no secret. */
const urlOf = ({ cluster, kind, query, suffix, topic }: Place): string => {
  const parameters = new URLSearchParams(query).toString()
  const path = ["ws/v2", kind, topics.path(topic), ...suffix === undefined ? [] : [encodeURIComponent(suffix)]].join(
    "/"
  )
  return `${cluster.serviceUrl.replace(/\/+$/, "")}/${path}${parameters === "" ? "" : `?${parameters}`}`
}

/** Opens a connection, which whoever has it ends. It is watched while the scope is open. */
export const open = (
  place: Place,
  handlers: Handlers
): Effect.Effect<Connection, PublisherError, WebSocketClient | Scope.Scope> =>
  Effect.gen(function*() {
    const client = yield* WebSocketClient
    const patience = Duration.decode(place.cluster.patience ?? defaultPatience)
    const clock = yield* monotonic.reader
    const token = place.cluster.token === undefined ? undefined : yield* place.cluster.token
    const url = urlOf(place)
    const lost = (problem: string) =>
      new PublisherError({
        reason: "lost",
        problem: `the connection to ${place.cluster.serviceUrl} was lost: ${problem}`
      })
    const asking = new Set<(answer: Effect.Effect<void, PublisherError>) => void>()
    const tell = (answer: Effect.Effect<void, PublisherError>) => {
      for (const told of asking) told(answer)
      asking.clear()
    }
    let heardAt = clock()
    let hasEnded = false

    const hear = () => {
      heardAt = clock()
      if (asking.size > 0) tell(Effect.void)
    }
    const finish = (problem: string) => {
      if (hasEnded) return
      hasEnded = true
      const error = lost(problem)
      tell(Effect.fail(error))
      handlers.onEnd(error)
    }
    const end = (problem: string) => {
      finish(problem)
      opened.end()
    }

    const opened = yield* client.open({ url, token, tls: place.cluster.tls ?? {}, patience }, {
      onText: (text) => {
        hear()
        if (!hasEnded) handlers.onText(text)
      },
      onPong: hear,
      onEnd: finish
    }).pipe(
      Effect.catchAll((error) =>
        Effect.flatMap(Clock.currentTimeMillis, (now) => {
          const right = place.kind === "producer" ? "produce" : "consume"
          return Effect.fail(errorOf({ url: place.cluster.serviceUrl, topic: place.topic, right, token, now }, error))
        })
      )
    )

    const silent = `the broker has been silent for ${Duration.format(patience)}`
    const half = Duration.toMillis(patience) / 2
    let lookedAt = clock()
    let askedAt: number | undefined
    const look = () => {
      const now = clock()
      // A process that was stopped for a while has not yet read what was said to it meanwhile.
      const wasStopped = now - lookedAt > 3 * half
      lookedAt = now
      if (wasStopped || (askedAt !== undefined && heardAt >= askedAt)) askedAt = undefined
      if (askedAt !== undefined) {
        if (now - askedAt >= 2 * half - 1) end(silent)
        return
      }
      if (now - heardAt < half || (opened.ping === undefined && !handlers.isAwaiting())) return
      askedAt = now
      opened.ping?.()
    }
    yield* Effect.sync(look).pipe(
      Effect.delay(Duration.millis(half)),
      Effect.repeat({ while: () => !hasEnded }),
      Effect.forkScoped
    )

    const { ping } = opened
    return {
      send: opened.send,
      together: opened.together,
      answers: ping && Effect.async<void, PublisherError>((resume) => {
        if (hasEnded) return resume(Effect.fail(lost("it has ended")))
        asking.add(resume)
        ping()
        return Effect.sync(() => asking.delete(resume))
      }).pipe(Effect.timeoutFail({ duration: patience, onTimeout: () => lost(silent) })),
      end: () => {
        hasEnded = true
        tell(Effect.fail(lost("it has been ended")))
        opened.end()
      }
    }
  })
