/**
 * Where operations are kept, and the state of their delivery: the contract that every database's back-end keeps.
 * The pending rows are the truth of what is not delivered yet; a lane's cursor is only a lower bound under them.
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"
import type { Recorded } from "./Envelope.ts"
import type { Lane, Operation, OperationId } from "./Operation.ts"
import type { Published, Reason } from "./Publisher.ts"
import type { Receipt } from "./Receipt.ts"
import type * as Strategy from "./Strategy.ts"
import type { DatabaseError, InvalidOperation, LeaseLost, OperationConflict, UnknownLane } from "./TrustlogError.ts"

/** An operation on its way into the database. */
export interface Entry {
  readonly operation: Operation
  readonly lane: Lane
  readonly strategy: Strategy.Stored
  /** Whether the id was made for this append, so that it cannot be there already; where it is not known, it may be. */
  readonly isIdNew?: boolean | undefined
}

/** So many operations, and so many bytes of their envelopes, are appended at once: what holds a transaction open is bounded. */
export const maxBatch = { rows: 10_000, bytes: 64 * 1024 * 1024 } as const

/**
 * What an append did: `appended` a new row; found the same one there (`duplicate`); or found it there as DbOnly and
 * made it pending (`promoted`).
 */
export interface Appended {
  readonly id: OperationId
  readonly position: number
  readonly outcome: "appended" | "duplicate" | "promoted"
}

/** A row of `operation`. */
export interface Row extends Recorded {
  readonly position: number
  readonly lane: Lane
  /** `null` on rows that plain SQL wrote: then the hash that is computed at delivery is the reference. */
  readonly contentHash: string | null
}

/** A row with what delivery does not ask for. */
export interface StoredRow extends Row {
  readonly strategy: Strategy.Stored
  readonly payloadBytes: number
}

/** The state of a topic's circuit breaker: `closed` = records flow, `open` = held, `half-open` = probing. */
export const Breaker = Schema.Literal("closed", "open", "half-open")
export type Breaker = typeof Breaker.Type

/** The right to deliver a lane until somebody takes it over, which makes the epoch newer. */
export interface Lease {
  readonly lane: Lane
  readonly owner: string
  /** The fencing token: every write of a lease holder is compared with it. */
  readonly epoch: number
  /** The lower bound: no row at or below it was pending when it was taken over. */
  readonly position: number
  /** The bound that the previous owner had reached: rows at or below it that are pending came late. */
  readonly reached: number
  /** The breaker's state that the previous owner wrote down last. */
  readonly breaker: Breaker
  /** Whether the previous owner vanished without giving the lease back, perhaps while publishing. */
  readonly isRecovered: boolean
}

/** A page of pending rows. */
export interface Page {
  readonly rows: ReadonlyArray<Row>
  /** Whether the limit of rows or bytes ended it, so that more may follow at once. */
  readonly isFull: boolean
  /** Whether the lane is paused: then there are no rows. */
  readonly isPaused: boolean
}

/** A record that the log has acknowledged. */
export interface Delivered {
  readonly position: number
  readonly id: OperationId
  /** The hash of what was sent. */
  readonly contentHash: string
  /** Whether the row carried that hash itself, or it was computed at delivery. */
  readonly isHashed: boolean
  readonly messageId: Uint8Array
}

/** A record that the log has refused. */
export interface Refusal {
  readonly position: number
  readonly reason: Reason
  readonly error: string
  /** How long until the next attempt; `undefined` makes it a dead letter. */
  readonly delay: Duration.Duration | undefined
}

/** What became of a page, to be written down in one transaction. */
export interface Settlement {
  readonly topic: string
  readonly delivered: ReadonlyArray<Delivered>
  readonly refused: ReadonlyArray<Refusal>
  readonly checkpoint: Published["checkpoint"]
  /** How far the lane has come: no row at or below it is known to be pending. */
  readonly position: number
  /** How many of the page's rows only a re-derivation had found. */
  readonly late: number
}

