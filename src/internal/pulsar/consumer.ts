/**
 * A consumer of one topic over Pulsar's WebSocket interface, for as long as one connection lasts.
 *
 * It pulls. Pushed to, it could only bound how many messages it has, by the same number for small ones as for those of 5 MiB; so
 * it asks for as many as may come at once, which is a guess by the size of those that came last, and knows the others.
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as PulsarCluster from "../../PulsarCluster.ts"
import type { Consumer, Received, Subscription } from "../../Subscriber.ts"
import { PublisherError } from "../../TrustlogError.ts"
import type { WebSocketClient } from "../../WebSocketClient.ts"
import * as base64 from "../base64.ts"
import * as jsonObject from "../jsonObject.ts"
import * as connections from "./connection.ts"
import * as messageId from "./messageId.ts"
import type { Topic } from "./topic.ts"

export interface Options {
  readonly cluster: PulsarCluster.Options
  /** So many messages at most are on their way, whose sizes nobody knows yet. */
  readonly window: number
}

/** What the broker sends: a message, and what it is acknowledged by; or the answer to a question. */
type Frame = { readonly id: string; readonly received: Received } | "answer"

const isStrings = (value: unknown): value is Readonly<Record<string, string>> =>
  typeof value === "object" && value !== null && Object.values(value).every((member) => typeof member === "string")

const readFrame = (text: string): Frame | undefined => {
  const value = jsonObject.read(text)
  if (value === undefined) return undefined
  if ("endOfTopic" in value) return "answer"
  const { key, messageId: id, payload, properties, publishTime, redeliveryCount } = {
    key: undefined,
    messageId: undefined,
    payload: undefined,
    properties: undefined,
    publishTime: undefined,
    redeliveryCount: 0,
    ...value
  }
  const named = typeof id === "string" ? messageId.ofBase64(id) : undefined
  const bytes = typeof payload === "string" ? base64.decode(payload) : undefined
  const publishedAt = Date.parse(String(publishTime))
  if (typeof id !== "string" || named === undefined || bytes === undefined || Number.isNaN(publishedAt))
    return undefined
  return {
    id,
    received: {
      messageId: messageId.pack(named),
      key: typeof key === "string" ? key : undefined,
      bytes,
      properties: isStrings(properties) ? properties : {},
      publishedAt,
      redeliveryCount: Number(redeliveryCount)
    }
  }
}

const types: Record<Subscription["type"], string> = {
  Exclusive: "Exclusive",
  Shared: "Shared",
  Failover: "Failover",
  KeyShared: "Key_Shared"
}

const question = `{"type":"isEndOfTopic"}`

/** What a message is taken to need before one has come: as much as a large operation. */
const firstGuess = 64 * 1024

/** The guess falls to a half while so many small ones come. */
const guessHalves = 32

