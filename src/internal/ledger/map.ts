/**
 * The small SQLite file inside a ledger. It is the append lock (its write transaction), the map from (stream, id) to
 * (index, content hash) that makes the ledger idempotent, and the memory of what was signed last.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Sqlite from "../../Database/Sqlite.ts"
import { DatabaseError, LedgerError } from "../../TrustlogError.ts"
import * as transaction from "../transaction.ts"

/** What the file is called, in the ledger's folder. */
export const fileName = "ledger.db"

/** The state of a log: how many entries it has, and the root of their tree in hex. */
export interface Head {
  readonly size: number
  readonly root: string
}

/** One entry, as the map knows it. */
export interface Mapped {
  readonly stream: string
  readonly id: string
  readonly index: number
  readonly contentHash: string
}

const reasons: Record<DatabaseError["reason"], LedgerError["reason"]> = {
  locked: "locked",
  readOnly: "readOnly",
  full: "full",
  denied: "io",
  foreign: "corrupt",
  corrupt: "corrupt",
  missing: "corrupt",
  newer: "corrupt",
  constraint: "corrupt",
  unavailable: "io",
  unknown: "io"
}

const failure = (path: string) => (error: DatabaseError): LedgerError =>
  new LedgerError({
    reason: reasons[error.reason],
    path,
    problem: error.reason === "locked"
      ? "another process holds the ledger's append lock; if it is stopped or hung, end it"
      : error.problem,
    cause: error
  })

const databaseError = (error: SqlError): DatabaseError =>
  error.cause instanceof DatabaseError
    ? error.cause
    : new DatabaseError({ reason: "unknown", problem: error.message, cause: error })

/** The streams of some keys, and which keys each has. There is hardly ever more than one. */
const byStream = (keys: ReadonlyArray<Pick<Mapped, "stream">>) => {
  const streams = new globalThis.Map<string, Array<number>>()
  keys.forEach(({ stream }, key) => {
    const members = streams.get(stream)
    if (members === undefined) streams.set(stream, [key])
    else members.push(key)
  })
  return Array.from(streams, ([stream, members]) => ({ stream, members }))
}

/** Its statements belong inside `lock` or `view`: outside they would join whatever transaction their caller is in. */
export type Map = Effect.Effect.Success<ReturnType<typeof open>>

