/**
 * Where messages of a topic go that nobody can handle: untouched, with the reason beside them, to a dead-letter topic. They are
 * acknowledged once that has them, in a fibre of its own, so that a dead-letter topic that is out stops nobody.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import type { Consumer, Letter, Received, Subscriber } from "../../Subscriber.ts"
import * as messageIds from "../pulsar/messageId.ts"

/** The first two as Pulsar's own clients name them. */
export const names = {
  topic: "REAL_TOPIC",
  messageId: "ORIGIN_MESSAGE_ID",
  subscription: "trustlog-subscription",
  reason: "trustlog-reason",
  error: "trustlog-error",
  publishedAt: "trustlog-published-at",
  /** `2/3`: the second of three, whose bytes together are the message's. */
  part: "trustlog-part",
  /** What of the original's properties was too large to be sent along. */
  omitted: "trustlog-omitted"
} as const

/** A message, and why nobody can handle it. */
export interface Condemned {
  readonly message: Received
  readonly reason: string
  readonly error: string
}

export interface DeadLetter extends Condemned {
  /** Where it came from, and where it is. */
  readonly topic: string
  readonly deadLetterTopic: string
}

export interface Settings {
  readonly topic: string
  readonly subscription: string
  readonly deadLetterTopic: string
  readonly redeliveryDelay: Duration.Duration
  readonly onDeadLetters: (letters: ReadonlyArray<DeadLetter>) => Effect.Effect<void>
}

export interface DeadLetters {
  /** Sees to it that they go there, and does not wait for that. */
  readonly take: (condemned: ReadonlyArray<Condemned>) => Effect.Effect<void>
}

/** So much waits at most; what comes then is rejected, and comes again. */
const maxWaiting = 1000
const maxWaitingBytes = 16 * 1024 * 1024

/** So many are sent at once. */
const batchSize = 100

/** So many characters of a stranger's properties, or of an error, are sent along. */
const maxPropertiesLength = 16_384
const maxErrorLength = 1000

/** How long the end of a consumer waits for letters that are on their way. */
const patience = Duration.seconds(5)

/** No limit of a broker is as small, so that a message of one part more would not be accepted either. */
const smallestPart = 1024

const nameOf = ({ messageId }: Received): string => {
  const known = messageIds.unpack(messageId)
  return known === undefined ? "" : messageIds.format(known)
}

// Native clients cut texts at a NUL.
const printable = (text: string): string => text.replace(/\p{Cc}/gu, " ").slice(0, maxErrorLength)

const letterOf = ({ error, message, reason }: Condemned, { subscription, topic }: Settings): Letter => {
  const length = JSON.stringify([message.properties, message.key]).length
  const isKept = length <= maxPropertiesLength
  const name = nameOf(message)
  return {
    // Parts belong together, wherever the key leads.
    key: isKept && message.key !== undefined ? message.key : name,
    bytes: message.bytes,
    properties: {
      ...isKept ? message.properties : { [names.omitted]: `properties of ${length} characters` },
      [names.topic]: topic,
      [names.messageId]: name,
      [names.subscription]: subscription,
      [names.reason]: reason,
      [names.error]: printable(error),
      [names.publishedAt]: new Date(message.publishedAt).toISOString()
    }
  }
}

const partsOf = (letter: Letter, count: number): ReadonlyArray<Letter> => {
  const size = Math.ceil(letter.bytes.length / count)
  return Array.from({ length: count }, (_, i) => ({
    ...letter,
    bytes: letter.bytes.subarray(i * size, (i + 1) * size),
    properties: { ...letter.properties, [names.part]: `${i + 1}/${count}` }
  }))
}

