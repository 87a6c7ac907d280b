/**
 * PostgreSQL 13 or newer. Nothing here needs a session: every statement and transaction may go over a pooler that hands
 * connections out transaction by transaction.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { Fragment } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as directStatement from "../directStatement.ts"
import { postgresql as migrations } from "../migrations.generated.ts"
import { marked } from "../preparedStatements.ts"
import * as rows from "../rows.ts"
import * as transaction from "../transaction.ts"
import type { Bracket, Columns, Dialect } from "./Dialect.ts"
import { classify, isCollision, messageOf } from "./postgresqlErrors.ts"

const quote = (name: string): string => `"${name.replaceAll("\"", "\"\"")}"`

/** Each part costs less than a regular expression for both, and most texts have neither. */
const escaped = (text: string): string => text.replaceAll("\\", "\\\\").replaceAll("\"", "\\\"")

/** An array as PostgreSQL reads it. Neighbours are often the same: who did it, and what. */
const array = (values: ReadonlyArray<string | number | null>): string => {
  let last: string | number | null = null
  let text = "NULL"
  const element = (value: string | number | null): string => {
    if (value !== last) {
      last = value
      text = value === null ? "NULL" : typeof value === "number" ? String(value) : `"${escaped(value)}"`
    }
    return text
  }
  return `{${values.map(element).join(",")}}`
}

const types: Record<typeof rows.newColumns[number], string> = {
  id: "uuid",
  kind: "text",
  lane: "text",
  strategy: "text",
  occurred_at: "timestamptz",
  actor: "text",
  action: "text",
  target: "text",
  source: "text",
  payload: "text",
  payload_bytes: "int",
  request_hash: "text",
  response_hash: "text",
  client_ip: "text",
  server_ip: "text",
  traceparent: "text",
  content_hash: "text"
}

// What no program of ours has written (an infinity, a year before Christ) is shown as it is, and so as no time of ours.
const timeText = (column: string): string =>
  `CASE WHEN ${column} BETWEEN '1000-01-01 00:00:00+00' AND '9999-12-31 23:59:59.999999+00'
    THEN to_char(${column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') ELSE ${column}::text END`

const shown = ([name, column]: readonly [string, string]): string =>
  `${name.endsWith("_at") ? timeText(column) : name === "id" ? `${column}::text` : column} AS ${quote(name)}`

/**
 * Everything that a worker or a verification reads it finds by an index and in the index's order. Without statistics, which
 * tables whose rows come and go seldom have, the planner expects a hundred rows where there are millions, and would read
 * and sort all of them for each page. What can only be sorted then seems so dear that it would be compiled first (94 ms).
 */
const inOrder = "SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_seqscan = off; " +
  "SET LOCAL jit = off"

/** A process that hangs, or that waits, in the middle of a transaction keeps nobody out for longer than a lease lasts. */
const impatience = (lockSeconds: number): string =>
  `SET LOCAL idle_in_transaction_session_timeout = '5s'; SET LOCAL lock_timeout = '${lockSeconds}s'`

/** A worker waits so many seconds for what somebody else has locked. */
const patience = 5

const worker = (lockSeconds: number): Bracket => ({
  begin: [`BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; ${impatience(lockSeconds)}; ${inOrder}`],
  end: []
})

/**
 * What PostgreSQL itself goes by when it removes dead rows of an ordinary table: snapshots and transactions of this
 * database, and of standbys, which belong to none (not those of a VACUUM, which does not hold back others); prepared
 * transactions of this database; slots with an `xmin` (`catalog_xmin` holds back the system's own tables only). The user
 * who asks sees of other people's connections at least who they are, and how old their transactions are in transactions.
 */
const horizon = `SELECT h.kind, EXTRACT(EPOCH FROM (clock_timestamp() - h.began)) AS age_seconds, h.age_transactions,
    h.pid, h.name, h.user_name, h.application, h.state, ${timeText("h.began")} AS since
  FROM (
    SELECT 'backend' AS kind, a.xact_start AS began, GREATEST(age(a.backend_xid), age(a.backend_xmin)) AS age_transactions,
      a.pid, NULL AS name, a.usename::text AS user_name, NULLIF(a.application_name, '') AS application, a.state
    FROM pg_stat_activity a
    WHERE a.pid <> pg_backend_pid() AND (a.backend_xid IS NOT NULL OR a.backend_xmin IS NOT NULL)
      AND (a.datname = current_database() OR a.datid IS NULL OR a.datid = 0)
      AND a.pid NOT IN (SELECT v.pid FROM pg_stat_progress_vacuum v)
    UNION ALL
    SELECT 'prepared', p.prepared, age(p.transaction), NULL, p.gid, p.owner::text, NULL, NULL
    FROM pg_prepared_xacts p WHERE p.database = current_database()
    UNION ALL
    SELECT 'replicationSlot', NULL, age(s.xmin), s.active_pid, s.slot_name::text, NULL, NULL,
      CASE WHEN s.active THEN 'active' ELSE 'inactive' END
    FROM pg_replication_slots s WHERE s.xmin IS NOT NULL
  ) h
  ORDER BY h.age_transactions DESC, h.began NULLS LAST LIMIT 1`

