/**
 * Shows dead letters, sends them again, and takes them elsewhere.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { fromJson } from "../../Operation.ts"
import { type DeadLetter, Repository } from "../../Repository.ts"
import * as json from "../../internal/json.ts"
import { FileError, Found, UsageError } from "../Failure.ts"
import * as Output from "../Output.ts"
import * as Services from "../Services.ts"

/** So many are read at once. */
const pageRows = 100

/** Every dead letter, by position. */
const all = (repository: Repository["Type"]) =>
  Stream.paginateChunkEffect(0, (after) =>
    Effect.map(
      repository.deadLetters({ after, limit: pageRows }),
      (letters) =>
        [
          Chunk.unsafeFromArray(letters),
          Option.map(Option.fromNullable(letters.at(-1)), (last) => last.position)
        ] as const
    ))

/** The operation in the input format of `append`. The payload's text is JSON already, and stays what it is. */
const lineOf = (letter: DeadLetter): string => {
  const { action, actor, clientIp, id, kind, occurredAt, payload, requestHash, responseHash, serverIp } = letter
  const { source, target, traceparent } = letter
  const members = {
    id,
    kind,
    occurredAt,
    actor,
    action,
    target,
    source,
    requestHash,
    responseHash,
    clientIp,
    serverIp,
    traceparent
  }
  const texts = Object.entries(members).flatMap(([key, value]) =>
    value === null ? [] : [`${JSON.stringify(key)}:${JSON.stringify(value)}`]
  )
  return `{${[...texts, ...payload === null ? [] : [`"payload":${payload}`]].join(",")}}`
}

const summary = ({ attempts, error, firstFailedAt, id, kind, lane, lastFailedAt, reason }: DeadLetter) => ({
  id,
  kind,
  lane,
  reason,
  error,
  attempts,
  firstFailedAt,
  lastFailedAt
})

export const list = (options: { readonly limit: number; readonly json: boolean }) =>
  Effect.gen(function*() {
    const repository = yield* Repository
    const { dead: total } = yield* repository.stats
    const letters = yield* repository.deadLetters({ after: 0, limit: options.limit })
    yield* Output.result(options.json, { deadLetters: letters.map(summary), total }, [
      ...letters.length === 0 ? [] : Output.table([
        ["id", "reason", "attempts", "last failed", "error"],
        ...letters.map(({ attempts, error, id, lastFailedAt, reason }) => [
          id,
          reason,
          String(attempts),
          lastFailedAt,
          Output.printable(error).slice(0, 200)
        ])
      ]),
      letters.length < total
        ? `${Output.count(letters.length)} of ${Output.count(total)} dead letters; --limit shows more`
        : Output.counted(total, "dead letter")
    ])
  }).pipe(Effect.provide(Services.repository))

export const show = (options: { readonly id: string; readonly json: boolean }) =>
  Effect.gen(function*() {
    const repository = yield* Repository
    const [id] = yield* Services.ids([options.id])
    const letter = id === undefined ? undefined : yield* repository.deadLetter(id)
    if (letter === undefined) {
      yield* Output.result(options.json, { deadLetter: null }, [`${options.id} is not a dead letter`])
      return yield* new Found()
    }
    const { action, actor, occurredAt, payload, source, target } = letter
    const deadLetter = {
      ...summary(letter),
      position: letter.position,
      occurredAt,
      actor,
      action,
      target,
      source,
      payload: payload === null ? null : Either.getOrElse(json.parse(payload), () => payload),
      requestHash: letter.requestHash,
      responseHash: letter.responseHash,
      clientIp: letter.clientIp,
      serverIp: letter.serverIp,
      traceparent: letter.traceparent
    }
    yield* Output.result(
      options.json,
      { deadLetter },
      Output.table(
        Object.entries({ ...deadLetter, payload }).flatMap(([name, value]) =>
          value === null ? [] : [[name, Output.printable(String(value))]]
        )
      )
    )
  }).pipe(Effect.provide(Services.repository))

export const replay = (
  options: { readonly ids: ReadonlyArray<string>; readonly all: boolean; readonly json: boolean }
) =>
  Effect.gen(function*() {
    if (options.all === options.ids.length > 0) {
      return yield* new UsageError({ problem: "give the ids of dead letters, or --all" })
    }
    const repository = yield* Repository
    const ids = yield* Services.ids(options.ids)
    const found = new Set<string>()
    let replayed = 0
    if (options.all) {
      yield* Stream.runForEachChunk(all(repository), (letters) =>
        Effect.map(
          repository.replay(Array.from(letters, ({ id }) => id)),
          (made) => {
            replayed += made.length
          }
        ))
    } else {
      for (const { id } of yield* repository.replay(ids)) found.add(id)
      replayed = found.size
    }
    const notFound = Array.from(new Set(ids)).filter((id) => !found.has(id))
    yield* Output.result(options.json, { replayed, notFound }, [
      ...notFound.map((id) => `${id} is not a dead letter`),
      `${Output.counted(replayed, "dead letter")} will be sent again`
    ])
    if (notFound.length > 0) return yield* new Found()
  }).pipe(Effect.provide(Services.repository))

const cannotWrite = (file: string) => (error: Error) =>
  new FileError({ problem: `${file} cannot be written: ${error.message}` })

/** Writes a file that is there as a whole or not at all. */
const writing = <E, R>(
  file: string,
  use: (write: (text: string) => Effect.Effect<void, FileError>) => Effect.Effect<void, E, R>
) =>
  Effect.scoped(Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const failed = cannotWrite(file)
    const folder = path.dirname(file)
    const temporary = yield* Effect.mapError(
      fs.makeTempFileScoped({ directory: folder, prefix: `.${path.basename(file)}.` }),
      failed
    )
    const handle = yield* Effect.mapError(fs.open(temporary, { flag: "w" }), failed)
    yield* use((text) => Effect.mapError(handle.writeAll(new TextEncoder().encode(text)), failed))
    yield* Effect.mapError(Effect.zipRight(handle.sync, fs.rename(temporary, file)), failed)
  }))

export const exportTo = (options: { readonly file: string; readonly json: boolean }) =>
  Effect.gen(function*() {
    const isStandardOutput = options.file === "-"
    if (isStandardOutput && options.json) {
      return yield* new UsageError({ problem: "standard output holds the export; --json goes with a file" })
    }
    const repository = yield* Repository
    const skipped: Array<{ readonly id: string; readonly reason: string }> = []
    let exported = 0
    const copy = <E>(write: (text: string) => Effect.Effect<void, E>) =>
      Stream.runForEachChunk(all(repository), (letters) =>
        Effect.suspend(() => {
          const lines: Array<string> = []
          for (const letter of letters) {
            const line = lineOf(letter)
            // A row that plain SQL wrote may be none that `append` would take.
            const result = fromJson(line)
            if (Either.isRight(result)) lines.push(`${line}\n`)
            else skipped.push({ id: letter.id, reason: result.left.message })
          }
          exported += lines.length
          return lines.length === 0 ? Effect.void : write(lines.join(""))
        }))
    yield* isStandardOutput ? copy(Output.write) : writing(options.file, copy)
    const lines = [
      ...skipped.map(({ id, reason }) => Output.printable(`${id} cannot be exported: ${reason}`)),
      `${Output.counted(exported, "dead letter")} exported; they stay dead letters here`
    ]
    yield* isStandardOutput
      ? Effect.forEach(lines, Output.note, { discard: true })
      : Output.result(options.json, { exported, skipped }, lines)
    if (skipped.length > 0) return yield* new Found()
  }).pipe(Effect.provide(Services.repository))
