/**
 * Appending in a transaction of another client: what it has to execute, as text and parameters.
 *
 * Nothing here talks to a database, so this runs on every runtime and with every client. Execute the statements in their
 * order, in the transaction whose fate the operations shall share; after its commit nothing else is needed, since the
 * workers find them by polling.
 */
import * as Clock from "effect/Clock"
import * as Either from "effect/Either"
import * as Envelope from "./Envelope.ts"
import type * as Migrations from "./Migrations.ts"
import { type Input, type Lane, OperationId, timestampOf } from "./Operation.ts"
import { maxBatch } from "./Repository.ts"
import type { Stored } from "./Strategy.ts"
import { DatabaseError, InvalidOperation, OperationConflict } from "./TrustlogError.ts"
import * as rows from "./internal/rows.ts"
import { inBatch, laneFor, validated } from "./internal/stated.ts"
import * as tables from "./internal/tables.ts"

/** What a parameter may be: every client binds these alike. */
export type Param = string | number | null

/** What another client executes. */
export interface Statement {
  /** The text, with a placeholder for each parameter. */
  readonly sql: string
  readonly params: ReadonlyArray<Param>
  /** The text between the parameters, for clients that take tagged templates: `tag(strings, ...params)`. */
  readonly strings: TemplateStringsArray
}

/** Which database, how its tables are named, and how its client writes parameters. */
export type Target =
  & Migrations.Options
  & (
    | {
      readonly dialect: "postgresql"
      /** `$1`, or `?` for clients that number parameters themselves (Knex); `numbered` by default. */
      readonly placeholders?: "numbered" | "question" | undefined
    }
    /** `mysql` is MariaDB as well. Parameters are `?`. */
    | { readonly dialect: "mysql" | "sqlite" }
  )

/** What to append, and where. */
export type Options = Target & {
  /** What the database's statement `stream` gave: the content hash covers it. */
  readonly stream: string
  /** At most `Repository.maxBatch`. */
  readonly operations: ReadonlyArray<Input>
  /** `DbAndTrustlog` by default. */
  readonly strategy?: Stored | undefined
  /** A name makes the operations' lane `<kind>/<name>`, delivered on its own: per tenant, or per shard. */
  readonly lane?: string | undefined
}

/** Statements that append. */
export interface Append {
  /** The operations' ids, in their order. */
  readonly ids: ReadonlyArray<OperationId>
  /** To be executed one after the other, each once. */
  readonly statements: ReadonlyArray<Statement>
}

/** What became of an operation on PostgreSQL; a repeated id is a `duplicate`, or `promoted` where it was only stored. */
export interface Outcome {
  readonly id: OperationId
  readonly outcome: "appended" | "promoted" | "duplicate"
}

/**
 * The statements that append operations.
 *
 * On PostgreSQL their rows say what became of each id: give all of them to `outcomes`. On the others an id that is there
 * already is the client's own duplicate-key error (MySQL 1062, `SQLITE_CONSTRAINT_UNIQUE`): roll back, since on MySQL the
 * failed statement keeps a lock. One id that is stated twice is appended once, or a conflict.
 */
export const append = (options: Options): Either.Either<Append, InvalidOperation | OperationConflict> =>
  Either.gen(function*() {
    const dialect = yield* dialectOf(options)
    const { strategy = "DbAndTrustlog", stream } = options
    if (strategy !== "DbAndTrustlog" && strategy !== "DbOnly") {
      return yield* refused(
        "strategy",
        "write DbAndTrustlog or DbOnly; an operation without a row needs no transaction"
      )
    }
    if (!uuid.test(stream)) {
      return yield* refused("stream", "give what the statement of `Statements.stream` reads: a UUID")
    }
    if (!Array.isArray(options.operations)) {
      const cure = "write an array of operations"
      return yield* Either.left(new InvalidOperation({ field: "operations", reason: "type", cure }))
    }
    const operations = yield* validated(options.operations)
    const now = timestampOf(clock.unsafeCurrentTimeMillis())
    const entries = new Map<string, Entry>()
    let bytes = 0
    for (const [index, operation] of operations.entries()) {
      const lane = yield* laneFor(operation, options.lane)
      const first = entries.get(operation.id)
      if (first !== undefined) {
        if (first.lane !== lane) return yield* conflict(operation.id, "lane")
        const restated = Envelope.contentHash(stream, Envelope.recorded(operation, first.occurredAt))
        if (restated !== first.row.content_hash) return yield* conflict(operation.id, "content")
        continue
      }
      const kept = yield* Either.mapLeft(Envelope.keep(stream, operation, now), inBatch(operations.length, index))
      bytes += kept.bytes
      entries.set(operation.id, {
        lane,
        bytes: kept.bytes,
        isTimed: operation.occurredAt !== undefined,
        occurredAt: kept.entry.occurredAt,
        row: rows.toRow(kept, { lane, strategy, isIdNew: false })
      })
    }
    if (entries.size > maxBatch.rows || bytes > maxBatch.bytes) {
      const cure = `append at most ${maxBatch.rows} operations and ${maxBatch.bytes} bytes at once; ` +
        `this batch has ${entries.size} and ${bytes}`
      return yield* Either.left(new InvalidOperation({ field: "", reason: "tooLarge", cure }))
    }
    return {
      ids: operations.map(({ id }) => id),
      statements: chunks(Array.from(entries.values())).flatMap((chunk) => dialect.append(chunk, strategy))
    }
  })

