/**
 * The Pulsar of a comparison: the one that TRUSTLOG_BENCH_PULSAR_URL names, or one that is started for it.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { find } from "../test/servers/Programs.ts"
import { startPulsar } from "../test/servers/Pulsar.ts"
import { cpuOf } from "./Server.ts"

export interface Broker {
  /** `ws://host:port`. */
  readonly url: string
  /** Seconds of processors that it has used, where this machine can tell. */
  readonly cpu: Effect.Effect<number | undefined>
}

/** What to do where there is none. */
export const cure = "name a broker by TRUSTLOG_BENCH_PULSAR_URL (ws://…), or get one: npm run servers"

/** `undefined` where there is none. */
export const Pulsar: Effect.Effect<Broker | undefined, never, Scope.Scope> = Effect.gen(function*() {
  const named = process.env["TRUSTLOG_BENCH_PULSAR_URL"]
  if (named !== undefined && named !== "") return { url: named.replace(/\/+$/, ""), cpu: Effect.succeed(undefined) }
  const { pulsar } = yield* find
  if (pulsar === undefined) return undefined
  const broker = yield* startPulsar(pulsar)
  return { url: broker.wsUrl, cpu: Effect.sync(() => cpuOf(broker.pid)) }
})
