/**
 * Where operations come from again: consumers of the topics of a log. The contract of its back-ends, which live in
 * `Subscriber/`, and what is the same for all of them: envelopes are read and verified, acknowledged once they are handled, come
 * again if they could not be, and go to a dead-letter topic if nobody ever can.
 */
import { bytesToHex } from "@noble/hashes/utils.js"
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Published } from "./Publisher.ts"
import * as Signature from "./Signature.ts"
import { PublisherError } from "./TrustlogError.ts"
import * as monotonic from "./internal/monotonic.ts"
import * as topics from "./internal/pulsar/topic.ts"
import * as deadLetters from "./internal/subscriber/deadLetters.ts"

/**
 * Who gets which messages of a topic.
 *
 * - `Shared`: any consumer of the subscription any message
 * - `KeyShared`: the same, but all messages of a key (an operation's id) one
 * - `Failover`: one consumer all of them, until it is gone
 * - `Exclusive`: one, and others are refused
 *
 * Pulsar before 4.0.13 and 4.2.4 may stop delivering to a `Failover` or `Exclusive` subscription when its consumer changes
 * (apache/pulsar#26174).
 */
export type Type = "Exclusive" | "Shared" | "Failover" | "KeyShared"

/** So much at most is taken at once; while it is handled, as much again is received. One message may always be. */
export interface AtMost {
  readonly messages: number
  /** As they are sent, which by WebSocket is base64. */
  readonly bytes: number
}

/** What a back-end is to subscribe to. */
export interface Subscription {
  readonly topic: string
  readonly subscription: string
  readonly type: Type
  /** Where a subscription begins that is not there yet. */
  readonly from: "earliest" | "latest"
  /** What is rejected comes again after so long. */
  readonly redeliveryDelay: Duration.Duration
  readonly receiveAtMost: AtMost
}

/** A message as it was received. It is acknowledged by being the same object. */
export interface Received {
  /** The log's name for it, packed as a publisher's receipt has it. */
  readonly messageId: Uint8Array
  readonly key: string | undefined
  readonly bytes: Uint8Array
  readonly properties: Readonly<Record<string, string>>
  /** By the publisher's clock, in milliseconds since 1970. */
  readonly publishedAt: number
  /** How often it has been delivered before, where the broker counts: for `Shared` and `KeyShared`, while a consumer is there. */
  readonly redeliveryCount: number
}

/** A consumer of one topic. */
export interface Consumer {
  /**
   * Waits for a message, and takes it with others that have come, in their order. Fails when the connection is lost, unless
   * the client makes another one by itself: what it has given and was not acknowledged comes again. It is called by one fibre.
   */
  readonly take: Effect.Effect<Arr.NonEmptyReadonlyArray<Received>, PublisherError>
  /** Tells the broker that they are handled. Nobody answers, and what is lost with the connection comes again. */
  readonly acknowledge: (received: ReadonlyArray<Received>) => Effect.Effect<void>
  /** Asks for them again, after the delay. On `Exclusive` and `Failover` everything that is not acknowledged comes again. */
  readonly reject: (received: ReadonlyArray<Received>) => Effect.Effect<void>
}

/** A message for a dead-letter topic. */
export interface Letter {
  readonly key: string
  readonly bytes: Uint8Array
  readonly properties: Readonly<Record<string, string>>
}

/** A log that can be subscribed to. Every back-end passes `test/suites/SubscriberTest.ts`. */
export class Subscriber extends Context.Tag("effect-trustlog/Subscriber")<Subscriber, {
  /** Subscribes, once. When the scope closes, the broker knows what was acknowledged. */
  readonly open: (subscription: Subscription) => Effect.Effect<Consumer, PublisherError, Scope.Scope>
  /** Publishes letters as they are; the answer is that of `Publisher.publish`. */
  readonly send: (topic: string, letters: ReadonlyArray<Letter>) => Effect.Effect<Published, PublisherError>
}>() {}

/** An envelope as it was received, and verified by `Signature.TrustedKeys` where there are some. */
export interface Entry extends Signature.Read {
  readonly topic: string
  /** The bytes as they were sent, signed or not. */
  readonly bytes: Uint8Array
  readonly messageId: Uint8Array
  readonly key: string | undefined
  readonly properties: Readonly<Record<string, string>>
  /** By the publisher's clock, in milliseconds since 1970. */
  readonly publishedAt: number
  /** How often it has been delivered before, where the broker counts; see `Received`. */
  readonly redeliveryCount: number
}