/**
 * The statement that reads the database's stream id: a row with the column `stream`, which stays the same for the life of
 * the database. Execute it once, and give its rows to `streamOf`.
 */
export const stream = (target: Target): Either.Either<Statement, InvalidOperation> =>
  Either.map(dialectOf(target), (dialect) => dialect.stream)

/** The stream id in the rows of the statement `stream`. */
export const streamOf = (rows: ReadonlyArray<unknown>): Either.Either<string, DatabaseError> => {
  const stream = textOf(rows[0], "stream")
  return stream === undefined
    ? Either.left(
      new DatabaseError({ reason: "missing", problem: "the database has no stream id: run `trustlog init`" })
    )
    : Either.right(stream)
}

/**
 * Judges the rows of the statements of `append` on PostgreSQL, which all have been executed.
 *
 * `OperationConflict`: an id is recorded with other content, or in another lane. The others are appended none the less, so
 * roll the transaction back unless it shall go on without this one. `DatabaseError` with the reason `locked`: another
 * transaction has just committed the same id, which the statement met but could not see; execute the statements again.
 */
export const outcomes = (
  rows: ReadonlyArray<unknown>
): Either.Either<ReadonlyArray<Outcome>, OperationConflict | DatabaseError> =>
  Either.all(rows.map((row): Either.Either<Outcome, OperationConflict | DatabaseError> => {
    const id = OperationId.make(textOf(row, "id") ?? "", { disableValidation: true })
    const outcome = textOf(row, "outcome")
    switch (outcome) {
      case "appended":
      case "promoted":
      case "duplicate":
        return Either.right({ id, outcome })
      case "conflict":
        return conflict(id, textOf(row, "reason") === "lane" ? "lane" : "content")
      case "unseen":
        return Either.left(
          new DatabaseError({
            reason: "locked",
            problem: `operation ${id} was being appended by another transaction; execute the statements again`
          })
        )
      default:
        return Either.left(
          new DatabaseError({ reason: "unknown", problem: "these are not the rows of statements that append" })
        )
    }
  }))

// internal

/** An operation whose row is ready. */
interface Entry {
  readonly lane: Lane
  readonly bytes: number
  /** Whether the caller gave the time; one that was filled in is not compared with that of an earlier append. */
  readonly isTimed: boolean
  readonly occurredAt: Envelope.Recorded["occurredAt"]
  readonly row: rows.NewRow
}

type Part = string | { readonly param: Param }

interface Dialect {
  readonly append: (entries: ReadonlyArray<Entry>, strategy: Stored) => ReadonlyArray<Statement>
  readonly stream: Statement
}

/**
 * So much goes into one statement: MariaDB makes a join of IN lists of 1,000, SQLite binds 32,766 parameters, and a server
 * takes 16 MiB, of which a client that escapes may make two bytes from one.
 */
const maxStatement = { rows: 500, bytes: 4 * 1024 * 1024 }

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/
const clock = Clock.make()

const columns = rows.newColumns

const refused = (field: string, cure: string) => Either.left(new InvalidOperation({ field, reason: "format", cure }))

const conflict = (id: string, reason: OperationConflict["reason"]) => Either.left(new OperationConflict({ id, reason }))

