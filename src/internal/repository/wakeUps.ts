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
import * as PubSub from "effect/PubSub"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { Listener } from "../../Listener.ts"
import type { Lane } from "../../Operation.ts"
import type { Repository } from "../../Repository.ts"
import type { Look } from "../dialects/Dialect.ts"
import * as rows from "../rows.ts"
import type { Context } from "./context.ts"

/** One notification in so long, however much is appended: in every transaction it would cost more than the append. */
const pause = "5 millis"

/** Of more lanes than this, or of any, is said no more than that there was something. */
const maxLanes = 50
const any = "*"

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

export const make = (context: Context) =>
  Effect.gen(function*() {
    const { dialect, query, sql } = context
    const { listen } = yield* Listener
    // Not a lane's or the database's: whoever shares a database but not its tables hears nothing.
    const channel = `trustlog_${context.stream}`
    const hints = yield* PubSub.sliding<Lane | undefined>(1024)

    /** What others are still to be told. */
    const untold = new Set<string>()
    const hasNews = yield* Effect.makeLatch()
    const { notify } = dialect
    if (notify !== undefined) {
      const tell = Effect.gen(function*() {
        yield* hasNews.await
        yield* hasNews.close
        const lanes = untold.size > maxLanes || untold.has(any) ? [any] : Array.from(untold)
        untold.clear()
        yield* query("telling other processes", sql`${notify(channel, lanes.join(","))}`).pipe(
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
    /** A hint for each change; whatever goes wrong with looking is looked at again. */
    const seen = lookAtOnce !== undefined ? seenAtOnce(lookAtOnce, every) : Stream.unwrapScoped(Effect.gen(function*() {
      const changes = yield* Queue.sliding<undefined>(1)
      let last: string | undefined
      yield* look.pipe(
        Effect.tap((now) => {
          const isChange = last !== undefined && now !== last
          last = now
          return isChange ? Queue.offer(changes, undefined) : Effect.void
        }),
        Effect.catchAll((error) => Effect.logDebug(error.message)),
        Effect.repeat(Schedule.spaced(every)),
        Effect.withClock(clock),
        Effect.interruptible,
        Effect.forkScoped
      )
      return Stream.fromQueue(changes)
    }))

    const heard = Stream.flatMap(listen(channel), (lanes) =>
      Stream.fromIterable(lanes === any ? [undefined] : lanes.split(",").map((lane) => rows.lane(lane))))

    return {
      wake: (lanes) =>
        Effect.zipRight(
          PubSub.publishAll(hints, lanes ?? [undefined]),
          Effect.suspend(() => {
            if (notify === undefined)
              return Effect.void
            for (const lane of lanes ?? [any])
              untold.add(lane)
            return hasNews.open
          })
        ),
      wakeUps: Stream.mergeAll([Stream.fromPubSub(hints), seen, heard], { concurrency: "unbounded" })
    } satisfies Pick<Repository["Type"], "wake" | "wakeUps">
  })
