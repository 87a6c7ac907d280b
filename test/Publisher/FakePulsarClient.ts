/**
 * `pulsar-client` 1.18.0 as it was measured, faults included, with a broker in memory behind it.
 */
import type {
  Client,
  ClientOptions,
  Consumer,
  ConsumerOptions,
  LogHandler,
  MessageId,
  Module,
  Producer,
  ProducerMessage,
  ProducerOptions
} from "../../src/internal/pulsar/nativeClient.ts"
import * as FakeSubscriptions from "./FakeSubscriptions.ts"

/** A message that the broker holds. */
export interface Held {
  readonly topic: string
  readonly key: string
  readonly data: Uint8Array
  readonly properties: Record<string, string>
  /** As the client prints it. */
  readonly id: string
}

/** What the broker is like, to be changed at any time, and what it has seen. */
export interface Broker {
  /**
   * - `down`: nobody answers
   * - `hung`: what is sent is stored, and nothing answered until it is `up` again
   * - `silent`: the same, but producers can be made
   */
  state: "up" | "down" | "hung" | "silent"
  /** The largest message, or batch, that it takes. */
  maxMessageSize: number
  /** The token that it wants. */
  token: string | undefined
  /** The error with which the making of a producer fails. */
  creationError: string | undefined
  /** What the client logs then, which arrives after the error. */
  creationWarning: string | undefined
  /** Whether the making of a producer goes on for ever, beyond every time-out of the client; `stuck` ends it after all. */
  isCreationStuck: boolean
  readonly stuck: Array<() => void>
  /** Keys of messages that make the client connect again, for ever, with everything behind them waiting. */
  readonly poison: Set<string>
  /** Errors by the key of the message that is answered with them. */
  readonly sendErrors: Map<string, string>
  /** Message ids by key, as the client prints them, in place of the real ones. */
  readonly ids: Map<string, string>
  /** So many of the next messages are answered, then everything that is pending times out. */
  answers: number
  readonly held: Array<Held>
  /** Every message that a producer was given, as it was given. */
  readonly given: Array<ProducerMessage>
  readonly clients: Array<{ readonly options: ClientOptions; isClosed: boolean }>
  readonly producers: Array<FakeProducer>
  /** How often the process would have been aborted. */
  aborts: number
  /** The tokens that were presented. */
  readonly tokens: Array<string>
}

export interface FakeProducer extends Producer {
  readonly options: ProducerOptions
  /** So many messages, and bytes, were pending at most. */
  readonly mostPending: number
  readonly mostBytes: number
  readonly isOpen: boolean
  /** It has lost its connection, and gets no other. */
  isLost: boolean
}

interface Pending {
  readonly message: ProducerMessage
  readonly resolve: (id: MessageId) => void
  readonly reject: (error: Error) => void
  isSent: boolean
}

/** The client's time-outs run so many times as fast where nobody answers anyway. */
const hurry = 100

const failed = (what: string, name: string): Error => new Error(`Failed to ${what}: ${name}`)

// C strings end there.
const cut = (text: string): string => text.split("\0", 1)[0] ?? ""

class Token {
  readonly token: string | (() => Promise<string>)
  constructor(options: { token: string | (() => Promise<string>) }) {
    this.token = options.token
  }
}

class Tls {
  readonly options: { certificatePath: string; privateKeyPath: string }
  constructor(options: { certificatePath: string; privateKeyPath: string }) {
    this.options = options
  }
}

/** Says what came to an end, now or later. */
interface Pump {
  /** Sends and answers what can be now. */
  readonly turn: () => void
}

export interface Fake {
  readonly module: Module
  readonly broker: Broker
  /** Lets those who are held go on after a change of the broker's state. */
  readonly release: () => void
  /** What the client logs. */
  readonly log: (level: number, message: string) => void
  /** How often somebody took the log. */
  readonly logHandlers: () => number
  /** Consumers lose their connections: what they have not acknowledged comes again. */
  readonly lose: () => void
}

