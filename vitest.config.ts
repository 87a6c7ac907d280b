import { defineConfig } from "vitest/config"
import * as runtime from "./test/runtime.ts"

/** What runs on Node 20 alone, and why. */
const leftToNode20 = [
  // Long, and about databases, brokers and processes that die, not about what a runtime does: 15 of the 29 minutes.
  "test/faults/**",
  "test/Torture.test.ts",
  "test/Process.test.ts",
  "test/PulsarProcess.test.ts",
  "test/LedgerCrash.test.ts",
  // The servers of the tests themselves.
  "test/servers/**"
]

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    exclude: ["**/node_modules/**", ...runtime.name === "node20" ? ["test/runtimes/**"] : leftToNode20],
    globalSetup: ["test/build.ts", "test/servers/setup.ts"],
    testTimeout: 300_000,
    hookTimeout: 300_000
  }
})
