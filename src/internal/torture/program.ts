/**
 * The program of the processes that a torture starts. Its first line of input is what to do; when the input ends, whoever
 * started it is gone, and so is it.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Random from "effect/Random"
import { createInterface } from "node:readline"
import * as task from "./task.ts"
import * as worker from "./worker.ts"
import * as writer from "./writer.ts"

const say = (event: task.Event) => Effect.sync(() => void process.stdout.write(task.event.write(event)))

const perform = (what: task.Task, control: worker.Control, ended: Deferred.Deferred<void>, isEnding: () => boolean) =>
  what._tag === "Writer"
    ? writer.run(what, isEnding)
    : Effect.scoped(Effect.gen(function*() {
      yield* worker.measure(control, say).pipe(Effect.forever, Effect.interruptible, Effect.forkScoped)
      yield* Layer.build(worker.layer(what, control, say))
      yield* Deferred.await(ended)
    }))

const main = Effect.gen(function*() {
  const given = yield* Deferred.make<string>()
  const ended = yield* Deferred.make<void>()
  const control: worker.Control = { freeze: undefined, wasFrozen: false }
  let isEnding = false
  let isGiven = false
  const obey = (line: string) => {
    const command = Either.getOrThrowWith(task.command.read(line), (problem) => new Error(problem))
    switch (command._tag) {
      case "Freeze":
        control.freeze = command.place
        return
      case "GoOn":
        control.freeze = undefined
        return
      case "End":
        isEnding = true
        Deferred.unsafeDone(ended, Exit.void)
    }
  }
  createInterface({ input: process.stdin }).on("line", (line) => {
    if (isGiven) return obey(line)
    isGiven = true
    Deferred.unsafeDone(given, Exit.succeed(line))
  }).on("close", () => process.exit(1))
  const what = Either.getOrThrowWith(task.task.read(yield* Deferred.await(given)), (problem) => new Error(problem))
  yield* Effect.withRandom(perform(what, control, ended, () => isEnding), Random.make(what.seed))
}).pipe(
  Effect.tapErrorCause((cause) => Effect.logFatal("ended by a failure", cause)),
  Effect.provide(Logger.replace(Logger.defaultLogger, Logger.withConsoleError(Logger.logfmtLogger)))
)

// A terminal's Ctrl-C reaches every process; the one that started this one decides.
process.on("SIGINT", () => {})

Effect.runCallback(main, { onExit: (exit) => process.exit(Exit.isSuccess(exit) ? 0 : 1) })