/** A record in its second line. */
export interface Retry extends StoredRow {
  /** Refusals settled so far. */
  readonly attempts: number
  readonly reason: Reason
  /** Whether an earlier claim of it lapsed: whoever held it vanished. */
  readonly isLapsed: boolean
}

/** Due retries of one lane under one claim. */
export interface Claim {
  readonly lane: Lane
  readonly token: string
  readonly rows: ReadonlyArray<Retry>
}

/** What became of a claim. */
export interface RetrySettlement {
  readonly topic: string
  readonly delivered: ReadonlyArray<Delivered>
  readonly refused: ReadonlyArray<Refusal>
  /** Given back with their attempts untouched, due at once; `suspect` ones are claimed and sent alone from then on. */
  readonly returned: ReadonlyArray<{ readonly position: number; readonly isSuspect: boolean }>
  readonly checkpoint: Published["checkpoint"]
}

/** A record that is retried no more, until a person replays it. */
export interface DeadLetter extends StoredRow {
  readonly attempts: number
  readonly reason: Reason
  readonly error: string
  readonly firstFailedAt: string
  readonly lastFailedAt: string
}

/** What became of a receipt that was to be purged. */
export type PurgeOutcome =
  /** So many operations are gone; the receipt says so, under a signature. */
  | { readonly _tag: "Purged"; readonly operations: number }
  /** It was purged before, or is not that old. */
  | { readonly _tag: "NotDue" }
  /** Something about it, or about one of its rows, is not what was recorded: nothing was changed. */
  | { readonly _tag: "Refused"; readonly problem: string }

/** So many pending rows, retries and dead letters each are counted one by one. */
export const maxCounted = 100_000

/** A lane as operators see it. */
export interface LaneStats {
  readonly lane: Lane
  readonly position: number
  /** Rows that are pending, late ones below the cursor included. */
  readonly pending: number
  /** Whether `pending` is an estimate: see `Stats.isEstimate`. */
  readonly isEstimate: boolean
  /**
   * Age of its pending row with the lowest position, since it was recorded; 0 without one. A row with a higher position
   * may be a little older: it took its position before its transaction committed.
   */
  readonly lagSeconds: number
  /** How many positions that row is behind the newest operation of all lanes; 0 without one. */
  readonly lagPositions: number
  readonly owner: string | null
  readonly delivered: number
  /** Rows that were found behind the cursor so far: committed late, promoted or replayed. */
  readonly late: number
  readonly breaker: Breaker
  readonly paused: boolean
}

/**
 * What keeps PostgreSQL from removing dead rows, our delivered pending rows among them: the oldest transaction that might
 * still see them. What the asking user may not see (without `pg_read_all_stats`) is `null`, and so is what there is not.
 */
export interface Horizon {
  /** A connection (`backend`), a prepared transaction, or a replication slot. */
  readonly kind: "backend" | "prepared" | "replicationSlot"
  /** How long its transaction has been open, or prepared. PostgreSQL does not know it of a replication slot. */
  readonly ageSeconds: number | null
  /** How many transactions have begun since. */
  readonly ageTransactions: number
  readonly pid: number | null
  /** The prepared transaction's or the slot's. */
  readonly name: string | null
  readonly user: string | null
  readonly application: string | null
  /** The connection's, such as `idle in transaction`; a slot is `active` or `inactive`. */
  readonly state: string | null
  /** When the transaction began, or was prepared. */
  readonly since: string | null
}

/** What the operator asks. However much waits, about 100,000 entries of each table are read, and some of each lane. */
export interface Stats {
  /** Everything that is not in the log yet: pending, retrying and dead. Others call it un-attested. */
  readonly undelivered: number
  readonly pending: number
  /**
   * Whether `pending` is an estimate, and so `undelivered`: more than 100,000 rows are pending. It is made from how dense
   * the lanes' rows are at many places between their oldest and their newest.
   */
  readonly isEstimate: boolean
  /** The oldest of the lanes' `lagSeconds`. */
  readonly oldestPendingSeconds: number
  /** Counted up to `maxCounted`. */
  readonly retrying: number
  /** Counted up to `maxCounted`. */
  readonly dead: number
  /** Whether there are more than 100,000 retries or dead letters, which are counted no further. */
  readonly isCapped: boolean
  /** Operations settled by either worker. */
  readonly delivered: number
  /** Rows that were found behind a cursor so far, over all lanes. */
  readonly late: number
  /** Operations that were taken out of the database after their delivery. */
  readonly purged: number
  /** The worst of the lanes. */
  readonly breaker: Breaker
  /** Whether any lane is paused, or those that are new begin so. */
  readonly paused: boolean
  /** Whether lanes that come to be begin paused: all were paused, and not all resumed since. */
  readonly newLanesPaused: boolean
  /** On PostgreSQL, what holds back the removal of dead rows, if anything does; elsewhere `null`. */
  readonly horizon: Horizon | null
  readonly lanes: ReadonlyArray<LaneStats>
}

