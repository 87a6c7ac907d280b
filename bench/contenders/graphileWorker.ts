/**
 * Graphile Worker, a job queue, with its local queue and its batched completion, as its users set it up for throughput.
 */
import { Logger, makeWorkerUtils, run } from "graphile-worker"
import { setTimeout as delay } from "node:timers/promises"
import { Pool } from "pg"
import type { Contender } from "../Contender.ts"
import { message } from "../Sample.ts"

const task = "operation"

const ignore = () => {}

const logger = new Logger(() => ignore)

/** The fastest that was found. */
const working = {
  concurrentJobs: 500,
  maxPoolSize: 10,
  localQueue: { size: 2_000 },
  completeJobBatchDelay: 5,
  failJobBatchDelay: 5
}

/** An attempt is counted when it begins, so the last one still runs while its job is locked. */
const isDead = "attempts >= max_attempts AND locked_at IS NULL"

export const graphileWorker: Contender = {
  note: "local queue of 2000, 500 at once, a NOTIFY in every append; retries e^n s apart, given up after 25 attempts",
  open: async (url, { connections }) => {
    const pool = new Pool({ connectionString: url, max: connections + 2 })
    pool.on("error", ignore)
    pool.on("connect", (client) => client.on("error", ignore))
    const utils = await makeWorkerUtils({ pgPool: pool, logger })
    await utils.migrate()
    return {
      append: async (sample) => void await utils.addJob(task, message(sample)),
      appendAll: async (samples) =>
        void await utils.addJobs(samples.map((sample) => ({ identifier: task, payload: message(sample) }))),
      appendLate: async (sample, millis) => {
        const client = await pool.connect()
        try {
          await client.query("BEGIN")
          await client.query("SELECT graphile_worker.add_job($1, $2::json)", [task, JSON.stringify(message(sample))])
          await delay(millis)
          await client.query("COMMIT")
        } finally {
          client.release(true)
        }
      },
      left: async () => {
        const { rows: [row] } = await pool.query(
          `SELECT count(*) FILTER (WHERE NOT (${isDead}))::int AS pending,
            count(*) FILTER (WHERE ${isDead})::int AS dead FROM graphile_worker._private_jobs`
        )
        return { pending: row.pending, dead: row.dead }
      },
      recover: async () => {
        const { rows } = await pool.query<{ readonly id: string }>(
          `SELECT id FROM graphile_worker._private_jobs WHERE ${isDead}`
        )
        if (rows.length > 0) await utils.rescheduleJobs(rows.map((row) => row.id), { attempts: 0, runAt: new Date() })
      },
      work: async (publish) => {
        const runner = await run({
          preset: { worker: { connectionString: url, logger, ...working } },
          taskList: { [task]: (payload) => publish([JSON.stringify(payload)]) },
          parsedCronItems: [],
          noHandleSignals: true
        })
        runner.promise.catch(ignore)
        return () => runner.stop()
      },
      close: async () => {
        await utils.release()
        await pool.end()
      }
    }
  }
}
