/**
 * Makes the tables of a database as a program does that starts: `<file>`. It prints the stream.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Effect from "effect/Effect"
import * as Sqlite from "../../src/Database/Sqlite.ts"
import * as Migrations from "../../src/Migrations.ts"

Effect.zipRight(Migrations.run(), Migrations.check()).pipe(
  Effect.tap(({ stream }) => Effect.sync(() => process.stdout.write(`${stream}\n`))),
  Effect.provide(Sqlite.layer({ filename: process.argv[2] ?? "" })),
  NodeRuntime.runMain
)