/** A row with every place that accounts for it, but for the receipts. */
export interface Accounted extends StoredRow {
  /** Whether it is pending, in its own lane. */
  readonly isPending: boolean
  readonly retryState: "waiting" | "dead" | null
  readonly retryLane: string | null
  readonly isPromoted: boolean
}

/** A lane's row as evidence. */
export interface LaneHead {
  readonly lane: string
  /** The hash of the lane's newest receipt; `null` before the first. */
  readonly head: string | null
  readonly delivered: number
}

/** How much there is to read of an operation. */
export interface Size {
  readonly position: number
  /** About so many bytes; nothing else rests on it. */
  readonly bytes: number
}

/** A row that speaks of an operation that is not there. */
export interface Orphan {
  readonly position: number
  readonly table: "pending" | "retry" | "promotion"
}

/** That something was appended. */
export interface Hint {
  /** Where; `undefined` for any lane. */
  readonly lane: Lane | undefined
  /** Whether all of it has been committed. Else it is there now, or soon, or, after a rollback, never. */
  readonly isCommitted: boolean
}

/**
 * The durable state of one database. Every back-end passes `test/suites/RepositoryTest.ts`.
 *
 * Members that write take part in the caller's ambient transaction where they say so; all others open their own.
 */
export class Repository extends Context.Tag("effect-trustlog/Repository")<Repository, {
  /** The UUID of this database, made by the migrations; every envelope carries it. */
  readonly stream: string

  /**
   * Stores entries in the caller's ambient transaction, or in one of its own: all of them or, on any failure, none; at
   * most `maxBatch` of them. Idempotent by id: the same content again is a duplicate, other content or another lane a conflict.
   */
  readonly append: (
    entries: ReadonlyArray<Entry>
  ) => Effect.Effect<ReadonlyArray<Appended>, InvalidOperation | OperationConflict | DatabaseError>

  /**
   * Makes DbOnly operations pending, in the caller's ambient transaction or an own one. Ids that are unknown, or
   * delivered by their strategy anyway, are told apart and change nothing.
   */
  readonly promote: (
    ids: ReadonlyArray<OperationId>
  ) => Effect.Effect<
    ReadonlyArray<
      { readonly id: OperationId; readonly outcome: "promoted" | "alreadyPromoted" | "notDbOnly" | "unknown" }
    >,
    DatabaseError
  >

  /** Makes every DbOnly operation from one position to another (both included) pending; returns how many it made so. */
  readonly promoteRange: (range: { readonly from: number; readonly to: number }) => Effect.Effect<number, DatabaseError>

  /** Runs an effect in one transaction of the host's kind. `append` inside joins it. */
  readonly transaction: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | DatabaseError, R>

  /**
   * Tells the workers that something was appended to some lanes, or perhaps to any: a hint, never relied upon. Inside a
   * transaction it is a hint at what will be there only when that commits.
   */
  readonly wake: (lanes?: ReadonlyArray<Lane> | undefined) => Effect.Effect<void>
  /** The hints, from this process and from others. */
  readonly wakeUps: Stream.Stream<Hint>

  /** Renews (or makes) a member's registration and returns how many members are alive. */
  readonly register: (member: string, timeToLive: Duration.Duration) => Effect.Effect<number, DatabaseError>
  readonly unregister: (member: string) => Effect.Effect<void, DatabaseError>

