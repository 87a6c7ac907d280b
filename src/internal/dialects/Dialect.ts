/**
 * What differs between databases. The repository asks for one of these once, while it is built; everything else it
 * says in SQL that all of them understand.
 *
 * Names are never written through the client's identifiers: a host may have given it a transform for them.
 */
import type { SqlError } from "@effect/sql/SqlError"
import type { Fragment } from "@effect/sql/Statement"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type { Horizon } from "../../Repository.ts"
import type { DatabaseReason } from "../../TrustlogError.ts"
import type { Migration } from "../migrations.generated.ts"
import type { NewRow } from "../rows.ts"
import type { Tables } from "../tables.ts"
import type * as transaction from "../transaction.ts"

/**
 * Expressions, under the names that their values shall have. A name that ends in `_at` is a time, which comes as
 * canonical text; `id` is an id, which comes as text.
 */
export type Columns = Readonly<Record<string, string>>

/** An operation that was there or has been inserted. */
export interface Positioned {
  readonly position: number
  readonly id: string
}

/** What is said on a connection before and after a transaction's statements, its COMMIT or ROLLBACK aside. */
export interface Bracket {
  readonly begin: ReadonlyArray<string>
  /** Said when it has ended, however that was. */
  readonly end: ReadonlyArray<string>
  /** Whether a statement that fails (in a deadlock, on MySQL) may end the whole transaction without a word. */
  readonly endsOnFailure?: boolean
}

/** The columns of `horizon`. */
export interface HorizonRow {
  readonly kind: Horizon["kind"]
  readonly age_seconds: number | string | null
  readonly age_transactions: number | string
  readonly pid: number | null
  readonly name: string | null
  readonly user_name: string | null
  readonly application: string | null
  readonly state: string | null
  readonly since: string | null
}

/** A change of one row of `trustlog_cursor`, and of other tables if that is made. */
export interface GuardedChange {
  readonly cursor: Fragment
  /** The name of the row. */
  readonly name: string
  /** What must be so in the row. */
  readonly where: Fragment
  readonly set: Fragment
  /** The other changes, each with the condition that the row was changed. */
  readonly others: (isChanged: Fragment) => ReadonlyArray<Fragment>
}

/** A look that is over at once. */
export type Look = () => Exit.Exit<unknown, SqlError>

export interface Dialect {
  /** What `Migrations` runs. */
  readonly migrations: ReadonlyArray<Migration>
  /** Whether tables can be half made: where each statement of a migration commits by itself. */
  readonly canBeHalfMade: boolean
  /** Runs migrations while no other process does. It joins an ambient transaction where those can hold migrations. */
  readonly migrating: (
    name: string,
    onFailure: (error: SqlError) => SqlError
  ) => transaction.Run<SqlError>
  /** Makes a schema where there is none. */
  readonly createSchema: ((schema: string) => string) | undefined
  /** Which of some tables or views are there. */
  readonly named: (
    schema: string | undefined,
    names: ReadonlyArray<string>
  ) => Effect.Effect<ReadonlyArray<{ readonly name: string }>, SqlError>
  /** A name as it is written in a statement. */
  readonly quote: (name: string) => string

  /** A transaction that the host asks for. */
  readonly host: Bracket
  /** A worker's transaction: read committed, and ended by the database when its process hangs in the middle of it. */
  readonly worker: Bracket
  /**
   * A worker's transaction that renews a lease. It waits for the lane's row more briefly than the database leaves a hung
   * transaction alone: given the row by the end of such a one, a process that hangs as a whole would keep it as long again.
   */
  readonly renewal: Bracket
  /** A transaction that sees one state and writes nothing. */
  readonly snapshot: Bracket
  /** What a page is read in, where the planner must be kept from other ways than the index's; else in no transaction. */
  readonly paging: Bracket | undefined

  /** After a SELECT of one table: its rows are locked until the transaction ends. */
  readonly forUpdate: Fragment
  /** The same, but rows that somebody else has locked are passed over. */
  readonly forUpdateSkipLocked: Fragment
  /** After a SELECT: what others have committed is seen, whatever the host's isolation is. */
  readonly asCommitted: Fragment

