/**
 * Which lanes this process delivers: any number of processes share them evenly, and take over from one that ends or dies.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { v4 } from "uuid"
import { type Actor, Next } from "./Actor.ts"
import { type ActorRef, Host } from "./Host.ts"
import * as LaneLease from "./LaneLease.ts"
import type { Lane } from "./Operation.ts"
import { type Hint, Repository } from "./Repository.ts"
import { WorkerConfig } from "./WorkerConfig.ts"
import * as monotonic from "./internal/monotonic.ts"

/** A lane that this process delivers. */
interface Owned {
  readonly ref: ActorRef
  readonly close: Effect.Effect<void>
  /** Until when it is kept beyond the share, if it was taken beyond it. */
  readonly keptUntil: number
}

/** For so long others may try a lane that failed here, if there are any. */
const othersTurn = Duration.minutes(5)

const close = (scope: Scope.CloseableScope) => Scope.close(scope, Exit.void)

/**
 * Registers as a member and looks for lanes every `WorkerConfig.laneScan`: it takes those that nobody holds, up to its
 * share (lanes / members, rounded up), and gives surplus back. A member that has died counts until its registration has
 * lapsed, and one that dies again and again counts many times over: so a lane that those whose turn it is leave lying is
 * taken beyond the share, and kept for as long as a registration lasts. Each lane that it holds is an actor, made by `begin`.
 * One that ends is begun anew, with nothing kept of it, by whoever takes its lane next: if it ended by its failures and there are other
 * members, by one of them. When the scope closes, the lanes are drained for as long as `WorkerConfig.shutdown` says, and given back.
 */
export const layer = <E, R, R2>(
  begin: (held: LaneLease.Held) => Effect.Effect<Actor<E, R>, never, R2>
): Layer.Layer<never, never, Repository | Host | R | R2> =>
  Layer.scopedDiscard(Effect.gen(function*() {
    const repository = yield* Repository
    const host = yield* Host
    const config = yield* WorkerConfig
    const member = v4()
    const ours = yield* Effect.scope
    const lanes = new Map<Lane, Owned>()
    /** Whether it has looked at all: a program may end before that, and has appended. */
    let hasLooked = false
    /** Every lane that there was when last looked. */
    let known = new Set<Lane>()
    /** Those that were free and others' turn. */
    let leftLying = new Set<Lane>()
    /** Those whose actor failed too often here, and until when they are others' to take. */
    const othersUntil = new Map<Lane, number>()

    const take = (lane: Lane, keptUntil: number) =>
      Effect.uninterruptible(Effect.gen(function*() {
        const scope = yield* Scope.make()
        const held = yield* LaneLease.hold(lane, member).pipe(Scope.extend(scope), Effect.onError(() => close(scope)))
        if (held === undefined) return yield* close(scope)
        const ref = yield* Scope.extend(Effect.flatMap(begin(held), host.start), scope)
        const owned = { ref, close: close(scope), keptUntil }
        lanes.set(lane, owned)
        const letGo = Effect.suspend(() => lanes.get(lane) === owned ? giveBack(lane, owned) : Effect.void)
        // What is under way ends at once. Whoever waits for the loss ends with the scope, and so cannot be who closes it.
        yield* held.lost.pipe(
          Effect.zipRight(Effect.forkIn(Effect.uninterruptible(letGo), ours)),
          Effect.interruptible,
          Effect.forkIn(scope)
        )
      }))

    const giveBack = (lane: Lane, owned: Owned) => Effect.zipRight(Effect.sync(() => lanes.delete(lane)), owned.close)

    /** What runs while a scope closes is not interrupted of itself, and would outlast its time. */
    const inTime = <A, E, R3>(effect: Effect.Effect<A, E, R3>) =>
      Effect.timeoutOption(Effect.interruptible(effect), config.shutdown)

    /** What is pending now is delivered, and what is under way finished: nothing need be sent twice after a restart. */
    const drain = ({ ref }: Owned) => inTime(ref.send("Drain"))

    const keepShare = Effect.gen(function*() {
      const members = yield* repository.register(member, config.lease)
      const now = yield* monotonic.now
      for (const [lane, owned] of lanes) {
        const { failuresInRow, state } = yield* owned.ref.status
        if (state !== "stopped") continue
        if (failuresInRow > 0) othersUntil.set(lane, now + Duration.toMillis(othersTurn))
        yield* giveBack(lane, owned)
      }
      for (const [lane, until] of othersUntil) if (until <= now || members === 1) othersUntil.delete(lane)
      const found = yield* repository.lanes
      known = new Set(found.map(({ lane }) => lane))
      const share = Math.ceil(found.length / members)
      const surplus = Array.from(lanes).filter(([, { keptUntil }]) => keptUntil <= now).slice(share)
      for (const [lane, owned] of surplus) yield* giveBack(lane, owned)
      const free = found.flatMap(({ lane, owner }) => owner === null && !othersUntil.has(lane) ? [lane] : [])
      const seenBefore = leftLying
      leftLying = new Set()
      for (const lane of free) {
        if (lanes.size < share) yield* take(lane, now)
        else if (seenBefore.has(lane)) yield* take(lane, now + Duration.toMillis(config.lease))
        else leftLying.add(lane)
      }
      hasLooked = true
      return Next.Idle(leftLying.size === 0 ? {} : { atMost: Duration.times(config.laneScan, 0.5) })
    })

    yield* Effect.addFinalizer(() =>
      Effect.gen(function*() {
        const together = { concurrency: "unbounded", discard: true } as const
        if (!hasLooked) {
          yield* Effect.catchAll(
            inTime(keepShare),
            (error) => Effect.logWarning(`what was appended is left for the next start: ${error.message}`)
          )
        }
        yield* Effect.forEach(lanes.values(), drain, together)
        yield* Effect.forEach(lanes, ([lane, owned]) => giveBack(lane, owned), together)
        yield* Effect.catchAll(
          repository.unregister(member),
          (error) => Effect.logWarning(`could not sign off, and will lapse: ${error.message}`)
        )
      })
    )
    const keeper = yield* host.start({
      identity: "lanes",
      cycle: keepShare,
      isBound: true,
      pollInterval: config.laneScan
    })

    const wake = ({ isCommitted, lane }: Hint) => {
      const message = isCommitted ? "Wake" : "Expect"
      if (lane === undefined) return Effect.forEach(lanes.values(), ({ ref }) => ref.send(message), { discard: true })
      const owned = lanes.get(lane)
      if (owned !== undefined) return Effect.asVoid(owned.ref.send(message))
      // Somebody else's lane is theirs to deliver; a new one is taken at once.
      return known.has(lane) ? Effect.void : Effect.asVoid(keeper.send("Wake"))
    }
    yield* repository.wakeUps.pipe(Stream.runForEach(wake), Effect.forkScoped)
  }))
