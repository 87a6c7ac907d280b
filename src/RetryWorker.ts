/**
 * The second line: tries refused records again when they are due, and makes dead letters of those whose schedule has
 * ended. Any number of them may run.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { Next } from "./Actor.ts"
import * as CircuitBreaker from "./CircuitBreaker.ts"
import type { Progress } from "./CursorWorker.ts"
import * as Delivery from "./Delivery.ts"
import { Host } from "./Host.ts"
import type { Lane } from "./Operation.ts"
import type { Publisher } from "./Publisher.ts"
import { type Claim, Repository, type Retry, type RetrySettlement } from "./Repository.ts"
import { Topics } from "./Topics.ts"
import type { DatabaseError, PublisherError } from "./TrustlogError.ts"
import * as TrustlogMetrics from "./TrustlogMetrics.ts"
import { WorkerConfig } from "./WorkerConfig.ts"
import * as monotonic from "./internal/monotonic.ts"

/**
 * What has been due for longer, in milliseconds, and cannot be claimed all the same, is held: its lane is paused, or its log
 * out. What has become due after the claim is not.
 */
const overdue = -100

/** How often is looked whether what is held may go on. */
const heldPoll = Duration.seconds(1)

/** Retries, one claim a cycle. */
export interface Session {
  readonly cycle: Effect.Effect<Progress, DatabaseError>
}

/** Begins to retry. */
export const session: Effect.Effect<Session, never, Repository | Publisher | CircuitBreaker.CircuitBreakers> = Effect
  .gen(function*() {
    const context = yield* Effect.context<Publisher | Repository>()
    const repository = yield* Repository
    const config = yield* WorkerConfig
    const topicOf = yield* Topics
    const breakers = yield* CircuitBreaker.CircuitBreakers
    /** Lanes whose log is out, and until when nobody need ask. */
    const heldUntil = new Map<Lane, number>()

    const nothing: Omit<RetrySettlement, "topic"> = { delivered: [], refused: [], returned: [], checkpoint: undefined }

    const settle = (claim: Claim, settlement: Omit<RetrySettlement, "topic">, outage?: PublisherError | undefined) =>
      Effect.gen(function*() {
        const counts = yield* repository.settleRetries(claim, { ...settlement, topic: topicOf(claim.lane) })
        yield* TrustlogMetrics.settled(claim.lane, counts)
        const progress: Progress = { ...counts, next: Next.Again(), outage }
        return progress
      })

    /** Gives a claim back with its attempts untouched. */
    const giveBack = (claim: Claim, isSuspect: boolean, outage?: PublisherError | undefined) =>
      settle(
        claim,
        { ...nothing, returned: claim.rows.map(({ position }) => ({ position, isSuspect })) },
        outage
      )

    const hold = (lane: Lane, delay: Duration.Duration) =>
      Effect.map(monotonic.now, (now) => {
        heldUntil.set(lane, now + Duration.toMillis(delay))
      })

    const refuse = (claim: Claim, rows: ReadonlyArray<Retry>, error: string) =>
      Effect.gen(function*() {
        const refused = yield* Delivery.refusals(
          rows.map((row) => ({ row, attempts: row.attempts, reason: "suspect" as const, error }))
        )
        return yield* settle(claim, { ...nothing, refused })
      })

    const deliver = (claim: Claim): Effect.Effect<Progress, DatabaseError, Publisher | Repository | Scope.Scope> =>
      Effect.gen(function*() {
        const breaker = yield* breakers.get(topicOf(claim.lane))
        const isAlone = claim.rows.some((row) => row.reason === "suspect" || row.isLapsed)
        const permit = yield* breaker.permit
        if (permit._tag === "Held") {
          yield* hold(claim.lane, permit.delay)
          return yield* giveBack(claim, isAlone)
        }
        const out = (outage: PublisherError) =>
          Effect.zipRight(breaker.failed(permit), giveBack(claim, isAlone, outage))

        // A suspect may take the process with it. It is sent only while the log says that it is well, and then a loss is
        // its own doing: the loss of a process shows in its claim, which has lapsed.
        if (isAlone || permit._tag === "Probe") {
          const health = yield* Effect.either(Delivery.health(claim.lane))
          if (health._tag === "Left") return yield* out(health.left)
        }
        const lapsed = claim.rows.filter((row) => row.isLapsed && row.reason === "suspect")
        if (lapsed.length > 0) return yield* refuse(claim, lapsed, "the process was lost while it sent this record")

        const attempt = yield* Delivery.attempt(claim.lane, claim.rows)
        const attempts = new Map(claim.rows.map((row) => [row.position, row.attempts]))
        const refused = yield* Delivery.refusals(
          attempt.refused.map((refusal) => ({ ...refusal, attempts: attempts.get(refusal.row.position) ?? 0 }))
        )
        const settlement = { delivered: attempt.delivered, refused, checkpoint: attempt.checkpoint }
        if (attempt.unknown.length === 0) {
          yield* breaker.succeeded(permit)
          return yield* settle(claim, { ...settlement, returned: [] })
        }
        const health = attempt.isSuspicious ? yield* Effect.either(Delivery.health(claim.lane)) : undefined
        const outage = health === undefined ? attempt.outage : health._tag === "Left" ? health.left : undefined
        if (outage !== undefined) {
          yield* breaker.failed(permit)
          const returned = attempt.unknown.map(({ position }) => ({ position, isSuspect: isAlone }))
          return yield* settle(claim, { ...settlement, returned }, outage)
        }
        // The log is well: one of these breaks whatever carries it. Alone, each shows which.
        const error = attempt.outage?.message ?? "the log gave no answer"
        if (isAlone) return yield* refuse(claim, claim.rows, error)
        const returned = attempt.unknown.map(({ position }) => ({ position, isSuspect: true }))
        return yield* settle(claim, { ...settlement, returned })
      })

    const renewal = (claim: Claim) =>
      repository.renewClaim(claim, config.claim).pipe(
        Effect.catchAll((error) => Effect.logWarning(`a claim could not be renewed: ${error.message}`)),
        Effect.schedule(Schedule.spaced(Duration.times(config.claim, 1 / 3))),
        Effect.forkScoped
      )

    const work = Effect.gen(function*() {
      const now = yield* monotonic.now
      for (const [lane, until] of heldUntil) if (until <= now) heldUntil.delete(lane)
      const claim = yield* repository.claimRetries({
        limit: config.pageRows,
        maxBytes: config.pageBytes,
        timeToLive: config.claim,
        excluded: Array.from(heldUntil.keys())
      })
      if (claim === undefined) {
        const due = yield* repository.nextRetryIn
        const next = Next.Idle(
          due === undefined ? {} : { atMost: due <= overdue ? heldPoll : Duration.millis(Math.max(0, due)) }
        )
        return { next, delivered: 0, refused: 0, dead: 0, outage: undefined }
      }
      yield* renewal(claim)
      return yield* deliver(claim)
    })

    return {
      cycle: work.pipe(
        Effect.scoped,
        Effect.provide(context),
        Effect.annotateLogs({ package: "effect-trustlog", module: "RetryWorker" })
      )
    }
  })

/** Retries whatever is due in the database, as one actor. */
export const layer: Layer.Layer<
  never,
  never,
  Repository | Publisher | CircuitBreaker.CircuitBreakers | Host
> = Layer.scopedDiscard(Effect.gen(function*() {
  const host = yield* Host
  const { scanInterval } = yield* WorkerConfig
  const { cycle } = yield* session
  yield* host.start({
    identity: "retry",
    cycle: Effect.map(cycle, (progress) => progress.next),
    pollInterval: scanInterval
  })
}))
