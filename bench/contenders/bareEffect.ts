/**
 * The bare INSERT of an application that is written in Effect: the same row in the same table, by the client of
 * `@effect/sql-pg`. What it costs more than the driver's is no part of this project, and in each of its appends.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Statement from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Redacted from "effect/Redacted"
import type { Contender } from "../Contender.ts"
import { columns, tables, types, valuesOf } from "./bare.ts"

const one = `VALUES (${types.map((type, i) => `$${i + 1}::${type}`).join(", ")})`
const many = `SELECT * FROM unnest(${types.map((type, i) => `$${i + 1}::${type}[]`).join(", ")})`

export const bareEffect: Contender = {
  note: "nothing is delivered, nothing is proved",
  open: async (url, { connections }) => {
    const runtime = ManagedRuntime.make(PgClient.layer({ url: Redacted.make(url), maxConnections: connections }))
    const using = <A, E>(use: (sql: PgClient.PgClient) => Effect.Effect<A, E>) =>
      runtime.runPromise(Effect.flatMap(PgClient.PgClient, use))
    await using((sql) => sql.unsafe(tables))
    const insert = (source: string, values: ReadonlyArray<unknown>) =>
      using((sql) =>
        sql`INSERT INTO operation (${sql.literal(columns.join(", "))}) ${Statement.unsafeFragment(source, values)}`
      )
    return {
      append: async (sample) => void await insert(one, valuesOf(sample)),
      appendAll: async (samples) => {
        const rows = samples.map(valuesOf)
        await insert(many, columns.map((_, i) => rows.map((row) => row[i])))
      },
      left: async () => ({ pending: 0, dead: 0 }),
      close: () => runtime.dispose()
    }
  }
}
