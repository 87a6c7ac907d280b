/**
 * A worker as an actor: an identity, one finite cycle at a time, a mailbox of few messages, and supervision. Its durable
 * state is a row somewhere; what is kept here may be lost at any moment.
 *
 * All decisions are pure (`received`, `began`, `ended`, `failed`, `decide`), so that every host takes the same ones: a
 * host (see `Host`) only keeps the state, runs cycles with `run`, and wakes up when `decide` says so. An alarm-driven
 * host calls `began` and sets its next alarm before it runs the cycle.
 */
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Schema from "effect/Schema"
import * as TrustlogMetrics from "./TrustlogMetrics.ts"

/**
 * What an actor does after a cycle.
 *
 * - `Again`: there is more to do; the next cycle runs at once
 * - `Idle`: nothing to do; wait for a `Wake` or a poll, but at most `atMost` (the time until something is known to be due)
 * - `After`: held; wait that long, whatever is appended meanwhile. Only `Resume` and `Drain` cut it short
 * - `Stop`: the actor ends
 */
export type Next = Data.TaggedEnum<{
  Again: {}
  Idle: { readonly atMost?: Duration.DurationInput | undefined }
  After: { readonly delay: Duration.DurationInput }
  Stop: {}
}>
export const Next = Data.taggedEnum<Next>()

/** What a host runs. */
export interface Actor<E, R> {
  /** Its name in status, logs and metrics: `cursor/operation`, `retry`, `lanes`. */
  readonly identity: string
  /** One finite piece of work. A failure or a defect is logged and backs off; `Next.Stop` ends the actor. */
  readonly cycle: Effect.Effect<Next, E, R>
  /**
   * So many failures in a row (one at least) end the actor as well: it is `stopped`, with what the last one said, for whoever
   * has started it to see and to begin anew. Without it, the actor goes on for ever, backing off to 30 seconds.
   */
  readonly maxFailures?: number | undefined
  /**
   * Whether it works on what this process holds, such as a lease: a host of several processes runs it in the one that has
   * started it, and each may have one of its name. Any other actor of such a host runs in one of those that have started it.
   */
  readonly isBound?: boolean | undefined
  /** How long an idle actor waits when nothing wakes it; 10 seconds by default. */
  readonly pollInterval?: Duration.DurationInput | undefined
}

/**
 * What an actor can be told. Each is answered with the status, at once, even while a cycle runs; but `Drain` when it is
 * done.
 *
 * - `Wake`: there is something to do. Any number of them are one
 * - `Expect`: there is, or will soon be: a burst of polls follows (2, 4, 8 … ms, up to the poll interval)
 * - `Pause`: begin no further cycle
 * - `Resume`: go on, and at once: waiting of any kind ends
 * - `Drain`: go on at once until a cycle begun after this message ends otherwise than with `Again`; the status tells how
 *   (a paused or stopped actor is drained as it is)
 * - `Status`: nothing but the answer
 */
export const Message = Schema.Literal("Wake", "Expect", "Pause", "Resume", "Drain", "Status")
export type Message = typeof Message.Type

/** What an actor is and how it fares. */
export interface Status {
  readonly identity: string
  /**
   * `held`: it waits out a delay that its cycle asked for; `backingOff`: out of failures. A paused actor is `running`
   * until its cycle ends.
   */
  readonly state: "running" | "idle" | "held" | "backingOff" | "paused" | "stopped"
  /** Cycles that have ended, failed ones included. */
  readonly cycles: number
  /** Cycles that failed since the last good one. */
  readonly failuresInRow: number
  /** What the last failure said, however long ago: one line of at most 1,000 characters. */
  readonly lastError: string | undefined
  /** When it entered this state, in milliseconds since 1970, by a clock that never jumps. */
  readonly since: number
}

const counted = (failuresInRow: number): string =>
  `${failuresInRow} ${failuresInRow === 1 ? "failure" : "failures in a row"}`

/** One line for people. */
export const describe = (status: Status): string => {
  const failing = status.failuresInRow === 0 ? "" : ` after ${counted(status.failuresInRow)}: ${status.lastError}`
  return `${status.identity}: ${status.state === "backingOff" ? "backing off" : status.state}${failing}`
}