const textOf = (row: unknown, column: string): string | undefined => {
  const value: unknown = typeof row === "object" && row !== null ? Reflect.get(row, column) : undefined
  return typeof value === "string" ? value : undefined
}

const chunks = (entries: ReadonlyArray<Entry>): ReadonlyArray<ReadonlyArray<Entry>> => {
  const chunks: Array<Array<Entry>> = []
  let bytes = 0
  for (const entry of entries) {
    const chunk = chunks.at(-1)
    bytes += entry.bytes
    if (chunk === undefined || chunk.length >= maxStatement.rows || bytes > maxStatement.bytes) {
      chunks.push([entry])
      bytes = entry.bytes
    } else chunk.push(entry)
  }
  return chunks
}

const join = <A>(values: ReadonlyArray<A>, separator: string, part: (value: A, index: number) => ReadonlyArray<Part>) =>
  values.flatMap((value, index) => index === 0 ? part(value, index) : [separator, ...part(value, index)])

const statement = (parts: ReadonlyArray<Part>, placeholder: (index: number) => string): Statement => {
  const strings: Array<string> = []
  const params: Array<Param> = []
  let text = ""
  for (const part of parts) {
    if (typeof part === "string") text += part
    else {
      strings.push(text)
      params.push(part.param)
      text = ""
    }
  }
  strings.push(text)
  return {
    sql: strings.reduce((sql, text, index) => sql + placeholder(index) + text),
    params,
    strings: Object.assign(strings, { raw: strings })
  }
}

const dialectOf = (target: Target): Either.Either<Dialect, InvalidOperation> =>
  Either.gen(function*() {
    const refusal = tables.refused(target)
    if (refusal !== undefined) return yield* refused(refusal.field, refusal.cure)
    const table = (mark: string) => (name: string) => {
      const quote = (name: string) => `${mark}${name}${mark}`
      return tables.qualifier(quote, target.schema) + quote(`${target.prefix ?? ""}${name}`)
    }
    switch (target.dialect) {
      case "postgresql": {
        const { placeholders = "numbered" } = target
        if (placeholders !== "numbered" && placeholders !== "question") {
          return yield* refused("placeholders", "write numbered or question")
        }
        return postgresql(table(`"`), placeholders === "numbered" ? (index) => `$${index}` : () => "?")
      }
      case "mysql":
        return mysql(table("`"))
      case "sqlite":
        return sqlite(table(`"`))
      default:
        return yield* refused("dialect", "write postgresql, mysql or sqlite")
    }
  })

const streamParts = (table: (name: string) => string): ReadonlyArray<Part> => [
  `SELECT value AS stream FROM ${table("trustlog_cursor")} WHERE name = 'stream'`
]

/** Other columns are text, and so are the fields that make the content. */
const types: Readonly<Record<string, string>> = {
  id: "uuid",
  occurred_at: "timestamptz",
  payload_bytes: "integer"
}

const content = [
  "kind",
  "actor",
  "action",
  "target",
  "source",
  "payload",
  "request_hash",
  "response_hash",
  "client_ip",
  "server_ip",
  "traceparent"
]

const of = (alias: string, names: ReadonlyArray<string>) => names.map((name) => `${alias}.${name}`).join(", ")

/**
 * One statement does all, so that no id can come in between. Its parts see the tables as they were when it began: a row
 * that another transaction committed since then stops the insert, but is not there to be compared with.
 */
