/**
 * MySQL 8.0.19 or newer, and MariaDB 10.6 or newer.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import type { Fragment } from "@effect/sql/Statement"
import * as Statement from "@effect/sql/Statement"
import { bytesToHex } from "@noble/hashes/utils.js"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { DatabaseError } from "../../TrustlogError.ts"
import { mysql as migrations } from "../migrations.generated.ts"
import * as rows from "../rows.ts"
import type { Tables } from "../tables.ts"
import * as transaction from "../transaction.ts"
import type { Bracket, Columns, Dialect, Positioned } from "./Dialect.ts"
import * as fragments from "./fragments.ts"
import { classify, isCollision, isRepeated, messageOf } from "./mysqlErrors.ts"

const quote = (name: string): string => `\`${name.replaceAll("`", "``")}\``

const hexOf = (id: string): string => id.replaceAll("-", "")

const shown = ([name, column]: readonly [string, string]): string => {
  const value = name.endsWith("_at")
    ? `DATE_FORMAT(${column}, '%Y-%m-%dT%H:%i:%s.%fZ')`
    : name === "id"
    ? `LOWER(INSERT(INSERT(INSERT(INSERT(HEX(${column}), 9, 0, '-'), 14, 0, '-'), 19, 0, '-'), 24, 0, '-'))`
    : column
  return `${value} AS ${quote(name)}`
}

/**
 * The next power of two. Statements are prepared and kept by their text: with lists of these lengths only, there are few
 * texts.
 */
const roundedUp = (length: number): number => 2 ** Math.ceil(Math.log2(length))

/** So many rows are inserted by one statement at most. */
const maxRows = 512

const insertSize = (rows: number): number => Math.min(maxRows, 2 ** Math.floor(Math.log2(rows)))

/** How often others may take ids between our looking for them and our inserting them. */
const maxRaces = 10

/**
 * Under REPEATABLE READ, the default, a settlement would keep hosts from appending until it has committed. The server
 * ends the connection of a process that hangs in the middle of a transaction (`wait_timeout`).
 */
const worker = (lockSeconds: number): Bracket => ({
  begin: [
    "SET @trustlog_wait = @@SESSION.wait_timeout, @trustlog_lock_wait = @@SESSION.innodb_lock_wait_timeout; " +
    `SET SESSION wait_timeout = 5, SESSION innodb_lock_wait_timeout = ${lockSeconds}; ` +
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION READ WRITE"
  ],
  end: ["SET SESSION wait_timeout = @trustlog_wait, SESSION innodb_lock_wait_timeout = @trustlog_lock_wait"]
})

