/**
 * pg-transactional-outbox, a library for an outbox and an inbox, with its polling listener: its tables and its function
 * as its own exporter states them, its settings for an outbox, and a batch size of its own.
 */
import { setTimeout as delay } from "node:timers/promises"
import { Pool } from "pg"
import {
  DatabaseSetupExporter,
  getDisabledLogger,
  initializeMessageStorage,
  initializePollingMessageListener,
  type PollingListenerConfig,
  type TransactionalMessage
} from "pg-transactional-outbox"
import type { Contender } from "../Contender.ts"
import { message, type Sample } from "../Sample.ts"

const batchSize = 200

const lockMillis = 15_000

const pollMillis = 10

const handlers = 20

const outbox = { outboxOrInbox: "outbox" } as const

const settings = {
  dbSchema: "public",
  dbTable: "outbox",
  nextMessagesFunctionSchema: "public",
  nextMessagesFunctionName: "next_outbox_messages",
  nextMessagesBatchSize: batchSize,
  nextMessagesLockInMs: lockMillis,
  nextMessagesPollingIntervalInMs: pollMillis,
  enableMaxAttemptsProtection: false,
  enablePoisonousMessageProtection: false
}

/** It would drop what is there. The role is the one that runs it. */
const tables = DatabaseSetupExporter.createPollingScript({
  ...outbox,
  database: "",
  schema: settings.dbSchema,
  table: settings.dbTable,
  nextMessagesName: settings.nextMessagesFunctionName,
  listenerRole: "CURRENT_USER"
}, true)

const ignore = () => {}

const poolOf = (url: string, max: number) => {
  const pool = new Pool({ connectionString: url, max })
  pool.on("error", ignore)
  pool.on("connect", (client) => client.on("error", ignore))
  return pool
}

const logger = getDisabledLogger()

const store = initializeMessageStorage({ ...outbox, settings }, logger)

const messageOf = (sample: Sample): TransactionalMessage => {
  const payload = message(sample)
  return {
    id: payload.id,
    aggregateType: payload.kind,
    aggregateId: payload.target,
    messageType: payload.action,
    concurrency: "parallel",
    payload
  }
}

export const pgTransactionalOutbox: Contender = {
  note: "polls every 10 ms, 20 handlers; 5 attempts 15 s apart, then given up for good: no API brings it back",
  open: async (url, { connections }) => {
    const pool = poolOf(url, connections + 2)
    const { rows: [found] } = await pool.query("SELECT to_regclass('public.outbox') AS name")
    if (found.name === null) await pool.query(tables)
    /** A transaction of which the given code is the whole. */
    const transaction = async (use: (client: Parameters<typeof store>[1]) => Promise<void>) => {
      const client = await pool.connect()
      let isDone = false
      try {
        await client.query("BEGIN")
        await use(client)
        await client.query("COMMIT")
        isDone = true
      } finally {
        client.release(!isDone)
      }
    }
    return {
      append: (sample) => store(messageOf(sample), pool),
      appendAll: (samples) =>
        transaction(async (client) => {
          for (const sample of samples) await store(messageOf(sample), client)
        }),
      appendLate: (sample, millis) =>
        transaction(async (client) => {
          await store(messageOf(sample), client)
          await delay(millis)
        }),
      left: async () => {
        const { rows: [row] } = await pool.query(
          `SELECT count(*) FILTER (WHERE processed_at IS NULL AND abandoned_at IS NULL)::int AS pending,
            count(*) FILTER (WHERE abandoned_at IS NOT NULL)::int AS dead FROM public.outbox`
        )
        return { pending: row.pending, dead: row.dead }
      },
      work: async (publish) => {
        const config: PollingListenerConfig = { ...outbox, dbListenerConfig: { connectionString: url }, settings }
        // As its own pool is, but for the listeners, which that one takes off before it ends.
        const handling = poolOf(url, handlers)
        const [stop] = initializePollingMessageListener(
          config,
          { handle: ({ payload }) => publish([JSON.stringify(payload)]) },
          logger,
          {
            batchSizeStrategy: () => Promise.resolve(batchSize),
            messageProcessingDbClientStrategy: {
              getClient: () => handling.connect(),
              shutdown: () => handling.end()
            }
          }
        )
        return stop
      },
      close: () => pool.end()
    }
  }
}
