/**
 * Actors in a Cloudflare Durable Object: cycles run while the object's alarm is at work, and what must outlive the object's
 * memory is in its storage.
 *
 * The object's class passes its events on (`Events`): `alarm()` to `alarm`, requests to `fetch`. Before a cycle runs, the
 * next alarm is set, so that an object that is lost in the middle of one is called again.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Actor from "../Actor.ts"
import * as Host from "../Host.ts"
import { nextTurn } from "../internal/eventLoop.ts"
import { now } from "../internal/monotonic.ts"
import * as objectTurn from "../internal/objectTurn.ts"

/** `ctx.storage` of a Durable Object: the part of it that is used here. */
export interface Storage {
  get(key: string): Promise<unknown>
  put(key: string, value: unknown): Promise<void>
  setAlarm(scheduledTime: number): Promise<void>
  deleteAlarm(): Promise<void>
}

export interface Options {
  /** `ctx.storage`. */
  readonly storage: Storage
  /** The path under which `fetch` is told messages; `/actors` by default. */
  readonly path?: string | undefined
}

/** What the object's class passes on. */
export class Events extends Context.Tag("effect-trustlog/Host/DurableObject/Events")<Events, {
  /**
   * The object's `alarm()`: runs the cycles that are due, and those that become due soon, for a minute at most; then the
   * alarm is set for the next one. Never fails, because an alarm whose handler fails too often is given up.
   */
  readonly alarm: Effect.Effect<void>
  /**
   * Tells actors messages, in JSON: `GET /actors` answers with the status of all, `GET /actors/<identity>` with one's, and
   * `POST /actors/<identity>/<Wake|Expect|Pause|Resume|Drain|Status>` tells one something and answers with its status: after a
   * `Drain` when that is done. Everything else is `undefined`: not meant for actors. Who may ask is for others to decide.
   */
  readonly fetch: (request: Request) => Effect.Effect<Response | undefined>
  /** The status of every actor. */
  readonly statuses: Effect.Effect<ReadonlyArray<Actor.Status>>
}>() {}

