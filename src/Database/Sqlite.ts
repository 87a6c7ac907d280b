/**
 * SQLite as a `SqlClient`: over `node:sqlite` where the runtime has it, else over the optional package `libsql`.
 *
 * One connection, one transaction or statement on it at a time. A database that another process has locked is waited for
 * in short steps, so that the thread is never blocked for long. What a transaction has committed survives a loss of
 * power (WAL, `synchronous=FULL`).
 */
import * as Reactivity from "@effect/experimental/Reactivity"
import * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Statement from "@effect/sql/Statement"
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as fs from "node:fs"
import * as path from "node:path"
import { DatabaseError } from "../TrustlogError.ts"
import { type Say, type Together, type Traits, traitsKey } from "../internal/dialects/sqlite.ts"
import { classify, messageOf } from "../internal/dialects/sqliteErrors.ts"
import { bind, type Database, type Driver, isCommit } from "../internal/drivers/Driver.ts"
import * as connection from "../internal/drivers/connection.ts"
import * as nodeSqlite from "../internal/drivers/nodeSqlite.ts"
import * as transaction from "../internal/transaction.ts"
import * as turn from "../internal/turn.ts"

export interface Options {
  /** The path of the file, or `:memory:`. A file that is not there is made, unless `readonly`; a folder is not. */
  readonly filename: string
  /** `auto` (the default) takes `node:sqlite` where the runtime has it, else `libsql`. */
  readonly driver?: "auto" | "node:sqlite" | "libsql" | undefined
  readonly readonly?: boolean | undefined
  /** How long to wait while another connection has the database locked: 10 seconds by default. */
  readonly busyWait?: Duration.DurationInput | undefined
  readonly transformResultNames?: ((name: string) => string) | undefined
  readonly transformQueryNames?: ((name: string) => string) | undefined
}

/**
 * Opens a database until the scope closes.
 *
 * Statements fail with an `SqlError` whose `cause` is a `DatabaseError`. A COMMIT that fails is such an error too, not a
 * defect. Transactions begin with BEGIN IMMEDIATE. A `Date` is bound as ISO text, a boolean as 0 or 1, `undefined` as
 * NULL; bytes are `Uint8Array`; an integer beyond 2^53 is an error unless `SqlClient.SafeIntegers` asks for bigints.
 * A stream outside a transaction reads one state of the database, on a connection of its own.
 */
