/**
 * Apache Pulsar as a trust log, over its official native client (`pulsar-client`, an optional peer; Node, Bun and Deno).
 * `Publisher/PulsarWebSocket` needs no native code.
 *
 * Messages carry the operation's id as their key, and say in properties what they are (`internal/pulsar/properties`).
 * Producers have no name and their messages no sequence ids, so that no broker drops one as a duplicate: what is sent again
 * after an outage is stored twice, under the same id.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { Buffer } from "node:buffer"
import { type Message, type Outcome, type Published, Publisher } from "../Publisher.ts"
import type * as PulsarCluster from "../PulsarCluster.ts"
import { PublisherError } from "../TrustlogError.ts"
import * as messageId from "../internal/pulsar/messageId.ts"
import { type Client, load, type Module, type ProducerMessage } from "../internal/pulsar/nativeClient.ts"
import * as nativeConnection from "../internal/pulsar/nativeConnection.ts"
import * as nativeErrors from "../internal/pulsar/nativeErrors.ts"
import * as nativeProducers from "../internal/pulsar/nativeProducers.ts"
import type * as nativeSender from "../internal/pulsar/nativeSender.ts"
import * as properties from "../internal/pulsar/properties.ts"
import * as topics from "../internal/pulsar/topic.ts"

export type { Client, Module } from "../internal/pulsar/nativeClient.ts"

/** How messages are sent. */
export interface SendOptions {
  /** Whether messages that come together are stored as one entry: about three times as many a second. Off by default. */
  readonly batching?: boolean | undefined
  /** Whether messages also carry the attributes of CloudEvents 1.0. Off by default. */
  readonly cloudEvents?: boolean | undefined
  /**
   * How long a batch may be on its way, before what is not answered is unknown and the producer is made anew: 25 seconds by
   * default. Less than the workers' publish deadline, with which the answers that came would be lost as well.
   */
  readonly sendTimeout?: Duration.DurationInput | undefined
  /** So many messages are on their way to a topic at most; 500 by default. */
  readonly window?: number | undefined
}

export interface Options extends PulsarCluster.Options, SendOptions {}

/** Of somebody else's client. */
export interface ClientOptions extends SendOptions {
  /**
   * How long the making of a producer may take: 32 seconds by default, a little more than the client itself waits. With
   * another `operationTimeoutSeconds`, a little more than that.
   */
  readonly patience?: Duration.DurationInput | undefined
}

/** What the client is given: it cuts texts at a NUL, and sends what is no buffer as nothing, without a word. */
const prepare = (message: Message, withCloudEvents: boolean): Either.Either<ProducerMessage, Outcome> => {
  const { bytes, id } = message
  const carried = properties.of(message, withCloudEvents)
  const unfit = !(bytes instanceof Uint8Array) || bytes.length === 0
    ? "it has no bytes"
    : id === "" || id.includes("\0")
    ? "its id cannot be a key"
    : Object.entries(carried).flat().some((text) => typeof text !== "string" || text.includes("\0"))
    ? "one of its properties is no text, or has a NUL"
    : undefined
  return unfit === undefined
    ? Either.right({
      data: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length),
      partitionKey: id,
      properties: carried
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

const makeOver = (
  connection: nativeConnection.Connection<Pick<Client, "createProducer">>,
  options: SendOptions
): Effect.Effect<Publisher["Type"], never, Scope.Scope> =>
  Effect.gen(function*() {
    const { batching = false, cloudEvents = false, window = 500 } = options
    const sendTimeout = Duration.decode(options.sendTimeout ?? "25 seconds")
    const producers = yield* nativeProducers.make(connection, { batching, window, sendTimeout })

    /** Sends messages by one producer, and gives it up where it does not answer in time. */
    const send = (
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
            Effect.ensuring(send(sender, messages, false), Effect.sync(sender.retire)),
            ({ verdicts }) => verdicts
          )
      })

    const topicOf = (name: string) =>
      Either.mapBoth(topics.parse(name), {
        onLeft: (problem) => new PublisherError({ reason: "misconfigured", problem }),
        onRight: topics.format
      })

    const publish = (name: string, batch: ReadonlyArray<Message>): Effect.Effect<Published, PublisherError> =>
      Effect.gen(function*() {
        const topic = yield* topicOf(name)
        const prepared = batch.map((message) => prepare(message, cloudEvents))
        const messages = prepared.flatMap((each) => Either.isRight(each) ? [each.right] : [])
        let verdicts: ReadonlyArray<Verdict> = []
        if (messages.length > 0) {
          const sent = yield* send(yield* producers.current(topic), messages, batching)
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

    return Publisher.of({
      publish,
      // A producer says that it is connected to a broker that hangs, too; only a new one proves anything.
      health: (name) => Effect.flatMap(topicOf(name), producers.prove)
    })
  })

/** Makes a publisher with a client of its own from the module `pulsar-client`; both are closed with the scope. */
export const make = (
  module: Module,
  options: Options
): Effect.Effect<Publisher["Type"], PublisherError, Scope.Scope> =>
  Effect.flatMap(nativeConnection.make(module, options), (connection) => makeOver(connection, options))

/** Makes a publisher over a client that the host has. Only its producers are closed with the scope. */
export const makeFromClient = (
  client: Pick<Client, "createProducer">,
  options: ClientOptions = {}
): Effect.Effect<Publisher["Type"], never, Scope.Scope> =>
  makeOver(nativeConnection.ofClient(client, options.patience ?? "32 seconds"), options)

/**
 * Publishes to a Pulsar cluster at `pulsar://…` or `pulsar+ssl://…`. Fails where `pulsar-client` is not installed, or where
 * it cannot work: with the URL, or the files of TLS, that are given.
 */
export const layer = (options: Options): Layer.Layer<Publisher, PublisherError> =>
  Layer.scoped(Publisher, Effect.flatMap(load, (module) => make(module, options)))

/** Publishes by a client that the host has, and closes. */
export const layerFromClient = (
  client: Pick<Client, "createProducer">,
  options: ClientOptions = {}
): Layer.Layer<Publisher> => Layer.scoped(Publisher, makeFromClient(client, options))