/** Subscribes. It is closed with the scope, after the broker has read what was acknowledged. */
export const open = (
  topic: Topic,
  subscription: Subscription,
  { cluster, window }: Options
): Effect.Effect<Consumer, PublisherError, WebSocketClient | Scope.Scope> =>
  Effect.gen(function*() {
    const atMost = subscription.receiveAtMost
    const patience = Duration.decode(cluster.patience ?? connections.defaultPatience)
    /** What has come and was not taken yet. */
    const buffer: Array<{ readonly received: Received; readonly size: number }> = []
    let bufferSize = 0
    /** What acknowledges the messages of this connection. */
    const ids = new WeakMap<Received, string>()
    /** Those that are neither acknowledged nor rejected: sent again meanwhile, they are not taken twice. */
    const held = new Set<string>()
    let granted = 0
    let guess = firstGuess
    let connection: connections.Connection | undefined
    let failure: PublisherError | undefined
    let wake: (() => void) | undefined
    const asked: Array<() => void> = []

    const end = (error: PublisherError) => {
      if (failure !== undefined) return
      failure = error
      connection?.end()
      buffer.length = 0
      wake?.()
      for (const answered of asked.splice(0)) answered()
    }

    const send = (text: string) => {
      if (failure === undefined) connection?.send(text)
    }

    const ask = (answered: () => void) => {
      asked.push(answered)
      send(question)
    }

    const grant = () => {
      const room = Math.min(atMost.messages - buffer.length, Math.floor((atMost.bytes - bufferSize) / guess), window)
      const wanted = Math.max(room, buffer.length === 0 ? 1 : 0) - granted
      // Half of them at a time: one by one, each would need a frame of its own.
      if (wanted <= 0 || granted > wanted) return
      granted += wanted
      send(`{"type":"permit","permitMessages":${wanted}}`)
    }

    const onText = (text: string) => {
      const frame = readFrame(text)
      if (frame === undefined) {
        return end(
          new PublisherError({
            reason: "lost",
            problem: `the broker has sent what is no message: ${text.slice(0, 200)}`
          })
        )
      }
      if (frame === "answer") return asked.shift()?.()
      const { id, received } = frame
      granted--
      const size = text.length
      guess = Math.max(size, guess * 0.5 ** (1 / guessHalves))
      if (!held.has(id)) {
        held.add(id)
        ids.set(received, id)
        buffer.push({ received, size })
        bufferSize += size
        wake?.()
      }
      grant()
    }

    const opened = yield* connections.open({
      cluster,
      kind: "consumer",
      topic,
      suffix: subscription.subscription,
      query: {
        subscriptionType: types[subscription.type],
        subscriptionInitialPosition: subscription.from === "earliest" ? "Earliest" : "Latest",
        pullMode: "true",
        receiverQueueSize: String(window),
        negativeAckRedeliveryDelay: String(Duration.toMillis(subscription.redeliveryDelay))
      }
    }, { onText, onEnd: end, isAwaiting: () => asked.length > 0 })
    connection = opened

    const settle = (received: ReadonlyArray<Received>, frame: (id: string) => string) =>
      Effect.sync(() => {
        // One that has ended drops them: what is not acknowledged comes again over the next one.
        if (failure !== undefined) return
        opened.together(() => {
          for (const message of received) {
            const id = ids.get(message)
            if (id !== undefined && held.delete(id)) opened.send(frame(id))
          }
        })
      })

    yield* Effect.addFinalizer(() =>
      Effect.async<void>((resume) => {
        if (failure !== undefined) return resume(Effect.void)
        // Frames are read in their order: with the answer, acknowledgements have been read.
        ask(() => resume(Effect.void))
      }).pipe(
        Effect.interruptible,
        Effect.timeoutOption(patience),
        Effect.zipRight(
          Effect.sync(() => end(new PublisherError({ reason: "lost", problem: "the consumer is closed" })))
        )
      )
    )

    // A topic may be quiet for days. Where there are no pings, a question tells whether the broker is there.
    if (opened.answers === undefined) {
      yield* Effect.sync(() => ask(() => {})).pipe(
        Effect.delay(Duration.times(patience, 0.5)),
        Effect.repeat({ while: () => failure === undefined }),
        Effect.forkScoped
      )
    }

    yield* Effect.sync(grant)

    const chunk = Effect.suspend(() => {
      if (failure !== undefined) return Effect.fail(failure)
      const [first, ...rest] = buffer
      if (first === undefined) return Effect.succeed(undefined)
      const taken: [Received, ...Array<Received>] = [first.received]
      let size = first.size
      for (const { received, size: more } of rest) {
        if (size + more > atMost.bytes) break
        taken.push(received)
        size += more
      }
      buffer.splice(0, taken.length)
      bufferSize -= size
      grant()
      return Effect.succeed<NonEmptyReadonlyArray<Received> | undefined>(taken)
    })

    const arrival = Effect.async<void>((resume) => {
      wake = () => {
        wake = undefined
        resume(Effect.void)
      }
      if (failure !== undefined || buffer.length > 0) return wake()
      return Effect.sync(() => {
        wake = undefined
      })
    })

    const take: Consumer["take"] = Effect.flatMap(
      Effect.zipRight(arrival, chunk),
      (taken) => taken === undefined ? take : Effect.succeed(taken)
    )

    return {
      take,
      acknowledge: (received) => settle(received, (id) => `{"messageId":"${id}"}`),
      reject: (received) => settle(received, (id) => `{"type":"negativeAcknowledge","messageId":"${id}"}`)
    }
  })
