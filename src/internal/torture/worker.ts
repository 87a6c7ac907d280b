/**
 * A worker process: the workers as applications run them, over a log that is a file. It can be told to freeze.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as CircuitBreaker from "../../CircuitBreaker.ts"
import * as CursorWorker from "../../CursorWorker.ts"
import * as HostLocal from "../../Host/Local.ts"
import { Publisher } from "../../Publisher.ts"
import { Repository } from "../../Repository.ts"
import * as Sql from "../../Repository/Sql.ts"
import { RetryPolicy } from "../../RetryPolicy.ts"
import * as RetryWorker from "../../RetryWorker.ts"
import type { DatabaseError } from "../../TrustlogError.ts"
import * as WorkerConfig from "../../WorkerConfig.ts"
import { nextTurn } from "../eventLoop.ts"
import * as monotonic from "../monotonic.ts"
import * as client from "./client.ts"
import * as log from "./log.ts"
import type { Event, Place, Worker } from "./task.ts"

/** So many connections a worker has at most, that for listening aside. */
export const maxConnections = 4

/** The workers' knobs in a torture. */
export const config = (
  { leaseMillis, rederivationMillis }: Pick<Worker, "leaseMillis" | "rederivationMillis">
): WorkerConfig.Shape => ({
  ...WorkerConfig.defaults,
  scanInterval: Duration.min(WorkerConfig.defaults.scanInterval, Duration.millis(rederivationMillis)),
  lease: Duration.millis(leaseMillis),
  leaseRenewal: Duration.millis(leaseMillis * 0.3),
  claim: Duration.millis(leaseMillis),
  publishDeadline: Duration.seconds(5),
  rederivation: Duration.millis(rederivationMillis)
})

/** Refused by chance so often in a row is no record. */
export const retries: Layer.Layer<never> = Layer.succeed(RetryPolicy, {
  schedule: Schedule.intersect(Schedule.exponential("100 millis"), Schedule.recurs(8))
})

/** A clock that is wrong by so much. */
const shifted = (millis: number): Clock.Clock => {
  const clock = Clock.make()
  const unsafeCurrentTimeMillis = () => clock.unsafeCurrentTimeMillis() + millis
  const unsafeCurrentTimeNanos = () => clock.unsafeCurrentTimeNanos() + BigInt(millis) * 1_000_000n
  return {
    [Clock.ClockTypeId]: Clock.ClockTypeId,
    unsafeCurrentTimeMillis,
    unsafeCurrentTimeNanos,
    currentTimeMillis: Effect.sync(unsafeCurrentTimeMillis),
    currentTimeNanos: Effect.sync(unsafeCurrentTimeNanos),
    sleep: (duration) => clock.sleep(duration)
  }
}

/** Whether this fibre writes down what became of a page. */
const isSettling = FiberRef.unsafeMake(false)

const quiet = new Int32Array(new SharedArrayBuffer(4))

/** What a worker is told to do while it works. */
export interface Control {
  /** Where it is to freeze next. */
  freeze: Place | undefined
  /** Whether it has been frozen since this was last asked. */
  wasFrozen: boolean
}

const measureInterval = 100

/** A timer may be late by so much. */
const lateness = 20

/** Tells when the machine has no time for this process. A thread that it keeps busy itself is no such time. */
export const measure = (control: Control, say: (event: Event) => Effect.Effect<void>) =>
  Effect.gen(function*() {
    const at = yield* monotonic.now
    const before = process.cpuUsage()
    yield* Effect.sleep(measureInterval)
    const { system, user } = process.cpuUsage(before)
    const millis = (yield* monotonic.now) - at - measureInterval - (system + user) / 1_000
    if (control.wasFrozen) control.wasFrozen = false
    else if (millis > lateness) yield* say({ _tag: "Starved", millis })
  })

export const layer = (
  task: Worker,
  control: Control,
  say: (event: Event) => Effect.Effect<void>
): Layer.Layer<never, DatabaseError> => {
  let transactions = 0
  const counted = Effect.acquireRelease(
    Effect.sync(() => {
      transactions++
    }),
    () =>
      Effect.sync(() => {
        transactions--
      })
  )

  /** Stops this process, if it is to freeze here, until it is sent SIGCONT. */
  const freezeAt = (place: Place): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (control.freeze !== place) return Effect.void
      // A transaction of another lane would be frozen as well.
      if (place === "publish" && transactions > 0) return Effect.zipRight(nextTurn, freezeAt(place))
      control.freeze = undefined
      control.wasFrozen = true
      return Effect.zipRight(
        say({ _tag: "Freezing" }),
        Effect.sync(() => {
          process.kill(process.pid, "SIGSTOP")
          // The signal may take a moment, and nothing is to happen in it.
          Atomics.wait(quiet, 0, 0, 50)
        })
      )
    })

  const freezing = (connection: Connection): Connection => ({
    execute: (sql, params, transformRows) => connection.execute(sql, params, transformRows),
    executeRaw: (sql, params) =>
      Effect.flatMap(FiberRef.get(isSettling), (isSettling) =>
        isSettling && sql === "COMMIT"
          ? Effect.zipRight(freezeAt("settle"), connection.executeRaw(sql, params))
          : connection.executeRaw(sql, params)),
    executeStream: (sql, params, transformRows) => connection.executeStream(sql, params, transformRows),
    executeUnprepared: (sql, params, transformRows) => connection.executeUnprepared(sql, params, transformRows),
    executeValues: (sql, params) => connection.executeValues(sql, params)
  })

  const hooked = Layer.effect(
    SqlClient.SqlClient,
    Effect.map(
      SqlClient.SqlClient,
      (sql) => Object.assign(sql, { reserve: Effect.map(Effect.zipLeft(sql.reserve, counted), freezing) })
    )
  ).pipe(Layer.provideMerge(client.layer(task.database, maxConnections)))

  const told = Layer.effect(
    Repository,
    Effect.map(Repository, (repository) => {
      let isKnown = false
      return Repository.of({
        ...repository,
        register: (member, timeToLive) =>
          Effect.tap(repository.register(member, timeToLive), () => {
            if (isKnown) return Effect.void
            isKnown = true
            return say({ _tag: "Member", member })
          }),
        acquire: (lane, owner, timeToLive) =>
          Effect.tap(
            repository.acquire(lane, owner, timeToLive),
            (lease) => lease === undefined ? Effect.void : say({ _tag: "Acquired", lane, epoch: lease.epoch })
          ),
        settle: (lease, settlement) =>
          Effect.locally(repository.settle(lease, settlement), isSettling, true).pipe(
            Effect.tap(() => say({ _tag: "Settled", lane: lease.lane, epoch: lease.epoch }))
          )
      })
    })
  )

  return Layer.merge(CursorWorker.layer, RetryWorker.layer).pipe(
    Layer.provide([
      Layer.provide(told, Sql.layer({ schema: task.schema, prefix: task.prefix })),
      Layer.scoped(Publisher, log.make(task.file, log.illBehaved, freezeAt("publish"))),
      CircuitBreaker.layer,
      HostLocal.layer
    ]),
    Layer.provide([
      hooked,
      retries,
      Layer.succeed(WorkerConfig.WorkerConfig, config(task)),
      Layer.setClock(shifted(task.clockOffsetMillis))
    ])
  )
}
