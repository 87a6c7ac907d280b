/**
 * Drizzle: an invoice and the record of it, in one transaction. A statement is a template that Drizzle's `sql` takes.
 */
import { sql } from "drizzle-orm"
import * as mysqlCore from "drizzle-orm/mysql-core"
import * as drizzleMysql from "drizzle-orm/mysql2"
import * as drizzlePg from "drizzle-orm/node-postgres"
import * as pgCore from "drizzle-orm/pg-core"
import type { Input } from "effect-trustlog/Operation"
import * as Statements from "effect-trustlog/Statements"
import * as Either from "effect/Either"
import * as mysql2 from "mysql2/promise"
import { Pool } from "pg"

/** What trustlog refuses is thrown, and so rolls the transaction back. */
const accepted = Either.getOrThrowWith((error: Error) => error)

const template = ({ params, strings }: Statements.Statement) => sql(strings, ...params)

export const postgresql = async (url: string, invoice: number, operations: ReadonlyArray<Input>) => {
  const database = { dialect: "postgresql" } as const
  const invoices = pgCore.pgTable("invoice", { id: pgCore.integer().primaryKey(), state: pgCore.text().notNull() })
  const pool = new Pool({ connectionString: url })
  try {
    const db = drizzlePg.drizzle({ client: pool })
    const { rows } = await db.execute(template(accepted(Statements.stream(database))))
    const append = accepted(
      Statements.append({ ...database, stream: accepted(Statements.streamOf(rows)), operations })
    )
    return await db.transaction(async (tx) => {
      const rows = []
      for (const statement of append.statements) rows.push(...(await tx.execute(template(statement))).rows)
      const outcomes = accepted(Statements.outcomes(rows))
      await tx.insert(invoices).values({ id: invoice, state: "approved" })
      return outcomes
    })
  } finally {
    await pool.end()
  }
}

export const mysql = async (url: string, invoice: number, operations: ReadonlyArray<Input>) => {
  const database = { dialect: "mysql" } as const
  const invoices = mysqlCore.mysqlTable("invoice", {
    id: mysqlCore.int().primaryKey(),
    state: mysqlCore.varchar({ length: 20 }).notNull()
  })
  const pool = mysql2.createPool(url)
  try {
    const db = drizzleMysql.drizzle({ client: pool })
    const [rows] = await pool.execute<Array<mysql2.RowDataPacket>>(accepted(Statements.stream(database)).sql)
    const append = accepted(
      Statements.append({ ...database, stream: accepted(Statements.streamOf(rows)), operations })
    )
    await db.transaction(async (tx) => {
      for (const statement of append.statements) await tx.execute(template(statement))
      await tx.insert(invoices).values({ id: invoice, state: "approved" })
    })
    return append.ids
  } finally {
    await pool.end()
  }
}
