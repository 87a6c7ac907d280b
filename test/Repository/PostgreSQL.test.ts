import * as SqlClient from "@effect/sql/SqlClient"
import { assert, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Migrations from "../../src/Migrations.ts"
import { laneOf } from "../../src/Operation.ts"
import { Repository } from "../../src/Repository.ts"
import * as Sql from "../../src/Repository/Sql.ts"
import { fresh } from "../serverDatabase.ts"
import { onEach } from "../servers/Server.ts"
import { entry } from "../workers.ts"

onEach((server) => {
  it.scoped("the work for a page does not grow with the backlog, also on tables that were never analysed", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const repository = yield* Repository
      for (const table of ["operation", "trustlog_pending", "trustlog_receipt"]) {
        yield* sql`ALTER TABLE ${sql(table)} SET (autovacuum_enabled = false)`
      }
      const count = 10_000
      yield* repository.append(Array.from({ length: count }, (_, n) => entry(n + 1)))
      const lane = laneOf("operation")
      const lease = yield* repository.acquire(lane, "a", Duration.minutes(1))
      if (lease === undefined) return assert.fail("the lane is free")
      // What a session has read is counted when it says so.
      const read = Effect.gen(function*() {
        yield* sql`SELECT pg_stat_force_next_flush()`
        const [row] = yield* sql<{ readonly rows: string }>`SELECT sum(seq_tup_read + idx_tup_fetch) AS rows
          FROM pg_stat_user_tables`
        return Number(row?.rows)
      })
      const before = yield* read
      let after = lease.position
      for (let settled = 0; settled < count; settled += 250) {
        const { rows } = yield* repository.page(lease, { after, limit: 250, maxBytes: 8_000_000 })
        assert.strictEqual(rows.length, 250)
        after = rows.at(-1)?.position ?? after
        yield* repository.settle(lease, {
          topic: "topic",
          delivered: rows.map(({ contentHash, id, position }) => ({
            position,
            id,
            contentHash: contentHash ?? "",
            isHashed: true,
            messageId: Uint8Array.of(1)
          })),
          refused: [],
          checkpoint: undefined,
          position: after,
          late: 0
        })
        yield* repository.lowerBound(lease, after)
        yield* repository.lanes
      }
      // Each is read from two indexes, once more by its key, and deleted by it; the rest is the lanes' rows.
      assert.isBelow(((yield* read) - before) / count, 5)
    }).pipe(
      Effect.provide(Layer.provideMerge(
        Layer.provide(Sql.layer(), Migrations.layer()),
        fresh(server, { maxConnections: 1 })
      )),
      Effect.orDie
    ))
}, "pg")
