/**
 * A `SqlConnection` over a driver's database.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { Connection } from "@effect/sql/SqlConnection"
import type { SqlError } from "@effect/sql/SqlError"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { bind, type Database, type Row, type Statement } from "./Driver.ts"

/** Runs a step with a statement's text, now or when it may. */
export type Run = <A>(sql: string, step: (sql: string) => A) => Effect.Effect<A, SqlError>

/** `streaming` is where streams read from: a database of their own, this one, or (`undefined`) one that cannot iterate. */
export const make = (
  database: Database,
  run: Run,
  streaming: Stream.Stream<readonly [Database, Run], SqlError> | undefined
): Connection => {
  const cached = cache(database.prepare)
  const all = (sql: string, params: ReadonlyArray<unknown>) =>
    Effect.flatMap(
      SqlClient.SafeIntegers,
      (bigIntegers) => run(sql, (sql) => cached(sql).all(params.map(bind), bigIntegers))
    )
  const execute: Connection["execute"] = (sql, params, transformRows) =>
    transformRows === undefined ? all(sql, params) : Effect.map(all(sql, params), transformRows)
  return {
    execute,
    executeUnprepared: execute,
    executeRaw: (sql, params) =>
      Effect.flatMap(SqlClient.SafeIntegers, (bigIntegers) =>
        run<unknown>(sql, (sql) => {
          const statement = cached(sql)
          return statement.isReader ? statement.all(params.map(bind), bigIntegers) : statement.run(params.map(bind))
        })),
    executeValues: (sql, params) =>
      Effect.flatMap(
        SqlClient.SafeIntegers,
        (bigIntegers) => run(sql, (sql) => cached(sql).values(params.map(bind), bigIntegers))
      ),
    executeStream: (sql, params, transformRows) =>
      streaming === undefined
        ? Stream.unwrap(Effect.map(execute(sql, params, transformRows), Stream.fromIterable))
        : Stream.flatMap(streaming, ([database, run]) => {
          const rows = iterate(database, run, sql, params)
          return transformRows === undefined
            ? rows
            : Stream.mapChunks(rows, (chunk) => Chunk.unsafeFromArray(transformRows(Chunk.toReadonlyArray(chunk))))
        })
  }
}

// As many as the repository has, several times over.
const maxStatements = 200

// An insert of many rows may hold a megabyte. What `*` stands for may change, which Node 22 does not notice.
const isWorthKeeping = (sql: string): boolean => sql.length < 10_000 && !/[^(]\*/.test(sql)

/** Compiles each text once, and forgets the text that was not used for longest. */
export const cache = (prepare: Database["prepare"]): Database["prepare"] => {
  const statements = new Map<string, Statement>()
  return (sql) => {
    const known = statements.get(sql)
    const statement = known ?? prepare(sql)
    if (known !== undefined) statements.delete(sql)
    else if (!isWorthKeeping(sql)) return statement
    else if (statements.size === maxStatements) {
      for (const oldest of statements.keys()) {
        statements.delete(oldest)
        break
      }
    }
    statements.set(sql, statement)
    return statement
  }
}

const chunkSize = 128

interface Page {
  readonly chunk: Chunk.Chunk<Row>
  readonly isLast: boolean
}

/** The next rows: few enough in one go that the thread is not blocked, and never asked for again after the end. */
const next = (rows: Iterator<Row>): Page => {
  const chunk: Array<Row> = []
  while (chunk.length < chunkSize) {
    const row = rows.next()
    if (row.done === true) return { chunk: Chunk.unsafeFromArray(chunk), isLast: true }
    chunk.push(row.value)
  }
  return { chunk: Chunk.unsafeFromArray(chunk), isLast: false }
}

const iterate = (
  database: Database,
  run: Run,
  sql: string,
  params: ReadonlyArray<unknown>
): Stream.Stream<Row, SqlError> =>
  Stream.unwrapScoped(Effect.map(
    Effect.acquireRelease(
      Effect.flatMap(SqlClient.SafeIntegers, (bigIntegers) =>
        run(sql, (sql) => {
          const rows = database.prepare(sql).iterate(params.map(bind), bigIntegers)
          return { rows, first: next(rows) }
        })),
      // Nothing has to be ended in a database that is closed by now.
      ({ rows }) => Effect.catchAll(Effect.try(() => rows.return?.()), () => Effect.void)
    ),
    ({ first, rows }) => {
      const following = run(sql, () => next(rows))
      return Stream.paginateChunkEffect<Effect.Effect<Page, SqlError>, Row, SqlError, never>(
        Effect.succeed(first),
        Effect.map((page) => [page.chunk, page.isLast ? Option.none() : Option.some(following)])
      )
    }
  ))