/** Sends dead letters on. When the scope closes, it goes on for a while; what it has not sent by then is not acknowledged. */
export const make = (
  subscriber: Subscriber["Type"],
  consumer: Consumer,
  settings: Settings
): Effect.Effect<DeadLetters, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { deadLetterTopic, onDeadLetters, redeliveryDelay, topic } = settings
    const waiting: Array<Condemned> = []
    let waitingBytes = 0
    const hasWaiting = yield* Effect.makeLatch()
    const isIdle = yield* Effect.makeLatch(true)

    /** What became of letters: `undefined` is well, `tooLarge` may be sent in parts. */
    const send = (letters: ReadonlyArray<Letter>) =>
      Effect.match(subscriber.send(deadLetterTopic, letters), {
        onFailure: ({ message }) => letters.map(() => message),
        onSuccess: ({ outcomes }) =>
          outcomes.map((outcome) =>
            outcome._tag === "Acknowledged"
              ? undefined
              : outcome._tag === "Refused" && outcome.reason === "tooLarge"
              ? tooLarge
              : outcome.error
          )
      })

    /** Sends a letter that is too large for one message in as few parts as it takes. */
    const sendInParts = (letter: Letter, count: number): Effect.Effect<string | undefined> =>
      Effect.gen(function*() {
        if (letter.bytes.length / count < smallestPart) return "it is too large, also in parts"
        const [first, ...others] = partsOf(letter, count)
        // If the first is too large the others are, but for the last: it must not stay there alone.
        const [answer] = first === undefined ? [] : yield* send([first])
        if (answer === tooLarge) return yield* sendInParts(letter, count * 2)
        if (answer !== undefined) return answer
        return (yield* send(others)).find((problem) => problem !== undefined)
      })

    const sendAll = (batch: ReadonlyArray<Condemned>) =>
      Effect.gen(function*() {
        const letters = batch.map((condemned) => letterOf(condemned, settings))
        const answers = yield* send(letters)
        const problems = yield* Effect.forEach(
          letters,
          (letter, i) => answers[i] === tooLarge ? sendInParts(letter, 2) : Effect.succeed(answers[i])
        )
        const sent = batch.filter((_, i) => problems[i] === undefined)
        const failed = batch.filter((_, i) => problems[i] !== undefined)
        yield* consumer.acknowledge(sent.map(({ message }) => message))
        yield* consumer.reject(failed.map(({ message }) => message))
        const [first] = sent
        if (first !== undefined) {
          yield* Effect.logWarning(
            `${sent.length} of ${topic} went to ${deadLetterTopic}, the first (${nameOf(first.message)}) because it ` +
              `${printable(first.error)} (${first.reason})`
          )
          yield* onDeadLetters(sent.map((condemned) => ({ ...condemned, topic, deadLetterTopic })))
        }
        const problem = problems.find((found) => found !== undefined)
        if (problem !== undefined) {
          yield* Effect.logWarning(
            `${failed.length} of ${topic} should go to ${deadLetterTopic} and cannot, they come again in ` +
              `${Duration.format(redeliveryDelay)}: ${problem}`
          )
        }
      })

    const work = Effect.gen(function*() {
      yield* hasWaiting.await
      const batch = waiting.splice(0, batchSize)
      waitingBytes -= batch.reduce((sum, { message }) => sum + message.bytes.length, 0)
      yield* sendAll(batch)
      if (waiting.length > 0) return
      yield* hasWaiting.close
      yield* isIdle.open
    })
    yield* Effect.acquireRelease(Effect.forkDaemon(Effect.interruptible(Effect.forever(work))), (fiber, exit) => {
      // Over a connection that is lost nothing can be acknowledged.
      const isLost = Exit.isFailure(exit) && !Cause.isInterruptedOnly(exit.cause)
      const rest = isLost ? Effect.void : Effect.timeoutOption(Effect.interruptible(isIdle.await), patience)
      return Effect.zipRight(rest, Fiber.interrupt(fiber))
    })

    return {
      take: (condemned) =>
        Effect.suspend(() => {
          const rejected = condemned.filter((one) => {
            const { length } = one.message.bytes
            if (waiting.length >= maxWaiting || (waiting.length > 0 && waitingBytes + length > maxWaitingBytes))
              return true
            waiting.push(one)
            waitingBytes += length
            return false
          })
          return Effect.zipRight(
            waiting.length > 0 ? Effect.zipRight(isIdle.close, hasWaiting.open) : Effect.void,
            consumer.reject(rejected.map(({ message }) => message))
          )
        })
    }
  })

const tooLarge = "it is too large"
