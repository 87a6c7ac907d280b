/**
 * A consumer of one topic by a native client. The client connects again by itself; what was not acknowledged comes again then.
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Consumer, Received, Subscription } from "../../Subscriber.ts"
import { PublisherError } from "../../TrustlogError.ts"
import { nextTurn } from "../eventLoop.ts"
import * as messageId from "./messageId.ts"
import type * as native from "./nativeClient.ts"
import { type Connection, ended } from "./nativeConnection.ts"
import * as nativeErrors from "./nativeErrors.ts"
import * as topics from "./topic.ts"

/** The client has so many messages at most that nobody has asked for; each may be as large as the broker takes. */
const queued = 100

const readMessage = (message: native.Received): Received | undefined => {
  const id = messageId.ofText(message.getMessageId().toString())
  if (id === undefined) return undefined
  const key = message.getPartitionKey()
  return {
    messageId: messageId.pack(id),
    key: key === "" ? undefined : key,
    // Whose memory the client's buffer shows is not promised.
    bytes: new Uint8Array(message.getData()),
    properties: message.getProperties(),
    publishedAt: message.getPublishTimestamp(),
    redeliveryCount: message.getRedeliveryCount()
  }
}

const lost = (problem: string, cause?: unknown) => new PublisherError({ reason: "lost", problem, cause })

/** Subscribes. It is closed with the scope. */
export const open = (
  { attempt, client, patience }: Connection<Pick<native.Client, "subscribe">>,
  topic: topics.Topic,
  subscription: Subscription
): Effect.Effect<Consumer, PublisherError, Scope.Scope> =>
  Effect.gen(function*() {
    const name = topics.format(topic)
    const atMost = subscription.receiveAtMost
    /** What has come and was not taken yet. */
    const buffer: Array<Received> = []
    let bytes = 0
    /** The client's own messages, by which it acknowledges. */
    const given = new WeakMap<Received, native.Received>()
    let failure: PublisherError | undefined
    let isReceiving = false
    let wake: (() => void) | undefined
    /** Acknowledgements that the client has not finished. */
    const underWay = new Set<Promise<unknown>>()

    const end = (error: PublisherError) => {
      failure ??= error
      wake?.()
    }

    const ask = async () =>
      await client.subscribe({
        topic: name,
        subscription: subscription.subscription,
        subscriptionType: subscription.type,
        subscriptionInitialPosition: subscription.from === "earliest" ? "Earliest" : "Latest",
        receiverQueueSize: queued,
        nAckRedeliverTimeoutMs: Duration.toMillis(subscription.redeliveryDelay)
      })

    const explain = yield* attempt
    const consumer = yield* Effect.acquireRelease(
      Effect.async<native.Consumer, unknown>((resume) => {
        let isAwaited = true
        ask().then((made) => {
          // One that comes when nobody waits for it any more would keep messages from others.
          if (isAwaited) resume(Effect.succeed(made))
          else Effect.runFork(ended(made.close()))
        }, (error) => resume(Effect.fail(error)))
        return Effect.sync(() => {
          isAwaited = false
        })
      }).pipe(
        Effect.interruptible,
        Effect.timeoutFail({
          duration: patience,
          onTimeout: () => new Error("Failed to create consumer: TimeOut")
        }),
        Effect.catchAll((error) => Effect.flatMap(explain(error, name, "consume"), Effect.fail))
      ),
      (consumer) =>
        Effect.suspend(() => {
          end(lost("the consumer is closed"))
          return Effect.zipRight(ended(Promise.all(underWay)), Effect.suspend(() => ended(consumer.close())))
        })
    )

    // One call at a time, for which no thread of the client waits; those after it are answered from the client's queue.
    const receive = () => {
      if (isReceiving || failure !== undefined || buffer.length >= atMost.messages || bytes >= atMost.bytes) return
      isReceiving = true
      consumer.receive().then((message) => {
        isReceiving = false
        const received = readMessage(message)
        if (received === undefined) return end(lost(`a message of ${name} has a name that is none of Pulsar's`))
        given.set(received, message)
        buffer.push(received)
        bytes += received.bytes.length
        wake?.()
        receive()
      }, (error) => end(lost(`nothing can be received from ${name}: ${nativeErrors.textOf(error)}`, error)))
    }

    const arrival = Effect.async<void>((resume) => {
      wake = () => {
        wake = undefined
        resume(Effect.void)
      }
      if (failure !== undefined || buffer.length > 0) return wake()
      receive()
      return Effect.sync(() => {
        wake = undefined
      })
    })

    const chunk = Effect.suspend(() => {
      if (failure !== undefined) return Effect.fail(failure)
      const [first, ...rest] = buffer
      if (first === undefined) return Effect.succeed(undefined)
      const taken: [Received, ...Array<Received>] = [first]
      let size = first.bytes.length
      for (const more of rest) {
        if (size + more.bytes.length > atMost.bytes) break
        taken.push(more)
        size += more.bytes.length
      }
      buffer.splice(0, taken.length)
      bytes -= size
      receive()
      return Effect.succeed<NonEmptyReadonlyArray<Received> | undefined>(taken)
    })

    // What the client has already comes in the same turn, one by one, and is taken together.
    const take: Consumer["take"] = Effect.flatMap(
      Effect.zipRight(Effect.zipRight(arrival, nextTurn), chunk),
      (taken) => taken === undefined ? take : Effect.succeed(taken)
    )

    /** Each message is settled once: afterwards it is another's, or nobody's. */
    const settle = (received: ReadonlyArray<Received>, how: (message: native.Received) => void) =>
      Effect.sync(() => {
        if (failure !== undefined) return
        for (const one of received) {
          const message = given.get(one)
          if (message !== undefined && given.delete(one)) how(message)
        }
      })

    return {
      take,
      acknowledge: (received) =>
        settle(received, (message) => {
          // Where it is lost, the message comes again.
          const done = consumer.acknowledge(message).catch(() => undefined).finally(() => underWay.delete(done))
          underWay.add(done)
        }),
      reject: (received) => settle(received, (message) => consumer.negativeAcknowledge(message))
    }
  })