/** An entry that nobody can handle, and why: it goes to the dead-letter topic. */
export interface Unfit {
  readonly entry: Entry
  /** One word, for programs: the property `trustlog-reason`. */
  readonly reason: string
  /** For people: the property `trustlog-error`. */
  readonly error: string
}

export interface Options {
  readonly topics: ReadonlyArray<string>
  readonly subscription: string
  /** `Shared` by default. */
  readonly type?: Type | undefined
  /** Where a subscription begins that is not there yet; `earliest` by default: an audit wants everything. */
  readonly from?: "earliest" | "latest" | undefined
  /** 1,000 messages and 8 MiB by default. */
  readonly receiveAtMost?: Partial<AtMost> | undefined
  /** What could not be handled comes again after so long; 10 seconds by default. */
  readonly redeliveryDelay?: Duration.DurationInput | undefined
  /**
   * Where messages go that are no envelopes, are signed by nobody who is trusted, or could not be handled; by default
   * `<topic>-<subscription>-DLQ`, for each topic its own.
   */
  readonly deadLetterTopic?: string | undefined
  /**
   * An entry that could not be handled, alone, when it has come again so many times goes to the dead-letter topic; by default it
   * comes again for ever. An outage of what the handler needs counts, too: let the handler wait it out.
   */
  readonly maxRedeliveries?: number | undefined
  /**
   * Whether an interruption of `run` waits for a call of the handler that has begun, and acknowledges what it did. By default the
   * call is interrupted, and its entries come again; with this, only what it makes `Effect.interruptible` is.
   */
  readonly finishesCalls?: boolean | undefined
  /** Told of messages that the dead-letter topic has. */
  readonly onDeadLetters?: ((letters: ReadonlyArray<DeadLetter>) => Effect.Effect<void>) | undefined
}

/** A message that a dead-letter topic has. */
export type DeadLetter = deadLetters.DeadLetter

/** The names of the properties that say why a message is in a dead-letter topic, and where it came from. */
export const deadLetterProperties = deadLetters.names

interface Settings extends Subscription {
  readonly deadLetterTopic: string
  readonly maxRedeliveries: number
  readonly onDeadLetters: (letters: ReadonlyArray<DeadLetter>) => Effect.Effect<void>
}

const misconfigured = (problem: string) => new PublisherError({ reason: "misconfigured", problem })

