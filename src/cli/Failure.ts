/**
 * How a command ends that did not simply succeed: what is said about it, and the exit code.
 */
import * as ValidationError from "@effect/cli/ValidationError"
import * as Cause from "effect/Cause"
import type * as ConfigError from "effect/ConfigError"
import * as Data from "effect/Data"
import type {
  DatabaseError,
  DatabaseReason,
  InvalidOperation,
  KeyError,
  LedgerError,
  OperationConflict,
  PublisherError,
  UnknownLane
} from "../TrustlogError.ts"
import { type OutputError, printable } from "./Output.ts"

/**
 * - `done`: what was asked for is done; `status` could answer
 * - `found`: something was found or is left, or the log is down
 * - `usage`: wrong usage or configuration; a database or ledger that is not there, not ours, or newer than this program
 * - `unavailable`: the database, the disk or the ledger does not let us
 * - `interrupted`: ended by a signal before it was done
 */
export const exitCode = { done: 0, found: 1, usage: 2, unavailable: 3, interrupted: 130 } as const

/** The command has reported that something was found or is left. */
export class Found extends Data.TaggedError("Found")<{}> {}

/** The command was asked for something that makes no sense. */
export class UsageError extends Data.TaggedError("UsageError")<{ readonly problem: string }> {
  override get message(): string {
    return this.problem
  }
}

/** A file cannot be read or written in the middle of it. */
export class FileError extends Data.TaggedError("FileError")<{ readonly problem: string }> {
  override get message(): string {
    return this.problem
  }
}

/** Everything that can keep a command from its end. */
export type Failure =
  | Found
  | UsageError
  | FileError
  | OutputError
  | DatabaseError
  | InvalidOperation
  | KeyError
  | OperationConflict
  | LedgerError
  | PublisherError
  | UnknownLane
  | ConfigError.ConfigError
  | ValidationError.ValidationError

const ofDatabase: Record<DatabaseReason, number> = {
  missing: exitCode.usage,
  foreign: exitCode.usage,
  newer: exitCode.usage,
  denied: exitCode.usage,
  unavailable: exitCode.unavailable,
  locked: exitCode.unavailable,
  readOnly: exitCode.unavailable,
  full: exitCode.unavailable,
  constraint: exitCode.unavailable,
  corrupt: exitCode.unavailable,
  unknown: exitCode.unavailable
}

const ofLedger: Record<LedgerError["reason"], number> = {
  missing: exitCode.usage,
  foreign: exitCode.usage,
  locked: exitCode.unavailable,
  inconsistent: exitCode.unavailable,
  corrupt: exitCode.unavailable,
  full: exitCode.unavailable,
  readOnly: exitCode.unavailable,
  io: exitCode.unavailable
}

const ofPublisher: Record<PublisherError["reason"], number> = {
  unavailable: exitCode.found,
  lost: exitCode.found,
  misconfigured: exitCode.usage,
  untrusted: exitCode.unavailable
}

/** What a configuration error says, without Effect's own notation around it. */
const configProblems = (error: ConfigError.ConfigError): ReadonlyArray<string> => {
  switch (error._op) {
    case "And":
    case "Or":
      return [...configProblems(error.left), ...configProblems(error.right)]
    default:
      return [error.message]
  }
}

/** An ending in words; no `problem` where it has been said already. */
export interface Ending {
  readonly code: number
  readonly problems: ReadonlyArray<string>
}

const endingOf = (error: Failure): Ending => {
  // What it found wrong has been printed while it read the arguments.
  if (ValidationError.isValidationError(error)) return { code: exitCode.usage, problems: [] }
  switch (error._tag) {
    case "Found":
      return { code: exitCode.found, problems: [] }
    case "DatabaseError":
      return { code: ofDatabase[error.reason], problems: [error.message] }
    case "LedgerError":
      return { code: ofLedger[error.reason], problems: [error.message] }
    case "PublisherError":
      return { code: ofPublisher[error.reason], problems: [error.message] }
    case "FileError":
    case "OutputError":
      return { code: exitCode.unavailable, problems: [error.message] }
    case "UsageError":
    case "InvalidOperation":
    case "KeyError":
    case "OperationConflict":
    case "UnknownLane":
      return { code: exitCode.usage, problems: [error.message] }
    default:
      return { code: exitCode.usage, problems: configProblems(error) }
  }
}

/** How a command ended: the failure, the signal, or the fault in this program. */
export const ending = (cause: Cause.Cause<Failure>): Ending => {
  const failure = Cause.failureOption(cause)
  if (failure._tag === "Some") {
    const { code, problems } = endingOf(failure.value)
    return { code, problems: problems.map(printable) }
  }
  if (Cause.isInterruptedOnly(cause)) return { code: exitCode.interrupted, problems: [] }
  const problems = Cause.prettyErrors(cause).map((error) => printable(error.message))
  return {
    code: exitCode.unavailable,
    problems: problems.map((problem) => `this is a fault in trustlog, please report it: ${problem}`)
  }
}