export const make = (sql: SqlClient): Dialect => {
  const isIn = <A>(column: string, values: ReadonlyArray<A>, placeholder: string, valueOf: (value: A) => unknown) => {
    const last = values.at(-1)
    if (last === undefined) return sql.literal("1 = 0")
    const padding = Array.from({ length: roundedUp(values.length) - values.length }, () => last)
    const all = [...values, ...padding].map(valueOf)
    return Statement.unsafeFragment(`${column} IN (${all.map(() => placeholder).join(", ")})`, all)
  }
  const isOneOf = (column: string, values: ReadonlyArray<number>) => isIn(column, values, "?", (value) => value)
  const isOneOfTexts = (column: string, values: ReadonlyArray<string>) => isIn(column, values, "?", (value) => value)
  const isOneOfIds = (column: string, ids: ReadonlyArray<string>) => isIn(column, ids, "UNHEX(?)", hexOf)

  const select = <A extends object>(columns: Columns, rest: Fragment, bytes: ReadonlyArray<string> = []) =>
    sql<A>`SELECT ${sql.literal([...Object.entries(columns).map(shown), ...bytes].join(", "))} ${rest}`

  const positioned = (tables: Tables, ids: ReadonlyArray<string>, lock: string) =>
    Effect.map(
      select<Positioned>(
        { position: "o.position", id: "o.id" },
        sql`FROM ${tables.operation} o WHERE ${isOneOfIds("o.id", ids)} ${sql.literal(lock)}`
      ),
      (found) => found.map(({ id, position }) => ({ id, position: Number(position) }))
    )

  const rowTuple = `(${rows.newColumns.map((name) => name === "id" ? "UNHEX(?)" : "?").join(", ")})`

  const insert = (tables: Tables, chunk: ReadonlyArray<rows.NewRow>) =>
    sql`INSERT INTO ${tables.operation} (${sql.literal(rows.newColumns.join(", "))}) VALUES ${
      Statement.unsafeFragment(
        chunk.map(() => rowTuple).join(", "),
        chunk.flatMap((row) =>
          rows.newColumns.map((name) =>
            name === "id" ? hexOf(row.id) : name === "occurred_at" ? datetime(row.occurred_at) : row[name]
          )
        )
      )
    }`

  /** Inserts those of some rows that are not there yet, whoever else inserts the same meanwhile, and returns their ids. */
  const insertNew = (tables: Tables, part: ReadonlyArray<rows.NewRow>) =>
    Effect.gen(function*() {
      let left = part
      for (let races = 0; left.length > 0; races++) {
        const inserted = yield* Effect.either(insert(tables, left))
        if (Either.isRight(inserted)) break
        if (!isRepeated(inserted.left) || races === maxRaces) return yield* inserted.left
        // A locking read sees what is there also where the host's snapshot is older. One that excluded others (FOR UPDATE)
        // would deadlock with whoever asks the same.
        const ids = left.map(({ id }) => id)
        const taken = new Set((yield* positioned(tables, ids, "LOCK IN SHARE MODE")).map(({ id }) => id))
        left = left.filter(({ id }) => !taken.has(id))
      }
      return left.map(({ id }) => id)
    })

  const insertOperations: Dialect["insertOperations"] = (tables) => (entries) =>
    Effect.gen(function*() {
      // A duplicate that an INSERT meets stays locked until the host's transaction ends. So ids that a host has given are
      // looked for first.
      const given = entries.filter((row) => !row.isIdNew).map(({ id }) => id)
      const known = new Set(given.length === 0 ? [] : (yield* positioned(tables, given, "")).map(({ id }) => id))
      const unique = new Map<string, rows.NewRow>()
      for (const row of entries) {
        if (!known.has(row.id) && !unique.has(row.id)) unique.set(row.id, row)
      }
      const parts = fragments.chunks(Array.from(unique.values()), insertSize)
      const inserted = (yield* Effect.forEach(parts, (part) => insertNew(tables, part))).flat()
      if (inserted.length === 0) return []
      const added = yield* positioned(tables, inserted, "")
      const waiting = added.flatMap(({ id, position }) => {
        const row = unique.get(id)
        return row?.strategy === "DbAndTrustlog" ? [{ lane: row.lane, position }] : []
      })
      for (const part of fragments.chunks(waiting, insertSize)) {
        yield* sql`INSERT INTO ${tables.pending} ${
          Statement.unsafeFragment(
            fragments.values(["lane", "position"], part.length),
            part.flatMap(({ lane, position }) => [lane, position])
          )
        }`
      }
      return added
    })

  return {
    migrations,
    canBeHalfMade: true,
    migrating: (name, onFailure) => (effect) =>
      transaction.own(sql, { begin: [], end: [] }, onFailure)(Effect.acquireUseRelease(
        Effect.flatMap(
          Effect.mapError(sql<{ readonly held: number | null }>`SELECT GET_LOCK(${name}, 60) AS held`, onFailure),
          ([answer]) =>
            Number(answer?.held) === 1 ? Effect.void : onFailure(
              new SqlError({
                cause: new DatabaseError({ reason: "locked", problem: "another process is preparing the tables" })
              })
            )
        ),
        () => effect,
        () =>
          Effect.catchAll(sql`DO RELEASE_LOCK(${name})`, (error) => Effect.logDebug("lost with the connection", error))
      )),
    createSchema: (schema) => `CREATE DATABASE IF NOT EXISTS ${quote(schema)}`,
    named: (schema, names) =>
      sql<{ readonly name: string }>`SELECT LOWER(t.table_name) AS name FROM information_schema.tables t
        WHERE t.table_schema = ${schema === undefined ? sql.literal("DATABASE()") : sql`${schema}`}
          AND ${isOneOfTexts("LOWER(t.table_name)", names.map((name) => name.toLowerCase()))}`,
    quote,

    host: { begin: ["START TRANSACTION"], end: [], endsOnFailure: true },
    worker: worker(5),
    renewal: worker(1),
    snapshot: {
      begin: [
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"
      ],
      end: []
    },
    paging: undefined,

    forUpdate: sql.literal("FOR UPDATE"),
    forUpdateSkipLocked: sql.literal("FOR UPDATE SKIP LOCKED"),
    asCommitted: sql.literal("LOCK IN SHARE MODE"),

    time: (offsetMillis) =>
      Effect.succeed(
        offsetMillis === 0
          ? sql.literal("UTC_TIMESTAMP(6)")
          : sql`(UTC_TIMESTAMP(6) + INTERVAL ${String(Math.round(offsetMillis * 1000))} MICROSECOND)`
      ),
    seconds: (from, to) => sql`TIMESTAMPDIFF(MICROSECOND, ${from}, ${to}) / 1000000`,
    timestamp: (text) => sql`${datetime(text)}`,
    bytes: (bytes) => sql`UNHEX(${bytesToHex(bytes)})`,

    isOneOf,
    isOneOfTexts,
    isOneOfIds,
    select,

    insertOperations,
    appendsAtOnce: Effect.succeed(false),

    insertSize,
    unionSize: 64,
    onRepeatedName: (set) => sql`ON DUPLICATE KEY UPDATE ${set ?? sql.literal("name = name")}`,
    // Given a list, MySQL scans a table that holds little else, whatever index is forced: the usual case of a lane that has
    // caught up. Given a join, it has to look up row after row.
    deleteByKey: (table, key, values) =>
      sql`DELETE t FROM JSON_TABLE(${JSON.stringify(values)}, '$[*]' COLUMNS (k BIGINT PATH '$')) AS wanted
        STRAIGHT_JOIN ${table} AS t FORCE INDEX (PRIMARY) ON t.${sql.literal(key)} = wanted.k WHERE 1 = 1`,
    together: (...statements) => fragments.oneByOne(sql, statements),
    atOnce: undefined,
    joinOperation: (operation, left) => sql`STRAIGHT_JOIN ${operation} o ON o.position = ${sql.literal(left)}.position`,
    // Grouping by the beginning of an index skips from group to group.
    pendingLanes: ({ pending }) => sql`SELECT lane FROM ${pending} GROUP BY lane`,

    // The newest row, and the first that waits: it may have committed after newer ones. And what resumes a lane.
    watch: {
      every: "250 millis",
      signature: ({ cursor, operation, pending }) =>
        sql`SELECT (SELECT MAX(position) FROM ${operation}) AS newest,
          (SELECT position FROM ${pending} ORDER BY lane, position LIMIT 1) AS waiting,
          (SELECT epoch FROM ${cursor} WHERE name = 'pause') AS pauses`
    },
    notify: undefined,
    horizon: undefined,

    classify,
    isCollision,
    describe: messageOf
  }
}

/** A canonical timestamp as MySQL writes them: the zone would be read as a wish for the session's. */
const datetime = (timestamp: string): string => timestamp.replace("T", " ").replace("Z", "")