  /** Lanes with a row or with pending entries, and who holds each now (`null`: nobody, or the lease has lapsed). */
  readonly lanes: Effect.Effect<ReadonlyArray<{ readonly lane: Lane; readonly owner: string | null }>, DatabaseError>

  /**
   * Takes a lane whose lease nobody holds, making its row where there is none; `undefined` when somebody holds it.
   * Re-derives the lower bound. A recovered lane's `in_flight` that is still pending counts as a loss.
   */
  readonly acquire: (
    lane: Lane,
    owner: string,
    timeToLive: Duration.Duration
  ) => Effect.Effect<Lease | undefined, DatabaseError>
  /** Extends a lease, a lapsed one that nobody took included. */
  readonly renew: (lease: Lease, timeToLive: Duration.Duration) => Effect.Effect<void, LeaseLost | DatabaseError>
  /** Gives a lease back; does nothing when it is not ours any more. */
  readonly release: (lease: Lease) => Effect.Effect<void, DatabaseError>

  /**
   * The next pending rows above a bound, by position: at most so many, and so many payload bytes (but one at least).
   * `isCaughtUp` tells that the lane was read to its end a moment ago, so that little waits and is found in any way.
   */
  readonly page: (
    lease: Lease,
    options: {
      readonly after: number
      readonly limit: number
      readonly maxBytes: number
      readonly isCaughtUp?: boolean
    }
  ) => Effect.Effect<Page, LeaseLost | DatabaseError>
  /** The largest bound under which nothing of the lane is pending: min(pending.position) - 1, or the given one if none is. */
  readonly lowerBound: (lease: Lease, otherwise: number) => Effect.Effect<number, DatabaseError>
  /** Writes down which record is about to be published alone. */
  readonly markInFlight: (lease: Lease, position: number) => Effect.Effect<void, LeaseLost | DatabaseError>
  /**
   * Counts a loss of the record in flight while the log was well. The third moves it to retry: due at once, attempts 0,
   * reason `suspect`. Returns whether it was moved.
   */
  readonly countLoss: (lease: Lease, error: string) => Effect.Effect<boolean, LeaseLost | DatabaseError>
  /**
   * Writes down what became of a page, in one transaction that first locks the lane's row and compares the epoch:
   * delivered and refused rows stop being pending, the delivered ones get a receipt, the refused ones a retry or a dead
   * letter. Clears `in_flight` and the losses. Rows that it does not name stay pending.
   */
  readonly settle: (lease: Lease, settlement: Settlement) => Effect.Effect<void, LeaseLost | DatabaseError>
  /** Writes the breaker's state to the lane's row. */
  readonly setBreaker: (lease: Lease, breaker: Breaker) => Effect.Effect<void, LeaseLost | DatabaseError>
  /**
   * Pauses or resumes one lane, or all, and then those that come to be later as well; from any process, and until it is
   * changed again. Whoever delivers a lane that was resumed is told, as by `wake`. Returns how many lanes that have a row were
   * changed.
   */
  readonly setPaused: (
    paused: boolean,
    lane?: Lane | undefined
  ) => Effect.Effect<number, UnknownLane | DatabaseError>

  /**
   * Claims due retries of one lane, the one whose turn is next; `undefined` when none is due. Lanes that are paused or
   * whose breaker is open are passed over, and so are `excluded` ones. A suspect record, or one whose claim lapsed, is
   * claimed alone and marked suspect.
   */
  readonly claimRetries: (options: {
    readonly limit: number
    readonly maxBytes: number
    readonly timeToLive: Duration.Duration
    readonly excluded: ReadonlyArray<Lane>
  }) => Effect.Effect<Claim | undefined, DatabaseError>
  /** Extends a claim; rows that somebody else has claimed since are left to them. */
  readonly renewClaim: (claim: Claim, timeToLive: Duration.Duration) => Effect.Effect<void, DatabaseError>
  /** Writes down what became of a claim, in one transaction; rows whose token has changed are left alone. */
  readonly settleRetries: (
    claim: Claim,
    settlement: RetrySettlement
  ) => Effect.Effect<{ readonly delivered: number; readonly refused: number; readonly dead: number }, DatabaseError>
  /** When the next retry is due, in milliseconds from now (0 or less: it is); `undefined` without one. */
  readonly nextRetryIn: Effect.Effect<number | undefined, DatabaseError>

