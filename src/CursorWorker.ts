/**
 * The first line: delivers a lane's pending rows in the order of their positions, page by page.
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Next } from "./Actor.ts"
import * as CircuitBreaker from "./CircuitBreaker.ts"
import * as Delivery from "./Delivery.ts"
import type { Host } from "./Host.ts"
import type * as LaneLease from "./LaneLease.ts"
import * as Membership from "./Membership.ts"
import type { Publisher } from "./Publisher.ts"
import { type Breaker, type Lease, type Page, type Refusal, Repository, type Row } from "./Repository.ts"
import { Topics } from "./Topics.ts"
import type { DatabaseError, LeaseLost, PublisherError } from "./TrustlogError.ts"
import * as TrustlogMetrics from "./TrustlogMetrics.ts"
import { WorkerConfig } from "./WorkerConfig.ts"
import { nextTurn } from "./internal/eventLoop.ts"
import * as monotonic from "./internal/monotonic.ts"

/** What one cycle did, and what to do next. */
export interface Progress {
  readonly next: Next
  readonly delivered: number
  readonly refused: number
  readonly dead: number
  /** Why the lane is held, if it is. */
  readonly outage: PublisherError | undefined
}

const idle: Progress = { next: Next.Idle({}), delivered: 0, refused: 0, dead: 0, outage: undefined }
const again: Progress = { ...idle, next: Next.Again() }

/**
 * Delivers one lane under a lease. `cycle` is finite: one page, or some pages of a backlog. What is kept between cycles may be
 * lost at any moment; another session on the lane's row goes on from there.
 */
export interface Session {
  readonly cycle: Effect.Effect<Progress, LeaseLost | DatabaseError>
}

/** For so many milliseconds a cycle begins further pages of a backlog. At its end everything is settled, and messages are read. */
const longestCycle = 1_000

/** The next page of a backlog, where there is one, and when the one before it is answered. */
interface Step {
  readonly next: Effect.Effect<Page | undefined, LeaseLost | DatabaseError>
  readonly since: Effect.Effect<void>
}

/** A page, and what became of it, that is still to be written down. */
interface Unsettled {
  readonly page: Page
  /** The last position of the page. */
  readonly last: number
  readonly attempt: Delivery.Attempt
  readonly refused: ReadonlyArray<Refusal>
}

