/**
 * A lane held: its lease is renewed while the scope is open, and given back when it closes.
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { Lane } from "./Operation.ts"
import { type Lease, Repository } from "./Repository.ts"
import type { DatabaseError, LeaseLost } from "./TrustlogError.ts"
import { WorkerConfig } from "./WorkerConfig.ts"
import * as monotonic from "./internal/monotonic.ts"

/** A lease, and what tells that it is lost. */
export interface Held {
  readonly lease: Lease
  /** Completes when somebody else has the lane, or when the lease has lapsed unrenewed so that somebody may. */
  readonly lost: Effect.Effect<void>
}

/** Takes a lane unless somebody holds it; then there is nothing in the scope. */
export const hold = (
  lane: Lane,
  owner: string
): Effect.Effect<Held | undefined, DatabaseError, Repository | Scope.Scope> =>
  Effect.gen(function*() {
    const repository = yield* Repository
    const config = yield* WorkerConfig
    const lease = yield* Effect.acquireRelease(
      repository.acquire(lane, owner, config.lease),
      (lease) => lease === undefined ? Effect.void : giveBack(repository, lease)
    )
    if (lease === undefined) return undefined
    const lost = yield* Deferred.make<void>()
    let renewedAt = yield* monotonic.now

    const renew: Effect.Effect<void, LeaseLost | DatabaseError> = Effect.gen(function*() {
      // Taken before the statement: the lease may be older than the answer, never younger.
      const at = yield* monotonic.now
      yield* repository.renew(lease, config.lease)
      renewedAt = at
    })
    // One try that fails says nothing; only an epoch that has moved, or a lease that has run out, ends the cycle.
    const mayRenew = (error: LeaseLost | DatabaseError) =>
      Effect.map(
        monotonic.now,
        (now) => error._tag === "DatabaseError" && now - renewedAt < Duration.toMillis(config.lease)
      )
    yield* renew.pipe(
      Effect.retry({ while: mayRenew, schedule: Schedule.spaced("250 millis") }),
      Effect.delay(config.leaseRenewal),
      Effect.forever,
      Effect.catchAll((error) =>
        Effect.zipRight(
          Effect.logWarning(`lane ${lane} is lost: ${error.message}`),
          Deferred.succeed(lost, undefined)
        )
      ),
      Effect.interruptible,
      Effect.forkScoped
    )
    return { lease, lost: Deferred.await(lost) }
  })

const giveBack = (repository: Repository["Type"], lease: Lease) =>
  Effect.catchAll(
    repository.release(lease),
    (error) => Effect.logWarning(`lane ${lease.lane} could not be given back, and will lapse: ${error.message}`)
  )
