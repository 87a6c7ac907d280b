/**
 * Processes of this program, which are gone when their scope closes, and when this process ends in any other way.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import { type ChildProcess, spawn } from "node:child_process"
import * as fs from "node:fs"
import * as path from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import * as task from "./task.ts"

const own = fileURLToPath(import.meta.url)
const program = path.join(path.dirname(own), `program${path.extname(own)}`)

/** How a process ended, in words. */
export type Ending = string

/** A process that does a task. */
export interface Child {
  /** Tells it something; one that is gone hears nothing. */
  readonly tell: (command: task.Command) => Effect.Effect<void>
  readonly signal: (signal: NodeJS.Signals) => Effect.Effect<void>
  /** Waits for its end; `undefined` is a good one. */
  readonly ended: Effect.Effect<Ending | undefined>
}

/** Those that run, for an end of this process that runs no finalizer. */
const running = new Set<ChildProcess>()
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL")
})

/** Starts a process. What it logs goes to the end of a file; `hear` is called with whatever it says. */
export const start = (options: {
  readonly task: task.Task
  readonly logFile: string
  readonly hear: (event: task.Event) => void
}): Effect.Effect<Child, never, Scope.Scope> =>
  Effect.gen(function*() {
    const ended = yield* Deferred.make<Ending | undefined>()
    const end = (ending: Ending | undefined) => Deferred.unsafeDone(ended, Exit.succeed(ending))
    const child = yield* Effect.acquireRelease(
      Effect.sync(() => {
        const logFd = fs.openSync(options.logFile, "a")
        const child = spawn(process.execPath, [program], { stdio: ["pipe", "pipe", logFd] })
        fs.closeSync(logFd)
        running.add(child)
        child.once("error", (error) => {
          running.delete(child)
          end(`could not be started: ${error.message}`)
        })
        child.once("close", (code, signal) => {
          running.delete(child)
          end(code === 0 ? undefined : signal === null ? `ended with exit code ${code}` : `was ended by ${signal}`)
        })
        return child
      }),
      // SIGKILL ends one that is frozen, too.
      (child) => Effect.zipRight(Effect.sync(() => void child.kill("SIGKILL")), Deferred.await(ended))
    )
    // Whoever is killed reads no more, which is told here as well.
    child.stdin?.on("error", () => {})
    child.stdin?.write(task.task.write(options.task))
    if (child.stdout !== null) {
      createInterface({ input: child.stdout }).on("line", (line) => {
        const event = task.event.read(line)
        // A process that is killed may leave half a line.
        if (event._tag === "Right") options.hear(event.right)
      })
    }
    return {
      tell: (command) => Effect.sync(() => void child.stdin?.write(task.command.write(command))),
      signal: (signal) => Effect.sync(() => void child.kill(signal)),
      ended: Deferred.await(ended)
    }
  })

/** The last line that a process has logged. */
export const lastLine = (logFile: string): Effect.Effect<string> =>
  Effect.sync(() => (fs.existsSync(logFile) ? fs.readFileSync(logFile, "utf8") : "").trimEnd().split("\n").at(-1) ?? "")
