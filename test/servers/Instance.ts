/**
 * A server of a test's own, which the test may kill, freeze, stop and start again.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { inject } from "vitest"
import { type Instance, type Options, startMariaDB, startMySQL, startPostgreSQL } from "./Daemon.ts"
import { type PulsarInstance, type PulsarOptions, type SecurePulsarInstance, startPulsar } from "./Pulsar.ts"

export type { Instance, Options, PulsarInstance, PulsarOptions, SecurePulsarInstance }

const missing = (name: string) => Effect.dieMessage(`${name} is not to be had here; \`npm run servers\` gets it`)

/** A PostgreSQL of the test's own. */
export const PostgreSQL = (
  options: Options & { readonly version?: 15 | 18 | undefined } = {}
): Effect.Effect<Instance, never, Scope.Scope> =>
  Effect.suspend(() => {
    const version = options.version ?? 18
    const bin = inject("servers").programs[`postgresql${version}`]
    return bin === undefined ? missing(`PostgreSQL ${version}`) : startPostgreSQL(`postgresql-${version}`, bin, options)
  })

/** A MySQL of the test's own. Its data take 100 MB. */
export const MySQL = (options: Options = {}): Effect.Effect<Instance, never, Scope.Scope> =>
  Effect.suspend(() => {
    const { mysql } = inject("servers").programs
    return mysql === undefined ? missing("MySQL") : startMySQL(mysql, options)
  })

/** A MariaDB of the test's own. Its data take 150 MB. */
export const MariaDB = (options: Options = {}): Effect.Effect<Instance, never, Scope.Scope> =>
  Effect.suspend(() => {
    const { mariadb } = inject("servers").programs
    return mariadb === undefined ? missing("MariaDB") : startMariaDB(mariadb, options)
  })

/** A Pulsar of the test's own. It takes 300 MB of memory. */
export function Pulsar(
  options: PulsarOptions & { readonly tls: NonNullable<PulsarOptions["tls"]> }
): Effect.Effect<SecurePulsarInstance, never, Scope.Scope>
export function Pulsar(options?: PulsarOptions): Effect.Effect<PulsarInstance, never, Scope.Scope>
export function Pulsar(options: PulsarOptions = {}): Effect.Effect<PulsarInstance, never, Scope.Scope> {
  return Effect.suspend(() => {
    const { pulsar } = inject("servers").programs
    return pulsar === undefined ? missing("Pulsar") : startPulsar(pulsar, options)
  })
}