/** Opens the map, or makes the file. The tables are made by `create`. */
export const open = (
  file: string,
  options: { readonly lockWait: Duration.DurationInput; readonly readonly?: boolean | undefined }
) =>
  Effect.gen(function*() {
    const context = yield* Effect.mapError(
      Layer.build(
        Sqlite.layer({ filename: file, busyWait: options.lockWait, readonly: options.readonly ?? false })
      ),
      failure(file)
    )
    const sql = Context.get(context, SqlClient).withoutTransforms()
    const typed = <A>(effect: Effect.Effect<A, SqlError>): Effect.Effect<A, LedgerError> =>
      Effect.mapError(effect, (error) => failure(file)(databaseError(error)))
    const within = (begin: string) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | LedgerError, R> =>
      Effect.catchIf(
        transaction.own(sql, { begin: [begin], end: [] }, databaseError)(Effect.uninterruptible(effect)),
        (error) => error instanceof DatabaseError,
        (error) => Effect.fail(failure(file)(error))
      )

    const set = (pragma: string) =>
      typed(Effect.scoped(Effect.flatMap(
        sql.reserve,
        (connection) => connection.executeUnprepared(`PRAGMA ${pragma}`, [], undefined)
      )))
    if (options.readonly !== true) {
      // After a loss of power the map may have forgotten what it committed last. It catches up from the tiles, which are
      // on the disk before it commits, so that waiting for the disk a second time would gain nothing.
      yield* set("synchronous = NORMAL")
      // Whoever waits for the lock must not block the thread: the holder may be another ledger of this process.
      yield* set("busy_timeout = 0")
    }

    // As JSON, a name that holds NUL arrives whole.
    const nameOf = (stream: string) => sql`json_extract(${JSON.stringify([stream])}, '$[0]')`
    const numberOf = (stream: string) => sql`(SELECT number FROM stream WHERE name = ${nameOf(stream)})`

    return {
      /** Runs an effect, once begun to its end, under the append lock; its success commits what it wrote to the map. */
      lock: within("BEGIN IMMEDIATE"),

      /** Runs an effect that only reads, whoever holds the lock. */
      view: within("BEGIN DEFERRED"),

      /** Makes the tables where they are not there. */
      create: typed(Effect.gen(function*() {
        yield* sql`CREATE TABLE IF NOT EXISTS head (
          only INTEGER PRIMARY KEY CHECK (only = 0), size INTEGER NOT NULL, root TEXT NOT NULL)`
        yield* sql`CREATE TABLE IF NOT EXISTS stream (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)`
        yield* sql`CREATE TABLE IF NOT EXISTS entry (
          stream INTEGER NOT NULL, id BLOB NOT NULL, position INTEGER NOT NULL, content_hash BLOB NOT NULL,
          PRIMARY KEY (stream, id)) WITHOUT ROWID`
      })),

      /** What was signed last; `undefined` before the first time. */
      head: typed(Effect.map(
        sql<Head>`SELECT size, root FROM head`,
        (rows): Head | undefined => rows[0]
      )),

      /** Remembers what has been signed. */
      remember: (head: Head) =>
        typed(sql`INSERT INTO head (only, size, root) VALUES (0, ${head.size}, ${head.root})
          ON CONFLICT (only) DO UPDATE SET size = excluded.size, root = excluded.root`),

      /** The entries that some keys have already, each with the number of its key. */
      find: (keys: ReadonlyArray<Pick<Mapped, "stream" | "id">>) =>
        typed(Effect.map(
          Effect.forEach(byStream(keys), ({ members, stream }) =>
            Effect.map(
              sql<{ readonly key: number; readonly position: number; readonly hash: string }>`
                SELECT k.key, e.position, lower(hex(e.content_hash)) AS hash
                FROM json_each(${JSON.stringify(members.map((key) => keys[key]?.id))}) AS k
                CROSS JOIN entry AS e ON e.stream = ${numberOf(stream)} AND e.id = unhex(k.value, '-')`,
              (rows) => rows.map((row) => ({ ...row, key: members[row.key] ?? -1 }))
            )),
          (found) => found.flat()
        )),

      /** How many entries below an index it names, and the last entry of all. */
      count: (index: number) =>
        typed(Effect.map(
          sql<{ readonly below: number; readonly last: number | null }>`
            SELECT count(*) FILTER (WHERE position < ${index}) AS below, max(position) AS last FROM entry`,
          ([row]) => ({ below: row?.below ?? 0, last: row?.last ?? undefined })
        )),

      /** Adds entries. The first entry of a key stays the one that it names. */
      add: (entries: ReadonlyArray<Mapped>) =>
        typed(Effect.forEach(byStream(entries), ({ members, stream }) => {
          // Texts of fixed parts, which SQLite takes apart in half the time that it needs for JSON.
          const rows = JSON.stringify(members.map((member) => {
            const entry = entries[member]
            return entry === undefined ? "" : entry.id + entry.contentHash + entry.index
          }))
          return Effect.zipRight(
            sql`INSERT INTO stream (name) VALUES (${nameOf(stream)}) ON CONFLICT (name) DO NOTHING`,
            sql`INSERT INTO entry (stream, id, position, content_hash)
              SELECT ${numberOf(stream)}, unhex(substr(value, 1, 36), '-'), CAST(substr(value, 101) AS INTEGER),
                unhex(substr(value, 37, 64))
              FROM json_each(${rows}) WHERE true
              ON CONFLICT (stream, id) DO NOTHING`
          )
        }, { discard: true }))
    }
  })

/**
 * Opens the map to read it. On a medium that cannot be written, where SQLite cannot read a file that it has left with its
 * log beside it, a copy is read: an auditor has evidence in such a place.
 */
export const openToRead = (
  file: string,
  options: { readonly lockWait: Duration.DurationInput }
): Effect.Effect<Map, LedgerError, FileSystem.FileSystem | Scope.Scope> =>
  Effect.catchIf(
    open(file, { ...options, readonly: true }),
    (error) => error.reason === "readOnly" || error.reason === "io",
    (error) =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const copy = `${yield* fs.makeTempDirectoryScoped({ prefix: "trustlog-map-" })}/${fileName}`
        for (const part of ["", "-wal"]) {
          if (yield* fs.exists(file + part)) yield* fs.copyFile(file + part, copy + part)
        }
        return yield* open(copy, { ...options, readonly: true })
      }).pipe(Effect.mapError(() => error))
  )

/** What a ledger's map remembers, read without changing anything. */
export const readHead = (file: string): Effect.Effect<Head | undefined, LedgerError, FileSystem.FileSystem> =>
  Effect.scoped(Effect.flatMap(openToRead(file, { lockWait: "1 second" }), (map) => map.view(map.head)))
