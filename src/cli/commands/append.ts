/**
 * Records operations from JSON Lines: as a stream, in transactions of bounded size, each refused line by its number.
 */
import * as NodeStream from "@effect/platform-node/NodeStream"
import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { fstatSync } from "node:fs"
import * as JsonLines from "../../JsonLines.ts"
import { laneOf } from "../../Operation.ts"
import { type Entry, Repository } from "../../Repository.ts"
import type { Stored } from "../../Strategy.ts"
import type { DatabaseError, InvalidOperation, OperationConflict } from "../../TrustlogError.ts"
import { FileError, Found, UsageError } from "../Failure.ts"
import * as Output from "../Output.ts"
import * as Services from "../Services.ts"

/** So many lines, or bytes of input, are recorded in one transaction. */
const batchRows = 1000
const batchBytes = 4 * 1024 * 1024

/** So many refused lines are told one by one. */
const maxErrors = 100

interface Source {
  readonly name: string
  readonly bytes: Stream.Stream<Uint8Array, FileError>
  /** `undefined` where it is not known before the end. */
  readonly size: number | undefined
}

const standardInput: Source = {
  name: "standard input",
  bytes: NodeStream.fromReadable<FileError, Uint8Array>(
    () => process.stdin,
    (cause) =>
      new FileError({ problem: `standard input cannot be read: ${cause instanceof Error ? cause.message : cause}` }),
    { closeOnDone: false }
  ),
  size: undefined
}

const unreadable = (name: string) => (error: PlatformError) =>
  new FileError({ problem: `${name} cannot be read: ${error.message}` })

const open = (name: string): Effect.Effect<Source, UsageError, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const info = yield* Effect.mapError(
      Effect.zipLeft(fs.stat(name), fs.access(name, { readable: true })),
      (error) =>
        new UsageError({
          problem: error._tag === "SystemError" && error.reason === "NotFound"
            ? `there is no file ${name}`
            : `${name} cannot be read: ${error.message}`
        })
    )
    if (info.type === "Directory") return yield* new UsageError({ problem: `${name} is a folder; give a file` })
    return {
      name,
      bytes: Stream.mapError(fs.stream(name), unreadable(name)),
      size: info.type === "File" ? Number(info.size) : undefined
    }
  })

/** Node reads a folder that is redirected to standard input as if it were empty. */
const checkStandardInput = Effect.suspend(() =>
  fstatSync(0).isDirectory() ? new UsageError({ problem: "standard input is a folder; give a file" }) : Effect.void
)

/** An operation and the line that it stands in. */
interface Numbered {
  readonly line: number
  readonly entry: Entry
}

interface Refused {
  readonly line: number
  readonly reason: string
}

/** Appends what can be appended. A batch that is refused is halved, until the lines that are the reason stand alone. */
const store = (
  repository: Repository["Type"],
  batch: ReadonlyArray<Numbered>,
  settle: (outcomes: ReadonlyArray<"appended" | "duplicate" | "promoted">) => void,
  refuse: (refused: Refused) => void
): Effect.Effect<void, DatabaseError> => {
  const [first] = batch
  if (first === undefined) return Effect.void
  const halve = (error: InvalidOperation | OperationConflict) => {
    if (batch.length === 1) return Effect.sync(() => refuse({ line: first.line, reason: error.message }))
    const middle = batch.length >> 1
    return Effect.zipRight(
      store(repository, batch.slice(0, middle), settle, refuse),
      store(repository, batch.slice(middle), settle, refuse)
    )
  }
  return repository.append(batch.map(({ entry }) => entry)).pipe(
    Effect.map((results) => settle(results.map(({ outcome }) => outcome))),
    // Counted as soon as it is committed, or an interruption in between would miscount.
    Effect.uninterruptible,
    Effect.catchTags({ InvalidOperation: halve, OperationConflict: halve })
  )
}

