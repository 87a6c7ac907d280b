/**
 * What a contender can be told to do, and what it then tells. Everything is measured in its own process.
 */
import { setTimeout as pause } from "node:timers/promises"
import type { Publish, Store } from "./Contender.ts"
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
  /** The same of each tenth of the backlog; 0 where one was over before it was looked at. */
  readonly memoryOfTenths: ReadonlyArray<number>
}

/** What one of several processes did of a drain. */
export interface Share {
  readonly published: number
  /** When it published first and last, in milliseconds since 1970; `null` if it published nothing. */
  readonly first: number | null
  readonly last: number | null
  /** Seconds of processors between the two. */
  readonly cpu: number
}

/** Milliseconds from the statement of an operation, before its commit, to its arrival at the log. */
export interface Latencies {
  readonly p50: number
  readonly p99: number
  readonly p999: number
  readonly max: number
  /** Arrivals: fewer a second than were stated where the contender cannot keep up, and then all of this grows with time. */
  readonly perSecond: number
  /** Had not come when nothing had come for five seconds. */
  readonly lost: number
  /** Of one processor, in percent, appending included where this process appends. */
  readonly cpu: number
}

/** What an outage of the log came to. */
export interface Outage {
  readonly records: number
  /** Not delivered when the outage ended: the old ones. */
  readonly waiting: number
  /** Of those, given up when the outage ended. */
  readonly dead: number
  /** How often the log was called in vain. */
  readonly calls: number
  /** Seconds from the end of the outage to the first of the old ones, and to the last that arrived by itself. */
  readonly first: number | null
  readonly last: number | null
  /** Given up for good, before anybody steps in. */
  readonly lost: number
  /** Still to be tried a minute and a half after the outage. */
  readonly pending: number
  /** Neither delivered, nor given up, nor still to be tried. */
  readonly missing: number
}

/** When an operation arrived that was committed long after younger ones. */
export interface Late {
  /** Milliseconds after the commit; `null` if it had not come within 15 seconds. */
  readonly millis: number | null
}

