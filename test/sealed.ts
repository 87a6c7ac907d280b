/**
 * What is in a ledger that verifies.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import type * as Path from "@effect/platform/Path"
import { assert } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Stream from "effect/Stream"
import * as Envelope from "../src/Envelope.ts"
import * as Ledger from "../src/Ledger.ts"
import * as Signature from "../src/Signature.ts"
import type { LedgerError } from "../src/TrustlogError.ts"

/** Its entries, without the birth record. */
export const entriesIn = (
  path: string
): Effect.Effect<ReadonlyArray<Ledger.Entry>, LedgerError, FileSystem.FileSystem | Path.Path> =>
  Effect.gen(function*() {
    const reader = yield* Ledger.read(path)
    assert.deepStrictEqual(Chunk.toReadonlyArray(yield* Stream.runCollect(reader.findings)), [])
    return Chunk.toReadonlyArray(yield* Stream.runCollect(reader.entries(1, reader.checkpoint.size)))
  })

/** What names each: the stream and the id. */
export const namesOf = (entries: ReadonlyArray<Ledger.Entry>): ReadonlyArray<string> =>
  entries.map(({ bytes }) => {
    const { id, stream } = Either.getOrThrow(
      Either.flatMap(Signature.open(bytes), ({ payload }) => Envelope.decode(payload))
    )
    return `${stream} ${id}`
  })
