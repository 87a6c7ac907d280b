/**
 * The worker processes of a scenario: started, killed, frozen, and watched.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as path from "node:path"
import * as monotonic from "../monotonic.ts"
import * as child from "./child.ts"
import type * as task from "./task.ts"
import type { Watch } from "./watch.ts"

interface Worker {
  readonly process: child.Child
  readonly scope: Scope.CloseableScope
  readonly ready: Deferred.Deferred<void>
  /** The member of the database that it is, once it has said so. */
  member: string | undefined
  readonly epochs: Map<string, number>
  /** Leases that others have taken over from it. */
  readonly lost: Set<string>
  freezing: Deferred.Deferred<void> | undefined
  isEnding: boolean
}

export interface Crew {
  readonly size: number
  /** Kills some with SIGKILL, at once, and starts others in their places, which are members when it returns. */
  readonly kill: (indices: ReadonlyArray<number>) => Effect.Effect<void>
  /** Freezes one that has a lane, at a place, for as long as an effect takes; `false` where it never came to that place. */
  readonly freeze: (
    index: number,
    place: task.Place,
    meanwhile: (member: string) => Effect.Effect<void>
  ) => Effect.Effect<boolean>
  /** Lets all of them finish, and waits for their end. */
  readonly end: Effect.Effect<void>
}

const leaseName = (lane: string, epoch: number): string => `${lane} ${epoch}`

/** Waits so long for a worker that is to come to a place, or to its end. */
const patience = "20 seconds"

export const make = (options: {
  readonly tasks: ReadonlyArray<Omit<task.Worker, "file">>
  readonly folder: string
  readonly watch: Watch
  /** Told what must not happen. */
  readonly accuse: (problem: string) => Effect.Effect<void>
  /** Told what happens. */
  readonly note: (event: string) => Effect.Effect<void>
}): Effect.Effect<Crew, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { accuse, folder, note, tasks, watch } = options
    const scope = yield* Effect.scope
    const clock = yield* monotonic.reader
    const workers = new Map<number, Worker>()
    let started = 0

    const isReady = ({ process, ready }: Worker) => Effect.raceFirst(Deferred.await(ready), process.ended)

    const start = (index: number): Effect.Effect<void> =>
      Effect.gen(function*() {
        const given = tasks[index]
        if (given === undefined) return
        const own = yield* Scope.fork(scope, { _tag: "Sequential" })
        const logFile = path.join(folder, `worker-${index}.log`)
        const number = started++
        const ready = yield* Deferred.make<void>()
        const problems: Array<string> = []
        const hear = (event: task.Event) => {
          switch (event._tag) {
            case "Member":
              worker.member = event.member
              return Deferred.unsafeDone(ready, Exit.void)
            case "Acquired":
              worker.epochs.set(event.lane, event.epoch)
              return
            case "Settled":
              if (worker.lost.has(leaseName(event.lane, event.epoch))) {
                problems.push(`worker ${index} settled lane ${event.lane} under a lease that it had lost`)
              }
              return
            case "Starved":
              return watch.starved(`worker ${number}`, clock(), event.millis)
            case "Freezing":
              if (worker.freezing !== undefined) Deferred.unsafeDone(worker.freezing, Exit.void)
          }
        }
        const process = yield* Scope.extend(
          child.start({
            task: { ...given, seed: given.seed + number, file: path.join(folder, `seen-${index}-${number}`) },
            logFile,
            hear
          }),
          own
        )
        const worker: Worker = {
          process,
          scope: own,
          ready,
          member: undefined,
          epochs: new Map(),
          lost: new Set(),
          freezing: undefined,
          isEnding: false
        }
        workers.set(index, worker)
        // One that ends by itself is a finding; another goes on in its place, as a supervisor would have it.
        yield* Effect.gen(function*() {
          const ending = yield* process.ended
          for (const problem of problems) yield* accuse(problem)
          if (worker.isEnding) return
          if (worker.member !== undefined) watch.gone(worker.member, yield* monotonic.now)
          yield* accuse(`worker ${index} ${ending ?? "ended by itself"}: ${yield* child.lastLine(logFile)}`)
          yield* Effect.sleep("1 second")
          yield* start(index)
        }).pipe(Effect.interruptible, Effect.forkIn(scope))
      })

    yield* Effect.forEach(tasks, (_, index) => start(index), { discard: true })
    yield* Effect.forEach(workers.values(), isReady, { discard: true })

    return {
      size: tasks.length,
      kill: (indices) =>
        Effect.gen(function*() {
          const victims = indices.flatMap((index) => {
            const worker = workers.get(index)
            return worker === undefined ? [] : [{ index, worker }]
          })
          for (const { index, worker } of victims) {
            worker.isEnding = true
            const at = yield* monotonic.now
            yield* worker.process.signal("SIGKILL")
            if (worker.member !== undefined) watch.gone(worker.member, at)
            yield* note(`worker ${index} killed: ${worker.member ?? "no member yet"}`)
          }
          for (const { index, worker } of victims) {
            yield* Scope.close(worker.scope, Exit.void)
            yield* start(index)
          }
          yield* Effect.forEach(workers.values(), isReady, { discard: true })
        }),
      freeze: (index, place, meanwhile) =>
        Effect.gen(function*() {
          const worker = workers.get(index)
          const member = worker?.member
          if (worker === undefined || member === undefined || watch.lanesOf(member).length === 0)
            return false
          worker.freezing = yield* Deferred.make<void>()
          yield* worker.process.tell({ _tag: "Freeze", place })
          const isFrozen = yield* Effect.timeoutTo(Deferred.await(worker.freezing), {
            duration: patience,
            onSuccess: () => true,
            onTimeout: () => false
          })
          if (isFrozen) {
            const held = new Map(worker.epochs)
            watch.gone(member, yield* monotonic.now)
            yield* note(`worker ${index} frozen to ${place}: ${member}`)
            yield* meanwhile(member)
            // One that lapsed and that nobody took may still be renewed.
            for (const [lane, epoch] of held) {
              const owner = watch.ownerOf(lane)
              if (owner !== null && owner !== member) worker.lost.add(leaseName(lane, epoch))
            }
            watch.back(member)
          } else {
            yield* worker.process.tell({ _tag: "GoOn" })
          }
          // Also where it has come to that place after all, at the last moment.
          yield* worker.process.signal("SIGCONT")
          yield* note(`worker ${index} goes on: ${member}`)
          return isFrozen
        }),
      end: Effect.forEach(workers, ([index, worker]) =>
        Effect.gen(function*() {
          worker.isEnding = true
          yield* worker.process.signal("SIGCONT")
          yield* worker.process.tell({ _tag: "End" })
          const ending = yield* Effect.timeoutTo(worker.process.ended, {
            duration: patience,
            onSuccess: (ending) => ending,
            onTimeout: () => "did not end when it was told to"
          })
          if (ending !== undefined) yield* accuse(`worker ${index} ${ending}`)
          yield* Scope.close(worker.scope, Exit.void)
        }), { concurrency: "unbounded", discard: true })
    }
  })