interface Shapes {
  /** A backlog, in so many lanes where there are such: as much in each. */
  readonly fill: { readonly options: { readonly count: number; readonly lanes?: number }; readonly answer: null }
  readonly hold: { readonly options: { readonly isHeld: boolean }; readonly answer: null }
  readonly append: {
    readonly options: { readonly count: number; readonly atOnce: number; readonly perBatch: number }
    readonly answer: Appended
  }
  readonly drain: { readonly options: { readonly count: number }; readonly answer: Drained }
  /** A drain by several processes, as one of them. */
  readonly share: { readonly options: Record<string, never>; readonly answer: Share }
  readonly latency: {
    readonly options: { readonly perSecond: number; readonly seconds: number }
    readonly answer: Latencies
  }
  /** The two sides of `latency`, for two processes. */
  readonly send: {
    readonly options: { readonly perSecond: number; readonly seconds: number }
    readonly answer: null
  }
  readonly receive: {
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

/** The first two are there always, and are counted among the lanes that processes share. */
const laneOf = (index: number): string => {
  const kind = index % 2 === 0 ? "operation" : "record"
  return index < 2 ? kind : `${kind}/${index}`
}

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

const decoder = new TextDecoder()

/** The message of an envelope of ours is bytes, and so is ever so little slower to look into. */
const read = (message: string | Uint8Array): { readonly payload: { readonly invoice: number; readonly at: number } } =>
  JSON.parse(typeof message === "string" ? message : decoder.decode(message))

const now = (): number => performance.timeOrigin + performance.now()

const quantile = (sorted: ReadonlyArray<number>, part: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN

/** Waits until something is so, for so long at most. */
const until = async (isSo: () => boolean | Promise<boolean>, millis: number, every = 20): Promise<boolean> => {
  const began = performance.now()
  for (;;) {
    if (await isSo()) return true
    if (performance.now() - began >= millis) return false
    await pause(every)
  }
}

/** A drain that takes longer has come to a stop. */
const longestDrain = 600_000

/** States so many operations a second, evenly, whatever the appends take; gives how many. */
const paced = async (
  perSecond: number,
  goesOn: (seconds: number) => boolean,
  append: (i: number) => Promise<void>
): Promise<number> => {
  const began = performance.now()
  const under = new Set<Promise<void>>()
  let stated = 0
  while (goesOn(seconds(began))) {
    const due = Math.floor(seconds(began) * perSecond)
    for (; stated < due; stated++) {
      const one: Promise<void> = append(stated).finally(() => under.delete(one))
      under.add(one)
    }
    await pause(Math.max(1, Math.floor(1_000 / perSecond / 2)))
  }
  await Promise.all(under)
  return stated
}

/** So many in all. */
const pacedCount = async (perSecond: number, count: number, append: (i: number) => Promise<void>): Promise<void> => {
  let stated = 0
  await paced(perSecond, () => stated < count, async (i) => {
    stated++
    if (i < count) await append(i)
  })
}

/** When nothing comes for so long, what has not come counts as lost. */
const longestSilence = 5_000

/** Those before the first that counts have numbers of their own. */
const warmUp = (store: Store, perSecond: number): Promise<void> =>
  pacedCount(perSecond, perSecond, (i) => store.append(sample(-1 - i)))

/** A log that only looks at the clock. */
const stopwatch = () => {
  const from = now()
  const seen = new Set<number>()
  const millis: Array<number> = []
  let began = from
  let heard = from
  const publish: Publish = async (messages) => {
    const at = now()
    heard = at
    for (const message of messages) {
      const { payload } = read(message)
      // What an earlier round has left over is none of this one's, and what comes twice came the first time.
      if (payload.at < from || seen.has(payload.invoice)) continue
      seen.add(payload.invoice)
      if (payload.invoice < 0) continue
      if (millis.length === 0) began = at
      millis.push(at - payload.at)
    }
  }
  const latencies = (count: number): Omit<Latencies, "cpu"> => {
    const sorted = millis.toSorted((a, b) => a - b)
    return {
      p50: quantile(sorted, 0.5),
      p99: quantile(sorted, 0.99),
      p999: quantile(sorted, 0.999),
      max: quantile(sorted, 1),
      perSecond: sorted.length / (heard - began) * 1_000,
      lost: count - sorted.length
    }
  }
  /** Waits for so many, counting those of the warm-up. */
  const hear = (count: number): Promise<boolean> => {
    const since = now()
    return until(() => seen.size >= count || now() - Math.max(since, heard) > longestSilence, Infinity)
  }
  return { publish, hear, latencies }
}

export const tasks: { readonly [K in Task]: (store: Store, options: Options<K>) => Promise<Answer<K>> } = {
  fill: async (store, { count, lanes = 1 }) => {
    const share = Math.ceil(count / lanes)
    await inTurns(Math.ceil(share / fillBatch) * lanes, 2, (i) => {
      const lane = i % lanes
      const from = lane * share + Math.floor(i / lanes) * fillBatch
      const some = Math.max(0, Math.min(fillBatch, (lane + 1) * share - from, count - from))
      return store.appendAll(samples(some, from), lanes === 1 ? undefined : laneOf(lane))
    })
    return null
  },

  hold: async (store, { isHeld }) => {
    if (store.hold === undefined) throw new Error("it cannot be kept from delivering")
    await store.hold(isHeld)
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
    const memory = Array.from({ length: 10 }, () => 0)
    const publish: Publish = async (messages) => {
      began ??= performance.now()
      cpu ??= process.cpuUsage()
      await turn()
      published += messages.length
    }
    const watch = () => {
      const tenth = Math.min(9, Math.floor(published / count * 10))
      memory[tenth] = Math.max(memory[tenth] ?? 0, process.memoryUsage.rss() / 2 ** 20)
    }
    const watching = setInterval(watch, 100)
    try {
      return await worked(store, publish, async () => {
        await until(() => published >= count, longestDrain, 5)
        if (!await until(async () => (await store.left()).pending === 0, longestDrain, 10)) {
          throw new Error("it has stopped before all was delivered")
        }
        const drained = {
          perSecond: count / seconds(began ?? 0),
          cpuMicros: cpuSeconds(cpu) / count * 1e6,
          duplicates: published - count
        }
        const { dead } = await store.left()
        if (dead > 0) throw new Error(`${dead} were given up although the log took all`)
        watch()
        return { ...drained, memory: Math.max(...memory), memoryOfTenths: memory }
      })
    } finally {
      clearInterval(watching)
    }
  },

  share: async (store) => {
    let published = 0
    let first: number | null = null
    let last: number | null = null
    let began: NodeJS.CpuUsage | undefined
    let cpu = 0
    const publish: Publish = async (messages) => {
      await turn()
      if (messages.length === 0) return
      published += messages.length
      last = now()
      first ??= last
      began ??= process.cpuUsage()
      cpu = cpuSeconds(began)
    }
    return await worked(store, publish, async () => {
      // Whoever is at work does not ask: counting what is left takes the database's time.
      const isOver = async () => (last === null || now() - last > 100) && (await store.left()).pending === 0
      if (!await until(isOver, longestDrain, 200)) throw new Error("it has stopped before all was delivered")
      return { published, first, last, cpu }
    })
  },

  latency: async (store, { perSecond, seconds: length }) => {
    const { hear, latencies, publish } = stopwatch()
    return await worked(store, publish, async () => {
      await warmUp(store, perSecond)
      await hear(perSecond)
      const count = perSecond * length
      const cpu = process.cpuUsage()
      const began = performance.now()
      await pacedCount(perSecond, count, (i) => store.append(sample(i)))
      const used = cpuSeconds(cpu) / seconds(began) * 100
      await hear(perSecond + count)
      return { ...latencies(count), cpu: used }
    })
  },

  send: async (store, { perSecond, seconds: length }) => {
    await warmUp(store, perSecond)
    await pacedCount(perSecond, perSecond * length, (i) => store.append(sample(i)))
    return null
  },

  receive: async (store, { perSecond, seconds: length }) => {
    const { hear, latencies, publish } = stopwatch()
    return await worked(store, publish, async () => {
      await hear(perSecond)
      const cpu = process.cpuUsage()
      const began = performance.now()
      await hear(perSecond * (1 + length))
      return { ...latencies(perSecond * length), cpu: cpuSeconds(cpu) / seconds(began) * 100 }
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
    let healed: { readonly at: number; readonly records: number } | undefined
    let waiting = 0
    let first: number | null = null
    let last: number | null = null
    const publish: Publish = async (messages) => {
      await turn()
      if (isOut) {
        calls++
        throw new Error("the log is out")
      }
      for (const message of messages) {
        const { invoice } = read(message).payload
        if (seen.has(invoice)) continue
        seen.add(invoice)
        if (healed === undefined || invoice >= healed.records) continue
        waiting--
        last = seconds(healed.at)
        first ??= last
      }
    }
    return await worked(store, publish, async () => {
      let records = 0
      const goOn = async (goesOn: (seconds: number) => boolean) => {
        const from = records
        records += await paced(perSecond, goesOn, (i) => store.append(sample(from + i)))
      }
      await goOn((seconds) => seconds < 2)
      await until(() => seen.size >= records, 10_000)
      isOut = true
      for (let at = 0; at < backlog; at += fillBatch) {
        const some = Math.min(fillBatch, backlog - at)
        await store.appendAll(samples(some, records))
        records += some
      }
      await goOn((seconds) => seconds < length)
      const { dead } = await store.left()
      const old = waiting = records - seen.size
      isOut = false
      healed = { at: performance.now(), records }
      // The application goes on meanwhile, for some seconds and for as long as old ones keep coming.
      await goOn((seconds) => seconds < 10 || (seconds < 90 && waiting > 0 && last !== null && seconds - last < 2))
      await until(
        async () => seen.size >= records || (await store.left()).pending === 0,
        90_000 - seconds(healed.at) * 1_000,
        100
      )
      // What has arrived may not be marked yet.
      await until(async () => (await store.left()).pending === 0, 1_000, 100)
      const left = await store.left()
      return {
        records,
        waiting: old,
        dead,
        calls,
        first,
        last,
        lost: left.dead,
        pending: left.pending,
        missing: records - seen.size - left.dead - left.pending
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
      if (messages.some((message) => read(message).payload.invoice === invoice)) came ??= performance.now()
    }
    const { appendLate } = store
    if (appendLate === undefined) throw new Error("it cannot append in a transaction of the application's")
    return await worked(store, publish, async () => {
      await store.append(sample(0))
      const committed = appendLate({ ...sample(invoice) }, open * 1_000).then(() => performance.now())
      await pause(100)
      await paced(45, (seconds) => seconds < open + 3, (i) => store.append(sample(i + 1)))
      const at = await committed
      await until(() => came !== undefined, at + 15_000 - performance.now())
      return { millis: came === undefined ? null : Math.max(0, came - at) }
    })
  }
}
