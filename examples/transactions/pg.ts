/**
 * `pg`: an invoice and the record of it, in one transaction.
 */
import type { Input } from "effect-trustlog/Operation"
import * as Statements from "effect-trustlog/Statements"
import * as Either from "effect/Either"
import { Pool } from "pg"

const database = { dialect: "postgresql" } as const

/** What trustlog refuses is thrown, and so rolls the transaction back. */
const accepted = Either.getOrThrowWith((error: Error) => error)

const streamOf = async (pool: Pool) => {
  const { sql } = accepted(Statements.stream(database))
  return accepted(Statements.streamOf((await pool.query(sql)).rows))
}

const approve = async (pool: Pool, stream: string, invoice: number, operations: ReadonlyArray<Input>) => {
  const append = accepted(Statements.append({ ...database, stream, operations }))
  const client = await pool.connect()
  try {
    await client.query("BEGIN")
    const rows = []
    for (const { params, sql } of append.statements) rows.push(...(await client.query(sql, [...params])).rows)
    const outcomes = accepted(Statements.outcomes(rows))
    await client.query("INSERT INTO invoice (id, state) VALUES ($1, 'approved')", [invoice])
    await client.query("COMMIT")
    return outcomes
  } catch (error) {
    await client.query("ROLLBACK")
    throw error
  } finally {
    client.release()
  }
}

export const postgresql = async (url: string, invoice: number, operations: ReadonlyArray<Input>) => {
  const pool = new Pool({ connectionString: url })
  try {
    // Once, when the application starts.
    const stream = await streamOf(pool)
    return await approve(pool, stream, invoice, operations)
  } finally {
    await pool.end()
  }
}
