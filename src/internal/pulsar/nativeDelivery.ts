/**
 * Messages on their way by a native client, and what became of each: checked before the client has them, timed by ourselves, and
 * judged one by one.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type * as Scope from "effect/Scope"
import type { Outcome, Published } from "../../Publisher.ts"
import { PublisherError } from "../../TrustlogError.ts"
import * as messageId from "./messageId.ts"
import type { Client, ProducerMessage } from "./nativeClient.ts"
import type { Connection } from "./nativeConnection.ts"
import * as nativeErrors from "./nativeErrors.ts"
import * as nativeProducers from "./nativeProducers.ts"
import type * as nativeSender from "./nativeSender.ts"
import type { Outgoing } from "./producer.ts"
import * as topics from "./topic.ts"

export interface Options extends nativeProducers.Options {
  /** Whether a message may have no bytes: a dead letter is what it was, and no record is nothing. */
  readonly mayBeEmpty: boolean
}

export interface Delivery {
  /** As `Publisher.publish`. */
  readonly send: (topic: string, batch: ReadonlyArray<Outgoing>) => Effect.Effect<Published, PublisherError>
  /** As `Publisher.health`. */
  readonly health: (topic: string) => Effect.Effect<void, PublisherError>
}

/** What the client is given: it cuts texts at a NUL, and sends what is no buffer as nothing, without a word. */
const prepare = (
  { bytes, key, properties }: Outgoing,
  mayBeEmpty: boolean
): Either.Either<ProducerMessage, Outcome> => {
  const unfit = !(bytes instanceof Uint8Array) || (bytes.length === 0 && !mayBeEmpty)
    ? "it has no bytes"
    : key === "" || key.includes("\0")
    ? "its key is empty, or has a NUL"
    : Object.entries(properties).flat().some((text) => typeof text !== "string" || text.includes("\0"))
    ? "one of its properties is no text, or has a NUL"
    : undefined
  return unfit === undefined
    ? Either.right({
      data: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length),
      partitionKey: key,
      properties: { ...properties }
    })
    : Either.left({ _tag: "Refused", reason: "encoding", error: `the message is not fit to be sent: ${unfit}` })
}

/** What became of a message: whether to send it again alone, and if it is unknown why. */
type Verdict =
  | { readonly _tag: "Done"; readonly outcome: Outcome }
  | { readonly _tag: "Alone" }
  | { readonly _tag: "Lost"; readonly outage: PublisherError["reason"]; readonly error: string }

const unknown = (error: string): Outcome => ({ _tag: "Unknown", error })

const stored = (text: string): Outcome => {
  const id = messageId.ofText(text)
  if (id === undefined) return unknown(`the client gave it a name that is none of Pulsar's: ${text.slice(0, 100)}`)
  if (messageId.isDropped(id)) return unknown("the broker dropped it as a duplicate, and did not say of what")
  return { _tag: "Acknowledged", messageId: messageId.pack(id) }
}

const verdictOf = (answer: nativeSender.Answer | undefined, isBatched: boolean, silence: string): Verdict => {
  if (answer === undefined) return { _tag: "Lost", outage: "lost", error: silence }
  if (answer._tag === "Stored") return { _tag: "Done", outcome: stored(answer.id) }
  const failure = nativeErrors.ofSend(answer.error)
  const error = nativeErrors.textOf(answer.error)
  if (failure._tag === "unknown") return { _tag: "Lost", outage: failure.outage, error }
  // It may be the batch that is too large, not the message.
  if (failure.reason === "tooLarge" && isBatched) return { _tag: "Alone" }
  return { _tag: "Done", outcome: { _tag: "Refused", reason: failure.reason, error } }
}

/** Of several outages, the one that decides: what people must cure, then what a message may have caused. */
const severity: ReadonlyArray<PublisherError["reason"]> = ["misconfigured", "lost", "unavailable"]

const outageOf = (verdicts: ReadonlyArray<Verdict>, topic: string): PublisherError | undefined => {
  const losses = verdicts.filter((verdict) => verdict._tag === "Lost")
  for (const reason of severity) {
    const loss = losses.find(({ outage }) => outage === reason)
    if (loss !== undefined) {
      return new PublisherError({
        reason,
        problem: `${losses.length} of the records sent to ${topic} have no answer: ${loss.error}`
      })
    }
  }
  return undefined
}