  /** A point in time so many milliseconds from now, by the clock that decides in this database. */
  readonly time: (offsetMillis: number) => Effect.Effect<Fragment>
  /** How many seconds lie between two times. */
  readonly seconds: (from: Fragment, to: Fragment) => Fragment
  /** A canonical timestamp as a value. */
  readonly timestamp: (text: string) => Fragment
  /** Bytes as a value. */
  readonly bytes: (bytes: Uint8Array) => Fragment

  /** `column IN (values)`, with a text of the statement that depends little on how many there are. */
  readonly isOneOf: (column: string, values: ReadonlyArray<number>) => Fragment
  readonly isOneOfTexts: (column: string, values: ReadonlyArray<string>) => Fragment
  readonly isOneOfIds: (column: string, ids: ReadonlyArray<string>) => Fragment

  /**
   * `SELECT` of columns, and of columns that hold bytes, as they stand in the tables: all that they hold, also what was
   * never written by a program of ours.
   */
  readonly select: <A extends object>(
    columns: Columns,
    rest: Fragment,
    bytes?: ReadonlyArray<string>
  ) => Effect.Effect<ReadonlyArray<A>, SqlError>

  /**
   * Inserts those operations whose ids are not there, and makes those of them pending that are to be delivered. Returns
   * them; the others, and an id's second row in the batch, are left out. It changes several tables: see `appendsAtOnce`.
   */
  readonly insertOperations: (
    tables: Tables
  ) => (rows: ReadonlyArray<NewRow>) => Effect.Effect<ReadonlyArray<Positioned>, SqlError>
  /** Whether `insertOperations` of one row, here and now, is whole by itself, and so needs no transaction around it. */
  readonly appendsAtOnce: Effect.Effect<boolean>

  /** How many rows the next INSERT holds, of so many with so many columns. */
  readonly insertSize: (rows: number, columns: number) => number
  /** So many SELECTs at most make one statement. */
  readonly unionSize: number
  /** After an INSERT into `trustlog_cursor`: a name that is there keeps its row, or has it changed. */
  readonly onRepeatedName: (set?: Fragment) => Fragment
  /**
   * `DELETE FROM table t WHERE t.key is one of the values`, to which more conditions may be added. Each row is looked up by
   * its primary key and in no other way: a scan would wait for the rows of every transaction that is open.
   */
  readonly deleteByKey: (table: Fragment, key: string, values: ReadonlyArray<number>) => Fragment
  /** Runs statements that change different tables: where it can be, as one. */
  readonly together: (first: Fragment, ...others: ReadonlyArray<Fragment>) => Effect.Effect<unknown, SqlError>
  /**
   * Where one statement can change several tables: makes a change, and says whether it was made. It was not where the row is locked,
   * or is not as it must be; for other rows it waits as long as a worker does. `clock` is an expression for the time, the same throughout a statement.
   */
  readonly atOnce:
    | {
      readonly clock: string
      readonly change: (change: GuardedChange) => Effect.Effect<boolean, SqlError>
    }
    | undefined
  /** Joins `operation o` to what stands left of it: looked up by the position of each row there. */
  readonly joinOperation: (operation: Fragment, left: string) => Fragment
  /**
   * The lanes with pending rows, as rows of `lane`; those that have a row already may be left out. As many index look-ups
   * as there are lanes, however many rows are pending.
   */
  readonly pendingLanes: (tables: Tables) => Fragment

  /**
   * Something that changes when rows have been appended or lanes paused or resumed, also by other processes, and how often
   * to look at it.
   */
  readonly watch: {
    readonly every: Duration.DurationInput
    readonly signature: (tables: Tables) => Fragment
    /** The same without a statement, where the client has a way. */
    readonly look?: Look | undefined
  }
  /** Tells other processes something, over a channel that a `Listener` listens to; `undefined` where there is no way. */
  readonly notify: ((channel: string, payload: string) => Fragment) | undefined

  /**
   * What holds back the removal of dead rows, as one row of `HorizonRow` or none; `undefined` where nothing is known of
   * such a thing.
   */
  readonly horizon: Fragment | undefined

  /** What went wrong, whichever driver says so. */
  readonly classify: (cause: unknown) => DatabaseReason
  /** Whether two transactions were in each other's way, so that one of them was ended and may be run again at once. */
  readonly isCollision: (cause: unknown) => boolean
  /** What a driver said, in words. */
  readonly describe: (cause: unknown) => string
}