/** The parameters of an INSERT are its statement's first. */
const one = `VALUES (${rows.newColumns.map((name, i) => `$${i + 1}::${types[name]}`).join(", ")})`

/** Payloads are the longest, full of quotes, and canonical JSON: there is no line feed in one, and none is empty. */
const many = `SELECT * FROM unnest(${
  rows.newColumns.map((name, i) =>
    name === "payload" ? `string_to_array($${i + 1}::text, E'\\n', '')` : `$${i + 1}::${types[name]}[]`
  ).join(", ")
})`

const arrayOf = (name: typeof rows.newColumns[number], entries: ReadonlyArray<rows.NewRow>): string => {
  const values = entries.map((row) => row[name])
  return name === "payload" ? values.join("\n") : array(values)
}

export const make = (sql: SqlClient): Dialect => {
  const prepared = sql.literal(marked(""))
  const newColumns = sql.literal(rows.newColumns.join(", "))
  const isAny = (type: string) => (column: string, values: ReadonlyArray<string | number>) =>
    sql`${sql.literal(column)} = ANY (${array(values)}::${sql.literal(type)}[])`
  return {
    migrations,
    canBeHalfMade: false,
    migrating: (name, onFailure) => (effect) =>
      transaction.joining(sql, { begin: ["BEGIN ISOLATION LEVEL READ COMMITTED"], end: [] }, onFailure)(
        Effect.zipRight(
          Effect.mapError(sql`SELECT pg_advisory_xact_lock(hashtextextended(${name}, 0))`, onFailure),
          effect
        )
      ),
    createSchema: (schema) => `CREATE SCHEMA IF NOT EXISTS ${quote(schema)}`,
    // Not `to_regclass`: what that found missing before a lock was waited for, it takes for missing after it as well.
    named: (schema, names) =>
      sql<{ readonly name: string }>`SELECT c.relname AS name FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relname = ANY (${array(names)}::text[])
          AND ${schema === undefined ? sql.literal("pg_table_is_visible(c.oid)") : sql`n.nspname = ${schema}`}`,
    quote,

    host: { begin: ["BEGIN"], end: [] },
    worker: worker(patience),
    renewal: worker(1),
    snapshot: { begin: [`BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; ${inOrder}`], end: [] },
    paging: { begin: [`BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; ${impatience(patience)}; ${inOrder}`], end: [] },

    forUpdate: sql.literal("FOR UPDATE"),
    forUpdateSkipLocked: sql.literal("FOR UPDATE SKIP LOCKED"),
    // Read committed sees it by itself; stricter isolations have failed with a serialisation error by then.
    asCommitted: sql.literal(""),

    time: (offsetMillis) =>
      Effect.succeed(
        offsetMillis === 0
          ? sql.literal("clock_timestamp()")
          : sql`(clock_timestamp() + ${offsetMillis}::double precision * interval '1 millisecond')`
      ),
    seconds: (from, to) => sql`EXTRACT(EPOCH FROM (${to} - ${from}))`,
    timestamp: (text) => sql`${text}::timestamptz`,
    bytes: (bytes) => sql`${bytes}`,

    isOneOf: isAny("bigint"),
    isOneOfTexts: isAny("text"),
    isOneOfIds: isAny("uuid"),

    select: <A extends object>(columns: Columns, rest: Fragment, bytes: ReadonlyArray<string> = []) =>
      sql<A>`SELECT ${sql.literal([...Object.entries(columns).map(shown), ...bytes].join(", "))} ${rest}`,

    insertOperations: ({ operation, pending }) => {
      const insert = (source: string) => {
        const [text] = sql`${prepared}WITH added AS (
          INSERT INTO ${operation} (${newColumns}) ${sql.literal(source)}
          ON CONFLICT (id) DO NOTHING
          RETURNING position, id, lane, strategy
        ), waiting AS (
          INSERT INTO ${pending} (lane, position) SELECT lane, position FROM added WHERE strategy = 'DbAndTrustlog'
        ) SELECT position, id::text AS id FROM added`.compile()
        return directStatement.constant<{ readonly position: string; readonly id: string }>(sql, text)
      }
      // One row is a statement of its own: planning what reads rows from arrays costs more than inserting one.
      const [insertOne, insertMany] = [insert(one), insert(many)]
      return (entries) => {
        const [first] = entries
        const isOne = first !== undefined && entries.length === 1
        return Effect.map(
          (isOne ? insertOne : insertMany)(
            rows.newColumns.map((name) => isOne ? first[name] : arrayOf(name, entries))
          ),
          (added) => added.map(({ id, position }) => ({ id, position: Number(position) }))
        )
      }
    },
    appendsAtOnce: Effect.succeed(true),

    unionSize: 64,
    insertSize: (rows, columns) => Math.min(rows, Math.floor(60_000 / columns)),
    onRepeatedName: (set) =>
      set === undefined ? sql`ON CONFLICT (name) DO NOTHING` : sql`ON CONFLICT (name) DO UPDATE SET ${set}`,
    // Between their ends there is little more than these, whatever way a planner without statistics goes.
    deleteByKey: (table, key, values) => {
      const column = sql.literal(`t.${key}`)
      const [first, last] = values.reduce<readonly [number, number]>(
        ([first, last], value) => [Math.min(first, value), Math.max(last, value)],
        [values[0] ?? 0, values[0] ?? 0]
      )
      return sql`DELETE FROM ${table} AS t
        WHERE ${column} BETWEEN ${first} AND ${last} AND ${isAny("bigint")(`t.${key}`, values)}`
    },
    together: (first, ...others) =>
      others.length === 0
        ? sql`${first}`
        : sql`WITH ${sql.csv(others.map((other, i) => sql`${sql.literal(`also_${i}`)} AS (${other})`))} ${first}`,
    atOnce: {
      clock: "(SELECT clock_timestamp())",
      // Everything hangs on the row that was changed, not on one that was seen: what is seen may be older than what is locked.
      // The look at the row comes first, and so does the bound on what is waited for behind it.
      change: ({ cursor, name, others, set, where }) => {
        const also = others(sql.literal("EXISTS (SELECT 1 FROM changed)"))
        return Effect.map(
          sql`WITH changed AS (
              UPDATE ${cursor} SET ${set}
              WHERE name = (
                SELECT name FROM ${cursor}
                WHERE name = ${name} AND set_config('lock_timeout', ${`${patience}s`}, true) IS NOT NULL
                FOR UPDATE SKIP LOCKED
              ) AND ${where}
              RETURNING 1
            ), ${sql.csv(also.map((other, i) => sql`${sql.literal(`also_${i}`)} AS (${other})`))}
            SELECT 1 FROM changed`,
          (changed) => changed.length === 1
        )
      }
    },
    // Any other join may read the rows of all lanes between the first and the last of a page.
    joinOperation: (operation, left) =>
      sql`CROSS JOIN LATERAL (SELECT * FROM ${operation} q WHERE q.position = ${sql.literal(left)}.position LIMIT 1) o`,
    // Delivered rows stay in the index until they are vacuumed, which an old snapshot can put off for hours. So lanes that
    // have a row are stepped over, their pending entries unread.
    pendingLanes: ({ cursor, pending }) =>
      sql`WITH RECURSIVE known AS (
          SELECT substr(name, 6) AS lane FROM ${cursor} WHERE name LIKE 'lane/%' UNION ALL SELECT ''
        ), gap AS (
          SELECT lane, COALESCE(LEAD(lane) OVER (ORDER BY lane), '~') AS upper FROM known
        ), found AS (
          SELECT (SELECT p.lane FROM ${pending} p WHERE p.lane > gap.lane AND p.lane < gap.upper
            ORDER BY p.lane LIMIT 1) AS lane, upper FROM gap
          UNION ALL
          SELECT (SELECT p.lane FROM ${pending} p WHERE p.lane > found.lane AND p.lane < found.upper
            ORDER BY p.lane LIMIT 1), upper FROM found WHERE lane IS NOT NULL
        ) SELECT lane FROM found WHERE lane IS NOT NULL`,

    // One look at the end of an index that nothing is deleted from. What commits late lies below it, and is found by the
    // polls that follow a hint, by a notification, or by the next scan.
    watch: {
      every: "250 millis",
      signature: ({ cursor, operation }) =>
        sql`SELECT (SELECT max(position) FROM ${operation}) AS newest,
          (SELECT epoch FROM ${cursor} WHERE name = 'pause') AS pauses`
    },
    notify: (channel, payload) => sql`SELECT pg_notify(${channel}, ${payload})`,

    horizon: sql.literal(horizon),

    classify,
    isCollision,
    describe: messageOf
  }
}