/** Begins to deliver a lane. */
export const session = (
  lease: Lease
): Effect.Effect<Session, never, Repository | Publisher | CircuitBreaker.CircuitBreakers> =>
  Effect.gen(function*() {
    const context = yield* Effect.context<Publisher | Repository>()
    const repository = yield* Repository
    const config = yield* WorkerConfig
    const topicOf = yield* Topics
    const topic = topicOf(lease.lane)
    const breaker = yield* (yield* CircuitBreaker.CircuitBreakers).get(topic)
    const { lane } = lease

    /** The lower bound: nothing at or below it is known to be pending. */
    let bound = lease.position
    /** How far the lane has come. It is written down for people: a new owner derives its bound anew. */
    let reached = lease.reached
    /** Rows at or below it that turn up now had been passed: only a re-derivation finds them. */
    let passed = lease.reached
    let rederivedAt = yield* monotonic.now
    /** Positions reached, and when, not older than the trail. */
    let trail: ReadonlyArray<{ readonly at: number; readonly position: number }> = []
    // After a loss, of the connection or of a process, records go in single file until one succeeds; then pages grow
    // again by doubling, so that a record that breaks every page it is in is soon at the head of one.
    let rows = lease.isRecovered || lease.breaker !== "closed" ? 1 : config.pageRows
    /** Whether the page before was the last there was. */
    let isCaughtUp = false
    /** So many rows the log has answered in a quarter of its deadline, as it was when last seen: the most that a page holds. */
    let answerable = Infinity
    /** Whether the log must say that it is well before anything is sent. */
    let isDoubted = rows === 1
    let written = lease.breaker
    let lastOutage: PublisherError | undefined

    const writeBreaker = (state: Breaker) =>
      state === written ? Effect.void : Effect.tap(repository.setBreaker(lease, state), () => {
        written = state
      })

    const held = (permit: CircuitBreaker.Granted, outage: PublisherError) =>
      Effect.gen(function*() {
        if (lastOutage === undefined) yield* Effect.logWarning(`the log is out: ${outage.message}; records are held`)
        lastOutage = outage
        rows = 1
        isDoubted = true
        yield* breaker.failed(permit)
        yield* writeBreaker("open")
        return { outage }
      })

    const isWell = (permit: CircuitBreaker.Granted) =>
      Effect.gen(function*() {
        isDoubted = false
        if (lastOutage !== undefined) yield* Effect.logInfo("the log is back; records flow")
        lastOutage = undefined
        yield* breaker.succeeded(permit)
        yield* writeBreaker("closed")
      })

    const rederive = Effect.gen(function*() {
      const now = yield* monotonic.now
      if (now - rederivedAt < Duration.toMillis(config.rederivation)) return
      rederivedAt = now
      const derived = yield* repository.lowerBound(lease, bound)
      if (derived < bound) passed = Math.max(passed, bound)
      bound = derived
    })

    /** Only a re-derivation finds what was committed late, so an idle lane waits for the next one at most. */
    const untilRederivation = Effect.map(monotonic.now, (now): Progress => {
      const left = Duration.toMillis(config.rederivation) - (now - rederivedAt)
      return { ...idle, next: Next.Idle({ atMost: Duration.millis(Math.max(0, left)) }) }
    })

    /**
     * Where a page leads when it is settled: the bound to its end while a backlog drains, else to where that was a while
     * ago. Neither passes a row that is known to be pending.
     */
    const advance = (last: number, isFull: boolean, unsettled: ReadonlyArray<{ readonly position: number }>) =>
      Effect.map(monotonic.now, (now) => {
        const horizon = now - Duration.toMillis(config.trail)
        const trailing = trail.findLast(({ at }) => at <= horizon)?.position ?? bound
        const known = unsettled.reduce((first, { position }) => Math.min(first, position), Infinity)
        return {
          bound: Math.min(Math.max(bound, isFull ? last : trailing), known - 1),
          reached: Math.min(Math.max(reached, last), known - 1),
          trail: [...trail.filter(({ at }) => at > horizon), { at: now, position: last }]
        }
      })

    const work: Effect.Effect<Progress, LeaseLost | DatabaseError, Publisher | Repository | Scope.Scope> = Effect.gen(
      function*() {
        const permit = yield* breaker.permit
        if (permit._tag === "Held") {
          yield* writeBreaker("open")
          return { ...idle, next: Next.After({ delay: permit.delay }), outage: lastOutage }
        }
        if (permit._tag === "Probe" || isDoubted) {
          if (permit._tag === "Probe") yield* writeBreaker("half-open")
          const health = yield* Effect.either(Delivery.health(lane))
          if (health._tag === "Left") return { ...again, ...(yield* held(permit, health.left)) }
          rows = 1
        }
        yield* rederive
        const page = yield* repository.page(lease, {
          after: bound,
          limit: rows,
          maxBytes: config.pageBytes,
          isCaughtUp
        })
        // A paused lane fills, for as long as it likes.
        isCaughtUp = !page.isFull && !page.isPaused
        const first = page.rows[0]
        if (first === undefined) {
          // With nothing to send, a log that says it is well is believed.
          if (!page.isPaused) yield* isWell(permit)
          return yield* untilRederivation
        }
        const isSingleFile = rows === 1
        if (isSingleFile) yield* repository.markInFlight(lease, first.position)
        const { tail, total, trouble } = isSingleFile || !page.isFull
          ? yield* deliverOne(page, page.rows.at(-1)?.position ?? first.position)
          : yield* deliverAll(page)
        const progress: Progress = { ...again, ...total }
        isCaughtUp = !tail.isFull
        if (trouble === undefined) {
          yield* isWell(permit)
          rows = tail.isFull ? following(tail) : Math.min(Math.max(rows * 2, 1), config.pageRows, answerable)
          // Whoever has appended since this page was read says so.
          return tail.isFull ? progress : { ...(yield* untilRederivation), ...total }
        }
        if (!trouble.isSuspicious && trouble.outage !== undefined) {
          return { ...progress, ...(yield* held(permit, trouble.outage)) }
        }
        return { ...progress, ...(yield* lose(permit, isSingleFile, trouble.outage)) }
      }
    )

    /** So many rows the page behind a full one may hold. */
    const following = (page: Page): number =>
      Math.min(Math.max(rows, page.rows.length) * 2, config.backlogPageRows, answerable)

    /** Takes note of how long the log needed: what cannot be answered in time is sent again and again. */
    const paced = (messages: number, millis: number) => {
      const budget = Duration.toMillis(config.publishDeadline) / 4
      if (messages > 0) answerable = Math.max(1, Math.floor(messages * budget / Math.max(1, millis)))
    }

    const countOf = ({ attempt, refused }: Unsettled) => ({
      delivered: attempt.delivered.length,
      refused: refused.length,
      dead: refused.filter((refusal) => refusal.delay === undefined).length
    })

    /** Its time begins when the page before it was answered, which the log may have worked on until then. */
    const publish = (prepared: Delivery.Prepared, since: Effect.Effect<void>) =>
      Effect.gen(function*() {
        const from = yield* monotonic.now
        const attempt = yield* Delivery.publish(prepared, since)
        paced(prepared.messages.length, (yield* monotonic.now) - from)
        return attempt
      })

    const judged = (page: Page, last: number, attempt: Delivery.Attempt): Effect.Effect<Unsettled> =>
      Effect.map(
        Delivery.refusals(attempt.refused.map((refusal) => ({ ...refusal, attempts: 0 }))),
        (refused) => ({ page, last, attempt, refused })
      )

    /** Delivers a page behind which there is none. */
    const deliverOne = (page: Page, last: number) =>
      Effect.gen(function*() {
        const attempt = yield* publish(yield* Delivery.prepare(lane, page.rows), Effect.void)
        const sent = yield* judged(page, last, attempt)
        yield* settle(sent, attempt.unknown)
        return { total: countOf(sent), trouble: attempt.unknown.length > 0 ? attempt : undefined, tail: page }
      })

    /**
     * Delivers a full page and those behind it. Two are on their way at once while the ones before them are
     * settled, in their order: so neither the log nor the database waits for the other. After a page that was not answered in
     * full none is begun.
     */
    const deliverAll = (first: Page) =>
      Effect.gen(function*() {
        const endsAt = (yield* monotonic.now) + longestCycle
        let trouble: Delivery.Attempt | undefined

        const behind = (page: Page, last: number): Step["next"] =>
          Effect.gen(function*() {
            if (!page.isFull || trouble !== undefined || (yield* monotonic.now) >= endsAt)
              return undefined
            yield* nextTurn
            return yield* repository.page(lease, { after: last, limit: following(page), maxBytes: config.pageBytes })
          })

        const begin: Step = { next: Effect.succeed(first), since: Effect.void }
        const pages = Stream.unfoldEffect(begin, ({ next, since }) =>
          Effect.gen(function*() {
            const page = yield* next
            const last = page?.rows.at(-1)?.position
            if (page === undefined || last === undefined) return Option.none()
            // Read while this one is prepared, so that neither the database nor this process waits for the other.
            const reading = yield* Effect.forkScoped(Effect.zipRight(since, behind(page, last)))
            const prepared = yield* Delivery.prepare(lane, page.rows)
            const answered = yield* Deferred.make<void>()
            return Option.some([
              { page, last, prepared, since, answered },
              { next: Fiber.join(reading), since: Deferred.await(answered) }
            ])
          }))

        const total = { delivered: 0, refused: 0, dead: 0 }
        const unknown: Array<Row> = []
        let tail = first
        yield* pages.pipe(
          Stream.mapEffect(({ answered, last, page, prepared, since }) =>
            Effect.gen(function*() {
              if (trouble !== undefined) return undefined
              const attempt = yield* publish(prepared, since)
              yield* Deferred.succeed(answered, undefined)
              if (attempt.unknown.length > 0) trouble ??= attempt
              return yield* judged(page, last, attempt)
            }), { concurrency: 2 }),
          Stream.runForEach((sent) => {
            if (sent === undefined) return Effect.void
            unknown.push(...sent.attempt.unknown)
            tail = sent.page
            const { dead, delivered, refused } = countOf(sent)
            total.delivered += delivered
            total.refused += refused
            total.dead += dead
            return settle(sent, unknown)
          })
        )
        return { total, trouble, tail }
      })

    /** Writes down what became of a page; `unknown` are all rows so far of whom nobody knows. */
    const settle = (sent: Unsettled, unknown: ReadonlyArray<Row>) =>
      Effect.gen(function*() {
        const { attempt, last, page, refused } = sent
        const settled = [...attempt.delivered, ...refused]
        if (settled.length > 0) {
          const advanced = yield* advance(last, page.isFull, unknown)
          yield* repository.settle(lease, {
            topic,
            delivered: attempt.delivered,
            refused,
            checkpoint: attempt.checkpoint,
            position: advanced.reached,
            late: settled.filter((outcome) => outcome.position <= passed).length
          })
          ;({ bound, reached, trail } = advanced)
        }
        yield* TrustlogMetrics.settled(lane, countOf(sent))
      })

    /** Records were lost on the way: because the log is out, or because one of them breaks whatever carries it. */
    const lose = (permit: CircuitBreaker.Granted, isSingleFile: boolean, outage: PublisherError | undefined) =>
      Effect.gen(function*() {
        const health = yield* Effect.either(Delivery.health(lane))
        if (health._tag === "Left") return yield* held(permit, health.left)
        rows = 1
        isDoubted = true
        const error = outage?.message ?? "the log gave no answer"
        if (isSingleFile && (yield* repository.countLoss(lease, error))) {
          yield* Effect.logWarning(
            `a record of lane ${lane} was lost each time it was sent alone; it goes to retry: ${error}`
          )
        }
        return {}
      })

    return {
      cycle: work.pipe(
        Effect.scoped,
        Effect.provide(context),
        Effect.annotateLogs({ package: "effect-trustlog", module: "CursorWorker", lane })
      )
    }
  })

/**
 * So many failures in a row, in six minutes, are not cured by waiting: what is kept between cycles, or this process, may be
 * at fault.
 */
const maxFailures = 20

/** A lane's worker as an actor. It ends when the lane is lost, and when it fails for too long: then it is begun anew. */
const actor = ({ lease }: LaneLease.Held) =>
  Effect.gen(function*() {
    const { scanInterval } = yield* WorkerConfig
    const { cycle } = yield* session(lease)
    return {
      identity: `cursor/${lease.lane}`,
      pollInterval: scanInterval,
      maxFailures,
      isBound: true,
      cycle: cycle.pipe(
        Effect.map((progress) => progress.next),
        Effect.catchTag("LeaseLost", (error) => Effect.as(Effect.logWarning(error.message), Next.Stop()))
      )
    }
  })

/** Delivers this member's share of the lanes (see `Membership`), each by an actor of its own. */
export const layer: Layer.Layer<
  never,
  never,
  Repository | Publisher | CircuitBreaker.CircuitBreakers | Host
> = Membership.layer(actor)
