/**
 * The process of a contender, as the one that compares sees it.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type ChildProcess, fork } from "node:child_process"
import type { Name } from "./contenders.ts"
import type { Answer, Options, Task } from "./tasks.ts"

export interface Process {
  readonly name: Name
  readonly pid: number
  readonly note: string
  readonly ask: <K extends Task>(task: K, options: Options<K>) => Effect.Effect<Answer<K>>
  /** SIGKILL. */
  readonly kill: Effect.Effect<void>
}

type Reply<A> = { readonly answer: A } | { readonly error: string }

/** What it says next. Its end is a failure. */
const said = <A>(name: Name, child: ChildProcess): Effect.Effect<A> =>
  Effect.async<A>((resume) => {
    const onMessage = (text: unknown) => {
      child.off("exit", onExit)
      const reply: Reply<A> = JSON.parse(String(text))
      resume("error" in reply ? Effect.dieMessage(`${name}: ${reply.error}`) : Effect.succeed(reply.answer))
    }
    const onExit = (code: number | null, signal: string | null) => {
      child.off("message", onMessage)
      resume(Effect.dieMessage(`${name} ended: ${code ?? signal}`))
    }
    child.once("message", onMessage)
    child.once("exit", onExit)
  })

/** Starts a contender over a database, and over a log of its own, with what it shall make there made. It ends with the scope. */
export const start = (name: Name, url: string, log = ""): Effect.Effect<Process, never, Scope.Scope> =>
  Effect.gen(function*() {
    const child = yield* Effect.acquireRelease(
      Effect.sync(() => fork(new URL("child.ts", import.meta.url), [name, url, log], { execArgv: ["--expose-gc"] })),
      (child) => Effect.sync(() => void child.kill("SIGKILL"))
    )
    const note = yield* said<string>(name, child)
    return {
      name,
      pid: child.pid ?? 0,
      note,
      ask: <K extends Task>(task: K, options: Options<K>) =>
        Effect.suspend(() => {
          child.send(JSON.stringify({ task, options }))
          return said<Answer<K>>(name, child)
        }),
      kill: Effect.sync(() => void child.kill("SIGKILL"))
    }
  })
