/**
 * `mysql2`: an invoice and the record of it, in one transaction.
 */
import type { Input } from "effect-trustlog/Operation"
import * as Statements from "effect-trustlog/Statements"
import * as Either from "effect/Either"
import * as mysql2 from "mysql2/promise"

const database = { dialect: "mysql" } as const

/** What trustlog refuses is thrown, and so rolls the transaction back. */
const accepted = Either.getOrThrowWith((error: Error) => error)

const streamOf = async (pool: mysql2.Pool) => {
  const { sql } = accepted(Statements.stream(database))
  const [rows] = await pool.execute<Array<mysql2.RowDataPacket>>(sql)
  return accepted(Statements.streamOf(rows))
}

const approve = async (pool: mysql2.Pool, stream: string, invoice: number, operations: ReadonlyArray<Input>) => {
  const append = accepted(Statements.append({ ...database, stream, operations }))
  const connection = await pool.getConnection()
  try {
    await connection.beginTransaction()
    // `execute` leaves the values to the server; `query` would write them into the text.
    for (const { params, sql } of append.statements) await connection.execute(sql, [...params])
    await connection.execute("INSERT INTO invoice (id, state) VALUES (?, 'approved')", [invoice])
    await connection.commit()
    return append.ids
  } catch (error) {
    // An id that is there already is the error 1062 (ER_DUP_ENTRY).
    await connection.rollback()
    throw error
  } finally {
    connection.release()
  }
}

export const mysql = async (url: string, invoice: number, operations: ReadonlyArray<Input>) => {
  const pool = mysql2.createPool(url)
  try {
    // Once, when the application starts.
    const stream = await streamOf(pool)
    return await approve(pool, stream, invoice, operations)
  } finally {
    await pool.end()
  }
}
