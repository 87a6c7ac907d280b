/**
 * The best loop that can be written by hand on the same driver: read a page, make each row's message, mark the page. It
 * loses what commits late, and two of it would send everything twice: a limit to compare with, not an outbox to use.
 */
import { Pool } from "pg"
import type { Contender } from "../Contender.ts"
import { message } from "../Sample.ts"

const pageRows = 1_000

/** How long an empty table is left alone. */
const pollMillis = 10

const tables = `
  CREATE TABLE IF NOT EXISTS operation (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, data jsonb NOT NULL);
  CREATE TABLE IF NOT EXISTS pending (id bigint PRIMARY KEY);
  CREATE TABLE IF NOT EXISTS cur (position bigint NOT NULL);
  INSERT INTO cur SELECT 0 WHERE NOT EXISTS (SELECT FROM cur)`

interface Row {
  readonly id: string
  readonly data: unknown
}

export const hand: Contender = {
  note: "no late commits, no second process, no retries, no proofs",
  open: async (url, { connections }) => {
    const pool = new Pool({ connectionString: url, max: connections + 2 })
    await pool.query(tables)
    const insert = (texts: ReadonlyArray<string>) =>
      pool.query({
        name: "insert",
        text: `WITH added AS (INSERT INTO operation (data) SELECT unnest($1::jsonb[]) RETURNING id)
          INSERT INTO pending SELECT id FROM added`,
        values: [texts]
      })
    const read = async (after: string): Promise<ReadonlyArray<Row>> => {
      const { rows } = await pool.query<Row>({
        name: "read",
        text: `SELECT p.id, o.data FROM pending p JOIN operation o ON o.id = p.id
          WHERE p.id > $1 AND o.id > $1 ORDER BY p.id LIMIT ${pageRows}`,
        values: [after]
      })
      return rows
    }
    const mark = (ids: ReadonlyArray<string>) =>
      pool.query({
        name: "mark",
        text: "WITH done AS (DELETE FROM pending WHERE id = ANY($1::bigint[])) UPDATE cur SET position = $2",
        values: [ids, ids.at(-1)]
      })
    return {
      append: async (sample) => void await insert([JSON.stringify(message(sample))]),
      appendAll: async (samples) => void await insert(samples.map((sample) => JSON.stringify(message(sample)))),
      left: async () => {
        const { rows: [row] } = await pool.query("SELECT count(*)::int AS pending FROM pending")
        return { pending: row.pending, dead: 0 }
      },
      work: async (publish) => {
        const ending = new AbortController()
        const loop = async () => {
          let after = (await pool.query("SELECT position FROM cur")).rows[0].position
          let next = read(after)
          while (!ending.signal.aborted) {
            const page = await next
            const ids = page.map((row) => row.id)
            const last = ids.at(-1)
            if (last === undefined) {
              await new Promise((resume) => setTimeout(resume, pollMillis))
              next = read(after)
              continue
            }
            next = read(last)
            next.catch(() => {})
            await publish(page.map((row) => JSON.stringify(row.data)))
            await mark(ids)
            after = last
          }
          await next
        }
        const running = loop()
        return () => {
          ending.abort()
          return running
        }
      },
      close: () => pool.end()
    }
  }
}
