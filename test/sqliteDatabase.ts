/**
 * Fresh SQLite databases, in files, for suites that run on every kind of database.
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as FileSystem from "@effect/platform/FileSystem"
import type { SqlClient } from "@effect/sql/SqlClient"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/TestClock"
import type { Target } from "./suites/RepositoryTest.ts"

/** The target over a driver, which is given a file that does not exist yet. */
export const target = (client: (filename: string) => Layer.Layer<SqlClient, unknown>): Target => ({
  client: Layer.unwrapScoped(Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const directory = yield* fs.makeTempDirectoryScoped({ prefix: "trustlog-repository-" })
    return client(`${directory}/trustlog.db`)
  })).pipe(Layer.provide(NodeContext.layer)),
  // The process's clock is the database's.
  pass: (seconds) => Effect.flatMap(Clock.currentTimeMillis, (now) => TestClock.setTime(now + seconds * 1000))
})
