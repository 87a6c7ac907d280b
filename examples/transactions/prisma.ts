/**
 * Prisma 7 over driver adapters, without engines: an invoice and the record of it, in one transaction. A statement is a
 * template that `$queryRaw` and `$executeRaw` take.
 */
import { PrismaMariaDb } from "@prisma/adapter-mariadb"
import { PrismaPg } from "@prisma/adapter-pg"
import type { Input } from "effect-trustlog/Operation"
import * as Statements from "effect-trustlog/Statements"
import * as Either from "effect/Either"
import { PrismaClient as PrismaMysqlClient } from "./prisma/mysql/client.ts"
import { PrismaClient as PrismaPostgresqlClient } from "./prisma/postgresql/client.ts"

/** What trustlog refuses is thrown, and so rolls the transaction back. */
const accepted = Either.getOrThrowWith((error: Error) => error)

export const postgresql = async (url: string, invoice: number, operations: ReadonlyArray<Input>) => {
  const database = { dialect: "postgresql" } as const
  const prisma = new PrismaPostgresqlClient({ adapter: new PrismaPg({ connectionString: url }) })
  try {
    const rows = await prisma.$queryRaw<Array<unknown>>(accepted(Statements.stream(database)).strings)
    const append = accepted(
      Statements.append({ ...database, stream: accepted(Statements.streamOf(rows)), operations })
    )
    return await prisma.$transaction(async (tx) => {
      const rows: Array<unknown> = []
      for (const { params, strings } of append.statements) {
        rows.push(...await tx.$queryRaw<Array<unknown>>(strings, ...params))
      }
      const outcomes = accepted(Statements.outcomes(rows))
      await tx.invoice.create({ data: { id: invoice, state: "approved" } })
      return outcomes
    })
  } finally {
    await prisma.$disconnect()
  }
}

export const mysql = async (url: string, invoice: number, operations: ReadonlyArray<Input>) => {
  const database = { dialect: "mysql" } as const
  const prisma = new PrismaMysqlClient({ adapter: new PrismaMariaDb(url) })
  try {
    const rows = await prisma.$queryRaw<Array<unknown>>(accepted(Statements.stream(database)).strings)
    const append = accepted(
      Statements.append({ ...database, stream: accepted(Statements.streamOf(rows)), operations })
    )
    await prisma.$transaction(async (tx) => {
      for (const { params, strings } of append.statements) await tx.$executeRaw(strings, ...params)
      await tx.invoice.create({ data: { id: invoice, state: "approved" } })
    })
    return append.ids
  } finally {
    await prisma.$disconnect()
  }
}
