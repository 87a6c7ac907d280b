/**
 * Logs on standard error: one line an entry, without stack traces; standard output belongs to results.
 */
import * as Cause from "effect/Cause"
import * as HashMap from "effect/HashMap"
import * as Inspectable from "effect/Inspectable"
import * as Layer from "effect/Layer"
import type * as LogLevel from "effect/LogLevel"
import * as EffectLogger from "effect/Logger"
import { printable } from "./Output.ts"

const textOf = (message: unknown): string =>
  message instanceof Error ? message.message : Inspectable.toStringUnknown(message, 0)

const colours: Partial<Record<LogLevel.LogLevel["_tag"], string>> = { Warning: "33", Error: "31", Fatal: "31" }

/** For people: the time, and the level where it matters. */
const pretty = (date: Date, level: LogLevel.LogLevel, text: string): string => {
  const colour = colours[level._tag]
  const mark = colour === undefined ? "" : `\x1b[${colour}m${level.label}\x1b[0m `
  return `\x1b[2m${date.toLocaleTimeString("en-GB")}\x1b[0m ${mark}${text}`
}

const line = EffectLogger.make(({ annotations, cause, date, logLevel, message }) => {
  const parts = Array.isArray(message) ? message.map(textOf) : [textOf(message)]
  const text = printable([...parts, ...Cause.prettyErrors(cause).map((error) => error.message)].join(": "))
  if (process.stderr.isTTY === true) return pretty(date, logLevel, text)
  const fields = Array.from(
    HashMap.entries(annotations),
    ([key, value]) => ` ${key}=${JSON.stringify(textOf(value))}`
  )
  return `${date.toISOString()} ${logLevel.label} ${text}${printable(fields.join(""))}`
})

/** Puts this logger in the place of Effect's, which writes to standard output. */
export const layer: Layer.Layer<never> = EffectLogger.replace(
  EffectLogger.defaultLogger,
  EffectLogger.map(line, (text) => {
    process.stderr.write(`${text}\n`)
  })
)