export const make = (
  options: Options
): Effect.Effect<SqlClient.SqlClient, DatabaseError, Scope.Scope | Reactivity.Reactivity> =>
  Effect.gen(function*() {
    const { busyWait = "10 seconds", readonly = false, transformResultNames } = options
    const driver = yield* load(options.driver ?? "auto")
    const file = yield* resolve(options.filename)
    const open = Effect.acquireRelease(
      retryWhile(
        Effect.try({ try: () => connect(driver, file, readonly), catch: (cause) => openError(file, cause) }),
        busyWait,
        (error) => error.reason === "locked"
      ),
      (database) => Effect.sync(() => database.close())
    )
    const database = yield* open

    const sqlError = (cause: unknown) => {
      const error = cause instanceof DatabaseError ? cause : statementError(file, cause)
      return new SqlError({ cause: error, message: error.problem })
    }
    // One attempt without a yield: nobody gets between a look at the connection's state and its use.
    const attempt = <A>(step: () => A): Exit.Exit<A, SqlError> => {
      try {
        return Exit.succeed(step())
      } catch (cause) {
        return Exit.fail(sqlError(cause))
      }
    }
    // libsql keeps a closed connection until the garbage collector comes, and with it the log beside the file.
    if (driver.name === "libsql" && !readonly) {
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => attempt(() => database.prepare("PRAGMA wal_checkpoint(TRUNCATE)").all([], false)))
      )
    }
    const patiently = <A>(attempts: Effect.Effect<A, SqlError>, canRetry: () => boolean) =>
      retryWhile(attempts, busyWait, (error) => classify(error) === "locked" && canRetry())

    const turns = turn.make()
    // Streams read on connections of their own. They are kept for the next stream: libsql would hold on to closed ones
    // until the garbage collector comes.
    const scope = yield* Effect.scope
    const idle: Array<Database> = []
    const lent = Effect.acquireRelease(
      Effect.suspend(() =>
        Option.match(Option.fromNullable(idle.pop()), {
          onNone: () => Effect.mapError(Scope.extend(open, scope), sqlError),
          onSome: Effect.succeed
        })
      ),
      (database) => Effect.sync(() => idle.push(database))
    )
    const once: connection.Run = (sql, step) => Effect.suspend(() => attempt(() => step(sql)))
    const outsideRun: connection.Run = (sql, step) =>
      patiently(
        Effect.suspend(() =>
          turns.isTaken() ? Effect.scoped(Effect.zipRight(turns.take, once(sql, step))) : attempt(() => step(sql))
        ),
        () => true
      )
    const outside = connection.make(
      database,
      outsideRun,
      file === memory
        ? undefined
        : Stream.scoped(Effect.map(lent, (own) => [own, (sql, step) => patiently(once(sql, step), () => true)]))
    )

    // SQLite ends a transaction by itself on some failures (a full disk). What comes after must not run as if it had no
    // transaction, and there is nothing left to roll back.
    let isOpen = false
    let ending: SqlError | undefined
    const insideRun: connection.Run = (sql, step) =>
      patiently(
        Effect.suspend(() => {
          const hasNone = database.isInTransaction() === false
          if (hasNone && isRollback.test(sql)) {
            isOpen = isOpen && isRollbackTo.test(sql)
            return attempt(() => step("SELECT 1 WHERE 0"))
          }
          if (hasNone && isOpen) return Exit.fail(ending ?? sqlError(new Error("the transaction has ended")))
          return Exit.mapBoth(attempt(() => step(sql)), {
            onSuccess: (result) => {
              isOpen = database.isInTransaction() === true
              return result
            },
            onFailure: (error) => {
              ending = error
              return error
            }
          })
        }),
        // A statement inside a transaction has relied on what those before it have read.
        () => !isOpen || isCommit(sql)
      )
    const inside = connection.make(
      database,
      insideRun,
      driver.canStopIterating ? Stream.succeed([database, insideRun] as const) : undefined
    )
    const takeTurn = Effect.zipRight(
      turns.take,
      // Whoever has reserved the connection may have left a transaction open.
      Effect.addFinalizer(() =>
        Effect.sync(() => {
          isOpen = false
          if (database.isInTransaction() !== false) attempt(() => database.prepare("ROLLBACK").run([]))
        })
      )
    )

    const begin = "BEGIN IMMEDIATE"
    const client = yield* SqlClient.make({
      acquirer: Effect.succeed(outside),
      transactionAcquirer: Effect.as(takeTurn, inside),
      beginTransaction: begin,
      compiler: Statement.makeCompilerSqlite(options.transformQueryNames),
      spanAttributes: [["db.system.name", "sqlite"]],
      ...(transformResultNames && { transformRows: Statement.defaultTransforms(transformResultNames).array })
    })
    const cached = connection.cache(database.prepare)
    const say: Say = (sql, params = []) => cached(sql).values(params.map(bind), true)
    const whole = <A>(statements: (say: Say) => A) => (begin: string): A => {
      say(begin)
      try {
        const result = statements(say)
        say("COMMIT")
        return result
      } catch (cause) {
        // SQLite may have ended the transaction by itself; what counts is why.
        attempt(() => say("ROLLBACK"))
        throw cause
      }
    }
    const inOwn: Together = { run: (statements) => outsideRun(begin, whole(statements)), isWhole: true }
    const inAmbient: Together = { run: (statements) => insideRun("", () => statements(say)), isWhole: false }
    const together = Effect.map(
      Effect.serviceOption(SqlClient.TransactionConnection),
      Option.match({
        onNone: () => inOwn,
        onSome: ([connection]) => connection === inside ? inAmbient : undefined
      })
    )

    const version = database.prepare("PRAGMA data_version")
    const traits: Traits = {
      // Also between a transaction's statements: it changes nothing, and what others commit is seen when that has ended.
      look: () => attempt(() => version.values([], false)[0]?.[0]),
      isExact: driver.isExact,
      together
    }
    return Object.assign(transaction.withOwn(client, begin), { [traitsKey]: traits })
  })

/** `make`, as a layer. */
export const layer = (options: Options): Layer.Layer<SqlClient.SqlClient, DatabaseError> =>
  Layer.provide(Layer.scoped(SqlClient.SqlClient, make(options)), Reactivity.layer)

const memory = ":memory:"

const isRollback = /^\s*ROLLBACK\b/i
const isRollbackTo = /^\s*ROLLBACK\s+(TRANSACTION\s+)?TO\b/i

