/**
 * The log's side: takes what a log holds into a ledger of its own, so that somebody else than the application can prove what it
 * received. Several applications may be taken into one ledger, and several of these may write one.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import type * as Path from "@effect/platform/Path"
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Envelope from "./Envelope.ts"
import * as Ledger from "./Ledger.ts"
import type { Message } from "./Publisher.ts"
import * as Signature from "./Signature.ts"
import * as Subscriber from "./Subscriber.ts"
import type { LedgerError, PublisherError } from "./TrustlogError.ts"

export interface Options {
  /** The ledger, which is made with its key where there is none. */
  readonly ledger: Ledger.Options
  readonly topics: ReadonlyArray<string>
  /** `trustlog-seal` by default. Two with one subscription share the work; with one each, both take everything. */
  readonly subscription?: string | undefined
  /** As for `Subscriber.run`. */
  readonly deadLetterTopic?: string | undefined
}

/** What was done so far. */
export interface Totals {
  /** Messages that were taken or sent on: the sum of the others. */
  readonly received: number
  /** New entries of the ledger. */
  readonly appended: number
  /** Messages whose entry the ledger had already. */
  readonly duplicates: number
  /** Messages that are in the dead-letter topic: no envelopes, or such as contradict the ledger. */
  readonly deadLettered: number
}

export interface Seal {
  /**
   * Goes on until it is interrupted; what is appended by then is acknowledged. Fails where the ledger is not the one that it was,
   * which no waiting cures.
   */
  readonly run: Effect.Effect<never, LedgerError | PublisherError, Subscriber.Subscriber>
  readonly totals: Effect.Effect<Totals>
}

export const defaultSubscription = "trustlog-seal"

/** The ledger may be full for days. */
const firstDelay = Duration.millis(100)
const longestDelay = Duration.seconds(10)

const messageOf = ({ bytes, envelope, isSigned }: Subscriber.Entry): Message => ({
  stream: envelope.stream,
  id: envelope.id,
  bytes,
  contentType: isSigned ? Signature.contentType : Envelope.contentType,
  contentHash: envelope.contentHash,
  entry: envelope
})

/** Waits out what waiting cures; only the waiting is interruptible. */
const waiting = <A, R>(
  effect: Effect.Effect<A, LedgerError, R>,
  delay: Duration.Duration = firstDelay
): Effect.Effect<A, LedgerError, R> =>
  Effect.catchIf(
    effect,
    (error) => error.isRetryable,
    (error) =>
      Effect.logWarning(`the ledger takes nothing now, and nothing is acknowledged until it does: ${error.message}`)
        .pipe(
          Effect.zipRight(Effect.interruptible(Effect.sleep(delay))),
          Effect.zipRight(waiting(effect, Duration.min(Duration.times(delay, 2), longestDelay)))
        )
  )

/** Opens the ledger, until the scope closes. Fails before that where the options contradict themselves. */
export const make = (
  options: Options
): Effect.Effect<Seal, LedgerError | PublisherError, FileSystem.FileSystem | Path.Path | Scope.Scope> =>
  Effect.gen(function*() {
    let appended = 0
    let duplicates = 0
    let deadLettered = 0
    // Calls that came together have one `before`: what one of them appended, the others must not count again.
    let countedFrom = -1
    const counted = new Set<number>()
    const subscription: Subscriber.Options = {
      topics: options.topics,
      subscription: options.subscription ?? defaultSubscription,
      deadLetterTopic: options.deadLetterTopic,
      finishesCalls: true,
      onDeadLetters: (letters) =>
        Effect.sync(() => {
          deadLettered += letters.length
        })
    }
    yield* Subscriber.check(subscription)
    yield* waiting(Ledger.init(options.ledger))
    const ledger = yield* waiting(Ledger.make(options.ledger))
    const trouble = yield* Deferred.make<never, LedgerError | PublisherError>()

    /** Appends, and says of which nobody knows what became of them. */
    const append = (entries: ReadonlyArray<Subscriber.Entry>) =>
      Effect.map(ledger.append(entries.map(messageOf)), ({ before, failure, outcomes }) => {
        const unfit: Array<Subscriber.Unfit> = []
        const unsure: Array<Subscriber.Entry> = []
        if (before > countedFrom) {
          counted.clear()
          countedFrom = before
        }
        for (const [i, entry] of entries.entries()) {
          const outcome = outcomes[i]
          if (outcome?._tag === "Acknowledged") {
            const index = Ledger.unpackIndex(outcome.messageId) ?? 0
            if (index < before || counted.has(index)) duplicates++
            else {
              counted.add(index)
              appended++
            }
          } else if (outcome?._tag === "Refused") {
            unfit.push({ entry, reason: outcome.reason, error: `was refused: ${outcome.error}` })
          } else {
            unsure.push(entry)
          }
        }
        return { unfit, unsure, failure }
      })

    const handle = (entries: NonEmptyReadonlyArray<Subscriber.Entry>) => {
      const all: Array<Subscriber.Unfit> = []
      let left: ReadonlyArray<Subscriber.Entry> = entries
      return Effect.suspend(() => append(left)).pipe(
        Effect.flatMap(({ failure, unfit, unsure }) => {
          all.push(...unfit)
          left = unsure
          return failure === undefined ? Effect.succeed(all) : Effect.fail(failure)
        }),
        waiting,
        // Whoever waits for trouble ends this as well.
        Effect.catchAll((error) => Effect.zipRight(Deferred.fail(trouble, error), Effect.interruptible(Effect.never)))
      )
    }

    return {
      run: Effect.scoped(
        Subscriber.run(subscription, handle).pipe(
          Effect.intoDeferred(trouble),
          Effect.forkScoped,
          Effect.zipRight(Deferred.await(trouble))
        )
      ),
      totals: Effect.sync(() => ({
        received: appended + duplicates + deadLettered,
        appended,
        duplicates,
        deadLettered
      }))
    }
  })
