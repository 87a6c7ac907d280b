import * as SqlClient from "@effect/sql/SqlClient"
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { readFileSync } from "node:fs"
import * as Drain from "../src/Drain.ts"
import * as Envelope from "../src/Envelope.ts"
import * as Memory from "../src/Publisher/Memory.ts"
import { Repository } from "../src/Repository.ts"
import { layer } from "./workers.ts"

const statements = readFileSync(new URL("../sql/test_data.sql", import.meta.url), "utf8")
  .split(/;\s*$/m)
  .map((statement) => statement.replace(/^--.*$/gm, "").trim())
  .filter((statement) => statement !== "" && statement !== "BEGIN" && statement !== "COMMIT")

it.effect("the rows of sql/test_data.sql load after the schema, and a drain delivers what is pending", () =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const statuses = sql<{ status: string; lane: string; rows: number }>`
      SELECT status, lane, COUNT(*) AS "rows" FROM trustlog_status GROUP BY status, lane ORDER BY status, lane`

    yield* sql.withTransaction(Effect.forEach(statements, (statement) => sql.unsafe(statement)))
    assert.deepStrictEqual((yield* statuses).map(({ lane, rows, status }) => [status, lane, rows]), [
      ["db_only", "operation", 3],
      ["db_only", "record", 2],
      ["pending", "operation", 8],
      ["pending", "operation/payroll", 2],
      ["pending", "record", 5]
    ])

    const drained = yield* Drain.drainOnce()
    assert.deepInclude(drained, { delivered: 15, refused: 0, outage: undefined })
    assert.deepStrictEqual((yield* statuses).map(({ lane, rows, status }) => [status, lane, rows]), [
      ["db_only", "operation", 3],
      ["db_only", "record", 2],
      ["delivered", "operation", 8],
      ["delivered", "operation/payroll", 2],
      ["delivered", "record", 5]
    ])
    const control = yield* Memory.Control
    const envelopes = (yield* control.held).map(({ message }) => Either.getOrThrow(Envelope.decode(message.bytes)))
    assert.strictEqual(new Set(envelopes.map(({ id }) => id)).size, 15)
    assert.isAbove(envelopes.filter(({ clientIp }) => clientIp === null).length, 0)

    const repository = yield* Repository
    assert.strictEqual(yield* repository.promoteRange({ from: 1, to: 1_000 }), 5)
    assert.deepInclude(yield* Drain.drainOnce(), { delivered: 5, refused: 0, outage: undefined })
  }).pipe(Effect.provide(layer)))
