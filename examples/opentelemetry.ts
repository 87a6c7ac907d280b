/**
 * An application that exports trustlog's metrics by OpenTelemetry, here to the console.
 */
import * as NodeSdk from "@effect/opentelemetry/NodeSdk"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { ConsoleMetricExporter, PeriodicExportingMetricReader } from "@opentelemetry/sdk-metrics"
import * as Sqlite from "effect-trustlog/Database/Sqlite"
import * as Embedded from "effect-trustlog/Embedded"
import * as HostLocal from "effect-trustlog/Host/Local"
import * as Monitor from "effect-trustlog/Monitor"
import * as Trustlog from "effect-trustlog/Trustlog"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

// Every process exports its own counters; the gauges are the database's, and the same from each. In place of the console:
// an OTLPMetricExporter, or a PrometheusExporter as the reader.
const telemetry = NodeSdk.layer(() => ({
  resource: { serviceName: "billing" },
  metricReader: new PeriodicExportingMetricReader({
    exporter: new ConsoleMetricExporter(),
    exportIntervalMillis: 60_000
  })
}))

const monitor = Layer.provide(Monitor.layer({ every: "1 second" }), HostLocal.layer)

const program = Effect.gen(function*() {
  const trustlog = yield* Trustlog.Trustlog
  yield* trustlog.append({ actor: "alice", action: "invoice.approve", target: "invoice/1" })
  yield* Effect.sleep("3 seconds")
})

program.pipe(
  Effect.provide(monitor.pipe(Layer.provideMerge(Embedded.layer({ ledger: "audit-ledger" })))),
  Effect.provide(Sqlite.layer({ filename: "app.db" })),
  // Outermost, so that it exports once more when everything else has ended.
  Effect.provide(telemetry),
  NodeRuntime.runMain
)
