/**
 * pg-boss, a job queue, as its users set it up for throughput: two workers which take a thousand jobs at a time, and
 * all retry settings as they come. Once with its polling alone, once with a NOTIFY in every append.
 */
import { setTimeout as delay } from "node:timers/promises"
import { Pool } from "pg"
import { PgBoss } from "pg-boss"
import type { Contender } from "../Contender.ts"
import { type Message, message } from "../Sample.ts"

const queue = "operation"

/** Its upkeep, which a benchmark of some minutes does not need. */
const upkeep = { supervise: false, schedule: false }

/**
 * The fastest that was found. Half a second is the least that it allows for an interval. With LISTEN/NOTIFY it has
 * another one, of 30 s, and neither a retry nor `boss.retry` notifies.
 */
const working = {
  batchSize: 1_000,
  localConcurrency: 2,
  pollingIntervalSeconds: 0.5,
  notifyPollingIntervalSeconds: 0.5,
  burstWhenBatchFull: true
}

const ignore = () => {}

interface Connecting {
  readonly connectionString: string
  readonly max?: number
  readonly useListenNotify?: boolean
}

const start = async (options: Connecting) => {
  const boss = new PgBoss({ ...upkeep, ...options })
  boss.on("error", ignore)
  return await boss.start()
}

const contender = (notify: boolean, note: string): Contender => ({
  note,
  open: async (url, { connections }) => {
    const boss = await start({ connectionString: url, max: connections })
    await boss.createQueue(queue, { notify })
    const pool = new Pool({ connectionString: url, max: 2 })
    pool.on("error", ignore)
    pool.on("connect", (client) => client.on("error", ignore))
    return {
      append: async (sample) => void await boss.send(queue, message(sample)),
      appendAll: async (samples) => void await boss.insert(queue, samples.map((sample) => ({ data: message(sample) }))),
      appendLate: async (sample, millis) => {
        const client = await pool.connect()
        try {
          await client.query("BEGIN")
          await boss.send(queue, message(sample), {
            db: { executeSql: (text, values) => client.query(text, values) }
          })
          await delay(millis)
          await client.query("COMMIT")
        } finally {
          client.release(true)
        }
      },
      left: async () => {
        const { rows: [row] } = await pool.query({
          text: `SELECT count(*) FILTER (WHERE state IN ('created', 'retry', 'active'))::int AS pending,
            count(*) FILTER (WHERE state IN ('failed', 'cancelled'))::int AS dead FROM pgboss.job WHERE name = $1`,
          values: [queue]
        })
        return { pending: row.pending, dead: row.dead }
      },
      recover: async () => {
        const { rows } = await pool.query<{ readonly id: string }>({
          text: "SELECT id FROM pgboss.job WHERE name = $1 AND state = 'failed'",
          values: [queue]
        })
        if (rows.length > 0) await boss.retry(queue, rows.map((row) => row.id))
      },
      work: async (publish) => {
        const worker = await start({ connectionString: url, useListenNotify: notify })
        await worker.work<Message>(queue, working, (jobs) => publish(jobs.map((job) => JSON.stringify(job.data))))
        return () => worker.stop()
      },
      close: async () => {
        await pool.end()
        await boss.stop()
      }
    }
  }
})

const givesUp = "gives up after 2 retries without delay: nearly all of an outage is dead until retried by id"

export const pgBoss = contender(false, `batches of 1000, 2 workers, polls every 500 ms; ${givesUp}`)

export const pgBossNotify = contender(true, `batches of 1000, 2 workers, a NOTIFY in every append; ${givesUp}`)
