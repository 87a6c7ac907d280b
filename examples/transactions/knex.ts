/**
 * Knex: an invoice and the record of it, in one transaction. Knex numbers parameters itself, and wants `?` for each.
 */
import type { Input } from "effect-trustlog/Operation"
import * as Statements from "effect-trustlog/Statements"
import * as Either from "effect/Either"
import knex from "knex"

/** What trustlog refuses is thrown, and so rolls the transaction back. */
const accepted = Either.getOrThrowWith((error: Error) => error)

export const postgresql = async (url: string, invoice: number, operations: ReadonlyArray<Input>) => {
  const database = { dialect: "postgresql", placeholders: "question" } as const
  const db = knex({ client: "pg", connection: url })
  try {
    const { rows } = await db.raw(accepted(Statements.stream(database)).sql)
    const append = accepted(
      Statements.append({ ...database, stream: accepted(Statements.streamOf(rows)), operations })
    )
    return await db.transaction(async (trx) => {
      const rows = []
      for (const { params, sql } of append.statements) rows.push(...(await trx.raw(sql, [...params])).rows)
      const outcomes = accepted(Statements.outcomes(rows))
      await trx("invoice").insert({ id: invoice, state: "approved" })
      return outcomes
    })
  } finally {
    await db.destroy()
  }
}

export const mysql = async (url: string, invoice: number, operations: ReadonlyArray<Input>) => {
  const database = { dialect: "mysql" } as const
  const db = knex({ client: "mysql2", connection: url })
  try {
    const [rows] = await db.raw(accepted(Statements.stream(database)).sql)
    const append = accepted(
      Statements.append({ ...database, stream: accepted(Statements.streamOf(rows)), operations })
    )
    await db.transaction(async (trx) => {
      for (const { params, sql } of append.statements) await trx.raw(sql, [...params])
      await trx("invoice").insert({ id: invoice, state: "approved" })
    })
    return append.ids
  } finally {
    await db.destroy()
  }
}
