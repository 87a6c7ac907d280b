/**
 * What a contender can be told to do, and what it then tells. Everything is measured in its own process.
 */
import { setTimeout as pause } from "node:timers/promises"
import type { Left, Publish, Store } from "./Contender.ts"
import { sample, samples } from "./Sample.ts"
import { type Profile, profiled } from "./profile.ts"
import { turn } from "./turn.ts"

/** What appending cost. */
export interface Appended {
  readonly perSecond: number
  /** Time of this process's processors, microseconds an operation. */
  readonly cpuMicros: number
}

/** What draining a backlog cost. */
export interface Drained {
  /** From the first message that was published to nothing left pending. */
  readonly perSecond: number
  readonly cpuMicros: number
  /** Messages that were published beyond one for each record. */
  readonly duplicates: number
  /** The largest resident memory that was seen, in MiB. */
  readonly memory: number
}

/** Milliseconds from the statement of an operation to its arrival at the log. */
export interface Latencies {
  readonly p50: number
  readonly p99: number
  readonly p999: number
  readonly max: number
  readonly lost: number
  /** Of one processor, in percent, appending included. */
  readonly cpu: number
}

/** What an outage of the log came to. */
export interface Outage {
  readonly records: number
  /** Given up when the outage ended. */
  readonly dead: number
  /** How often the log was called in vain. */
  readonly calls: number
  /** Seconds from the end of the outage to the first message, and to the last of all that arrive by themselves. */
  readonly first: number | null
  readonly last: number | null
  /** Neither delivered nor given up a minute and a half after the outage. */
  readonly missing: number
  /** Given up for good, before anybody steps in. */
  readonly lost: number
}

/** When an operation arrived that was committed long after younger ones. */
export interface Late {
  /** Milliseconds after the commit; `null` if it had not come within 15 seconds. */
  readonly millis: number | null
}

interface Shapes {
  readonly fill: { readonly options: { readonly count: number }; readonly answer: null }
  readonly append: {
    readonly options: { readonly count: number; readonly atOnce: number; readonly perBatch: number }
    readonly answer: Appended
  }
  readonly drain: { readonly options: { readonly count: number }; readonly answer: Drained }
  readonly latency: {
    readonly options: { readonly perSecond: number; readonly seconds: number }
    readonly answer: Latencies
  }
  readonly idle: { readonly options: { readonly seconds: number }; readonly answer: { readonly cpu: number } }
  readonly outage: {
    readonly options: { readonly seconds: number; readonly backlog: number; readonly perSecond: number }
    readonly answer: Outage
  }
  /** A drain, or the appends before it, watched. */
  readonly profile: {
    readonly options: { readonly count: number; readonly what: "append" | "drain"; readonly file: string }
    readonly answer: Profile
  }
  readonly late: { readonly options: { readonly seconds: number }; readonly answer: Late }
}

export type Task = keyof Shapes
export type Options<K extends Task> = Shapes[K]["options"]
export type Answer<K extends Task> = Shapes[K]["answer"]

const fillBatch = 1_000

const seconds = (since: number): number => (performance.now() - since) / 1_000

const cpuSeconds = (since?: NodeJS.CpuUsage): number => {
  const { system, user } = process.cpuUsage(since)
  return (system + user) / 1e6
}

const inTurns = async (count: number, atOnce: number, work: (i: number) => Promise<void>) => {
  let next = 0
  await Promise.all(Array.from({ length: atOnce }, async () => {
    while (next < count) await work(next++)
  }))
}

const worked = async <A>(store: Store, publish: Publish, during: () => Promise<A>): Promise<A> => {
  if (store.work === undefined) throw new Error("this contender delivers nothing")
  const stop = await store.work(publish)
  try {
    return await during()
  } finally {
    await stop()
  }
}

const isOver = ({ dead, pending }: Left) => pending === 0 && dead === 0

const decoder = new TextDecoder()

/** The message of an envelope of ours is bytes, and so is ever so little slower to look into. */
const read = (message: string | Uint8Array): { readonly payload: { readonly invoice: number; readonly at: number } } =>
  JSON.parse(typeof message === "string" ? message : decoder.decode(message))

const now = (): number => performance.timeOrigin + performance.now()

