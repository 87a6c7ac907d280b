import * as SqlClient from "@effect/sql/SqlClient"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Sqlite from "../../src/Database/Sqlite.ts"
import * as Migrations from "../../src/Migrations.ts"
import { Repository } from "../../src/Repository.ts"
import * as RepositorySql from "../../src/Repository/Sql.ts"
import * as nodeSqlite from "../../src/internal/drivers/nodeSqlite.ts"
import { target } from "../sqliteDatabase.ts"
import { suite } from "../suites/RepositoryTest.ts"
import { entry } from "../workers.ts"

suite("the repository over the embedded SQLite layer", target((filename) => Sqlite.layer({ filename })))

describe.each(nodeSqlite.load() === undefined ? ["libsql" as const] : ["libsql" as const, "node:sqlite" as const])(
  "an append that fails half-way, over %s",
  (driver) => {
    const repository = Layer.provideMerge(
      Layer.provide(RepositorySql.layer(), Migrations.layer()),
      target((filename) => Sqlite.layer({ filename, driver })).client
    )
    it.scoped("leaves nothing, and no transaction open", () =>
      Effect.gen(function*() {
        const { append } = yield* Repository
        const sql = yield* SqlClient.SqlClient
        yield* sql`CREATE TRIGGER refuse BEFORE INSERT ON trustlog_pending BEGIN SELECT RAISE(ABORT, 'refused'); END`
        for (const entries of [[entry(1)], [entry(1), entry(2)]]) {
          const failing = Effect.flip(append(entries))
          assert.include((yield* failing).message, "refused")
          // The host goes on as if nothing had been, and commits.
          assert.include((yield* sql.withTransaction(failing)).message, "refused")
        }
        assert.deepStrictEqual(yield* sql`SELECT position FROM operation`, [])
        yield* sql`DROP TRIGGER refuse`
        yield* append([entry(1)])
        yield* sql.withTransaction(append([entry(2)]))
        assert.deepStrictEqual(yield* sql`SELECT position FROM trustlog_pending`, [{ position: 1 }, { position: 2 }])
      }).pipe(Effect.provide(repository)))
  }
)