/** What a host keeps of an actor. Times are in milliseconds, by a clock that never jumps. */
export interface State {
  readonly identity: string
  readonly pollInterval: number
  readonly maxFailures: number
  readonly isRunning: boolean
  readonly isPaused: boolean
  readonly isStopped: boolean
  /** Whether it was woken while the cycle runs, which may have looked already. */
  readonly isWoken: boolean
  /** `covered`: the cycle under way began after it was asked, and so may end it. */
  readonly drain: "none" | "asked" | "covered"
  /** `from`: when it began to wait, or, if it is idle, when the cycle that found nothing did. */
  readonly wait:
    | { readonly state: "idle" | "held" | "backingOff"; readonly from: number; readonly until: number }
    | undefined
  /** The next wait of a burst of polls; `undefined` when there is none. */
  readonly burst: number | undefined
  readonly cycles: number
  readonly failuresInRow: number
  readonly lastError: string | undefined
  readonly since: number
}

/** What a host does now: run a cycle, wait until a time (for ever: `Infinity`) or a message, or end. */
export type Decision = Data.TaggedEnum<{
  Run: {}
  Wait: { readonly until: number }
  End: {}
}>
export const Decision = Data.taggedEnum<Decision>()

/** The first wait of a burst, and the least time from one idle cycle to the next. */
const shortest = 2
const firstBackOff = 100
const longestBackOff = 30_000

const stateOf = (state: State): Status["state"] => {
  if (state.isStopped) return "stopped"
  if (state.isRunning) return "running"
  if (state.isPaused) return "paused"
  return state.wait?.state ?? "idle"
}

const change = (state: State, now: number, changes: Partial<State>): State => {
  const next = { ...state, ...changes }
  const cannotDrain = next.isStopped || (next.isPaused && !next.isRunning)
  return {
    ...next,
    drain: cannotDrain ? "none" : next.drain,
    since: stateOf(next) === stateOf(state) ? state.since : now
  }
}

/** The state of an actor that has just been started: its first cycle is due at once. */
export const initial = <E, R>(actor: Actor<E, R>, now: number): State => ({
  identity: actor.identity,
  pollInterval: Math.max(shortest, Duration.toMillis(actor.pollInterval ?? "10 seconds")),
  maxFailures: actor.maxFailures ?? Infinity,
  isRunning: false,
  isPaused: false,
  isStopped: false,
  isWoken: false,
  drain: "none",
  wait: undefined,
  burst: undefined,
  cycles: 0,
  failuresInRow: 0,
  lastError: undefined,
  since: now
})

/** However fast the hints come, idle cycles stay `shortest` apart. */
const soonAfter = (cycleBegan: number, now: number): number => Math.max(now, cycleBegan + shortest)

const woken = (state: State, now: number): State => {
  const { isRunning, wait } = state
  return change(state, now, {
    isWoken: isRunning,
    wait: wait?.state === "idle" ? { ...wait, until: Math.min(wait.until, soonAfter(wait.from, now)) } : wait
  })
}

/** A message came. */
export const received = (state: State, message: Message, now: number): State => {
  switch (message) {
    case "Wake":
      return woken(state, now)
    case "Expect":
      return { ...woken(state, now), burst: shortest }
    case "Pause":
      return change(state, now, { isPaused: true })
    case "Resume":
      return change(state, now, { isPaused: false, wait: undefined })
    case "Drain":
      return change(state, now, { drain: "asked" })
    case "Status":
      return state
  }
}

/** A cycle begins. */
export const began = (state: State, now: number): State =>
  change(state, now, {
    isRunning: true,
    isWoken: false,
    wait: undefined,
    drain: state.drain === "asked" ? "covered" : state.drain
  })

const idleWait = (state: State, atMost: number): { readonly length: number; readonly burst: number | undefined } => {
  // "Due now", though the cycle found nothing: doubted with growing waits, or it would be asked in a hot loop.
  const burst = atMost <= shortest ? state.burst ?? shortest : state.burst
  return {
    length: Math.min(state.pollInterval, burst ?? Infinity, atMost <= shortest ? Infinity : atMost),
    burst: burst === undefined || burst * 2 >= state.pollInterval ? undefined : burst * 2
  }
}

/** The cycle under way ended well. */
export const ended = (state: State, next: Next, now: number): State => {
  const good = {
    isRunning: false,
    cycles: state.cycles + 1,
    failuresInRow: 0,
    drain: state.drain === "covered" && next._tag !== "Again" ? "none" : state.drain
  } as const
  switch (next._tag) {
    case "Again":
      return change(state, now, good)
    case "Idle": {
      const { burst, length } = idleWait(state, Duration.toMillis(next.atMost ?? Duration.infinity))
      // When the cycle began: nothing has changed the state since.
      const from = state.since
      const until = state.isWoken ? soonAfter(from, now) : now + length
      return change(state, now, { ...good, burst, wait: { state: "idle", from, until } })
    }
    case "After":
      return change(state, now, {
        ...good,
        wait: { state: "held", from: now, until: now + Duration.toMillis(next.delay) }
      })
    case "Stop":
      return change(state, now, { ...good, isStopped: true })
  }
}

