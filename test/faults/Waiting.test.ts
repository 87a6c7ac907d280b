/**
 * Hosts that append and workers that settle do not wait for each other's transactions, however long those stay open.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { type Lane, laneOf } from "../../src/Operation.ts"
import { type Claim, type Delivered, type Entry, type Lease, Repository } from "../../src/Repository.ts"
import type { DatabaseError, LeaseLost, UnknownLane } from "../../src/TrustlogError.ts"
import * as Server from "../servers/Server.ts"
import { entry, id } from "../workers.ts"
import type { Before } from "./overheard.ts"
import { entries, hosting, range, repository } from "./scene.ts"

const lane = laneOf("operation")
const other = laneOf("operation", "other")
const ttl = Duration.minutes(1)

const refusal = (position: number, delay: Duration.Duration | undefined) => ({
  position,
  reason: "rejected" as const,
  error: "no",
  delay
})

const settlement = { topic: "topic", delivered: [], refused: [], checkpoint: undefined, position: 0, late: 0 }

type Workers = Repository["Type"]
type Failure = DatabaseError | LeaseLost | UnknownLane

/** A lane with pending rows, retries that are due, and dead letters; and another one. */
const furnished = Effect.gen(function*() {
  const workers = yield* Repository
  yield* workers.append(entries(range(1, 40)))
  yield* workers.append(range(41, 60).map((n) => entry(n, {}, other)))
  const lease = yield* workers.acquire(lane, "a", ttl)
  if (lease === undefined) return yield* Effect.dieMessage("nobody has it")
  yield* workers.settle(lease, {
    ...settlement,
    refused: [
      ...range(1, 6).map((n) => refusal(n, Duration.zero)),
      ...range(7, 9).map((n) => refusal(n, undefined))
    ]
  })
  return lease
})

/** Settles the next page, most of it as delivered. */
const settle = (workers: Workers, lease: Lease) =>
  Effect.gen(function*() {
    const { rows } = yield* workers.page(lease, { after: 0, limit: 8, maxBytes: 8_000_000 })
    assert.strictEqual(rows.length, 8)
    const [first, ...others] = rows
    yield* workers.settle(lease, {
      ...settlement,
      delivered: others.map(({ contentHash, id, position }) => ({
        position,
        id,
        contentHash: contentHash ?? "",
        isHashed: true,
        messageId: Uint8Array.of(1)
      })),
      refused: first === undefined ? [] : [refusal(first.position, Duration.zero)]
    })
  })

const gone = (position: number): Delivered => ({
  position,
  id: id(position),
  contentHash: "00".repeat(32),
  isHashed: true,
  messageId: Uint8Array.of(1)
})

const claim = (workers: Workers): Effect.Effect<Claim, DatabaseError> =>
  Effect.flatMap(
    workers.claimRetries({ limit: 2, maxBytes: 8_000_000, timeToLive: ttl, excluded: [] }),
    (claim) => claim === undefined ? Effect.dieMessage("there is something due") : Effect.succeed(claim)
  )

const settleRetries = (workers: Workers, claim: Claim) =>
  workers.settleRetries(claim, {
    topic: "topic",
    checkpoint: undefined,
    delivered: [],
    refused: claim.rows.slice(0, 1).map(({ position }) => refusal(position, ttl)),
    returned: claim.rows.slice(1).map(({ position }) => ({ position, isSuspect: false }))
  })

/** What workers do in transactions, by name; each can be done several times. */
const verbs = (
  lease: Lease
): ReadonlyArray<readonly [string, (workers: Workers) => Effect.Effect<unknown, Failure>]> => [
  ["settle", (workers) => settle(workers, lease)],
  // Where there is no row, a transaction that repeats its reads keeps the place free.
  [
    "settle what has gone",
    (workers) =>
      workers.settle(lease, { ...settlement, refused: [], delivered: range(8, 9).map(gone).concat(gone(5000)) })
  ],
  ["renew", (workers) => workers.renew(lease, ttl)],
  ["markInFlight", (workers) => workers.markInFlight(lease, 30)],
  ["countLoss", (workers) => workers.countLoss(lease, "lost")],
  ["setBreaker", (workers) => workers.setBreaker(lease, "closed")],
  ["claimRetries", claim],
  ["settleRetries", (workers) => Effect.flatMap(claim(workers), (claimed) => settleRetries(workers, claimed))],
  ["replay", (workers) => workers.replay([id(7)])],
  ["setPaused", (workers) => Effect.zipRight(workers.setPaused(true, other), workers.setPaused(false, other))],
  ["setPaused of all", (workers) => Effect.zipRight(workers.setPaused(true), workers.setPaused(false))],
  ["acquire", (workers) => workers.acquire(other, "a", ttl)],
  ["acquire a new lane", (workers) => workers.acquire(laneOf("record", "new"), "a", ttl)],
  ["release", (workers) => workers.release({ ...lease, lane: other })]
]

