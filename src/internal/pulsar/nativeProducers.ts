/**
 * The producers of a native client: one a topic, made when it is needed, and made anew when it is of no use any more.
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import type * as Scope from "effect/Scope"
import { PublisherError } from "../../TrustlogError.ts"
import type { Client } from "./nativeClient.ts"
import type { Connection } from "./nativeConnection.ts"
import * as nativeSender from "./nativeSender.ts"

export interface Options {
  /** Whether messages that come together are stored as one entry. */
  readonly batching: boolean
  /** So many messages are on their way to a topic at most. */
  readonly window: number
  /** The client gives up after this; not always (see `Publisher/Pulsar`). */
  readonly sendTimeout: Duration.Duration
}

export interface Producers {
  /** The topic's producer, made if there is none of use. Whoever comes meanwhile waits for the same one. */
  readonly current: (topic: string) => Effect.Effect<nativeSender.Sender, PublisherError>
  /** Proves that a producer can be made now, by making one; it is kept where there is none of use. */
  readonly prove: (topic: string) => Effect.Effect<void, PublisherError>
  /** Another one, which sends each message by itself. Whoever has it retires it. */
  readonly unbatched: (topic: string) => Effect.Effect<nativeSender.Sender, PublisherError>
}

/** So many bytes are on their way to a topic at most, but always one message. */
const windowBytes = 8 * 1024 * 1024

const closed = new PublisherError({ reason: "unavailable", problem: "the publisher is closed" })

/** When the scope closes, so do all producers. */
export const make = (
  connection: Connection<Pick<Client, "createProducer">>,
  { batching, sendTimeout, window }: Options
): Effect.Effect<Producers, never, Scope.Scope> =>
  Effect.gen(function*() {
    const limits = { messages: Math.max(1, window), bytes: windowBytes }
    /** All that are not closed, the ones that new messages go to, and those that are being made; these by their topics. */
    const open = new Set<nativeSender.Sender>()
    const used = new Map<string, nativeSender.Sender>()
    const making = new Map<string, Deferred.Deferred<nativeSender.Sender, PublisherError>>()
    let isClosed = false

    const scope = yield* Effect.scope
    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        isClosed = true
        return Effect.forEach([...open], (sender) => sender.close, { concurrency: "unbounded", discard: true })
      })
    )

    const ask = async (topic: string, isBatching: boolean) =>
      await connection.client.createProducer({
        topic,
        sendTimeoutMs: Duration.toMillis(sendTimeout),
        // More than are ever on their way, whichever partitions they go to.
        maxPendingMessages: limits.messages + 1,
        maxPendingMessagesAcrossPartitions: (limits.messages + 1) * 10_000,
        blockIfQueueFull: false,
        messageRoutingMode: "RoundRobinDistribution",
        // The default of Pulsar's Java producers: with another one a key has another partition.
        hashingScheme: "JavaStringHash",
        batchingEnabled: isBatching,
        batchingMaxPublishDelayMs: 1
      })

    /** One that comes when nobody waits for it any more is closed. */
    const create = (topic: string, isBatching: boolean): Effect.Effect<nativeSender.Sender, PublisherError> =>
      Effect.flatMap(connection.attempt, (explain) =>
        Effect.async<nativeSender.Sender, unknown>((resume) => {
          let isAwaited = true
          ask(topic, isBatching).then((producer) => {
            const sender = nativeSender.make(producer, limits, () => open.delete(sender))
            open.add(sender)
            if (!isAwaited || isClosed) sender.abort()
            resume(Effect.succeed(sender))
          }, (error) => resume(Effect.fail(error)))
          return Effect.sync(() => {
            isAwaited = false
          })
        }).pipe(
          Effect.timeoutFail({
            duration: connection.patience,
            onTimeout: () => new Error("Failed to create producer: TimeOut")
          }),
          Effect.catchAll((error) => Effect.flatMap(explain(error, topic, "produce"), Effect.fail))
        ))

    const use = (topic: string, made: nativeSender.Sender): nativeSender.Sender => {
      const former = used.get(topic)
      if (former?.isUsable() === true) {
        made.retire()
        return former
      }
      former?.retire()
      used.set(topic, made)
      return made
    }

    // It is made in a fibre of its own: the others wait on when the one who came first has left.
    const renew = (topic: string): Effect.Effect<nativeSender.Sender, PublisherError> =>
      Effect.uninterruptibleMask((restore) =>
        Effect.suspend(() => {
          const begun = making.get(topic)
          if (begun !== undefined) return restore(Deferred.await(begun))
          const made = Deferred.unsafeMake<nativeSender.Sender, PublisherError>(FiberId.none)
          making.set(topic, made)
          return Effect.interruptible(create(topic, batching)).pipe(
            Effect.map((sender) => use(topic, sender)),
            Effect.exit,
            Effect.flatMap((exit) => {
              making.delete(topic)
              return Deferred.done(made, Exit.isInterrupted(exit) ? Exit.fail(closed) : exit)
            }),
            Effect.forkIn(scope),
            Effect.zipRight(restore(Deferred.await(made)))
          )
        })
      )

    return {
      current: (topic) =>
        Effect.suspend(() => {
          const sender = used.get(topic)
          return sender?.isUsable() === true ? Effect.succeed(sender) : renew(topic)
        }),
      prove: (topic) => Effect.asVoid(renew(topic)),
      unbatched: (topic) => Effect.suspend(() => isClosed ? Effect.fail(closed) : create(topic, false))
    }
  })
