/**
 * Topics of a Pulsar, and what they hold, by requests that no code under test has made.
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { randomBytes } from "node:crypto"
import { type EventEmitter, on, once } from "node:events"
import { createRequire } from "node:module"
import { inject } from "vitest"
import type { AdminError, Broker } from "./Broker.ts"

/** Where a message is, as the broker counts; -1 where it is in no partition or batch. */
export interface Position {
  readonly ledger: number
  readonly entry: number
  readonly partition: number
  readonly batchIndex: number
}

export interface Message {
  /** As the broker says it to readers: base64. What it says to a producer may differ, and have the same position. */
  readonly messageId: string
  readonly position: Position
  readonly key: string | undefined
  readonly properties: Readonly<Record<string, string>>
  readonly payload: Uint8Array
}

/** A name of `public/default` that nobody else has: `persistent://public/default/…`. The topic goes with the run. */
export const unique: Effect.Effect<string> = Effect.sync(() =>
  `persistent://public/default/${inject("servers").prefix}${randomBytes(6).toString("hex")}`
)

const pathOf = (topic: string): string => topic.replace("://", "/").split("/").map(encodeURIComponent).join("/")

// A broker that has just come back is without its bookie for a while.
const eventually = (change: Effect.Effect<unknown, AdminError>, done: number): Effect.Effect<void> =>
  change.pipe(
    Effect.retry({ while: ({ status }) => status >= 500, schedule: Schedule.spaced("100 millis"), times: 300 }),
    Effect.asVoid,
    Effect.catchAll((error) => error.status === done ? Effect.void : Effect.die(error))
  )

/** Creates it, unless it is there. */
export const create = (broker: Broker, topic: string): Effect.Effect<void> =>
  eventually(broker.admin("PUT", pathOf(topic)), 409)

/** Removes it, if it is there, whoever is connected to it. */
export const remove = (broker: Broker, topic: string): Effect.Effect<void> =>
  eventually(broker.admin("DELETE", `${pathOf(topic)}?force=true`), 404)

/** A subscription from the beginning: for it, everything is kept that has not been acknowledged. */
export const subscribe = (broker: Broker, topic: string, subscription: string): Effect.Effect<void> =>
  eventually(
    broker.admin("PUT", `${pathOf(topic)}/subscription/${encodeURIComponent(subscription)}`, {
      ledgerId: -1,
      entryId: -1,
      partitionIndex: -1
    }),
    409
  )

/** A topic of its own name, with a subscription that keeps what is published. */
export const make = (broker: Broker): Effect.Effect<string> =>
  Effect.tap(unique, (topic) => Effect.zipRight(create(broker, topic), subscribe(broker, topic, "kept")))

/** A message's id is a Protocol Buffers message: numbers by the number of their field. */
const positionOf = (messageId: string): Position => {
  const bytes = Buffer.from(messageId, "base64")
  const fields = new Map<number, number>()
  let at = 0
  const number = () => {
    let value = 0
    for (let scale = 1;; scale *= 128) {
      const byte = bytes[at++] ?? 0
      value += (byte & 127) * scale
      if (byte < 128) return value
    }
  }
  while (at < bytes.length) {
    const tag = number()
    const value = number()
    // One that has a length is another message, the id of a first chunk.
    if ((tag & 7) === 2) at += value
    else fields.set(tag >> 3, value)
  }
  const [ledger = 0, entry = 0, partition = -1, batchIndex = -1] = [1, 2, 3, 4].map((field) => fields.get(field))
  return { ledger, entry, partition, batchIndex }
}

const Last = Schema.Struct({ ledgerId: Schema.Number, entryId: Schema.Number, batchIndex: Schema.Number })

const Frame = Schema.parseJson(Schema.Struct({
  messageId: Schema.String,
  payload: Schema.Uint8ArrayFromBase64,
  properties: Schema.Record({ key: Schema.String, value: Schema.String }),
  key: Schema.optional(Schema.String)
}))

interface Socket extends EventEmitter {
  readonly send: (text: string) => void
  readonly terminate: () => void
}

// The package has no types of its own.
const { WebSocket }: {
  readonly WebSocket: new(url: string, options: { readonly headers: Readonly<Record<string, string>> }) => Socket
} = createRequire(import.meta.url)("ws")

const session = <A>(
  broker: Broker,
  path: string,
  use: (socket: Socket, signal: AbortSignal) => Promise<A>
): Effect.Effect<A> =>
  Effect.acquireUseRelease(
    Effect.sync(() =>
      // One that is ended while it connects says so here; who waits for it hears of it by itself.
      new WebSocket(`${broker.wsUrl}/ws/v2/${path}`, { headers: broker.headers }).on("error", () => {})
    ),
    (socket) => Effect.promise((signal) => use(socket, signal)),
    (socket) => Effect.sync(() => socket.terminate())
  )

const Receipt = Schema.parseJson(Schema.Struct({ result: Schema.Literal("ok"), context: Schema.NumberFromString }))

export interface Outgoing {
  readonly payload: string | Uint8Array
  readonly key?: string | undefined
  readonly properties?: Readonly<Record<string, string>> | undefined
}

/** Publishes in this order, all at once, and waits until each is acknowledged. */
export const publish = (
  broker: Broker,
  topic: string,
  messages: ReadonlyArray<Outgoing>,
  options: { readonly isBatched?: boolean | undefined } = {}
): Effect.Effect<void> =>
  session(
    broker,
    // Until then a batch takes what comes.
    `producer/${pathOf(topic)}${options.isBatched === true ? "?batchingEnabled=true&batchingMaxPublishDelay=100" : ""}`,
    async (socket, signal) => {
      const missing = new Set(messages.keys())
      if (missing.size === 0) return
      const receipts = on(socket, "message", { close: ["close"], signal })
      await once(socket, "open", { signal })
      for (const [context, { key, payload, properties }] of messages.entries()) {
        socket.send(
          JSON.stringify({ payload: Buffer.from(payload).toString("base64"), key, properties, context: `${context}` })
        )
      }
      for await (const [receipt] of receipts) {
        missing.delete(Schema.decodeSync(Receipt)(String(receipt)).context)
        if (missing.size === 0) return
      }
      throw new Error(`the broker stopped before it acknowledged all that was published to ${topic}`)
    }
  )

const read = (broker: Broker, topic: string, last: typeof Last.Type): Effect.Effect<ReadonlyArray<Message>> =>
  session(broker, `reader/${pathOf(topic)}?messageId=earliest`, async (socket, signal) => {
    const messages: Array<Message> = []
    for await (const [frame] of on(socket, "message", { close: ["close"], signal })) {
      const { key, messageId, payload, properties } = Schema.decodeSync(Frame)(String(frame))
      const position = positionOf(messageId)
      messages.push({ messageId, position, key, properties, payload })
      const { batchIndex, entry, ledger } = position
      if (ledger === last.ledgerId && entry === last.entryId && batchIndex === last.batchIndex) return messages
      // It sends a thousand, and then one for each that it hears has come.
      socket.send(JSON.stringify({ messageId }))
    }
    throw new Error(`the broker stopped before the last message of ${topic}`)
  })

/** All that it holds now, in its order. A topic in partitions has one order in each: ask for `…-partition-0`. */
export const messages = (broker: Broker, topic: string): Effect.Effect<ReadonlyArray<Message>> =>
  broker.admin("GET", `${pathOf(topic)}/lastMessageId`).pipe(
    Effect.flatMap(Schema.decodeUnknown(Last)),
    Effect.orDie,
    Effect.flatMap((last) => last.entryId < 0 ? Effect.succeed([]) : read(broker, topic, last))
  )
