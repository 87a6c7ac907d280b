/**
 * What the commands print: results to standard output, everything else to standard error.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"

/** Standard output could not be written. */
export class OutputError extends Data.TaggedError("OutputError")<{ readonly problem: string }> {
  override get message(): string {
    return `standard output cannot be written: ${this.problem}`
  }
}

const isClosed = (error: Error): boolean => "code" in error && error.code === "EPIPE"

const problemOf = (error: Error): string =>
  "code" in error && typeof error.code === "string" && !error.message.includes(error.code)
    ? `${error.code}: ${error.message}`
    : error.message

/** Writes to standard output, and waits until it has been taken. A reader who has seen enough (`| head`) is no error. */
export const write = (text: string): Effect.Effect<void, OutputError> =>
  Effect.async((resume) => {
    const done = (error?: Error | null) =>
      resume(
        error === undefined || error === null || isClosed(error)
          ? Effect.void
          : new OutputError({ problem: problemOf(error) })
      )
    try {
      process.stdout.write(text, done)
    } catch (error) {
      // Deno throws where others call back.
      done(error instanceof Error ? error : new Error(String(error)))
    }
  })

/** Prints a command's result: one object, or lines for people. */
export const result = (
  isJson: boolean,
  object: object,
  lines: ReadonlyArray<string>
): Effect.Effect<void, OutputError> =>
  write(isJson ? `${JSON.stringify(object)}\n` : lines.map((line) => `${line}\n`).join(""))

/** Wipes the line of a progress that is shown at the moment. */
const wipe = process.stderr.isTTY === true ? "\r\x1b[K" : ""

/** Says something that is no result. */
export const note = (text: string): Effect.Effect<void> =>
  Effect.sync(() => {
    process.stderr.write(`${wipe}${text}\n`)
  })

/** Control characters would be commands to a terminal, and what is shown was written by strangers. */
export const printable = (text: string): string =>
  text.replace(/\p{Cc}/gu, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`)

/** `12,345` */
export const count = (amount: number): string => amount.toLocaleString("en")

/** `12,345`, or what is known to be an estimate: `~1,234,567` */
export const about = (amount: number, isEstimate: boolean): string => `${isEstimate ? "~" : ""}${count(amount)}`

/** `12,345`, or what was counted no further: `100,000+` */
export const atLeast = (amount: number, isCapped: boolean): string => `${count(amount)}${isCapped ? "+" : ""}`

/** `1 operation`, `2 operations` */
export const counted = (amount: number, noun: string): string => `${count(amount)} ${noun}${amount === 1 ? "" : "s"}`

/** Columns of equal width. */
export const table = (rows: ReadonlyArray<ReadonlyArray<string>>): ReadonlyArray<string> => {
  const widths = rows.reduce<ReadonlyArray<number>>(
    (widths, row) => row.map((cell, i) => Math.max(widths[i] ?? 0, cell.length)),
    []
  )
  return rows.map((row) => row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join("  ").trimEnd())
}

/**
 * Shows how far a long work has come, on one line that is written over: only where standard error is a terminal, and not
 * for work that is done at once. An interruption waits for the end of the work, whatever the work has raced or forked.
 */
export const withProgress = <A, E, R>(
  show: Effect.Effect<string>,
  work: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.scoped(Effect.gen(function*() {
    if (process.stderr.isTTY === true) {
      const draw = Effect.map(show, (text) => {
        process.stderr.write(`${wipe}${text.slice(0, (process.stderr.columns ?? 80) - 1)}`)
      })
      yield* Effect.addFinalizer(() => Effect.sync(() => process.stderr.write(wipe)))
      yield* draw.pipe(
        Effect.delay("200 millis"),
        Effect.forever,
        Effect.interruptible,
        Effect.forkScoped
      )
    }
    return yield* Effect.acquireUseRelease(Effect.fork(Effect.interruptible(work)), Fiber.join, Fiber.interrupt)
  }))