const settingsOf = (options: Options): Either.Either<ReadonlyArray<Settings>, PublisherError> =>
  Either.gen(function*() {
    const { deadLetterTopic, maxRedeliveries = Infinity, subscription } = options
    if (!/^[^/\s?#]+$/.test(subscription)) {
      return yield* Either.left(
        misconfigured(`${JSON.stringify(subscription)} cannot name a subscription: leave out spaces, /, ? and #`)
      )
    }
    if (!(maxRedeliveries >= 0)) return yield* Either.left(misconfigured("maxRedeliveries is not a number from 0"))
    const receiveAtMost = { messages: 1000, bytes: 8 * 1024 * 1024, ...options.receiveAtMost }
    if (!(receiveAtMost.messages >= 1 && receiveAtMost.bytes >= 1)) {
      return yield* Either.left(misconfigured("receiveAtMost is not a number from 1"))
    }
    const sources = new Set(options.topics)
    if (sources.size === 0) return yield* Either.left(misconfigured("there is no topic to subscribe to"))
    const all: Array<Settings> = []
    for (const topic of sources) {
      const letters = deadLetterTopic ?? `${topic}-${subscription}-DLQ`
      yield* Either.all([topics.named(topic), topics.named(letters)])
      if (sources.has(letters)) {
        return yield* Either.left(
          misconfigured(`${letters} cannot be subscribed to, and be the dead-letter topic as well`)
        )
      }
      all.push({
        topic,
        subscription,
        type: options.type ?? "Shared",
        from: options.from ?? "earliest",
        redeliveryDelay: Duration.decode(options.redeliveryDelay ?? "10 seconds"),
        receiveAtMost,
        deadLetterTopic: letters,
        maxRedeliveries,
        onDeadLetters: options.onDeadLetters ?? (() => Effect.void)
      })
    }
    return all
  })

/** Fails where options contradict themselves. */
export const check = (options: Options): Effect.Effect<void, PublisherError> => Effect.asVoid(settingsOf(options))

/** Some entries of a topic that are to be handled together, and how that is answered. */
interface Batch {
  readonly entries: Arr.NonEmptyReadonlyArray<Entry>
  readonly acknowledge: (entries: ReadonlyArray<Entry>) => Effect.Effect<void>
  /** They come again, unless they have too often. */
  readonly fail: (entries: ReadonlyArray<Entry>, error: string) => Effect.Effect<void>
  readonly discard: (unfit: ReadonlyArray<Unfit>) => Effect.Effect<void>
}

/** So many failures are remembered; of messages that others got since, nobody says so. */
const maxRemembered = 10_000

const firstDelay = 100
const longestDelay = 30_000

/**
 * In a fibre of its own. One that closes several resources loses an interruption that comes while the last one takes its time
 * (effect 3.22.4), which whoever goes on afterwards must not. A second interruption would cut that time short.
 */
const apart = <A, E, R>(session: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(
      Effect.forkDaemon(restore(session)),
      (fiber) => Effect.onInterrupt(restore(Fiber.join(fiber)), () => Fiber.interrupt(fiber))
    )
  )

/** Consumes one topic, and whatever happens to the connection, goes on. */
const follow = <R>(
  settings: Settings,
  handle: (batch: Batch) => Effect.Effect<void, never, R>
): Effect.Effect<never, never, Subscriber | R> =>
  Effect.gen(function*() {
    const subscriber = yield* Subscriber
    const context = yield* Effect.context<R>()
    const clock = yield* monotonic.reader
    const { maxRedeliveries, topic } = settings
    /** How often an entry could not be handled. */
    const failures = new Map<string, number>()

    const remember = (name: string, count: number) => {
      const [oldest] = failures.keys()
      if (failures.size >= maxRemembered && oldest !== undefined) failures.delete(oldest)
      failures.set(name, count)
    }

    /** In the order of the topic; one that could not be handled before comes alone, so that it fails nobody else. */
    const grouped = (entries: ReadonlyArray<Entry>): ReadonlyArray<Arr.NonEmptyReadonlyArray<Entry>> => {
      const groups: Array<[Entry, ...Array<Entry>]> = []
      let isOpen = false
      for (const entry of entries) {
        const isSuspect = failures.has(bytesToHex(entry.messageId))
        const last = groups.at(-1)
        if (last === undefined || isSuspect || !isOpen) groups.push([entry])
        else last.push(entry)
        isOpen = !isSuspect
      }
      return groups
    }

    const consume = (consumer: Consumer, onTaken: () => void) =>
      Effect.gen(function*() {
        const letters = yield* deadLetters.make(subscriber, consumer, settings)
        const source = new WeakMap<Entry, Received>()
        const received = (entries: ReadonlyArray<Entry>) =>
          entries.flatMap((entry) => {
            const found = source.get(entry)
            return found === undefined ? [] : [found]
          })

        const batchOf = (entries: Arr.NonEmptyReadonlyArray<Entry>): Batch => ({
          entries,
          acknowledge: (done) =>
            Effect.suspend(() => {
              for (const { messageId } of done) failures.delete(bytesToHex(messageId))
              return consumer.acknowledge(received(done))
            }),
          fail: (failed, error) =>
            Effect.suspend(() => {
              const again: Array<Entry> = []
              const dead: Array<Entry> = []
              for (const entry of failed) {
                const name = bytesToHex(entry.messageId)
                const count = Math.max(failures.get(name) ?? 0, entry.redeliveryCount) + 1
                const isDead = count > maxRedeliveries && failed.length === 1
                if (isDead) failures.delete(name)
                else remember(name, count)
                ;(isDead ? dead : again).push(entry)
              }
              return Effect.zipRight(
                consumer.reject(received(again)),
                letters.take(
                  received(dead).map((message) => ({
                    message,
                    reason: "failed",
                    error: `could not be handled: ${error}`
                  }))
                )
              )
            }),
          discard: (unfit) =>
            letters.take(unfit.flatMap(({ entry, error, reason }) =>
              received([entry]).map((message) => ({ message, reason, error }))
            ))
        })

        return yield* Effect.forever(Effect.gen(function*() {
          const taken = yield* consumer.take
          onTaken()
          const sent = taken.map((message) =>
            message.bytes
          )
          const read = yield* Signature.read(sent)
          const entries: Array<Entry> = []
          const doubted: Array<deadLetters.Condemned> = []
          for (const [message, result] of Arr.zip(taken, read)) {
            if (Either.isLeft(result)) {
              doubted.push({ message, reason: result.left.reason, error: result.left.error })
              continue
            }
            const { bytes, key, messageId, properties, publishedAt, redeliveryCount } = message
            const entry = {
              ...result.right,
              topic,
              bytes,
              messageId,
              key,
              properties,
              publishedAt,
              redeliveryCount
            }
            source.set(entry, message)
            entries.push(entry)
          }
          yield* letters.take(doubted)
          for (const group of grouped(entries)) yield* Effect.provide(handle(batchOf(group)), context)
        }))
      })

    let delay = firstDelay
    let problem: string | undefined
    return yield* Effect.forever(Effect.gen(function*() {
      let openedAt: number | undefined
      const session = Effect.scoped(Effect.gen(function*() {
        const consumer = yield* subscriber.open(settings)
        openedAt = clock()
        if (problem !== undefined) yield* Effect.logInfo(`${topic} is consumed again`)
        problem = undefined
        return yield* consume(consumer, () => {
          delay = firstDelay
        })
      }))
      const error = yield* Effect.flip(apart(session))
      if (openedAt !== undefined && clock() - openedAt > longestDelay) delay = firstDelay
      // One that lasts is said once.
      if (error.message !== problem) {
        yield* Effect.logWarning(`${topic} is not consumed, which is tried again: ${error.message}`)
      }
      problem = error.message
      yield* Effect.sleep(delay)
      delay = Math.min(delay * 2, longestDelay)
    }))
  })

const messageOf = (cause: Cause.Cause<unknown>): string => Cause.prettyErrors(cause)[0]?.message ?? "it was interrupted"

/** The pauses of a handler that fails again and again, which would otherwise go through everything there is. */
const pauseAfter = (failures: number, longest: Duration.Duration): Duration.Duration =>
  Duration.min(Duration.millis(firstDelay * 2 ** Math.min(failures, 20)), longest)

/**
 * Handles the entries of some topics, until it is interrupted: of a topic in its order, one call at a time, each with as many as
 * have come. When the handler succeeds they are acknowledged, but for those that it returns: these go to the dead-letter topic. When
 * it fails, all of the call come again after the delay, each alone. So a handler sees every entry at least once.
 *
 * It fails only where the options contradict themselves; whatever else is wrong is logged, and tried again.
 */
export const run = <E, R>(
  options: Options,
  handler: (entries: Arr.NonEmptyReadonlyArray<Entry>) => Effect.Effect<void | ReadonlyArray<Unfit>, E, R>
): Effect.Effect<never, PublisherError, Subscriber | R> =>
  Effect.gen(function*() {
    const all = yield* settingsOf(options)
    const one = (settings: Settings) => {
      let failures = 0
      return follow(settings, ({ acknowledge, discard, entries, fail }) =>
        Effect.uninterruptibleMask((restore) =>
          Effect.gen(function*() {
            const call = Effect.suspend(() =>
              handler(entries)
            )
            const exit = yield* Effect.exit(options.finishesCalls === true ? call : restore(call))
            if (Exit.isSuccess(exit)) {
              failures = 0
              const unfit = exit.value ?? []
              const left = new Set(unfit.map(({ entry }) => entry))
              yield* acknowledge(entries.filter((entry) => !left.has(entry)))
              return yield* discard(unfit)
            }
            // Where it was we who were interrupted, it ends here.
            yield* restore(Effect.void)
            const error = messageOf(exit.cause)
            yield* Effect.logWarning(
              `${entries.length} of ${settings.topic} could not be handled, and come again: ${error}`
            )
            yield* fail(entries, error)
            yield* restore(Effect.sleep(pauseAfter(failures++, settings.redeliveryDelay)))
          })
        ))
    }
    yield* Effect.forEach(all, one, { concurrency: "unbounded", discard: true })
    return yield* Effect.never
  })

/** An entry of a stream, whose reader says what became of it. */
export interface Delivered extends Entry {
  readonly acknowledge: Effect.Effect<void>
  /** It comes again, unless it has too often. */
  readonly reject: Effect.Effect<void>
}

/**
 * The entries of some topics, each to be acknowledged or rejected by its reader; what is neither comes again when the connection
 * is lost. It ends with the scope of its run, and fails only where the options contradict themselves.
 */
export const stream = (options: Options): Stream.Stream<Delivered, PublisherError, Subscriber> =>
  Stream.unwrapScoped(Effect.gen(function*() {
    const all = yield* settingsOf(options)
    const queue = yield* Effect.acquireRelease(Queue.bounded<Chunk.Chunk<Delivered>>(1), Queue.shutdown)
    const work = Effect.forEach(
      all,
      (settings) =>
        follow(settings, ({ acknowledge, entries, fail }) =>
          Queue.offer(
            queue,
            Chunk.fromIterable(entries).pipe(Chunk.map((entry) => ({
              ...entry,
              acknowledge: acknowledge([entry]),
              reject: fail([entry], "its reader has rejected it")
            })))
          )),
      { concurrency: "unbounded", discard: true }
    )
    return Stream.merge(Stream.flattenChunks(Stream.fromQueue(queue)), Stream.drain(Stream.fromEffect(work)))
  }))
