/**
 * Hints that something was appended: from this process at once, from others by looking, and by what the database pushes.
 */
import type { SqlError } from "@effect/sql/SqlError"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { identity } from "effect/Function"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { Listener } from "../../Listener.ts"
import type { Lane } from "../../Operation.ts"
import type { Hint, Repository } from "../../Repository.ts"
import type { Look } from "../dialects/Dialect.ts"
import * as rows from "../rows.ts"
import type { Context } from "./context.ts"

/** One notification in so long, however much is appended: in every transaction it would cost more than the append. */
const pause = "5 millis"

/** Of more lanes than this, or of any, is said no more than that there was something. */
const maxLanes = 50
const any = "*"

/** After the name of a lane: what was appended there may not have been committed. */
const uncommitted = "?"

const heard = (said: string): ReadonlyArray<Hint> =>
  said.split(",").map((part) => {
    const isCommitted = !part.endsWith(uncommitted)
    const name = isCommitted ? part : part.slice(0, -uncommitted.length)
    return { lane: name === any ? undefined : rows.lane(name), isCommitted }
  })

type Hints = Queue.Queue<Hint>

// Looking is no part of an application's time: a test's clock does not drive it.
const clock = Clock.make()

/**
 * The hints of a look that is over at once. By a timer of the runtime's own: to let a fibre sleep between looks costs
 * several times what they do.
 */
const seenAtOnce = (look: Look, every: Duration.DurationInput): Stream.Stream<undefined> =>
  Stream.asyncPush<Exit.Exit<unknown, SqlError>>((emit) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        let last = look()
        return setInterval(() => {
          const now = look()
          const isNews = Exit.isFailure(now) || (Exit.isSuccess(last) && now.value !== last.value)
          if (isNews) emit.single(now)
          if (Exit.isSuccess(now)) last = now
        }, Duration.toMillis(every))
      }),
      (timer) => Effect.sync(() => clearInterval(timer))
    ), { bufferSize: 1, strategy: "sliding" }).pipe(
      Stream.mapEffect(Effect.matchEffect({
        onFailure: (error) => Effect.as(Effect.logDebug(error.message), Option.none()),
        onSuccess: () => Effect.succeed(Option.some(undefined))
      })),
      Stream.filterMap(identity)
    )

/** `held` are the lanes that are delivered here: nobody else need hear of them. */
export const make = (context: Context, held: ReadonlySet<Lane>) =>
  Effect.gen(function*() {
    const { dialect, isInTransaction, query, sql } = context
    const { listen } = yield* Listener
    // Not a lane's or the database's: whoever shares a database but not its tables hears nothing.
    const channel = `trustlog_${context.stream}`
    /** Where those who want them find them. */
    const waiting = new Set<Hints>()

    /** What others are still to be told, and whether it has been committed. */
    const untold = new Map<string, boolean>()
    const hasNews = yield* Effect.makeLatch()
    const { notify } = dialect
    if (notify !== undefined) {
      const tell = Effect.gen(function*() {
        yield* hasNews.await
        yield* hasNews.close
        const all: ReadonlyArray<readonly [string, boolean]> = untold.size > maxLanes || untold.has(any)
          ? [[any, Array.from(untold.values()).every((isCommitted) => isCommitted)]]
          : Array.from(untold)
        untold.clear()
        const said = all.map(([lane, isCommitted]) => isCommitted ? lane : lane + uncommitted).join(",")
        yield* query("telling other processes", sql`${notify(channel, said)}`).pipe(
          Effect.catchAll((error) => Effect.logDebug(`nobody was told: ${error.message}`))
        )
      })
      yield* tell.pipe(
        Effect.repeat(Schedule.spaced(pause)),
        Effect.withClock(clock),
        Effect.interruptible,
        Effect.forkScoped
      )
    }

    const { every, look: lookAtOnce, signature } = dialect.watch
    const look = Effect.map(
      query("looking for what was appended", sql`${signature(context)}`),
      (found) => JSON.stringify(found)
    )
    // What changes is told by who committed last, not by who began first.
    const somewhere: Hint = { lane: undefined, isCommitted: false }
    /** A hint for each change; whatever goes wrong with looking is looked at again. */
    const see = (hints: Hints) => {
      if (lookAtOnce !== undefined)
        return Stream.runForEach(seenAtOnce(lookAtOnce, every), () => Queue.offer(hints, somewhere))
      let last: string | undefined
      return look.pipe(
        Effect.tap((now) => {
          const isChange = last !== undefined && now !== last
          last = now
          return isChange ? Queue.offer(hints, somewhere) : Effect.void
        }),
        Effect.catchAll((error) => Effect.logDebug(error.message)),
        Effect.repeat(Schedule.spaced(every)),
        Effect.withClock(clock)
      )
    }

    const hear = (hints: Hints) => Stream.runForEach(listen(channel), (said) => Queue.offerAll(hints, heard(said)))

    return {
      wake: (lanes) =>
        Effect.flatMap(isInTransaction, (isInTransaction) => {
          const isCommitted = !isInTransaction
          if (notify !== undefined) {
            for (const lane of lanes?.filter((lane) => !held.has(lane)) ?? [any]) {
              untold.set(lane, isCommitted && untold.get(lane) !== false)
              hasNews.unsafeOpen()
            }
          }
          const all = (lanes ?? [undefined]).map((lane): Hint => ({ lane, isCommitted }))
          return Effect.forEach(waiting, (hints) => Queue.offerAll(hints, all), { discard: true })
        }),
      wakeUps: Stream.unwrapScoped(Effect.gen(function*() {
        const hints = yield* Effect.acquireRelease(
          Effect.tap(Queue.sliding<Hint>(1024), (hints) => Effect.sync(() => waiting.add(hints))),
          (hints) => Effect.sync(() => waiting.delete(hints))
        )
        yield* Effect.forkScoped(Effect.interruptible(see(hints)))
        yield* Effect.forkScoped(Effect.interruptible(hear(hints)))
        return Stream.fromQueue(hints)
      }))
    } satisfies Pick<Repository["Type"], "wake" | "wakeUps">
  })
