/**
 * SQLite 3.40 or newer.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import type { Fragment } from "@effect/sql/Statement"
import * as Statement from "@effect/sql/Statement"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { timestampOf } from "../../Operation.ts"
import { sqlite as migrations } from "../migrations.generated.ts"
import * as rows from "../rows.ts"
import type { Tables } from "../tables.ts"
import * as transaction from "../transaction.ts"
import type { Columns, Dialect, Look, Positioned } from "./Dialect.ts"
import * as fragments from "./fragments.ts"
import { classify, messageOf } from "./sqliteErrors.ts"

const quote = (name: string): string => `"${name}"`

/** What bytes are read as that stand in the place of something else: no text, no whole number. */
const notText = 0.5

// Text that was tampered with may be no UTF-8, which makes one driver abort the process; hold a NUL, at which drivers
// cut it; or be bytes, which are taken for the text that they spell. JSON shows all of it, and bytes as no text at all.
const exactly = (columns: Columns): string =>
  `CAST(json_array(${
    Object.values(columns)
      .map((column) => `CASE typeof(${column}) WHEN 'blob' THEN ${notText} ELSE ${column} END`)
      .join(", ")
  }) AS BLOB)`

/** The same of a value that an exact client gives. */
const exact = (value: unknown): unknown =>
  typeof value === "bigint" ? Number(value) : value instanceof Uint8Array ? notText : value

/** What a statement may hold at most. */
export interface Limits {
  readonly parameters: number
  /** SELECTs in one that unites them. */
  readonly selects: number
}

/** What a client of ours says of itself, under `traitsKey`. */
export interface Traits {
  /** Where its SQLite allows less than SQLite does by itself. */
  readonly limits?: Limits
  /** Looks at `data_version` without a statement. */
  readonly look?: Look
  /** Whether its driver reads a text as it stands, whatever that is. */
  readonly isExact?: boolean
  /** `undefined` in a transaction that is another client's. */
  readonly together?: Effect.Effect<Together | undefined>
}

/** Runs a statement; integers come as big ones. */
export type Say = (sql: string, params?: ReadonlyArray<unknown>) => ReadonlyArray<ReadonlyArray<unknown>>

/** Statements one right after the other, without an effect each. */
export interface Together {
  readonly run: <A>(statements: (say: Say) => A) => Effect.Effect<A, SqlError>
  /** Whether they have a transaction of their own, and so all of them are kept or none. */
  readonly isWhole: boolean
}

const noTogether = Effect.succeed(undefined)

export const traitsKey: unique symbol = Symbol.for("effect-trustlog/traits")

const traitsOf = (sql: SqlClient.SqlClient & { readonly [traitsKey]?: Traits }): Traits => sql[traitsKey] ?? {}

