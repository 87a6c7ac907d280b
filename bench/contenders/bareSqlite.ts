/**
 * SQLite without anything in between: the bare INSERT of the row that this project keeps, and the best loop that can be written
 * by hand. The loop reads a page, makes each row's message and marks the page; two of it would send everything twice.
 */
import { DatabaseSync } from "node:sqlite"
import { v7 } from "uuid"
import type { Contender } from "../Contender.ts"
import { type Sample, stream } from "../Sample.ts"

const pageRows = 1_000

/** How long an empty table is left alone. */
const pollMillis = 10

const columns = ["id", "kind", "lane", "occurred_at", "actor", "action", "target", "source", "payload", "content_hash"]

const tables = `CREATE TABLE IF NOT EXISTS operation (
  position INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL,
  lane TEXT NOT NULL,
  occurred_at TEXT NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  target TEXT NOT NULL,
  source TEXT,
  payload TEXT,
  content_hash TEXT
);
CREATE TABLE IF NOT EXISTS pending (position INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS cur (position INTEGER NOT NULL);
INSERT INTO cur SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM cur)`

/** As long as one, which the bare INSERT has no use for. */
const noHash = "0".repeat(64)

const valuesOf = (sample: Sample): ReadonlyArray<string> => [
  v7(),
  "operation",
  "operation",
  new Date().toISOString(),
  sample.actor,
  sample.action,
  sample.target,
  sample.source,
  JSON.stringify(sample.payload),
  noHash
]

/** From the columns of a row. */
const messageOf = (row: Record<string, unknown>): string =>
  JSON.stringify({
    action: row["action"],
    actor: row["actor"],
    id: row["id"],
    kind: row["kind"],
    occurredAt: row["occurred_at"],
    payload: JSON.parse(String(row["payload"])),
    source: row["source"],
    stream,
    target: row["target"],
    v: 1
  })

const contender = (isDelivered: boolean, note: string): Contender => ({
  note,
  open: async (url) => {
    const database = new DatabaseSync(url.replace(/^sqlite:/, ""))
    // As this project sets them.
    database.exec(
      "PRAGMA busy_timeout = 20; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON"
    )
    database.exec(tables)
    const begin = database.prepare("BEGIN IMMEDIATE")
    const commit = database.prepare("COMMIT")
    const insert = database.prepare(
      `INSERT INTO operation (${columns.join(", ")}) VALUES (${columns.map(() => "?").join(", ")})`
    )
    const pend = database.prepare("INSERT INTO pending VALUES (?)")
    const page = database.prepare(`SELECT o.position, ${columns.map((name) => `o.${name}`).join(", ")}
      FROM pending p CROSS JOIN operation o ON o.position = p.position
      WHERE p.position > ? ORDER BY p.position LIMIT ${pageRows}`)
    const remove = database.prepare("DELETE FROM pending WHERE position IN (SELECT value FROM json_each(?))")
    const mark = database.prepare("UPDATE cur SET position = ?")
    const count = database.prepare("SELECT count(*) AS pending FROM pending")

    const together = (write: () => void) => {
      begin.run()
      write()
      commit.run()
    }
    const add = (samples: ReadonlyArray<Sample>) =>
      together(() => {
        for (const sample of samples) {
          const { lastInsertRowid } = insert.run(...valuesOf(sample))
          if (isDelivered) pend.run(lastInsertRowid)
        }
      })
    return {
      append: async (sample) => add([sample]),
      appendAll: async (samples) => add(samples),
      left: async () => ({ pending: Number(count.get()?.["pending"]), dead: 0 }),
      ...isDelivered && {
        work: async (publish) => {
          const ending = new AbortController()
          const loop = async () => {
            let after = Number(database.prepare("SELECT position FROM cur").get()?.["position"])
            while (!ending.signal.aborted) {
              const rows = page.all(after)
              const last = Number(rows.at(-1)?.["position"] ?? after)
              if (rows.length === 0) {
                await new Promise((resume) => setTimeout(resume, pollMillis))
                continue
              }
              await publish(rows.map(messageOf))
              together(() => {
                remove.run(JSON.stringify(rows.map((row) => row["position"])))
                mark.run(last)
              })
              after = last
            }
          }
          const running = loop()
          return () => {
            ending.abort()
            return running
          }
        }
      },
      close: async () => database.close()
    }
  }
})

export const bareSqlite = contender(false, "nothing is delivered, nothing is proved")

export const handSqlite = contender(true, "no second process, no retries, no proofs")