const load = (name: "auto" | "node:sqlite" | "libsql"): Effect.Effect<Driver, DatabaseError> =>
  Effect.suspend(() => {
    const builtin = name === "libsql" ? undefined : nodeSqlite.load()
    if (builtin !== undefined) return Effect.succeed(builtin)
    if (name === "node:sqlite") {
      return new DatabaseError({
        reason: "unavailable",
        problem: "this runtime has no node:sqlite: use Node 22 or newer, or the driver libsql"
      })
    }
    return Effect.tryPromise({
      try: async () => {
        const [{ default: library }, { make }] = await Promise.all([
          import("libsql"),
          import("../internal/drivers/libsql.ts")
        ])
        return make(library)
      },
      catch: (cause) =>
        new DatabaseError({
          reason: "unavailable",
          problem: "this Node has no SQLite of its own: npm install libsql, or use Node 22 or newer",
          cause
        })
    })
  })

// A path is taken literally: both drivers would read some as URLs, and libsql would abort the process on a NUL.
const resolve = (filename: string): Effect.Effect<string, DatabaseError> =>
  filename.includes("\0")
    ? new DatabaseError({ reason: "unavailable", problem: "a database's file name must not hold a NUL character" })
    : Effect.sync(() => filename === memory ? memory : path.resolve(filename))

// The thread is blocked for no longer than this at a time.
const busyTimeoutMillis = 20

const connect = (driver: Driver, file: string, readonly: boolean): Database => {
  const database = driver.open(file, { readonly })
  const execute = (sql: string) => database.prepare(sql).all([], false)
  try {
    // First, or processes that start at once fail at the next one.
    execute(`PRAGMA busy_timeout = ${busyTimeoutMillis}`)
    if (!readonly) {
      try {
        execute("PRAGMA journal_mode = WAL")
      } catch (cause) {
        // It can still be read, and a write will say what is wrong.
        if (classify(cause) !== "readOnly") throw cause
      }
    }
    execute("PRAGMA synchronous = FULL")
    execute("PRAGMA foreign_keys = ON")
    // The file is looked at only when something is read from it.
    execute("SELECT count(*) FROM sqlite_master")
    return database
  } catch (cause) {
    database.close()
    throw cause
  }
}

// Waiting is no part of an application's time: a test's clock does not stop it.
const clock = Clock.make()

const retryWhile = <A, E>(
  attempt: Effect.Effect<A, E>,
  limit: Duration.DurationInput,
  shouldRetry: (error: E) => boolean
): Effect.Effect<A, E> =>
  Effect.catchAll(attempt, (error) =>
    shouldRetry(error)
      ? Effect.retry(attempt, {
        while: shouldRetry,
        schedule: Schedule.upTo(Schedule.jittered(Schedule.spaced("10 millis")), limit)
      }).pipe(Effect.delay("5 millis"), Effect.withClock(clock))
      : Effect.fail(error))

const openError = (file: string, cause: unknown): DatabaseError => {
  const reason = classify(cause)
  return reason === "unavailable" || reason === "readOnly"
    ? new DatabaseError({ reason, problem: `cannot open ${file}: ${obstacle(file) ?? messageOf(cause)}`, cause })
    : statementError(file, cause)
}

/** Why a file cannot be opened, as far as the file system can tell: SQLite has one code for all of it. */
const obstacle = (file: string): string | undefined => {
  const folder = path.dirname(file)
  const parent = entryOf(folder)
  if (parent === undefined) return `the folder ${folder} does not exist; make it, or correct the path`
  if (!parent.isDirectory()) return `${folder} is not a folder`
  const entry = entryOf(file)
  if (entry === undefined) {
    return isAllowed(folder, fs.constants.W_OK) ? "it does not exist" : `no permission to write in ${folder}`
  }
  if (entry.isDirectory()) return "it is a folder; give the path of a file"
  if (!isAllowed(file, fs.constants.R_OK)) return "no permission to read it"
  return isAllowed(folder, fs.constants.W_OK)
    ? undefined
    : `no permission to write in ${folder}, which SQLite needs even to read it`
}

const entryOf = (target: string): fs.Stats | undefined => {
  try {
    return fs.statSync(target)
  } catch {
    return undefined
  }
}

const isAllowed = (target: string, mode: number): boolean => {
  try {
    fs.accessSync(target, mode)
    return true
  } catch {
    return false
  }
}

const statementError = (file: string, cause: unknown): DatabaseError => {
  const reason = classify(cause)
  const message = messageOf(cause)
  const problems: Partial<Record<typeof reason, string>> = {
    locked: `${file} is locked by another process`,
    readOnly: `${file} cannot be written: it, its folder or its file system is read-only`,
    full: `${file} cannot grow: the disk, or a quota or limit, is full`,
    foreign: `${file} is not an SQLite database`,
    corrupt: `${file} is damaged: ${message}`
  }
  return new DatabaseError({ reason, problem: problems[reason] ?? `${file}: ${message}`, cause })
}