export const make = (sql: SqlClient.SqlClient): Dialect => {
  const isIn = (column: string, values: ReadonlyArray<number | string>) =>
    sql`${sql.literal(column)} IN (SELECT value FROM json_each(${JSON.stringify(values)}))`
  const { isExact = false, limits = { parameters: 32_000, selects: 64 }, look, together = noTogether } = traitsOf(sql)
  const insertSize = (rows: number, columns: number) => Math.min(rows, Math.floor(limits.parameters / columns))
  // A deferred transaction that reads first and writes later fails at once, without any waiting, when another has
  // written meanwhile.
  const immediate = { begin: ["BEGIN IMMEDIATE"], end: [] }

  const columns = [...rows.newColumns, "recorded_at"]
  const now = Effect.map(Clock.currentTimeMillis, timestampOf)
  const valuesOf = (row: rows.NewRow, now: string) => [...rows.newColumns.map((name) => row[name]), now]
  const insertion = (operation: Fragment, values: Fragment) =>
    sql<{ readonly position: number; readonly id: string }>`INSERT INTO ${operation} ${values}
      ON CONFLICT (id) DO NOTHING RETURNING position, id`

  /** Each statement by itself: the caller has a transaction around them. */
  const insertInTurn = (
    { operation, pending }: Tables,
    entries: ReadonlyArray<rows.NewRow>
  ): Effect.Effect<ReadonlyArray<Positioned>, SqlError> =>
    Effect.gen(function*() {
      const at = yield* now
      const inserted: Array<Positioned> = []
      for (const chunk of fragments.chunks(entries, (left) => insertSize(left, columns.length))) {
        const added = yield* insertion(
          operation,
          Statement.unsafeFragment(fragments.values(columns, chunk.length), chunk.flatMap((row) => valuesOf(row, at)))
        )
        const lanes = new Map(chunk.map((row) => [String(row.id), row]))
        const waiting = added.flatMap(({ id, position }) => {
          const row = lanes.get(id)
          return row?.strategy === "DbAndTrustlog" ? [row.lane, position] : []
        })
        if (waiting.length > 0) {
          yield* sql`INSERT INTO ${pending} ${
            Statement.unsafeFragment(fragments.values(["lane", "position"], waiting.length / 2), waiting)
          }`
        }
        for (const { id, position } of added) inserted.push({ id, position: Number(position) })
      }
      return inserted
    })

  // Row by row, by statements that are compiled once: one for many rows is compiled each time, and kept with all that it
  // has inserted until the garbage collector comes.
  const insertTogether = (
    together: Together,
    { operation, pending }: Tables,
    entries: ReadonlyArray<rows.NewRow>
  ): Effect.Effect<ReadonlyArray<Positioned>, SqlError> =>
    Effect.flatMap(now, (at) => {
      const [insert] = insertion(operation, sql.literal(fragments.values(columns, 1))).compile()
      const [pend] = sql`INSERT INTO ${pending} ${sql.literal(fragments.values(["lane", "position"], 1))}`.compile()
      return together.run((say) =>
        entries.flatMap((row) => {
          const [added] = say(insert, valuesOf(row, at))
          if (added === undefined) return []
          const position = Number(added[0])
          if (row.strategy === "DbAndTrustlog") say(pend, [row.lane, position])
          return [{ id: row.id, position }]
        })
      )
    })

  return {
    migrations,
    canBeHalfMade: false,
    migrating: (_, onFailure) => transaction.joining(sql, immediate, onFailure),
    createSchema: undefined,
    named: (_, names) =>
      sql<{ readonly name: string }>`SELECT lower(name) AS name FROM sqlite_master
        WHERE type IN ('table', 'view') AND ${isIn("lower(name)", names.map((name) => name.toLowerCase()))}`,
    quote,

    host: immediate,
    worker: immediate,
    renewal: immediate,
    snapshot: { begin: ["BEGIN DEFERRED"], end: [] },
    paging: undefined,

    // Whoever writes has the whole database, from the transaction's beginning to its end.
    forUpdate: sql.literal(""),
    forUpdateSkipLocked: sql.literal(""),
    asCommitted: sql.literal(""),

    // There is no server, and so no clock of its own: Effect's decides, which tests can set.
    time: (offsetMillis) => Effect.map(Clock.currentTimeMillis, (now) => sql`${timestampOf(now + offsetMillis)}`),
    seconds: (from, to) => sql`(julianday(${to}) - julianday(${from})) * 86400.0`,
    timestamp: (text) => sql`${text}`,
    bytes: (bytes) => sql`${bytes}`,

    isOneOf: isIn,
    isOneOfTexts: isIn,
    isOneOfIds: isIn,

    select: <A extends object>(columns: Columns, rest: Fragment, bytes: ReadonlyArray<string> = []) => {
      const names = [...Object.keys(columns), ...bytes]
      const read = (...selected: ReadonlyArray<string>) =>
        Effect.provideService(
          sql`SELECT ${sql.literal([...selected, ...bytes].join(", "))} ${rest}`.values,
          SqlClient.SafeIntegers,
          isExact
        )
      const size = names.length - bytes.length
      return isExact
        ? Effect.map(
          read(...Object.values(columns)),
          (found) => found.map((row) => rows.named<A>(names, row.map((value, i) => i < size ? exact(value) : value)))
        )
        : Effect.map(
          read(exactly(columns)),
          (found) => found.map(([json, ...others]) => rows.named<A>(names, [...rows.parsed(json), ...others]))
        )
    },

    insertOperations: (tables) => (entries) =>
      Effect.flatMap(
        together,
        (together) => together === undefined ? insertInTurn(tables, entries) : insertTogether(together, tables, entries)
      ),
    appendsAtOnce: Effect.map(together, (together) => together?.isWhole === true),

    insertSize,
    unionSize: limits.selects,
    onRepeatedName: (set) =>
      set === undefined ? sql`ON CONFLICT (name) DO NOTHING` : sql`ON CONFLICT (name) DO UPDATE SET ${set}`,
    deleteByKey: (table, key, values) => sql`DELETE FROM ${table} AS t WHERE ${isIn(`t.${key}`, values)}`,
    together: (...statements) => fragments.oneByOne(sql, statements),
    atOnce: undefined,
    joinOperation: (operation, left) => sql`CROSS JOIN ${operation} o ON o.position = ${sql.literal(left)}.position`,
    pendingLanes: ({ pending }) =>
      sql`WITH RECURSIVE found(lane) AS (
          SELECT min(lane) FROM ${pending}
          UNION ALL
          SELECT (SELECT min(p.lane) FROM ${pending} p WHERE p.lane > found.lane) FROM found WHERE lane IS NOT NULL
        ) SELECT lane FROM found WHERE lane IS NOT NULL`,

    // It changes when another connection has written, and is read without looking at any table.
    watch: { every: "15 millis", signature: () => sql`PRAGMA data_version`, look },
    notify: undefined,
    horizon: undefined,

    classify,
    isCollision: () => false,
    describe: messageOf
  }
}
