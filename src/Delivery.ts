/**
 * One attempt at publishing some rows, and what became of each. Both workers deliver this way.
 */
import * as Arr from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Envelope from "./Envelope.ts"
import type { Lane } from "./Operation.ts"
import { isFinal, type Message, messageOf, type Outcome, type Published, Publisher, type Reason } from "./Publisher.ts"
import { type Delivered, type Refusal, Repository, type Row } from "./Repository.ts"
import * as RetryPolicy from "./RetryPolicy.ts"
import { Signer } from "./Signer.ts"
import { Topics } from "./Topics.ts"
import { PublisherError } from "./TrustlogError.ts"
import { WorkerConfig } from "./WorkerConfig.ts"

/** What became of the rows. */
export interface Attempt {
  readonly topic: string
  readonly delivered: ReadonlyArray<Delivered>
  readonly refused: ReadonlyArray<{ readonly row: Row; readonly reason: Reason; readonly error: string }>
  /** Rows without an answer: perhaps in the log, to be sent again under the same id. */
  readonly unknown: ReadonlyArray<Row>
  readonly checkpoint: Published["checkpoint"]
  /** Why the log did not answer, if it did not. */
  readonly outage: PublisherError | undefined
  /** Whether one of the rows may be why there was no answer: they were on their way, and the log itself did not fail. */
  readonly isSuspicious: boolean
}

/** A row, and what is sent of it. */
interface Ready {
  readonly row: Row
  readonly encoded: Envelope.Encoded
}

type Unfit = Attempt["refused"][number]

const readyOf = (stream: string, lane: Lane, row: Row): Either.Either<Ready, Unfit> =>
  row.lane === lane
    ? Either.mapBoth(Envelope.ofRow(stream, row), {
      onLeft: ({ error, reason }) => ({ row, reason, error }),
      onRight: (encoded) => ({ row, encoded })
    })
    : Either.left({ row, reason: "altered", error: `the row says lane ${row.lane}, but it was pending in ${lane}` })

const silence = new PublisherError({
  reason: "lost",
  problem: "the log did not answer within the publish deadline"
})

/** Rows that are ready to be published. */
export interface Prepared {
  readonly topic: string
  readonly ready: ReadonlyArray<Ready>
  readonly messages: ReadonlyArray<Message>
  readonly unfit: ReadonlyArray<Unfit>
}

/** Makes the messages of a lane's rows, and sets apart those that cannot be one. */
export const prepare = (lane: Lane, page: ReadonlyArray<Row>): Effect.Effect<Prepared, never, Repository> =>
  Effect.gen(function*() {
    const { stream } = yield* Repository
    const signer = yield* Signer
    const topicOf = yield* Topics
    const [unfit, ready] = Arr.partitionMap(page, (row) => readyOf(stream, lane, row))
    const signed = yield* signer.sign(ready.map(({ encoded }) => encoded))
    const messages = Arr.zipWith(
      ready,
      signed,
      ({ encoded }, bytes) => messageOf(stream, encoded, bytes, signer.contentType)
    )
    return { topic: topicOf(lane), ready, messages, unfit }
  })

/**
 * Publishes what was prepared, within the publish deadline, which begins when `since` completes. Never fails: whatever the
 * log does is data.
 */
export const publish = (
  { messages, ready, topic, unfit }: Prepared,
  since: Effect.Effect<void> = Effect.void
): Effect.Effect<Attempt, never, Publisher> =>
  Effect.gen(function*() {
    const publisher = yield* Publisher
    const { publishDeadline } = yield* WorkerConfig
    const nothing: Published = { outcomes: [], outage: undefined, checkpoint: undefined }
    const published = messages.length === 0 ? Either.right(nothing) : yield* Effect.either(Effect.raceFirst(
      publisher.publish(topic, messages),
      Effect.as(Effect.zipRight(since, Effect.sleep(publishDeadline)), { ...nothing, outage: silence })
    ))
    if (Either.isLeft(published)) {
      return {
        topic,
        delivered: [],
        refused: unfit,
        unknown: ready.map(({ row }) => row),
        checkpoint: undefined,
        outage: published.left,
        isSuspicious: false
      }
    }
    const { checkpoint, outage, outcomes } = published.right
    const delivered: Array<Delivered> = []
    const refused: Array<Unfit> = [...unfit]
    const unknown: Array<Row> = []
    for (const [i, { encoded, row }] of ready.entries()) {
      const outcome: Outcome = outcomes[i] ?? { _tag: "Unknown", error: "no answer" }
      switch (outcome._tag) {
        case "Acknowledged":
          delivered.push({
            position: row.position,
            id: row.id,
            contentHash: encoded.contentHash,
            isHashed: row.contentHash !== null,
            messageId: outcome.messageId
          })
          break
        case "Refused":
          refused.push({ row, reason: outcome.reason, error: outcome.error })
          break
        case "Unknown":
          unknown.push(row)
      }
    }
    const isSuspicious = unknown.length > 0 && (outage === undefined || outage.reason === "lost")
    return { topic, delivered, refused, unknown, checkpoint, outage, isSuspicious }
  })

/** Prepares and publishes the rows of a lane. */
export const attempt = (lane: Lane, page: ReadonlyArray<Row>): Effect.Effect<Attempt, never, Repository | Publisher> =>
  Effect.flatMap(prepare(lane, page), (prepared) => publish(prepared))

/** Fails with what is wrong with the log, a silence included. */
export const health = (lane: Lane): Effect.Effect<void, PublisherError, Publisher> =>
  Effect.gen(function*() {
    const publisher = yield* Publisher
    const topicOf = yield* Topics
    const { healthDeadline } = yield* WorkerConfig
    return yield* Effect.timeoutFail(publisher.health(topicOf(lane)), {
      duration: healthDeadline,
      onTimeout: () =>
        new PublisherError({
          reason: "unavailable",
          problem: "the log did not say within the deadline that it is well"
        })
    })
  })

/** So many refusals of a batch are logged one by one. */
const maxLogged = 10

/** Decides, and logs, when refused rows are tried again, or that they are dead letters. */
export const refusals = (
  refused: ReadonlyArray<Unfit & { readonly attempts: number }>
): Effect.Effect<ReadonlyArray<Refusal>> =>
  Effect.gen(function*() {
    const policy = yield* RetryPolicy.RetryPolicy
    const delays = new Map<number, Refusal["delay"]>()
    const refusals: Array<Refusal> = []
    for (const attempts of new Set(refused.map((refusal) => refusal.attempts + 1))) {
      const delay = yield* RetryPolicy.delayAfter(policy, attempts)
      delays.set(attempts, Option.getOrUndefined(delay))
    }
    for (const { attempts, error, reason, row } of refused) {
      const delay = isFinal(reason) ? undefined : delays.get(attempts + 1)
      refusals.push({ position: row.position, reason, error, delay })
      if (refusals.length > maxLogged) continue
      const next = delay === undefined ? "it is a dead letter" : `it is tried again in ${Duration.format(delay)}`
      yield* Effect.logWarning(`operation ${row.id} was refused (${reason}): ${error}; ${next}`)
    }
    if (refused.length > maxLogged) yield* Effect.logWarning(`${refused.length - maxLogged} more were refused with it`)
    return refusals
  })
