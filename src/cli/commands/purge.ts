/**
 * Deletes operations that were delivered long ago.
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Purge from "../../Purge.ts"
import { duration, keyFileOf, TrustlogConfig } from "../../TrustlogConfig.ts"
import { Found, UsageError } from "../Failure.ts"
import * as Output from "../Output.ts"
import * as Services from "../Services.ts"

export const purge = (options: { readonly olderThan: string; readonly json: boolean }) =>
  Effect.gen(function*() {
    const olderThan = yield* Either.mapLeft(
      duration(options.olderThan),
      (problem) => new UsageError({ problem: `--older-than: ${problem}` })
    )
    yield* Effect.provide(work(olderThan, options.json), Services.repository)
  })

const work = (olderThan: Purge.Options["olderThan"], json: boolean) =>
  Effect.gen(function*() {
    const config = yield* TrustlogConfig
    let done: Purge.Progress = { receipts: 0, operations: 0 }
    const { operations, receipts, skipped } = yield* Output.withProgress(
      Effect.sync(() => `${Output.count(done.operations)} purged, of ${Output.counted(done.receipts, "receipt")}`),
      Effect.mapError(
        Purge.purge({
          olderThan,
          keyFile: keyFileOf(config),
          ledger: config.publisher._tag === "Ledger" ? config.publisher.path : undefined,
          onProgress: (progress) =>
            Effect.sync(() => {
              done = progress
            })
        }),
        (error) => error._tag === "LedgerError" ? Services.explainKey(config)(error) : error
      )
    )
    yield* Output.result(json, { receipts, operations, skipped }, [
      ...skipped.map(({ reason, receipt }) => Output.printable(`skipped  ${receipt}: ${reason}`)),
      operations === 0
        ? skipped.length === 0 ? "nothing is that old" : "nothing was purged"
        : `${Output.counted(operations, "operation")} purged, of ${Output.counted(receipts, "receipt")}`,
      ...skipped.length === 0 ? [] : [
        `${Output.counted(skipped.length, "receipt")} left as ${skipped.length === 1 ? "it was" : "they were"}: ` +
        "`trustlog verify` tells more"
      ]
    ])
    if (skipped.length > 0) return yield* new Found()
  })
