/**
 * Where actors live. An actor does not know: the back-ends are in `Host/`.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Actor, Message, Status } from "./Actor.ts"

/** An actor that has been started. */
export interface ActorRef {
  readonly identity: string
  /** Tells it something and waits for its answer, its status: at once, but for `Drain`, which is answered when done. */
  readonly send: (message: Message) => Effect.Effect<Status>
  /** The same as sending `Status`. */
  readonly status: Effect.Effect<Status>
  /** Completes when the actor has ended: by its own decision or with its scope. */
  readonly await: Effect.Effect<void>
}

/** A place for actors. Every back-end passes `test/suites/HostTest.ts`. */
export class Host extends Context.Tag("effect-trustlog/Host")<Host, {
  /**
   * Starts an actor in the scope; its first cycle runs at once. Closing the scope interrupts the cycle under way and
   * waits until it has ended (what it does uninterruptibly is finished). To end it with nothing left to do, send
   * `Drain` first.
   */
  readonly start: <E, R>(actor: Actor<E, R>) => Effect.Effect<ActorRef, never, R | Scope.Scope>
}>() {}
