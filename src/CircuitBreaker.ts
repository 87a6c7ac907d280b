/**
 * Whether a topic takes records now. Every process keeps one breaker per topic, which all its workers share: while it is
 * open nothing moves, and one of them at a time probes.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { Breaker } from "./Repository.ts"
import { firstDelays } from "./RetryPolicy.ts"
import * as monotonic from "./internal/monotonic.ts"

/**
 * What the breaker answers to who wants to send.
 *
 * - `Flow`: send
 * - `Probe`: you are the one who finds out; report what happened, or leave the scope, and the next one may
 * - `Held`: do not send; ask again after `delay`
 *
 * `change` counts the breaker's changes: a report on a permit that is older than the last one is dropped.
 */
export type Permit = Data.TaggedEnum<{
  Flow: { readonly change: number }
  Probe: { readonly change: number }
  Held: { readonly delay: Duration.Duration }
}>
export const Permit = Data.taggedEnum<Permit>()

/** The permits to send. */
export type Granted = Exclude<Permit, { readonly _tag: "Held" }>

export interface State {
  readonly breaker: Breaker
  /** When it last changed, in milliseconds since 1970. */
  readonly since: number
}

export interface CircuitBreaker {
  readonly state: Effect.Effect<State>
  /** Asks to send. A probe belongs to the scope: closing it without a report lets the next one probe at once. */
  readonly permit: Effect.Effect<Permit, never, Scope.Scope>
  /** The log has answered: closes the breaker after a probe, and forgets the delays. */
  readonly succeeded: (permit: Granted) => Effect.Effect<void>
  /** The log as a whole has failed: opens the breaker, after every further probe for longer. */
  readonly failed: (permit: Granted) => Effect.Effect<void>
}

export interface Options {
  /** The delays before the first, second, third … probe of an outage. Where it ends, its last delay stays. */
  readonly schedule: Schedule.Schedule<unknown>
}

/** Half a second, doubling, at most 5 seconds. */
export const defaultOptions: Options = {
  schedule: Schedule.exponential("500 millis", 2).pipe(Schedule.union(Schedule.spaced("5 seconds")))
}

/** An outage may last for days, and a replay costs a step a probe. By then a curve is flat or absurd. */
const longestReplay = 20

/** Somebody who is held asks again after the delay, so that none at all would be a hot loop. */
const shortest = Duration.millis(10)

/** Makes a closed breaker. */
export const make = (options: Options = defaultOptions): Effect.Effect<CircuitBreaker> =>
  Effect.map(Clock.currentTimeMillis, (now) => unsafeMake(options, now))

const unsafeMake = (options: Options, madeAt: number): CircuitBreaker => {
  let state: State = { breaker: "closed", since: madeAt }
  let change = 0
  let failures = 0
  let first = shortest
  let probeAt = 0

  const become = (breaker: Breaker, since: number) => {
    state = { breaker, since }
    change++
  }

  const ask = Effect.gen(function*() {
    const now = yield* Clock.currentTimeMillis
    const at = yield* monotonic.now
    return yield* Effect.sync((): Permit => {
      if (state.breaker === "closed") return Permit.Flow({ change })
      // Somebody else is probing. How long that takes is not known.
      if (state.breaker === "half-open") return Permit.Held({ delay: first })
      if (at < probeAt) return Permit.Held({ delay: Duration.millis(probeAt - at) })
      become("half-open", now)
      return Permit.Probe({ change })
    })
  })

  const giveBack = (permit: Permit) =>
    Effect.map(Clock.currentTimeMillis, (now) => {
      if (permit._tag === "Probe" && permit.change === change) become("open", now)
    })

  return {
    state: Effect.sync(() => state),
    // Nearly always it is closed, and then there is nothing to be given back.
    permit: Effect.suspend(() =>
      state.breaker === "closed"
        ? Effect.succeed(Permit.Flow({ change }))
        : Effect.acquireRelease(ask, giveBack)
    ),
    succeeded: (permit) =>
      permit._tag !== "Probe" ? Effect.void : Effect.map(Clock.currentTimeMillis, (now) => {
        if (permit.change !== change) return
        failures = 0
        become("closed", now)
      }),
    failed: (permit) =>
      Effect.gen(function*() {
        const delays = yield* firstDelays(options.schedule, Math.min(failures + 1, longestReplay))
        const now = yield* Clock.currentTimeMillis
        const at = yield* monotonic.now
        yield* Effect.sync(() => {
          if (permit.change !== change) return
          failures++
          first = Duration.max(delays[0] ?? "5 seconds", shortest)
          probeAt = at + Duration.toMillis(Duration.max(delays.at(-1) ?? "5 seconds", shortest))
          become("open", now)
        })
      })
  }
}

/** The breakers of this process, one a topic. */
export class CircuitBreakers extends Context.Tag("effect-trustlog/CircuitBreaker/CircuitBreakers")<CircuitBreakers, {
  /** The topic's breaker, closed when it is asked for first. */
  readonly get: (topic: string) => Effect.Effect<CircuitBreaker>
}>() {}

export const layerWith = (options: Options): Layer.Layer<CircuitBreakers> =>
  Layer.sync(CircuitBreakers, () => {
    const breakers = new Map<string, CircuitBreaker>()
    return {
      get: (topic) =>
        Effect.map(Clock.currentTimeMillis, (now) => {
          const breaker = breakers.get(topic) ?? unsafeMake(options, now)
          breakers.set(topic, breaker)
          return breaker
        })
    }
  })

export const layer: Layer.Layer<CircuitBreakers> = layerWith(defaultOptions)