/** Sends to the topics of a cluster. When the scope closes, so do the producers. */
export const make = (
  connection: Connection<Pick<Client, "createProducer">>,
  { batching, mayBeEmpty, sendTimeout, window }: Options
): Effect.Effect<Delivery, never, Scope.Scope> =>
  Effect.gen(function*() {
    const producers = yield* nativeProducers.make(connection, { batching, window, sendTimeout })

    /** Sends messages by one producer, and gives it up where it does not answer in time. */
    const sendBy = (
      sender: nativeSender.Sender,
      messages: ReadonlyArray<ProducerMessage>,
      isBatched: boolean
    ): Effect.Effect<{ readonly verdicts: ReadonlyArray<Verdict>; readonly given: number }> =>
      Effect.acquireUseRelease(
        Effect.sync(() => sender.begin(messages)),
        ({ answers, given, over }) =>
          Effect.map(Effect.timeoutOption(over, sendTimeout), (ended) => {
            const isLate = ended._tag === "None"
            const silence = isLate
              ? `no answer within ${Duration.format(sendTimeout)}`
              : "its producer was given up, for others had no answer"
            const verdicts = answers.map((answer) => verdictOf(answer, isBatched, silence))
            const isStuck = isLate && answers.slice(0, given()).includes(undefined)
            if (isStuck) sender.abort()
            else if (verdicts.some((verdict) => verdict._tag === "Lost")) sender.retire()
            return { verdicts, given: given() }
          }),
        ({ leave }) => Effect.sync(leave)
      )

    /** Sends again, without batching, what was too large for a batch. */
    const sendAlone = (topic: string, messages: ReadonlyArray<ProducerMessage>) =>
      Effect.matchEffect(producers.unbatched(topic), {
        onFailure: ({ problem, reason }) =>
          Effect.succeed(messages.map((): Verdict => ({ _tag: "Lost", outage: reason, error: problem }))),
        onSuccess: (sender) =>
          Effect.map(
            Effect.ensuring(sendBy(sender, messages, false), Effect.sync(sender.retire)),
            ({ verdicts }) => verdicts
          )
      })

    const topicOf = (name: string) => Either.map(topics.named(name), topics.format)

    const send = (name: string, batch: ReadonlyArray<Outgoing>): Effect.Effect<Published, PublisherError> =>
      Effect.gen(function*() {
        const topic = yield* topicOf(name)
        const prepared = batch.map((message) => prepare(message, mayBeEmpty))
        const messages = prepared.flatMap((each) => Either.isRight(each) ? [each.right] : [])
        let verdicts: ReadonlyArray<Verdict> = []
        if (messages.length > 0) {
          const sent = yield* sendBy(yield* producers.current(topic), messages, batching)
          if (sent.given === 0) {
            return yield* new PublisherError({
              reason: "unavailable",
              problem: `nothing was sent to ${topic}: others before it had no answer`
            })
          }
          verdicts = sent.verdicts
          const suspects = messages.filter((_, i) => verdicts[i]?._tag === "Alone")
          if (suspects.length > 0) {
            const alone = (yield* sendAlone(topic, suspects)).values()
            verdicts = verdicts.map((verdict) => verdict._tag === "Alone" ? alone.next().value ?? verdict : verdict)
          }
        }
        const each = verdicts.values()
        return {
          outcomes: prepared.map((one): Outcome => {
            if (Either.isLeft(one)) return one.left
            const verdict = each.next().value
            return verdict?._tag === "Done"
              ? verdict.outcome
              : unknown(verdict?._tag === "Lost" ? verdict.error : "no answer")
          }),
          outage: outageOf(verdicts, topic),
          checkpoint: undefined
        }
      })

    return {
      send,
      // A producer says that it is connected to a broker that hangs, too; only a new one proves anything.
      health: (name) => Effect.flatMap(topicOf(name), producers.prove)
    }
  })
