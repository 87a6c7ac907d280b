/**
 * Delivery without a process that runs for ever: a function that a timer calls (a serverless platform's, or cron), beside
 * an application that only records. It is configured by the environment, as `trustlog run` is, and may run several times
 * at once, be frozen, or be killed: what it had not settled, the next one delivers.
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as CircuitBreaker from "effect-trustlog/CircuitBreaker"
import * as Drain from "effect-trustlog/Drain"
import * as TrustlogConfig from "effect-trustlog/TrustlogConfig"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import { pathToFileURL } from "node:url"

const delivery = Layer.mergeAll(
  Layer.provide(TrustlogConfig.layerRepository, TrustlogConfig.layerDatabase()),
  TrustlogConfig.layerPublisher,
  CircuitBreaker.layer
).pipe(
  Layer.provideMerge(
    Layer.mergeAll(TrustlogConfig.layerWorkers, TrustlogConfig.layerTopics, TrustlogConfig.layerSigner)
  ),
  Layer.provide([TrustlogConfig.layerFromEnv(), NodeContext.layer])
)

// Connections are opened at the first call, and kept for the calls after it.
const runtime = ManagedRuntime.make(delivery)

/** What a timer calls. Its time on the platform should be longer than the budget by some seconds. */
export const handler = () =>
  runtime.runPromise(
    Effect.map(Drain.drainOnce({ budget: "20 seconds" }), ({ delivered, outage, stats }) => ({
      delivered,
      left: stats.undelivered,
      outage: outage?.message ?? null
    }))
  )

// Run as a program, from cron say, it does the same once.
if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const result = await handler()
  console.log(JSON.stringify(result))
  await runtime.dispose()
  process.exitCode = result.left === 0 ? 0 : 1
}