/** What workers read, and do without transactions. */
const reads = (
  lease: Lease
): ReadonlyArray<readonly [string, (workers: Workers) => Effect.Effect<unknown, Failure>]> => [
  ["page", (workers) => workers.page(lease, { after: 0, limit: 1000, maxBytes: 8_000_000 })],
  ["lowerBound", (workers) => workers.lowerBound(lease, 0)],
  ["lanes", (workers) => workers.lanes],
  ["register", (workers) => workers.register("a", ttl)],
  ["unregister", (workers) => workers.unregister("a")],
  ["nextRetryIn", (workers) => workers.nextRetryIn],
  ["deadLetters", (workers) => workers.deadLetters({ after: 0, limit: 10 })],
  ["stats", (workers) => workers.stats]
]

/** Holds what comes next at a COMMIT. */
const gate = () => {
  const reached = Effect.unsafeMakeLatch()
  const opened = Effect.unsafeMakeLatch(true)
  const before: Before = (statement) =>
    statement === "COMMIT" ? Effect.zipRight(reached.open, opened.await) : Effect.void
  /** Does something while something else is held. */
  const during = <A, E, R, B, E2, R2>(open: Effect.Effect<A, E, R>, meanwhile: Effect.Effect<B, E2, R2>) =>
    Effect.gen(function*() {
      yield* reached.close
      yield* opened.close
      const fiber = yield* Effect.fork(open)
      yield* Effect.raceFirst(reached.await, Effect.zipRight(Fiber.join(fiber), Effect.dieMessage("it did not commit")))
      yield* Effect.ensuring(meanwhile, opened.open)
      return yield* Fiber.join(fiber)
    })
  return { before, during }
}

/** The host's repository and client, and the workers' with a gate: connections of their own. */
const sides = (server: Server.Server) =>
  Effect.gen(function*() {
    const url = yield* Server.database(server)
    const { before, during } = gate()
    const gated = yield* Layer.build(repository(url, { before }))
    return { workers: Context.get(gated, Repository), gated, during, host: yield* Layer.build(repository(url)) }
  })

describe("while a transaction of a worker is open", () => {
  Server.onEach((server) => {
    for (const isolation of ["READ COMMITTED", "REPEATABLE READ"] as const) {
      it.scopedLive(`${isolation}: a host appends into any lane, a new one included, without waiting for it`, () =>
        Effect.gen(function*() {
          const { during, host, workers } = yield* sides(server)
          const lease = yield* Effect.provide(furnished, host)
          let next = 100
          const append = (to: Lane, count: number) => {
            const batch = range(next, next + count - 1).map((n): Entry => entry(n, {}, to))
            next += count
            // A host that has to wait for a lock fails after a second.
            return hosting(isolation, 1)(Effect.flatMap(Repository, (repository) => repository.append(batch)))
          }
          for (const [index, [name, verb]] of verbs(lease).entries()) {
            yield* during(
              verb(workers),
              Effect.gen(function*() {
                for (const to of [lane, other, laneOf("operation", `new-${index}`)]) {
                  yield* append(to, 1)
                  yield* append(to, 7)
                }
              }).pipe(
                Effect.provide(host),
                Effect.mapError((error) => ({ during: name, error }))
              )
            )
          }
        }))
    }
  })
})

describe("while a host's append is open", () => {
  Server.onEach((server) => {
    for (const isolation of ["READ COMMITTED", "REPEATABLE READ"] as const) {
      it.scopedLive(`${isolation}: workers do everything without waiting for it`, () =>
        Effect.gen(function*() {
          const { during, gated, host, workers } = yield* sides(server)
          const lease = yield* Effect.provide(furnished, host)
          const there = yield* Effect.map(Effect.provide(Repository, host), ({ append }) =>
            append([entry(70, {}, lane), { ...entry(71), strategy: "DbOnly" }]))
          yield* there
          // New ones, one that is made pending after all, and repetitions of what is pending, retrying, or a dead letter.
          const open = hosting(isolation)(
            workers.append([
              ...entries([...range(200, 210), 71, 70, 20, 3, 8]),
              entry(220, {}, laneOf("operation", "new"))
            ])
          )
          // Whoever has to wait for a lock fails after five seconds.
          yield* during(
            Effect.provide(open, gated),
            Effect.forEach([...verbs(lease), ...reads(lease)], ([name, verb]) =>
              Effect.mapError(
                Effect.flatMap(Effect.provide(Repository, host), verb),
                (error) => ({ verb: name, error })
              ), { discard: true })
          )
        }))

      it.scopedLive(`${isolation}: other hosts append other operations without waiting for it`, () =>
        Effect.gen(function*() {
          const { during, gated, host, workers } = yield* sides(server)
          yield* Effect.provide(furnished, host)
          const append = (numbers: ReadonlyArray<number>) =>
            Effect.flatMap(
              Repository,
              (repository) =>
                repository.append(numbers.flatMap((n) => [entry(n), entry(n + 1000, {}, laneOf("record", `new-${n}`))]))
            )
          yield* during(
            Effect.provide(hosting(isolation)(workers.append(entries([...range(200, 210), 20]))), gated),
            Effect.gen(function*() {
              for (const numbers of [[100], [205 + 100], range(2000, 2050), [199], [211]]) {
                yield* hosting(isolation, 1)(append(numbers))
              }
              const sql = yield* SqlClient.SqlClient
              const [counted] = yield* sql<{ readonly n: number }>`SELECT count(*) AS n FROM operation`
              assert.strictEqual(Number(counted?.n), 60 + 2 * 55)
            }).pipe(Effect.provide(host))
          )
        }))
    }
  })
})
