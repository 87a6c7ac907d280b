/**
 * Programs of `test/programs` as processes of a test, which it may freeze and kill.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { bundle } from "../Program.ts"
import * as runtime from "../runtime.ts"

/** A process that says things line by line, and is told things the same way. */
export interface Child {
  /** Waits until it has said a line that begins so, and gives the rest of the first such line. */
  readonly said: (beginning: string) => Effect.Effect<string>
  /** Whether it has said a line that begins so. */
  readonly hasSaid: (beginning: string) => boolean
  readonly tell: (line: string) => Effect.Effect<void>
  /** SIGSTOP: it does nothing at all until it is thawed. */
  readonly freeze: Effect.Effect<void>
  readonly thaw: Effect.Effect<void>
  /** SIGKILL. It is gone when this is done. */
  readonly kill: Effect.Effect<void>
  /** SIGTERM, or closed standard input: waits until it has ended by itself. */
  readonly end: Effect.Effect<void>
}

const ended = (child: ChildProcess) =>
  Effect.promise(async () => {
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit")
  })

/** Starts a program by its name; it is killed when the scope closes. */
export const start = (
  name: string,
  ...args: ReadonlyArray<string>
): Effect.Effect<Child, never, Scope.Scope> =>
  Effect.gen(function*() {
    const program = yield* Effect.promise(() =>
      bundle(fileURLToPath(new URL(`../programs/${name}.ts`, import.meta.url)))
    )
    const heard: Array<string> = []
    const child = yield* Effect.acquireRelease(
      Effect.sync(() => spawn(...runtime.running(program, ...args), { stdio: ["pipe", "pipe", "inherit"] })),
      (child) =>
        Effect.zipRight(
          Effect.sync(() => void child.kill("SIGKILL")),
          ended(child)
        )
    )
    let waiting: Array<() => void> = []
    createInterface(child.stdout).on("line", (line) => {
      heard.push(line)
      for (const look of waiting) look()
    }).on("close", () => {
      for (const look of waiting) look()
    })
    const find = (beginning: string) => heard.find((line) => line.startsWith(beginning))
    const signal = (name: NodeJS.Signals) => Effect.sync(() => void child.kill(name))
    return {
      said: (beginning) =>
        Effect.async((resume) => {
          const look = () => {
            const line = find(beginning)
            if (line !== undefined) resume(Effect.succeed(line.slice(beginning.length).trim()))
            else if (child.exitCode !== null) {
              resume(Effect.dieMessage(`it ended without saying ${beginning}, but: ${heard.join("\n")}`))
            } else return
            waiting = waiting.filter((other) => other !== look)
          }
          waiting.push(look)
          look()
        }),
      hasSaid: (beginning) => find(beginning) !== undefined,
      tell: (line) => Effect.sync(() => void child.stdin.write(`${line}\n`)),
      freeze: signal("SIGSTOP"),
      thaw: signal("SIGCONT"),
      kill: Effect.zipRight(signal("SIGKILL"), ended(child)),
      end: Effect.zipRight(signal("SIGTERM"), ended(child))
    }
  })
