/**
 * A place of its own for a torture: nothing else of the database is touched, and it is gone when the scope closes.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as fs from "node:fs/promises"
import * as os from "node:os"
import * as path from "node:path"
import type { DatabaseUrl } from "../../DatabaseUrl.ts"
import { DatabaseError } from "../../TrustlogError.ts"
import { dialectOf } from "../dialects/dialectOf.ts"
import type { Naming } from "../tables.ts"
import * as client from "./client.ts"
import * as dialect from "./dialect.ts"

export interface Scratch {
  /** The database as the processes reach it: nobody else has connections that look like theirs. */
  readonly database: DatabaseUrl
  readonly naming: Naming
  /** What was made, for people. */
  readonly description: string
  /** A client that no fault is aimed at. */
  readonly sql: SqlClient.SqlClient
  /** The connections of the processes, and how one is ended; in words why they cannot be told apart from others'. */
  readonly connections: {
    readonly list: Effect.Effect<ReadonlyArray<number>, DatabaseError>
    readonly cut: (connection: number) => Effect.Effect<void, DatabaseError>
  } | string
  /** A folder for what the processes write down, and how it is kept. */
  readonly folder: string
  readonly keepFolder: Effect.Effect<void>
}

const folder = (parent: string, name: string, isKept: () => boolean) =>
  Effect.acquireRelease(
    Effect.tryPromise({
      try: async () => {
        const made = path.join(parent, name)
        await fs.mkdir(made, { mode: 0o700 })
        return made
      },
      catch: (cause) =>
        new DatabaseError({
          reason: "unavailable",
          problem: `a folder for the torture cannot be made in ${parent}: ${
            cause instanceof Error ? cause.message : String(cause)
          }`,
          cause
        })
    }),
    (made) =>
      Effect.suspend(() =>
        isKept()
          ? Effect.void
          : Effect.promise(() => fs.rm(made, { recursive: true, force: true, maxRetries: 5 }))
      )
  )

/** So many connections of the torture's own process. */
export const maxConnections = 6

/** Makes the place, under a name that begins with a letter and holds letters, digits and underscores. */
export const make = (options: {
  readonly database: DatabaseUrl
  readonly name: string
  readonly keep: boolean
}): Effect.Effect<Scratch, DatabaseError, Scope.Scope> =>
  Effect.gen(function*() {
    const { database, keep, name } = options
    let areNotesKept = keep
    const notes = {
      folder: yield* folder(os.tmpdir(), `${name}_notes`, () => areNotesKept),
      keepFolder: Effect.sync(() => {
        areNotesKept = true
      })
    }
    const connected = (database: DatabaseUrl) =>
      Effect.map(
        Layer.build(client.layer(database, maxConnections)),
        Context.get(SqlClient.SqlClient)
      )
    if (database._tag === "Sqlite") {
      // Beside the file: on the same disk, and not in it.
      const place = yield* folder(path.dirname(path.resolve(database.filename)), name, () => keep)
      const own = { _tag: "Sqlite", filename: path.join(place, "scratch.db") } as const
      return {
        database: own,
        naming: {},
        description: own.filename,
        sql: yield* connected(own),
        connections: "a file has no connections that could be cut",
        ...notes
      }
    }
    const sql = yield* connected({ ...database, applicationName: "trustlog torture" })
    const statements = dialect.make(sql)
    const { classify, describe } = yield* dialectOf(sql)
    const typed = (doing: string) => (error: SqlError) =>
      new DatabaseError({ reason: classify(error), problem: `${doing}: ${describe(error)}`, cause: error })
    if (statements === undefined) {
      return yield* new DatabaseError({ reason: "foreign", problem: "this kind of database cannot be tortured" })
    }
    const removing = (what: string, effect: Effect.Effect<unknown, SqlError>) =>
      keep ? Effect.void : effect.pipe(
        // The last of the processes' connections may be about to end.
        Effect.retry(Schedule.intersect(Schedule.spaced("1 second"), Schedule.recurs(5))),
        Effect.catchAll((error) =>
          Effect.logError(`${what} could not be removed, remove it by hand: ${describe(error)}`)
        )
      )
    const hasSchema = yield* Effect.acquireRelease(
      Effect.as(statements.createSchema(name), true).pipe(
        Effect.catchIf((error) => classify(error) === "denied", () => Effect.succeed(false)),
        Effect.mapError(typed("making the scratch schema"))
      ),
      (hasSchema) =>
        hasSchema
          ? removing(`the schema ${name}`, statements.dropSchema(name))
          : removing(`the tables ${name}_*`, statements.dropTables(`${name}_`))
    )
    const isPostgreSQL = database._tag === "PostgreSQL"
    const { connections } = statements
    return {
      database: { ...database, applicationName: name, database: isPostgreSQL || !hasSchema ? database.database : name },
      naming: hasSchema ? { schema: name } : { prefix: `${name}_` },
      description: hasSchema ? `schema ${name}` : `tables ${name}_*, since no schema may be made`,
      sql,
      connections: connections === undefined || !(isPostgreSQL || hasSchema)
        ? "no database may be made, and so its connections cannot be told apart from others'"
        : {
          list: Effect.mapError(connections(name), typed("looking for connections")),
          cut: (connection) =>
            Effect.asVoid(Effect.mapError(statements.cut(connection, name), typed("cutting a connection")))
        },
      ...notes
    }
  })
