/**
 * Whose turn it is: one holder at a time, the others in the order they came. Unlike Effect's semaphore it cannot lose
 * its permit to a fibre that is interrupted between being given it and noticing.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import type * as Scope from "effect/Scope"

export interface Turn {
  readonly isTaken: () => boolean
  /** Waits for the turn, and holds it until the scope closes. The wait is as interruptible as the caller is. */
  readonly take: Effect.Effect<void, never, Scope.Scope>
}

export const make = (): Turn => {
  let isTaken = false
  const waiting = new Set<Deferred.Deferred<void>>()
  const pass = Effect.sync(() => {
    for (const next of waiting) {
      waiting.delete(next)
      Deferred.unsafeDone(next, Effect.void)
      return
    }
    isTaken = false
  })
  return {
    isTaken: () => isTaken,
    take: Effect.uninterruptibleMask((restore) =>
      Effect.suspend(() => {
        if (!isTaken) {
          isTaken = true
          return Effect.addFinalizer(() => pass)
        }
        const ours = Deferred.unsafeMake<void>(FiberId.none)
        waiting.add(ours)
        return restore(Deferred.await(ours)).pipe(
          // Not waiting any more means that the turn has come, unnoticed.
          Effect.onInterrupt(() => Effect.suspend(() => waiting.delete(ours) ? Effect.void : pass)),
          Effect.zipRight(Effect.addFinalizer(() => pass))
        )
      })
    )
  }
}
