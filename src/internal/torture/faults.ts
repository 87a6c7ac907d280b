/**
 * The faults of each scenario, for as long as it lasts.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import { fromUnknown, kindOfLane, type Lane } from "../../Operation.ts"
import type { Repository } from "../../Repository.ts"
import type { DatabaseError } from "../../TrustlogError.ts"
import * as monotonic from "../monotonic.ts"
import type { Crew } from "./crew.ts"
import type { Scratch } from "./scratch.ts"
import type { Tally } from "./tally.ts"
import type { Place } from "./task.ts"
import type { Watch } from "./watch.ts"

/** Where faults happen. */
export interface Stage {
  readonly scratch: Scratch
  readonly repository: Repository["Type"]
  readonly lanes: ReadonlyArray<Lane>
  readonly crew: Crew
  readonly watch: Watch
  /** For so long there are faults; at least one of each kind happens. */
  readonly millis: number
  readonly leaseMillis: number
  readonly rederivationMillis: number
  /** No lane may be without an owner for longer. */
  readonly boundMillis: number
  /** Whether the log has an operation by now. */
  readonly isSeen: (id: string) => Effect.Effect<boolean>
  /** Told what must not happen. */
  readonly accuse: (problem: string) => Effect.Effect<void>
}

/** What was done, in words, and how long late commits took to be delivered. */
export interface Done {
  readonly what: string
  readonly lateMillis?: ReadonlyArray<number>
}

export type Faults = (stage: Stage) => Effect.Effect<Done, DatabaseError>

/** Again and again until the time is over; once at least. */
const during = <A, E>(millis: number, once: Effect.Effect<A, E>): Effect.Effect<ReadonlyArray<A>, E> =>
  Effect.gen(function*() {
    const end = (yield* monotonic.now) + millis
    const results: Array<A> = []
    do results.push(yield* once)
    while ((yield* monotonic.now) < end)
    return results
  })

/** Waits until something holds, for so long at most while the machine has time for us; whether it does. */
const within = <E>(
  { watch }: Stage,
  millis: number,
  condition: Effect.Effect<boolean, E>
): Effect.Effect<boolean, E> =>
  Effect.gen(function*() {
    const began = yield* monotonic.now
    while (!(yield* condition)) {
      const now = yield* monotonic.now
      if (now - began - watch.starvation(began, now) > millis) return false
      yield* Effect.sleep("50 millis")
    }
    return true
  })

/** How long a page, its way to the log and our look may take. */
const allowance = 2_000

const operation = (lane: Lane) =>
  Either.getOrThrowWith(
    fromUnknown({ kind: kindOfLane(lane), actor: "trustlog torture", action: "torture.late", target: `lane/${lane}` }),
    (error) => error
  )

/** A transaction inserts first and commits long after the cursor has passed. */
export const late: Faults = (stage) =>
  Effect.gen(function*() {
    const { accuse, lanes, millis, repository } = stage
    const hold = Math.min(15_000, Math.max(4_000, millis / 3))

    let passed = 0
    const once = Effect.gen(function*() {
      const entries = lanes.map((lane) => ({ operation: operation(lane), lane, strategy: "DbAndTrustlog" as const }))
      const positions = yield* Deferred.make<ReadonlyMap<string, number>>()
      const commit = yield* Deferred.make<void>()
      const transaction = repository.transaction(Effect.gen(function*() {
        const appended = yield* repository.append(entries)
        yield* Deferred.succeed(positions, new Map(entries.map(({ lane }, i) => [lane, appended[i]?.position ?? 0])))
        yield* Deferred.await(commit)
      }))
      // What is looked at beside it must not become part of it.
      const watching = Effect.gen(function*() {
        const inserted = yield* Deferred.await(positions)
        const hasPassed = Effect.map(
          repository.stats,
          (stats) => stats.lanes.every(({ lane, position }) => position >= (inserted.get(lane) ?? 0))
        )
        if (yield* within(stage, 10_000, hasPassed)) passed += lanes.length
        else {
          // Where an isolation keeps others from appending meanwhile, a cursor has nowhere to go.
          const now = yield* repository.stats
          const stuck = now.lanes.filter(({ lagSeconds }) => lagSeconds * 1000 > stage.rederivationMillis + allowance)
          if (stuck.length > 0) {
            yield* accuse(`while a transaction was open, delivery waited: ${stuck.map(({ lane }) => lane).join(", ")}`)
          }
        }
        yield* Effect.sleep(hold)
        yield* Deferred.succeed(commit, undefined)
      })
      yield* Effect.all([transaction, watching], { concurrency: 2, discard: true })
      const committedAt = yield* monotonic.now
      const took: Array<number> = []
      for (const { lane, operation: { id } } of entries) {
        const isDelivered = yield* within(stage, stage.rederivationMillis + allowance, stage.isSeen(id))
        took.push((yield* monotonic.now) - committedAt)
        if (!isDelivered) yield* accuse(`a late commit in lane ${lane} was not delivered within a re-derivation`)
      }
      return took
    })

    // What is appended is well formed, and new. A deadlock is tried again, as applications do.
    const appended = once.pipe(
      Effect.catchTags({ InvalidOperation: Effect.die, OperationConflict: Effect.die }),
      Effect.retry({
        while: (error) => error.isRetryable,
        schedule: Schedule.intersect(Schedule.spaced("200 millis"), Schedule.recurs(20))
      })
    )
    const lateMillis = (yield* during(millis, appended)).flat()
    return {
      what: passed === 0
        ? "this server's isolation lets nobody append while a transaction is open, so none committed late"
        : `${passed} operations committed ${Math.round(hold / 1000)} s after the cursor had passed`,
      lateMillis
    }
  })

