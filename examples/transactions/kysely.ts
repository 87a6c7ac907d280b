/**
 * Kysely: an invoice and the record of it, in one transaction. A statement is a query that is compiled already.
 */
import type { Input } from "effect-trustlog/Operation"
import * as Statements from "effect-trustlog/Statements"
import * as Either from "effect/Either"
import { CompiledQuery, Kysely, MysqlDialect, PostgresDialect } from "kysely"
import mysql2 from "mysql2"
import { Pool } from "pg"

interface Tables {
  readonly invoice: { readonly id: number; readonly state: string }
}

/** What trustlog refuses is thrown, and so rolls the transaction back. */
const accepted = Either.getOrThrowWith((error: Error) => error)

const compiled = ({ params, sql }: Statements.Statement) => CompiledQuery.raw(sql, [...params])

export const postgresql = async (url: string, invoice: number, operations: ReadonlyArray<Input>) => {
  const database = { dialect: "postgresql" } as const
  const db = new Kysely<Tables>({
    dialect: new PostgresDialect({ pool: new Pool({ connectionString: url }) })
  })
  try {
    const { rows } = await db.executeQuery(compiled(accepted(Statements.stream(database))))
    const append = accepted(
      Statements.append({ ...database, stream: accepted(Statements.streamOf(rows)), operations })
    )
    return await db.transaction().execute(async (trx) => {
      const rows = []
      for (const statement of append.statements) rows.push(...(await trx.executeQuery(compiled(statement))).rows)
      const outcomes = accepted(Statements.outcomes(rows))
      await trx.insertInto("invoice").values({ id: invoice, state: "approved" }).execute()
      return outcomes
    })
  } finally {
    await db.destroy()
  }
}

export const mysql = async (url: string, invoice: number, operations: ReadonlyArray<Input>) => {
  const database = { dialect: "mysql" } as const
  const db = new Kysely<Tables>({ dialect: new MysqlDialect({ pool: mysql2.createPool(url) }) })
  try {
    const { rows } = await db.executeQuery(compiled(accepted(Statements.stream(database))))
    const append = accepted(
      Statements.append({ ...database, stream: accepted(Statements.streamOf(rows)), operations })
    )
    await db.transaction().execute(async (trx) => {
      for (const statement of append.statements) await trx.executeQuery(compiled(statement))
      await trx.insertInto("invoice").values({ id: invoice, state: "approved" }).execute()
    })
    return append.ids
  } finally {
    await db.destroy()
  }
}