export const make = (options: { readonly maxMessageSize?: number } = {}): Fake => {
  const broker: Broker = {
    state: "up",
    maxMessageSize: options.maxMessageSize ?? 5 * 1024 * 1024,
    token: undefined,
    creationError: undefined,
    creationWarning: undefined,
    isCreationStuck: false,
    stuck: [],
    poison: new Set(),
    sendErrors: new Map(),
    ids: new Map(),
    answers: Infinity,
    held: [],
    given: [],
    clients: [],
    producers: [],
    aborts: 0,
    tokens: []
  }
  const pumps = new Set<Pump>()
  const closing: Array<() => void> = []
  let handler: LogHandler | undefined
  let handlers = 0
  const log = (level: number, message: string) => setImmediate(() => handler?.(level, "Fake.cc", 1, message))

  const store = (topic: string, message: ProducerMessage, batch: number): MessageId => {
    const id = broker.ids.get(message.partitionKey) ?? `(6,${broker.held.length},-1,${batch})`
    broker.held.push({
      topic,
      key: cut(message.partitionKey),
      // What is no buffer is sent as nothing.
      data: message.data instanceof Uint8Array ? Uint8Array.from(message.data) : new Uint8Array(),
      properties: Object.fromEntries(
        Object.entries(message.properties).map((pair) => pair.map((text) => cut(`${text}`)))
      ),
      id
    })
    return { toString: () => id }
  }

  const makeProducer = (options: ProducerOptions): FakeProducer => {
    let pending: Array<Pending> = []
    let mostPending = 0
    let mostBytes = 0
    let state: "open" | "closing" | "closed" = "open"
    let timer: NodeJS.Timeout | undefined
    let isScheduled = false
    /** Whoever reconnects for ever also begins its time-outs anew for ever. */
    let isPoisoned = false

    const fail = (which: ReadonlyArray<Pending>, name: string) => {
      pending = pending.filter((each) => !which.includes(each))
      for (const each of which) each.reject(failed("send message", name))
    }

    const watch = () => {
      if (timer !== undefined || pending.length === 0 || isPoisoned) return
      timer = setTimeout(() => {
        timer = undefined
        // The oldest takes all others along, also those that were sent a moment ago.
        if (!isPoisoned) fail(pending, "TimeOut")
        watch()
      }, options.sendTimeoutMs).unref()
    }

    const unwatch = () => {
      clearTimeout(timer)
      timer = undefined
    }

    const batches = (burst: ReadonlyArray<Pending>): ReadonlyArray<ReadonlyArray<Pending>> => {
      if (!options.batchingEnabled) return burst.map((each) => [each])
      const all: Array<Array<Pending>> = []
      let bytes = Infinity
      for (const each of burst) {
        bytes += each.message.data.length
        if (bytes > 128 * 1024) {
          all.push([])
          bytes = each.message.data.length
        }
        all.at(-1)?.push(each)
      }
      return all
    }

    const turn = () => {
      if (state === "closed" || broker.state === "down" || isPoisoned) return
      const answered: Array<() => void> = []
      const burst = pending.filter((each) => !each.isSent)
      for (const batch of batches(burst)) {
        if (batch.reduce((sum, { message }) => sum + message.data.length, 0) > broker.maxMessageSize) {
          answered.push(() => fail(batch, "MessageTooBig"))
          continue
        }
        if (batch.some(({ message }) => broker.poison.has(message.partitionKey))) {
          isPoisoned = true
          unwatch()
          break
        }
        for (const [index, each] of batch.entries()) {
          const error = broker.sendErrors.get(each.message.partitionKey)
          if (error !== undefined) {
            answered.push(() => fail([each], error))
            continue
          }
          if (broker.answers === 0) break
          broker.answers--
          each.isSent = true
          const id = store(options.topic, each.message, options.batchingEnabled ? index : -1)
          answered.push(() => {
            pending = pending.filter((other) => other !== each)
            each.resolve(id)
          })
        }
        if (broker.answers === 0) {
          answered.unshift(() => fail(pending, "TimeOut"))
          break
        }
      }
      broker.answers = answered.length > 0 && broker.answers === 0 ? Infinity : broker.answers
      // The last of a burst is answered first.
      const answer = () => {
        if (broker.state !== "up") return
        late.delete(answer)
        for (const each of answered.toReversed()) each()
        unwatch()
        watch()
      }
      late.add(answer)
      setImmediate(answer)
    }
    /** Answers that the broker holds back while it hangs. */
    const late = new Set<() => void>()

    const schedule = () => {
      if (isScheduled) return
      isScheduled = true
      setImmediate(() => {
        isScheduled = false
        turn()
      })
    }

    const pump: Pump = {
      turn: () => {
        for (const answer of late) answer()
        schedule()
      }
    }
    pumps.add(pump)

    const close = () => {
      state = "closed"
      pumps.delete(pump)
      unwatch()
      fail(pending, "AlreadyClosed")
    }

    const self: FakeProducer = {
      options,
      isLost: false,
      get mostPending() {
        return mostPending
      },
      get mostBytes() {
        return mostBytes
      },
      get isOpen() {
        return state === "open"
      },
      send: (message) =>
        new Promise((resolve, reject) => {
          broker.given.push(message)
          if (state !== "open") return reject(failed("send message", "AlreadyClosed"))
          if (pending.length >= options.maxPendingMessages) return reject(failed("send message", "ProducerQueueIsFull"))
          pending.push({ message, resolve, reject, isSent: false })
          mostPending = Math.max(mostPending, pending.length)
          mostBytes = Math.max(mostBytes, pending.reduce((sum, { message }) => sum + message.data.length, 0))
          watch()
          schedule()
        }),
      flush: async () => {
        if (state !== "open") throw failed("flush producer", "AlreadyClosed")
        const end = Date.now() + options.sendTimeoutMs
        while (pending.length > 0) {
          if (Date.now() > end) throw failed("flush producer", "TimeOut")
          await new Promise((resolve) => setImmediate(resolve))
        }
      },
      close: async () => {
        if (state !== "open") throw failed("close producer", "AlreadyClosed")
        state = "closing"
        if (broker.state === "up" || broker.state === "down") return close()
        // Nobody is told anything until the broker answers. The client would give up at last, which no test waits for.
        await new Promise<void>((resolve) => void closing.push(resolve))
        close()
      },
      isConnected: () => state === "open" && broker.state !== "down" && !self.isLost
    }
    return self
  }

  const subscriptions = FakeSubscriptions.make(broker)

  class FakeClient implements Client {
    readonly options: ClientOptions
    readonly state: { readonly options: ClientOptions; isClosed: boolean }
    readonly mine: Array<FakeProducer> = []
    readonly #waiting: Array<(error: Error) => void> = []

    static setLogHandler(given: LogHandler): void {
      handler = given
      handlers++
    }

    constructor(options: ClientOptions) {
      if (options.serviceUrl.includes("refused")) throw new Error("Invalid scheme: refused")
      this.options = options
      this.state = { options, isClosed: false }
      broker.clients.push(this.state)
    }

    async createProducer(options: ProducerOptions): Promise<Producer> {
      const fail = (name: string) => failed("create producer", name)
      if (this.state.isClosed) throw fail("AlreadyClosed")
      if (!(await this.#isAuthenticated()) || broker.state === "down" || broker.state === "hung") {
        if (broker.state === "down") log(2, "Failed to establish connection: Connection refused")
        const timeOut = this.options.operationTimeoutSeconds * 1000 / hurry
        await new Promise((resolve) => setTimeout(resolve, timeOut))
        throw fail("TimeOut")
      }
      if (broker.isCreationStuck) await new Promise<void>((resolve) => void broker.stuck.push(resolve))
      await new Promise((resolve) => setImmediate(resolve))
      if (broker.creationError !== undefined) {
        if (broker.creationWarning !== undefined) log(3, broker.creationWarning)
        throw fail(broker.creationError)
      }
      if (this.state.isClosed) throw fail("AlreadyClosed")
      const producer = makeProducer(options)
      this.mine.push(producer)
      broker.producers.push(producer)
      return producer
    }

    /** What only the client's end ends. */
    #never = () => new Promise<never>((_, reject) => void this.#waiting.push(reject))

    async #isAuthenticated(): Promise<boolean> {
      const { authentication } = this.options
      if (!(authentication instanceof Token)) return broker.token === undefined
      let token: string
      if (typeof authentication.token === "string") token = authentication.token
      else {
        let asked: Promise<string>
        try {
          asked = authentication.token()
        } catch {
          broker.aborts++
          return await this.#never()
        }
        try {
          token = await asked
        } catch {
          broker.aborts++
          return await this.#never()
        }
      }
      broker.tokens.push(token)
      return broker.token === undefined || broker.token === token
    }

    async subscribe(options: ConsumerOptions): Promise<Consumer> {
      const fail = (name: string) => failed("create consumer", name)
      if (this.state.isClosed) throw fail("AlreadyClosed")
      if (!(await this.#isAuthenticated()) || broker.state !== "up") {
        await new Promise((resolve) => setTimeout(resolve, this.options.operationTimeoutSeconds * 1000 / hurry))
        throw fail("TimeOut")
      }
      if (broker.creationError !== undefined) throw fail(broker.creationError)
      return subscriptions.subscribe(options)
    }

    async close(): Promise<unknown> {
      if (this.state.isClosed) throw failed("close client", "AlreadyClosed")
      this.state.isClosed = true
      for (const reject of this.#waiting) reject(failed("create producer", "AlreadyClosed"))
      const ends = await Promise.allSettled(this.mine.filter((producer) => producer.isOpen).map((one) => one.close()))
      if (ends.some(({ status }) => status === "rejected")) throw failed("close client", "AlreadyClosed")
      return null
    }
  }

  return {
    module: { Client: FakeClient, AuthenticationToken: Token, AuthenticationTls: Tls },
    broker,
    release: () => {
      for (const pump of pumps) pump.turn()
      for (const resolve of closing.splice(0)) resolve()
    },
    log,
    logHandlers: () => handlers,
    lose: subscriptions.lose
  }
}