export const append = (options: {
  readonly file: Option.Option<string>
  readonly strategy: Stored
  readonly json: boolean
}) =>
  Effect.gen(function*() {
    const file = Option.getOrElse(options.file, () => "-")
    const source = file === "-" ? yield* Effect.as(checkStandardInput, standardInput) : yield* open(file)
    const repository = yield* Repository
    if (file === "-" && process.stdin.isTTY === true) {
      yield* Output.note("Reading operations from the terminal, one JSON object a line; Ctrl-D ends.")
    }

    let bytesRead = 0
    let read = 0
    let appended = 0
    let duplicates = 0
    let promoted = 0
    let rejected = 0
    const errors: Array<Refused> = []
    let batch: Array<Numbered> = []
    let refused: Array<Refused> = []
    let batchStart = 0

    const settle = (outcomes: ReadonlyArray<"appended" | "duplicate" | "promoted">) => {
      for (const outcome of outcomes) {
        if (outcome === "appended") appended++
        else duplicates++
        if (outcome === "promoted") promoted++
      }
    }

    /** Refused lines, in line order, of everything up to here. */
    const tell = Effect.suspend(() => {
      const told = refused.toSorted((a, b) => a.line - b.line).slice(0, maxErrors - errors.length)
      rejected += refused.length
      refused = []
      errors.push(...told)
      return options.json
        ? Effect.void
        : Effect.forEach(told, ({ line, reason }) => Output.note(Output.printable(`line ${line}: ${reason}`)), {
          discard: true
        })
    })

    const flush = Effect.suspend(() => {
      const full = batch
      batch = []
      batchStart = bytesRead
      return Effect.zipRight(
        store(repository, full, settle, (line) => {
          refused.push(line)
        }),
        tell
      )
    })

    const take = (lines: Chunk.Chunk<JsonLines.Line>) =>
      Effect.suspend(() => {
        for (const { line, result } of lines) {
          read++
          if (Either.isLeft(result)) refused.push({ line, reason: result.left.message })
          else {
            const operation = result.right
            batch.push({ line, entry: { operation, lane: laneOf(operation.kind), strategy: options.strategy } })
          }
        }
        // What comes from a pipe may be all there is for hours.
        const isDue = source.size === undefined || batch.length >= batchRows || bytesRead - batchStart >= batchBytes
        return isDue ? flush : Effect.void
      })

    const report = Effect.suspend(() => {
      const more = rejected - errors.length
      return Output.result(options.json, { read, appended, duplicates, rejected, errors }, [
        ...more > 0 ? [`and ${Output.counted(more, "more refused line")}`] : [],
        `${source.name}: ${Output.counted(read, "line")} read, ${Output.count(appended)} appended, ` +
        `${Output.count(duplicates)} recorded already${
          promoted > 0 ? ` (${Output.count(promoted)} of them to be delivered from now on)` : ""
        }, ${Output.count(rejected)} refused`
      ])
    })

    const progress = Effect.sync(() => {
      const share = source.size === undefined || source.size === 0
        ? ""
        : ` (${Math.min(100, Math.floor(100 * bytesRead / source.size))} %)`
      return `${Output.count(read)} lines read${share}, ${Output.count(appended)} appended`
    })

    const bytes = Stream.tap(source.bytes, (piece) =>
      Effect.sync(() => {
        bytesRead += piece.length
      }))
    yield* JsonLines.fromBytes(bytes).pipe(
      Stream.runForEachChunk(take),
      Effect.zipRight(flush),
      (work) => Output.withProgress(progress, work),
      // Whatever ended it: what was recorded until then is recorded, and the same file may be appended again.
      Effect.onError(() =>
        tell.pipe(
          Effect.zipRight(Effect.catchAll(report, (error) => Output.note(error.message))),
          Effect.zipRight(Output.note("Ended early. Appended again, lines with an id are recorded once."))
        )
      )
    )
    yield* report
    if (rejected > 0) return yield* new Found()
  }).pipe(Effect.provide(Services.repository))