/** The actors of an object. A pause, and a wait after failures or for a log that is out, outlive the object's memory. */
export const make = (
  options: Options
): Effect.Effect<Context.Context<Host.Host | Events>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { storage } = options
    const turns = objectTurn.of(storage)
    const entries = new Set<Entry>()
    /** Open while the alarm is at work. */
    const awake = yield* Effect.makeLatch()
    let isAwake = false
    const changed = yield* Effect.makeLatch()
    /** For when the alarm is set, as far as is known; by the wall clock. */
    let alarmAt: number | undefined

    const inTurn = <A>(step: () => Promise<A>) => Effect.scoped(Effect.zipRight(turns.take, Effect.tryPromise(step)))

    /** When the next cycle is due; now, while one runs. */
    const soonest = (at: number): number => {
      let until = Infinity
      for (const { state } of entries) until = Math.min(until, dueAt(state(), at))
      return until
    }

    const setAlarm = (mayBeLater: boolean) =>
      Effect.scoped(Effect.gen(function*() {
        yield* turns.take
        const at = yield* now
        const target = (yield* Clock.currentTimeMillis) + (isAwake ? guard : soonest(at) - at)
        if (!mayBeLater && alarmAt !== undefined && alarmAt <= target) return
        if (target === Infinity) {
          if (alarmAt !== undefined) yield* Effect.tryPromise(() => storage.deleteAlarm())
          alarmAt = undefined
        } else {
          yield* Effect.tryPromise(() => storage.setAlarm(Math.ceil(target)))
          alarmAt = target
        }
      })).pipe(
        Effect.catchAll(({ error }) => Effect.logWarning("the object's alarm could not be set", error)),
        annotated
      )

    const alarm = Effect.gen(function*() {
      const began = yield* now
      alarmAt = undefined
      isAwake = true
      yield* setAlarm(true)
      yield* awake.open
      while (true) {
        changed.unsafeClose()
        const at = yield* now
        for (const { poke, state } of entries) if (Actor.decide(state(), at)._tag === "Run") poke()
        const next = soonest(at)
        if (next - at > patience || at - began >= longestAlarm) break
        const left = longestAlarm - (at - began)
        yield* Effect.raceFirst(changed.await, Effect.sleep(next > at ? Math.min(next - at, left) : left))
      }
      isAwake = false
      yield* awake.close
      yield* setAlarm(true)
    }).pipe(Effect.catchAllCause((cause) => Effect.logError("the alarm's work ended early", cause)), annotated)

    // Whatever changes while the alarm is not at work may be due sooner than that is set for.
    yield* changed.await.pipe(
      Effect.zipRight(Effect.suspend(() => {
        if (isAwake) return awake.await
        changed.unsafeClose()
        return setAlarm(false)
      })),
      Effect.zipRight(nextTurn),
      Effect.forever,
      Effect.interruptible,
      Effect.forkScoped
    )

    const start = <E, R>(actor: Actor.Actor<E, R>): Effect.Effect<Host.ActorRef, never, R | Scope.Scope> =>
      Effect.gen(function*() {
        const key = `trustlog/actor/${actor.identity}`
        const saved = yield* Effect.orDie(inTurn(() => storage.get(key)))
        const fresh = Actor.initial(actor, yield* now)
        let state = isSaved(saved) ? restored(fresh, saved) : fresh
        let written = kept(state)
        const mine = yield* Effect.makeLatch()
        const drained = yield* Effect.makeLatch(true)

        const write = Effect.suspend(() => {
          // What a cycle under way leads to is written when it has ended.
          const next = state.isRunning ? { ...written, isPaused: state.isPaused } : kept(state)
          if (state.isStopped || isSame(next, written)) return Effect.void
          const before = written
          written = next
          return Effect.tapError(inTurn(() => storage.put(key, next)), () => Effect.sync(() => written = before))
        })

        const change = (how: (state: Actor.State, now: number) => Actor.State) =>
          Effect.map(now, (now) => {
            const before = Actor.decide(state, now)
            state = how(state, now)
            if (!Equal.equals(Actor.decide(state, now), before)) {
              mine.unsafeOpen()
              changed.unsafeOpen()
            }
            if (state.drain === "none") drained.unsafeOpen()
            else drained.unsafeClose()
            return state
          })

        const update: Actor.Update = (how) =>
          Effect.zipLeft(
            change(how),
            Effect.catchAll(
              write,
              ({ error }) => Effect.logWarning(`the state of ${actor.identity} could not be kept`, error)
            )
          )

        const step = Effect.gen(function*() {
          // Closed before the state is read, or a message in between would be slept through.
          mine.unsafeClose()
          const decision = Actor.decide(state, yield* now)
          switch (decision._tag) {
            case "Run":
              if (isAwake) {
                // The runtime's clock stands still until its event loop has a turn.
                yield* nextTurn
                yield* Actor.run(actor, update)
              } else {
                changed.unsafeOpen()
                yield* Effect.raceFirst(mine.await, awake.await)
              }
              return true
            case "Wait":
              yield* mine.await
              return true
            case "End":
              return false
          }
        })

        const send = (message: Actor.Message) =>
          change((state, now) => Actor.received(state, message, now)).pipe(
            // Who pauses an actor must know that it stays paused.
            Effect.zipRight(
              message === "Wake" || message === "Expect" || message === "Status" ? Effect.void : Effect.orDie(write)
            ),
            Effect.zipRight(message === "Drain" ? drained.await : Effect.void),
            Effect.map(() => Actor.status(state))
          )

        const entry: Entry = {
          identity: actor.identity,
          state: () => state,
          poke: () => mine.unsafeOpen(),
          send
        }
        // A fibre that is interrupted before it has begun runs nothing, not even what ensures.
        yield* Effect.addFinalizer(() =>
          Effect.zipLeft(change(Actor.stopped), Effect.sync(() => entries.delete(entry)))
        )
        entries.add(entry)
        changed.unsafeOpen()
        const fiber = yield* step.pipe(
          Effect.repeat({ while: (goesOn) => goesOn }),
          Effect.ensuring(change(Actor.stopped)),
          Effect.interruptible,
          Effect.forkScoped
        )
        return { identity: actor.identity, send, status: send("Status"), await: Effect.asVoid(Fiber.await(fiber)) }
      })

    const statuses = Effect.sync(() => Array.from(entries, ({ state }) => Actor.status(state())))

    return Context.make(Host.Host, { start }).pipe(
      Context.add(Events, {
        alarm,
        statuses,
        fetch: (request) => answer(request, options.path ?? "/actors", entries)
      })
    )
  })

