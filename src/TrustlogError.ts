/**
 * Every error of the public interface. Each has a closed set of reasons, because reasons decide what happens next:
 * wait, retry, dead letter, or tell the caller.
 */
import * as Schema from "effect/Schema"

/**
 * Why an operation was not accepted. `field` is the path of the offending value (`payload.items[3].price`; `""` is the
 * whole operation) and `cure` says in words what would be accepted.
 */
export class InvalidOperation extends Schema.TaggedError<InvalidOperation>("effect-trustlog/InvalidOperation")(
  "InvalidOperation",
  {
    field: Schema.String,
    reason: Schema.Literal(
      "missing",
      "unknownField",
      "type",
      "format",
      "encoding",
      "tooLarge",
      "inexactNumber",
      "duplicateKey",
      "notJson"
    ),
    cure: Schema.String
  }
) {
  override get message(): string {
    return this.field === "" ? this.cure : `${this.field}: ${this.cure}`
  }
}

/**
 * The id is already recorded with other content (`content`) or in another lane (`lane`). Nothing of the call was
 * stored: a caller that joined an ambient transaction decides whether that transaction goes on.
 */
export class OperationConflict extends Schema.TaggedError<OperationConflict>("effect-trustlog/OperationConflict")(
  "OperationConflict",
  { id: Schema.String, reason: Schema.Literal("content", "lane") }
) {
  override get message(): string {
    return this.reason === "content"
      ? `operation ${this.id} is already recorded with other content; use a new id`
      : `operation ${this.id} is already recorded in another lane; use a new id`
  }
}

/**
 * What went wrong in a database, whatever its driver calls it.
 *
 * - `unavailable`: it cannot be reached, or the connection was lost
 * - `locked`: another transaction was in the way for longer than we wait (deadlocks and serialisation failures included)
 * - `readOnly`, `full`: it cannot be written
 * - `denied`: it does not let us in or do this, or is not trusted itself: credentials, permissions, certificates
 * - `constraint`: a unique or other constraint was violated
 * - `missing`: the tables are not there (run `trustlog init`)
 * - `foreign`: it is not a database of trustlog's, or not a database at all
 * - `newer`: its tables were made by a newer trustlog
 * - `corrupt`: it holds what trustlog never writes
 * - `unknown`: none of these
 */
export const DatabaseReason = Schema.Literal(
  "unavailable",
  "locked",
  "readOnly",
  "full",
  "denied",
  "constraint",
  "missing",
  "foreign",
  "newer",
  "corrupt",
  "unknown"
)
export type DatabaseReason = typeof DatabaseReason.Type

/** A database failed. `problem` says while doing what, and what to do about it where that is known. */
export class DatabaseError extends Schema.TaggedError<DatabaseError>("effect-trustlog/DatabaseError")("DatabaseError", {
  reason: DatabaseReason,
  problem: Schema.String,
  cause: Schema.optional(Schema.Defect)
}) {
  /** Whether the same call may succeed later without anybody changing anything. */
  get isRetryable(): boolean {
    return this.reason === "unavailable" || this.reason === "locked" || this.reason === "full"
  }
  override get message(): string {
    return this.problem
  }
}

/** The lane's lease has moved to another owner (its epoch is newer): nothing that was asked for has been done. */
export class LeaseLost extends Schema.TaggedError<LeaseLost>("effect-trustlog/LeaseLost")("LeaseLost", {
  lane: Schema.String,
  epoch: Schema.Number
}) {
  override get message(): string {
    return `the lease of lane ${this.lane} (epoch ${this.epoch}) has been taken over`
  }
}

/** There is no lane of this name. One is there once something was appended to it; `operation` and `record` always are. */
export class UnknownLane extends Schema.TaggedError<UnknownLane>("effect-trustlog/UnknownLane")("UnknownLane", {
  lane: Schema.String
}) {
  override get message(): string {
    return `there is no lane ${this.lane}: one is there once something was appended to it; ` +
      "`trustlog status` shows those that are"
  }
}