/** Writers with delays and rollbacks, where a transaction that is open keeps all others from writing. */
export const writersOnly: Faults = ({ millis }) =>
  Effect.as(Effect.sleep(millis), {
    what: "delays and rollbacks; while a transaction is open in a file nobody else writes, so none commits late"
  })

const anyWorker = ({ crew }: Stage) => Random.nextIntBetween(0, crew.size)

/** Workers are killed with SIGKILL: one, or several at once, but never all, and not before those of the last time are back. */
export const crash: Faults = (stage) =>
  Effect.map(
    during(
      stage.millis,
      Effect.gen(function*() {
        yield* Effect.sleep(yield* Random.nextRange(200, Math.max(1_000, stage.leaseMillis / 2)))
        const all = yield* Random.shuffle(Array.from({ length: stage.crew.size }, (_, i) => i))
        const count = (yield* Random.nextBoolean) ? 1 : yield* Random.nextIntBetween(1, stage.crew.size)
        yield* stage.crew.kill(Array.from(all).slice(0, count))
        return count
      })
    ),
    (counts) => ({ what: `${counts.reduce((sum, count) => sum + count, 0)} workers killed` })
  )

/** Workers are stopped while they publish, and before they commit a settlement, for longer than their leases. */
export const freeze = (places: ReadonlyArray<Place>): Faults => (stage) =>
  Effect.gen(function*() {
    const { accuse, boundMillis, crew, leaseMillis, watch } = stage
    const counts = { publish: 0, settle: 0 }
    const meanwhile = (member: string) =>
      Effect.gen(function*() {
        const lanes = watch.lanesOf(member)
        yield* Effect.sleep(leaseMillis)
        const isTaken = Effect.sync(() => lanes.every((lane) => ![null, member].includes(watch.ownerOf(lane))))
        if (!(yield* within(stage, boundMillis, isTaken)))
          yield* accuse("nobody took the lanes of a frozen worker")
        yield* Effect.sleep(yield* Random.nextRange(0, 500))
      })
    const round = Effect.forEach(places, (place) =>
      Effect.gen(function*() {
        const first = yield* anyWorker(stage)
        const candidates = Array.from({ length: crew.size }, (_, i) => (first + i) % crew.size)
        for (const index of candidates) {
          if (yield* crew.freeze(index, place, meanwhile)) {
            counts[place]++
            return
          }
        }
        yield* accuse(`no worker could be frozen to ${place}`)
      }), { discard: true })
    yield* during(stage.millis, round)
    // What they do now must not count.
    yield* Effect.sleep("1 second")
    return {
      what: `workers frozen ${counts.publish} times while they published` +
        (places.includes("settle") ? `, ${counts.settle} times while they settled` : "") + ", for longer than the lease"
    }
  })

/** Connections of workers and writers are ended by the server. */
export const cut: Faults = (stage) =>
  Effect.gen(function*() {
    const { connections } = stage.scratch
    if (typeof connections === "string") return { what: connections }
    let count = 0
    yield* during(
      stage.millis,
      Effect.gen(function*() {
        yield* Effect.sleep(yield* Random.nextRange(100, 1_000))
        const found = yield* connections.list
        const connection = found[yield* Random.nextIntBetween(0, Math.max(1, found.length))]
        if (connection === undefined) return
        // It may have ended by itself.
        count += yield* Effect.as(connections.cut(connection), 1).pipe(
          Effect.catchIf((error) => error.reason === "unknown", () => Effect.succeed(0))
        )
      })
    )
    return { what: `${count} connections cut` }
  })

/** So wrong are the clocks of the first workers. */
export const clockOffsets: ReadonlyArray<number> = [3_600_000, -3_600_000]

/** Workers whose clocks are wrong work, and are killed. */
export const clock: Faults = (stage) =>
  Effect.gen(function*() {
    const part = stage.millis / (clockOffsets.length + 1)
    for (const index of clockOffsets.keys()) {
      yield* Effect.sleep(part)
      yield* stage.crew.kill([index])
    }
    yield* Effect.sleep(part)
    return { what: "one worker an hour ahead, one an hour behind, each killed once" }
  })

/** In words why a scenario has failed, by its figures. */
export const findings = ({ lost, phantom }: Tally): ReadonlyArray<string> => {
  const named = (what: string, ids: ReadonlyArray<string>) =>
    ids.length === 0
      ? []
      : [`${ids.length} ${what}: ${ids.slice(0, 5).join(", ")}${ids.length > 5 ? " …" : ""}`]
  return [...named("lost", lost), ...named("phantom", phantom)]
}
