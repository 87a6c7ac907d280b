/**
 * The embedded ledger as a trust log.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import type * as Path from "@effect/platform/Path"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Ledger from "../Ledger.ts"
import { Publisher } from "../Publisher.ts"
import { type LedgerError, PublisherError } from "../TrustlogError.ts"

const reasons: Record<LedgerError["reason"], PublisherError["reason"]> = {
  locked: "unavailable",
  full: "unavailable",
  readOnly: "unavailable",
  io: "unavailable",
  missing: "untrusted",
  foreign: "untrusted",
  inconsistent: "untrusted",
  corrupt: "untrusted"
}

const publisherError = (error: LedgerError): PublisherError =>
  new PublisherError({ reason: reasons[error.reason], problem: error.message, cause: error })

/** A publisher over an open ledger. The topic makes no difference: all records go into the one ledger. */
export const make = (ledger: Ledger.Ledger): Publisher["Type"] =>
  Publisher.of({
    publish: (_, batch) =>
      Effect.mapBoth(ledger.append(batch), {
        onFailure: publisherError,
        onSuccess: ({ checkpoint, failure, outcomes }) => ({
          outcomes,
          outage: failure === undefined ? undefined : publisherError(failure),
          checkpoint
        })
      }),
    health: () => Effect.mapError(ledger.health, publisherError)
  })

/**
 * Publishes to the ledger at a path, which `Ledger.init` has made. Fails with `missing` where there is none, `foreign`
 * where the key is another ledger's.
 */
export const layer = (
  options: Ledger.Options
): Layer.Layer<Publisher, LedgerError, FileSystem.FileSystem | Path.Path> =>
  Layer.scoped(Publisher, Effect.map(Ledger.make(options), make))
