/**
 * The repository over any `SqlClient`. What differs between databases stands in their dialects.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Migrations from "../Migrations.ts"
import type { Lane } from "../Operation.ts"
import { Repository } from "../Repository.ts"
import type { DatabaseError } from "../TrustlogError.ts"
import { dialectOf } from "../internal/dialects/dialectOf.ts"
import * as append from "../internal/repository/append.ts"
import * as context from "../internal/repository/context.ts"
import * as delivery from "../internal/repository/delivery.ts"
import * as evidence from "../internal/repository/evidence.ts"
import * as leases from "../internal/repository/leases.ts"
import * as losses from "../internal/repository/losses.ts"
import * as pauses from "../internal/repository/pauses.ts"
import * as purge from "../internal/repository/purge.ts"
import * as receipts from "../internal/repository/receipts.ts"
import * as retries from "../internal/repository/retries.ts"
import * as stats from "../internal/repository/stats.ts"
import * as wakeUps from "../internal/repository/wakeUps.ts"

/**
 * Builds the repository over the client in context, whose tables must be there (`Migrations`). Its statements are not
 * touched by the client's name transforms. While its scope is open, it tells other processes of what is appended, where
 * the database has a way.
 */
export const make = (
  options: Migrations.Options = {}
): Effect.Effect<Repository["Type"], DatabaseError, SqlClient.SqlClient | Scope.Scope> =>
  Effect.gen(function*() {
    const client = yield* SqlClient.SqlClient
    const dialect = yield* dialectOf(client)
    const { stream } = yield* Migrations.check(options)
    const shared = context.make(client, dialect, { ...options, stream })
    const counted = losses.make(shared)
    const receipted = receipts.make(shared)
    const evident = evidence.make(shared)
    const held = new Set<Lane>()
    const hints = yield* wakeUps.make(shared, held)
    return Repository.of({
      stream,
      transaction: shared.hostTransaction,
      ...hints,
      ...append.make(shared),
      ...leases.make(shared, counted, held),
      ...delivery.make(shared, counted, receipted),
      ...pauses.make(shared, hints.wake),
      ...retries.make(shared, receipted),
      ...purge.make(shared, evident),
      ...stats.make(shared),
      evidence: evident
    })
  })

/** The repository over the client in context. */
export const layer = (
  options: Migrations.Options = {}
): Layer.Layer<Repository, DatabaseError, SqlClient.SqlClient> => Layer.scoped(Repository, make(options))
