/**
 * Files of keys in PEM, for those who sign envelopes and those who check them.
 */
import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import { KeyError } from "../TrustlogError.ts"

const failure = (error: PlatformError): KeyError =>
  error._tag === "SystemError" && error.reason === "NotFound"
    ? new KeyError({
      reason: "missing",
      problem: "is not there: correct the path, or make a key with `trustlog key`",
      cause: error
    })
    : new KeyError({ reason: "unreadable", problem: `cannot be read: ${error.message}`, cause: error })

/** The text of a key's file. Warns when it is secret, and others than its owner may read or change it. */
export const read = (file: string): Effect.Effect<string, KeyError, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const text = yield* Effect.mapError(fs.readFileString(file), failure)
    const { mode } = yield* Effect.mapError(fs.stat(file), failure)
    if (text.includes("PRIVATE KEY-----") && (mode & 0o077) !== 0) {
      yield* Effect.logWarning(`${file}: others than its owner may read or change this signing key; run chmod 600`)
    }
    return text
  })

/** Says which file, or which variable and file, a problem is about. */
export const about = (what: string) => (error: KeyError): KeyError =>
  new KeyError({ reason: error.reason, problem: `${what} ${error.problem}`, cause: error })
