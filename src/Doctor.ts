/**
 * Looks at everything that delivery needs, and says in plain words what is wrong and what puts it right: the database and what may
 * be done in it, the log and each of its topics, certificates and tokens, clocks, keys, and whether anybody delivers.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import type * as Path from "@effect/platform/Path"
import * as Effect from "effect/Effect"
import { TrustlogConfig } from "./TrustlogConfig.ts"
import * as database from "./internal/doctor/database.ts"
import type { Finding } from "./internal/doctor/finding.ts"
import * as keys from "./internal/doctor/keys.ts"
import * as log from "./internal/doctor/log.ts"

export type { Finding } from "./internal/doctor/finding.ts"

/** Examines what is configured. It changes nothing: what it writes to the database to see whether it may is rolled back. */
export const examine: Effect.Effect<
  ReadonlyArray<Finding>,
  never,
  TrustlogConfig | FileSystem.FileSystem | Path.Path
> = Effect.gen(function*() {
  const config = yield* TrustlogConfig
  const findings = yield* Effect.all([database.examine(config), log.examine(config), keys.examine(config)], {
    concurrency: "unbounded"
  })
  return findings.flat()
})