  /** Dead letters by position, after one. */
  readonly deadLetters: (
    options: { readonly after: number; readonly limit: number }
  ) => Effect.Effect<ReadonlyArray<DeadLetter>, DatabaseError>
  readonly deadLetter: (id: OperationId) => Effect.Effect<DeadLetter | undefined, DatabaseError>
  /** Makes dead letters pending again, attempts from 0. Ids that are no dead letters change nothing. Returns those made. */
  readonly replay: (ids: ReadonlyArray<OperationId>) => Effect.Effect<ReadonlyArray<DeadLetter>, DatabaseError>

  /**
   * Looks at the next receipts of a lane after a sequence number, and returns those that are not purged and were given at
   * least a period ago, by the database's clock. `last` is how far it has looked; `undefined` at the lane's end.
   */
  readonly purgeable: (
    options: {
      readonly lane: string
      readonly after: number
      readonly olderThan: Duration.Duration
      readonly limit: number
    }
  ) => Effect.Effect<
    { readonly due: ReadonlyArray<number>; readonly last: number | undefined },
    DatabaseError
  >
  /**
   * Deletes the operations of one receipt, with their promotions, in one transaction, and writes down when, under a
   * signature. Nothing is deleted unless the receipt was given at least the period ago, is not purged, and is the one that
   * its successor (or the lane's row) names; and every row of it is there, is what was delivered, and waits for nothing.
   * A period of more than a hundred years is one of a hundred.
   */
  readonly purge: (
    options: {
      readonly lane: string
      readonly sequence: number
      readonly olderThan: Duration.Duration
      readonly sign: (
        statement: {
          readonly lane: string
          readonly sequence: number
          readonly root: string
          readonly purgedAt: string
        }
      ) => string
    }
  ) => Effect.Effect<PurgeOutcome, DatabaseError>

  /** Counts, in one state of the database. */
  readonly stats: Effect.Effect<Stats, DatabaseError>

  /** What `verify` reads. All of it sees one state of the database inside `snapshot`. */
  readonly evidence: {
    readonly snapshot: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | DatabaseError, R>
    /** The database's time, as its receipts have it. */
    readonly now: Effect.Effect<string, DatabaseError>
    /** The sizes of operations after a position, by position, so that what is read at once can be bounded. */
    readonly sizes: (
      options: { readonly after: number; readonly limit: number }
    ) => Effect.Effect<ReadonlyArray<Size>, DatabaseError>
    /** The sizes of the operations at some positions, those that are there, in any order. */
    readonly sizesAt: (positions: ReadonlyArray<number>) => Effect.Effect<ReadonlyArray<Size>, DatabaseError>
    /** Operations after a position, by position, with what accounts for them. */
    readonly operations: (
      options: { readonly after: number; readonly limit: number }
    ) => Effect.Effect<ReadonlyArray<Accounted>, DatabaseError>
    /** The operations at some positions, those that are there, in any order. */
    readonly operationsAt: (positions: ReadonlyArray<number>) => Effect.Effect<ReadonlyArray<Accounted>, DatabaseError>
    /** The operations with some ids, those that are there, in any order. */
    readonly operationsOf: (ids: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<Accounted>, DatabaseError>
    /** A lane's receipts after a sequence number, by sequence. */
    readonly receipts: (
      options: { readonly lane: string; readonly after: number; readonly limit: number }
    ) => Effect.Effect<ReadonlyArray<Receipt>, DatabaseError>
    /** Every lane that has a row or a receipt. */
    readonly heads: Effect.Effect<ReadonlyArray<LaneHead>, DatabaseError>
    /** Pending, retry and promotion rows without an operation: at most so many. */
    readonly orphans: (limit: number) => Effect.Effect<ReadonlyArray<Orphan>, DatabaseError>
  }
}>() {}