const backOff = (failuresInRow: number): number => Math.min(firstBackOff * 2 ** (failuresInRow - 1), longestBackOff)

/** The cycle under way failed. */
export const failed = (state: State, error: string, now: number): State => {
  const failuresInRow = state.failuresInRow + 1
  return change(state, now, {
    isRunning: false,
    cycles: state.cycles + 1,
    failuresInRow,
    lastError: error,
    isStopped: state.isStopped || failuresInRow >= state.maxFailures,
    drain: state.drain === "covered" ? "none" : state.drain,
    wait: { state: "backingOff", from: now, until: now + backOff(failuresInRow) }
  })
}

/** The host ends the actor. */
export const stopped = (state: State, now: number): State => change(state, now, { isRunning: false, isStopped: true })

/** What to do now. */
export const decide = (state: State, now: number): Decision => {
  if (state.isStopped) return Decision.End()
  if (state.isRunning || state.isPaused) return Decision.Wait({ until: Infinity })
  if (state.drain !== "none" || state.wait === undefined || state.wait.until <= now) return Decision.Run()
  return Decision.Wait({ until: state.wait.until })
}

export const status = (state: State): Status => ({
  identity: state.identity,
  state: stateOf(state),
  cycles: state.cycles,
  failuresInRow: state.failuresInRow,
  lastError: state.lastError,
  since: state.since
})

/** How a host changes the state that it keeps: in one step, with its present time; returns the new one. */
export type Update = (change: (state: State, now: number) => State) => Effect.Effect<State>

const textOf = (cause: Cause.Cause<unknown>): string =>
  Cause.prettyErrors(cause)
    .map((error) => (error.name === "Error" ? error.message : `${error.name}: ${error.message}`).slice(0, 1_000))
    .join("; ")
    .slice(0, 1_000)
    // eslint-disable-next-line no-control-regex -- a status is shown on terminals
    .replaceAll(/[\s\u0000-\u001f\u007f-\u009f]+/g, " ") || "interrupted"

/**
 * Runs one cycle under supervision, and keeps the state. Never fails: a cycle that fails, dies, or is interrupted by
 * something else is logged, counted and backed off, or ends the actor if it was its last.
 */
export const run = <E, R>(actor: Actor<E, R>, update: Update): Effect.Effect<void, never, R> =>
  Effect.gen(function*() {
    const before = yield* update(began)
    // In a fibre of its own, so that whoever interrupts the cycle, or leaves fibres behind in it, does not end the actor.
    yield* Effect.acquireUseRelease(Effect.fork(Effect.interruptible(actor.cycle)), Fiber.join, Fiber.interrupt).pipe(
      // The decision is part of what is supervised: what a cycle answers may be unfit.
      Effect.flatMap((next) => update((state, now) => ended(state, next, now))),
      Effect.matchCauseEffect({
        onSuccess: () =>
          before.failuresInRow === 0
            ? Effect.void
            : Effect.logInfo(`recovered after ${before.failuresInRow} failed cycles`),
        onFailure: (cause) =>
          Effect.gen(function*() {
            // An error may be so broken that it cannot even be shown.
            const error = yield* Effect.catchAllCause(
              Effect.sync(() => textOf(cause)),
              () => Effect.succeed("an error that cannot be shown")
            )
            const { failuresInRow, isStopped } = yield* update((state, now) => failed(state, error, now))
            yield* Metric.increment(Metric.tagged(TrustlogMetrics.actorRestarts, "actor", actor.identity))
            yield* isStopped
              ? Effect.logError(`cycle failed; ended after ${counted(failuresInRow)}: ${error}`, cause)
              : Effect.logWarning(
                `cycle failed; backing off for ${backOff(failuresInRow)} ms after ${counted(failuresInRow)}: ${error}`,
                cause
              )
          })
      }),
      // All that is left is logging, and a logger may throw.
      Effect.catchAllCause(() => Effect.void)
    )
  }).pipe(Effect.annotateLogs({ package: "effect-trustlog", module: "Actor", actor: actor.identity }))