const postgresql = (table: (name: string) => string, placeholder: (index: number) => string): Dialect => ({
  append: (entries) => [
    statement([
      `WITH stated (n, ${columns.join(", ")}, is_timed) AS (VALUES `,
      ...join(entries, ", ", ({ isTimed, row }, n) => [
        `(${n}`,
        ...columns.flatMap((column): ReadonlyArray<Part> => [
          ", ",
          { param: row[column] },
          `::${types[column] ?? "text"}`
        ]),
        ", ",
        { param: isTimed ? 1 : 0 },
        "::integer)"
      ]),
      `), appended AS (
        INSERT INTO ${table("operation")} (${columns.join(", ")})
        SELECT ${columns.join(", ")} FROM stated ORDER BY n
        ON CONFLICT (id) DO NOTHING RETURNING position, id, lane, strategy
      ), repeated AS (
        SELECT s.n, o.position, o.lane, o.strategy = 'DbOnly' AND s.strategy = 'DbAndTrustlog' AS is_promotion,
          CASE WHEN o.lane <> s.lane THEN 'lane'
            WHEN ROW(${of("o", content)}) IS DISTINCT FROM ROW(${of("s", content)})
              OR (s.is_timed = 1 AND o.occurred_at <> s.occurred_at) THEN 'content' END AS reason
        FROM stated s JOIN ${table("operation")} o ON o.id = s.id
      ), promoted AS (
        INSERT INTO ${table("trustlog_promotion")} (position, promoted_at)
        SELECT position, clock_timestamp() FROM repeated WHERE is_promotion AND reason IS NULL
        ON CONFLICT (position) DO NOTHING RETURNING position
      ), pending AS (
        INSERT INTO ${table("trustlog_pending")} (lane, position)
        SELECT lane, position FROM appended WHERE strategy = 'DbAndTrustlog'
        UNION ALL SELECT r.lane, r.position FROM repeated r JOIN promoted p ON p.position = r.position
      )
      SELECT s.id::text AS id, r.reason,
        CASE WHEN a.position IS NOT NULL THEN 'appended' WHEN p.position IS NOT NULL THEN 'promoted'
          WHEN r.position IS NULL THEN 'unseen' WHEN r.reason IS NULL THEN 'duplicate' ELSE 'conflict' END AS outcome
      FROM stated s LEFT JOIN appended a ON a.id = s.id LEFT JOIN repeated r ON r.n = s.n
        LEFT JOIN promoted p ON p.position = r.position
      ORDER BY s.n`
    ], placeholder)
  ],
  stream: statement(streamParts(table), placeholder)
})

/**
 * The pending rows are found by the primary key: a search by the id would lock gaps of its index under REPEATABLE READ and
 * make appends wait for each other. One INSERT of known rows gets positions in a row. Where a position holds another id,
 * because other statements came in between, the sum overflows: an error in every SQL mode, unlike NULL.
 */
const mysql = (table: (name: string) => string): Dialect => ({
  append: (entries, strategy) => [
    statement([
      `INSERT INTO ${table("operation")} (${columns.join(", ")}) VALUES `,
      ...join(entries, ", ", ({ row }) => [
        "(",
        ...join(columns, ", ", (column): ReadonlyArray<Part> => {
          const param = row[column]
          switch (column) {
            case "id":
              return ["UNHEX(", { param: bare(row.id) }, ")"]
            case "occurred_at":
              return [{ param: `${row.occurred_at.slice(0, 10)} ${row.occurred_at.slice(11, 26)}` }]
            default:
              return [{ param }]
          }
        }),
        ")"
      ])
    ], question),
    ...strategy === "DbOnly" ? [] : [
      statement([
        `INSERT INTO ${table("trustlog_pending")} (position, lane)
          SELECT COALESCE(o.position, 9223372036854775807 + s.n + 1), o.lane FROM (`,
        ...join(entries, " UNION ALL ", ({ row }, n): ReadonlyArray<Part> => [
          `SELECT ${n} AS n, UNHEX(`,
          { param: bare(row.id) },
          ") AS id"
        ]),
        `) AS s LEFT JOIN ${table("operation")} AS o FORCE INDEX (PRIMARY)
          ON o.position = LAST_INSERT_ID() + s.n * @@auto_increment_increment AND o.id = s.id`
      ], question)
    ]
  ],
  stream: statement(streamParts(table), question)
})

const sqlite = (table: (name: string) => string): Dialect => ({
  append: (entries, strategy) => [
    statement([
      `INSERT INTO ${table("operation")} (${columns.join(", ")}) VALUES `,
      ...join(entries, ", ", ({ row }) => [
        "(",
        ...join(columns, ", ", (column): ReadonlyArray<Part> => [{ param: row[column] }]),
        ")"
      ])
    ], question),
    ...strategy === "DbOnly" ? [] : [
      statement([
        `INSERT INTO ${table("trustlog_pending")} (lane, position) SELECT lane, position FROM ${table("operation")}
          WHERE id IN (`,
        ...join(entries, ", ", ({ row }): ReadonlyArray<Part> => [{ param: row.id }]),
        ")"
      ], question)
    ]
  ],
  stream: statement(streamParts(table), question)
})

const question = () => "?"

const bare = (id: string): string => id.replaceAll("-", "")