/** `make`, as a layer. */
export const layer = (options: Options): Layer.Layer<Host.Host | Events> => Layer.scopedContext(make(options))

// internal

interface Entry {
  readonly identity: string
  readonly state: () => Actor.State
  /** Has it decide anew. */
  readonly poke: () => void
  readonly send: (message: Actor.Message) => Effect.Effect<Actor.Status>
}

/** In milliseconds: when the alarm comes again if the object is lost while it is at work. */
const guard = 10_000

/** In milliseconds: a wait that is not longer is waited out by the alarm that is at work. */
const patience = 1_000

/** In milliseconds: an alarm that is at work for so long makes place for the next one, long before it is cut off. */
const longestAlarm = 60_000

const annotated = Effect.annotateLogs({ package: "effect-trustlog", module: "Host/DurableObject" })

const dueAt = (state: Actor.State, at: number): number => {
  if (state.isRunning) return at
  const decision = Actor.decide(state, at)
  return decision._tag === "Run" ? at : decision._tag === "Wait" ? decision.until : Infinity
}

const Saved = Schema.Struct({
  isPaused: Schema.Boolean,
  cycles: Schema.Number,
  failuresInRow: Schema.Number,
  lastError: Schema.optional(Schema.String),
  wait: Schema.optional(
    Schema.Struct({ state: Schema.Literal("held", "backingOff"), from: Schema.Number, until: Schema.Number })
  )
})
type Saved = typeof Saved.Type

const isSaved = Schema.is(Saved)

/** What is kept of an actor. */
const kept = ({ cycles, failuresInRow, isPaused, lastError, wait }: Actor.State): Saved => ({
  isPaused,
  cycles,
  failuresInRow,
  lastError,
  wait: wait === undefined || wait.state === "idle" ? undefined : { ...wait, state: wait.state }
})

/** Whether there is nothing to write. That it has run again is not worth it. */
const isSame = (a: Saved, b: Saved): boolean =>
  a.isPaused === b.isPaused && a.failuresInRow === b.failuresInRow && a.wait?.until === b.wait?.until

/** The state of an actor that is started again. */
const restored = (fresh: Actor.State, { cycles, failuresInRow, isPaused, lastError, wait }: Saved): Actor.State => ({
  ...fresh,
  isPaused,
  cycles,
  failuresInRow,
  lastError,
  // No longer than it was meant to be: the clock may have been set back since.
  wait: wait && { ...wait, until: Math.min(wait.until, fresh.since + wait.until - wait.from) }
})

const isMessage = Schema.is(Actor.Message)

const refuse = (status: number, error: string): Response => Response.json({ error }, { status })

/** Answers a request, if it is meant for actors. */
const answer = (
  request: Request,
  path: string,
  entries: ReadonlySet<Entry>
): Effect.Effect<Response | undefined> =>
  Effect.gen(function*() {
    const { pathname } = new URL(request.url)
    if (pathname !== path && !pathname.startsWith(`${path}/`)) return undefined
    const words = decoded(pathname.slice(path.length + 1))
    const isPost = request.method === "POST"
    if (!isPost && request.method !== "GET")
      return refuse(405, "use GET to ask for a status, and POST to tell a message")
    if (words === "" && !isPost)
      return Response.json(Array.from(entries, ({ state }) => Actor.status(state())))
    const last = words.lastIndexOf("/")
    const identity = isPost ? words.slice(0, Math.max(0, last)) : words
    const entry = Array.from(entries).findLast((entry) => entry.identity === identity)
    if (entry === undefined) {
      return refuse(
        404,
        `there is no actor of this name; there are: ${Array.from(entries, ({ identity }) => identity)}`
      )
    }
    const message = isPost ? words.slice(last + 1) : "Status"
    return isMessage(message)
      ? Response.json(yield* entry.send(message))
      : refuse(400, `the messages are ${Actor.Message.literals.join(", ")}`)
  })

const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