/**
 * The log as a whole cannot take records now.
 *
 * - `unavailable`: down, full, or out of reach
 * - `lost`: the connection, or the answer, was lost while records were on their way; one of them may be the cause
 * - `misconfigured`: it answers, but not to us (credentials, topic, TLS)
 * - `untrusted`: it does not agree with what it told us before, and refuses to go on (a restored or foreign ledger)
 */
export class PublisherError extends Schema.TaggedError<PublisherError>("effect-trustlog/PublisherError")(
  "PublisherError",
  {
    reason: Schema.Literal("unavailable", "lost", "misconfigured", "untrusted"),
    problem: Schema.String,
    cause: Schema.optional(Schema.Defect)
  }
) {
  /** Whether waiting may cure it. Nothing of a record's attempts is used up in either case. */
  get isRetryable(): boolean {
    return this.reason === "unavailable" || this.reason === "lost"
  }
  override get message(): string {
    return this.problem
  }
}

/**
 * Why a log refused one record, others being fine.
 *
 * - `tooLarge`, `altered`, `conflict`: can never succeed; a dead letter at once (`altered`: the row no longer matches its
 *   content hash; `conflict`: the log holds other content under this id)
 * - `schema`, `encoding`, `rejected`: retried on the schedule
 * - `suspect`: each time it was sent, the connection or the process was lost while the log was well
 */
export const RefusalReason = Schema.Literal(
  "tooLarge",
  "altered",
  "conflict",
  "schema",
  "encoding",
  "rejected",
  "suspect"
)
export type RefusalReason = typeof RefusalReason.Type

/** The log refused a record that has no row (strategy TrustlogOnly), and so no retry: it is the caller's to handle. */
export class Rejected extends Schema.TaggedError<Rejected>("effect-trustlog/Rejected")("Rejected", {
  id: Schema.String,
  reason: RefusalReason,
  error: Schema.String
}) {
  override get message(): string {
    return `operation ${this.id} was refused by the log (${this.reason}): ${this.error}`
  }
}

/**
 * The embedded ledger cannot be read or appended to.
 *
 * - `missing`: there is no ledger at this path
 * - `locked`: another process holds the append lock for too long
 * - `foreign`: the folder, or its key, belongs to something else
 * - `inconsistent`: the checkpoint is smaller than, or not an extension of, what was signed last; it is never signed over
 * - `corrupt`: a file is missing, cut, or does not hash to what the checkpoint says
 * - `full`, `readOnly`, `io`: the file system said so
 */
export class LedgerError extends Schema.TaggedError<LedgerError>("effect-trustlog/LedgerError")("LedgerError", {
  reason: Schema.Literal("missing", "locked", "foreign", "inconsistent", "corrupt", "full", "readOnly", "io"),
  path: Schema.String,
  problem: Schema.String,
  cause: Schema.optional(Schema.Defect)
}) {
  get isRetryable(): boolean {
    return this.reason === "locked" || this.reason === "full" || this.reason === "io"
  }
  override get message(): string {
    return `${this.path}: ${this.problem}`
  }
}

/**
 * A key that signs envelopes, or that they are checked with, cannot be used.
 *
 * - `missing`: there is no such file, or no key was given
 * - `unreadable`: the file system does not let us read its file
 * - `malformed`: it is no key in PEM, is cut or encrypted, or there are several in one text
 * - `algorithm`: it is no Ed25519 key
 * - `usage`: it may not do what it is needed for: a public key cannot sign
 * - `id`: its id has to be given, is in no accepted form, or is another key's as well
 * - `unsupported`: this runtime's WebCrypto knows no Ed25519
 */
export class KeyError extends Schema.TaggedError<KeyError>("effect-trustlog/KeyError")("KeyError", {
  reason: Schema.Literal("missing", "unreadable", "malformed", "algorithm", "usage", "id", "unsupported"),
  problem: Schema.String,
  cause: Schema.optional(Schema.Defect)
}) {
  override get message(): string {
    return this.problem
  }
}
