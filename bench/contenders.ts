/**
 * Contenders by name. Each runs in a process of its own, which loads only what it needs.
 */
import type { Contender } from "./Contender.ts"

export const contenders = {
  "bare INSERT, Effect's client": async () => (await import("./contenders/bareEffect.ts")).bareEffect,
  "bare INSERT": async () => (await import("./contenders/bare.ts")).bare,
  "hand-written loop": async () => (await import("./contenders/hand.ts")).hand,
  "trustlog": async () => (await import("./contenders/trustlog.ts")).trustlog,
  "trustlog, ledger": async () => (await import("./contenders/trustlogLedger.ts")).trustlogLedger,
  "trustlog, Pulsar": async () => (await import("./contenders/trustlogPulsar.ts")).trustlogPulsar,
  "bare publish loop": async () => (await import("./contenders/barePublish.ts")).barePublish,
  "bare INSERT, SQLite": async () => (await import("./contenders/bareSqlite.ts")).bareSqlite,
  "hand-written loop, SQLite": async () => (await import("./contenders/bareSqlite.ts")).handSqlite,
  "pg-boss": async () => (await import("./contenders/pgBoss.ts")).pgBoss,
  "pg-boss, notify": async () => (await import("./contenders/pgBoss.ts")).pgBossNotify,
  "graphile-worker": async () => (await import("./contenders/graphileWorker.ts")).graphileWorker,
  "pg-transactional-outbox": async () => (await import("./contenders/pgTransactionalOutbox.ts")).pgTransactionalOutbox,
  "Effect PersistedQueue": async () => (await import("./contenders/effectPersistedQueue.ts")).effectPersistedQueue
} satisfies Record<string, () => Promise<Contender>>

export type Name = keyof typeof contenders
