/**
 * The Pulsar that a run of the tests found or started: started only where a test file of the run comes here.
 */
import { describe } from "@effect/vitest"
import { inject } from "vitest"
import * as Broker from "./Broker.ts"

/** Suites against it, each with topics of its own. Skipped where it is not to be had, as those of `Server.on` are. */
export const on = (suites: (broker: Broker.Broker) => void): void => {
  const address = inject("servers").pulsar
  describe.skipIf(address === undefined)("pulsar", () => suites(Broker.make(address ?? { webUrl: "", serviceUrl: "" })))
}
