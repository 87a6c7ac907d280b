import { defineConfig } from "vitest/config"
import * as runtime from "./test/runtime.ts"

/** What runs on Node 20 alone, and why. */
const leftToNode20 = [
  // Long, and about databases, brokers and processes that die, not about what a runtime does.
  "test/faults/**",
  "test/Torture.test.ts",
  "test/Process.test.ts",
  "test/PulsarProcess.test.ts",
  "test/PulsarEndToEnd.test.ts",
  "test/LedgerCrash.test.ts",
  // Other people's clients of databases: they are given text and parameters, which other suites make on every runtime.
  "test/transactions.test.ts",
  // Workers run in their own runtime, whatever starts it.
  "test/workerd/**",
  // It runs the package on all of them by itself.
  "test/Package.test.ts",
  // The servers of the tests themselves.
  "test/servers/**"
]

// They take hooks for modules, by which it sees what is loaded, and never call them: Bun 1.4.5, Deno 2.9.6.
const withoutHooks = ["test/cli/modules.test.ts"]

const excluded: Record<runtime.Name, ReadonlyArray<string>> = {
  // What needs packages of test/runtimes.
  node20: ["test/runtimes/**"],
  node22: leftToNode20,
  node24: leftToNode20,
  bun: [...leftToNode20, ...withoutHooks],
  deno: [...leftToNode20, ...withoutHooks]
}

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    exclude: ["**/node_modules/**", ...excluded[runtime.name]],
    globalSetup: ["test/build.ts", "test/servers/setup.ts"],
    testTimeout: 300_000,
    hookTimeout: 300_000
  }
})