const quantile = (sorted: ReadonlyArray<number>, part: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN

/** States so many operations a second, evenly, whatever the appends take. */
const paced = async (perSecond: number, millis: number, append: (i: number) => Promise<void>) => {
  const began = performance.now()
  const under = new Set<Promise<void>>()
  let stated = 0
  while (performance.now() - began < millis) {
    const due = Math.floor((performance.now() - began) / 1_000 * perSecond)
    for (; stated < due; stated++) {
      const one: Promise<void> = append(stated).finally(() => under.delete(one))
      under.add(one)
    }
    await pause(Math.max(1, Math.floor(1_000 / perSecond / 2)))
  }
  await Promise.all(under)
  return stated
}

export const tasks: { readonly [K in Task]: (store: Store, options: Options<K>) => Promise<Answer<K>> } = {
  fill: async (store, { count }) => {
    await inTurns(
      Math.ceil(count / fillBatch),
      2,
      (i) => store.appendAll(samples(Math.min(fillBatch, count - i * fillBatch), i * fillBatch))
    )
    return null
  },

  append: async (store, { atOnce, count, perBatch }) => {
    const began = performance.now()
    const cpu = process.cpuUsage()
    await inTurns(
      count / perBatch,
      atOnce,
      (i) => perBatch === 1 ? store.append(sample(i)) : store.appendAll(samples(perBatch, i * perBatch))
    )
    return { perSecond: count / seconds(began), cpuMicros: cpuSeconds(cpu) / count * 1e6 }
  },

  drain: async (store, { count }) => {
    let published = 0
    let began: number | undefined
    let cpu: NodeJS.CpuUsage | undefined
    let memory = 0
    const publish: Publish = async (messages) => {
      began ??= performance.now()
      cpu ??= process.cpuUsage()
      await turn()
      published += messages.length
    }
    const watching = setInterval(() => {
      memory = Math.max(memory, process.memoryUsage.rss())
    }, 100)
    return await worked(store, publish, async () => {
      while (published < count || !isOver(await store.left())) await pause(published < count ? 5 : 10)
      clearInterval(watching)
      return {
        perSecond: count / seconds(began ?? 0),
        cpuMicros: cpuSeconds(cpu) / count * 1e6,
        duplicates: published - count,
        memory: memory / 2 ** 20
      }
    })
  },

  latency: async (store, { perSecond, seconds }) => {
    const warmUp = 1_000
    const came: Array<number> = []
    let isWarm = false
    let seen = 0
    const publish: Publish = async (messages) => {
      const at = now()
      for (const message of messages) {
        seen++
        if (isWarm) came.push(at - read(message).payload.at)
      }
    }
    return await worked(store, publish, async () => {
      const append = (i: number) => store.append(sample(i))
      const before = await paced(perSecond, warmUp, append)
      for (const until = performance.now() + 5_000; seen < before && performance.now() < until;) await pause(50)
      isWarm = true
      const cpu = process.cpuUsage()
      const began = performance.now()
      const stated = await paced(perSecond, seconds * 1_000, append)
      const used = cpuSeconds(cpu) / (performance.now() - began) * 1e5
      for (const until = performance.now() + 5_000; came.length < stated && performance.now() < until;) await pause(50)
      came.sort((a, b) => a - b)
      return {
        p50: quantile(came, 0.5),
        p99: quantile(came, 0.99),
        p999: quantile(came, 0.999),
        max: quantile(came, 1),
        lost: stated - came.length,
        cpu: used
      }
    })
  },

  idle: (store, { seconds }) =>
    worked(store, turn, async () => {
      await pause(2_000)
      const cpu = process.cpuUsage()
      await pause(seconds * 1_000)
      return { cpu: cpuSeconds(cpu) / seconds * 100 }
    }),

  outage: async (store, { backlog, perSecond, seconds: length }) => {
    const seen = new Set<number>()
    let isOut = false
    let calls = 0
    let healedAt: number | undefined
    let first: number | null = null
    let last: number | null = null
    const publish: Publish = async (messages) => {
      await turn()
      if (isOut) {
        calls++
        throw new Error("the log is out")
      }
      for (const message of messages) {
        seen.add(read(message).payload.invoice)
        if (healedAt === undefined) continue
        first ??= seconds(healedAt)
        last = seconds(healedAt)
      }
    }
    return await worked(store, publish, async () => {
      const append = (i: number) => store.append(sample(i))
      let records = await paced(perSecond, 2_000, append)
      for (const until = performance.now() + 10_000; seen.size < records && performance.now() < until;) await pause(50)
      isOut = true
      for (let at = 0; at < backlog; at += fillBatch) {
        const some = Math.min(fillBatch, backlog - at)
        await store.appendAll(samples(some, records))
        records += some
      }
      const from = records
      records += await paced(perSecond, length * 1_000, (i) => store.append(sample(from + i)))
      const { dead } = await store.left()
      isOut = false
      healedAt = performance.now()
      const after = records
      // The application goes on meanwhile, for some seconds.
      records += await paced(perSecond, 10_000, (i) => store.append(sample(after + i)))
      for (const until = performance.now() + 80_000; seen.size < records && performance.now() < until;) {
        await pause(100)
        const left = await store.left()
        if (left.pending === 0) break
      }
      const left = await store.left()
      return {
        records,
        dead,
        calls,
        first,
        last,
        lost: left.dead,
        missing: records - seen.size - left.dead
      }
    })
  },

  profile: async (store, { count, file, what }) => {
    const work = what === "append"
      ? () => tasks.append(store, { count, atOnce: 16, perBatch: 1 })
      : () => tasks.drain(store, { count })
    const [, profile] = await profiled(file, async () => void await work())
    return profile
  },

  late: async (store, { seconds: open }) => {
    const invoice = -1
    let came: number | undefined
    const publish: Publish = async (messages) => {
      if (messages.some((message) => read(message).payload.invoice === invoice)) came = performance.now()
    }
    const { appendLate } = store
    if (appendLate === undefined) throw new Error("it cannot append in a transaction of the application's")
    return await worked(store, publish, async () => {
      await store.append(sample(0))
      const committed = appendLate({ ...sample(invoice) }, open * 1_000).then(() => performance.now())
      await pause(100)
      await paced(45, open * 1_000 + 3_000, (i) => store.append(sample(i + 1)))
      const at = await committed
      for (const until = at + 15_000; came === undefined && performance.now() < until;) await pause(20)
      return { millis: came === undefined ? null : Math.max(0, came - at) }
    })
  }
}
