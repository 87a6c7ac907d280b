/**
 * Databases of a server, by plain connections that no code under test has made.
 */
import * as Effect from "effect/Effect"
import { createConnection, type RowDataPacket } from "mysql2/promise"
import { Client } from "pg"

export type Dialect = "pg" | "mysql"

export interface Place {
  readonly dialect: Dialect
  /** The URL of the server's administrator. */
  readonly url: string
}

/** Statements on a connection of their own, to a database or its administrator. Gives the rows of the last one. */
export const query = (url: string, ...statements: ReadonlyArray<string>): Effect.Effect<ReadonlyArray<unknown>> =>
  Effect.promise(() => url.startsWith("mysql:") ? queryMySQL(url, statements) : queryPostgreSQL(url, statements))

const queryPostgreSQL = async (url: string, statements: ReadonlyArray<string>): Promise<ReadonlyArray<unknown>> => {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 10_000 })
  // A server that ends while we are idle says so here; what we asked for fails by itself.
  client.on("error", () => {})
  await client.connect()
  try {
    let rows: ReadonlyArray<unknown> = []
    for (const statement of statements) rows = (await client.query(statement)).rows
    return rows
  } finally {
    await client.end()
  }
}

const queryMySQL = async (url: string, statements: ReadonlyArray<string>): Promise<ReadonlyArray<unknown>> => {
  const client = await createConnection({ uri: url, connectTimeout: 10_000 })
  client.on("error", () => {})
  try {
    let rows: ReadonlyArray<unknown> = []
    for (const statement of statements) {
      const [result] = await client.query(statement)
      rows = Array.isArray(result) ? result : []
    }
    return rows
  } finally {
    client.destroy()
  }
}

/** Removes databases by name, whoever is still connected to them. */
export const drop = (server: Place, ...databases: ReadonlyArray<string>): Effect.Effect<void> =>
  server.dialect === "pg"
    ? Effect.asVoid(query(server.url, ...databases.map((name) => `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`)))
    : Effect.promise(() => dropMySQL(server.url, databases))

const dropMySQL = async (url: string, databases: ReadonlyArray<string>): Promise<void> => {
  const client = await createConnection({ uri: url, connectTimeout: 10_000 })
  try {
    for (const database of databases) {
      const [connections] = await client.query<Array<RowDataPacket>>(
        "SELECT id FROM information_schema.processlist WHERE db = ?",
        [database]
      )
      for (const { id } of connections) {
        await client.query("KILL ?", [id]).catch((error: unknown) => {
          // It ended by itself meanwhile.
          if (!(error instanceof Error && "code" in error && error.code === "ER_NO_SUCH_THREAD")) throw error
        })
      }
      await client.query(`DROP DATABASE IF EXISTS ${database}`)
    }
  } finally {
    client.destroy()
  }
}
