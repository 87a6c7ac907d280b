/**
 * The command line as this process's program.
 */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as NodePath from "@effect/platform-node/NodePath"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeTerminal from "@effect/platform-node/NodeTerminal"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { main } from "./Cli.ts"

/** Runs it; the process ends when it does, with its exit code. */
export const run = (): void =>
  main(process.argv).pipe(
    Effect.map((code) => {
      process.exitCode = code
    }),
    Effect.provide(Layer.mergeAll(NodeFileSystem.layer, NodePath.layer, NodeTerminal.layer)),
    Effect.uninterruptible,
    NodeRuntime.runMain({
      disableErrorReporting: true,
      disablePrettyLogger: true,
      teardown: (_, exit) => {
        const code = Number(process.exitCode ?? 0)
        // The native client of Pulsar, with a token that is read anew, never lets the process end by itself.
        setTimeout(() => process.exit(code), 2000).unref()
        exit(code)
      }
    })
  )
