import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    exclude: ["**/node_modules/**", "test/node24/**"],
    globalSetup: ["test/build.ts", "test/servers/setup.ts"],
    testTimeout: 300_000,
    hookTimeout: 300_000
  }
})
