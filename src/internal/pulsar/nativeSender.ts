/**
 * A producer of the native client, and what it is given: batch after batch, so much at a time. The client's own queue must
 * not fill up: beyond it, it refuses messages, or blocks the thread.
 */
import * as Effect from "effect/Effect"
import type { Producer, ProducerMessage } from "./nativeClient.ts"
import { ended } from "./nativeConnection.ts"

/** What the client said of a message; `undefined` while it has said nothing. */
export type Answer =
  | { readonly _tag: "Stored"; readonly id: string }
  | { readonly _tag: "Failed"; readonly error: unknown }

/** Messages on their way. */
export interface Sending {
  /** By the place of the message; it goes on changing until the sending is left. */
  readonly answers: ReadonlyArray<Answer | undefined>
  /** So many have been given to the client. */
  readonly given: () => number
  /** Waits until every message has its answer, or the producer is given up. */
  readonly over: Effect.Effect<void>
  /** Nothing more of it is sent. What is on its way may hold up the producer for ever, which is then given up. */
  readonly leave: () => void
}

export interface Sender {
  /** Whether new messages should go this way. */
  readonly isUsable: () => boolean
  readonly begin: (messages: ReadonlyArray<ProducerMessage>) => Sending
  /** Takes no new messages; closed when those that it has are answered. */
  readonly retire: () => void
  /** Closes now: whoever waits for answers waits no more. */
  readonly abort: () => void
  /** Waits a while for what is on its way, then closes, for a while at most. */
  readonly close: Effect.Effect<void>
}

export interface Limits {
  /** So many messages are on their way at most, and so many bytes, but always one message. */
  readonly messages: number
  readonly bytes: number
}

interface Batch {
  readonly messages: ReadonlyArray<ProducerMessage>
  readonly answers: Array<Answer | undefined>
  given: number
  answered: number
  over: boolean
  wake: () => void
}

/** `onClosed` is called when the client has nothing to do with the producer any more. */
export const make = (producer: Producer, limits: Limits, onClosed: () => void): Sender => {
  /** Batches that somebody waits for, and of these the ones that are not given to the client entirely. */
  const awaited = new Set<Batch>()
  const queue: Array<Batch> = []
  let messages = 0
  let bytes = 0
  let state: "open" | "retired" | "closed" = "open"
  let closed: Promise<unknown> = Promise.resolve()

  const abort = (): void => {
    if (state === "closed") return
    state = "closed"
    queue.length = 0
    closed = producer.close()
    // Whether it could say goodbye to the broker makes no difference: nothing that it has is counted as stored.
    closed.then(onClosed, onClosed)
    for (const batch of awaited) finish(batch)
  }

  const finish = (batch: Batch): void => {
    if (!awaited.delete(batch)) return
    batch.over = true
    batch.wake()
    if (state === "retired" && awaited.size === 0) abort()
  }

  const retire = (): void => {
    if (state === "open") state = "retired"
    if (state === "retired" && awaited.size === 0) abort()
  }

  const settle = (batch: Batch, index: number, size: number, answer: Answer): void => {
    messages--
    bytes -= size
    batch.answers[index] = answer
    batch.answered++
    if (batch.answered === batch.messages.length) finish(batch)
    pump()
  }

  const give = (batch: Batch, index: number, message: ProducerMessage): void => {
    const size = message.data.length
    messages++
    bytes += size
    const failed = (error: unknown) => settle(batch, index, size, { _tag: "Failed", error })
    producer.send(message).then((id) => settle(batch, index, size, { _tag: "Stored", id: id.toString() }), failed)
  }

  const pump = (): void => {
    for (let batch = queue[0]; batch !== undefined; batch = queue[0]) {
      const message = batch.messages[batch.given]
      if (message === undefined) queue.shift()
      else if (messages > 0 && (messages >= limits.messages || bytes + message.data.length > limits.bytes)) return
      else give(batch, batch.given++, message)
    }
  }

  return {
    isUsable: () => state === "open" && producer.isConnected(),
    begin: (messages) => {
      const batch: Batch = {
        messages,
        answers: messages.map(() => undefined),
        given: 0,
        answered: 0,
        over: state === "closed" || messages.length === 0,
        wake: () => {}
      }
      if (!batch.over) {
        awaited.add(batch)
        queue.push(batch)
        pump()
      }
      return {
        answers: batch.answers,
        given: () => batch.given,
        over: Effect.async<void>((resume) => {
          batch.wake = () => resume(Effect.void)
          if (batch.over) batch.wake()
        }),
        leave: () => {
          if (batch.over) return
          queue.splice(0, queue.length, ...queue.filter((other) => other !== batch))
          if (batch.given > batch.answered) retire()
          finish(batch)
        }
      }
    },
    retire,
    abort,
    close: Effect.suspend(() => awaited.size === 0 ? Effect.void : ended(producer.flush())).pipe(
      Effect.zipRight(Effect.sync(abort)),
      Effect.zipRight(Effect.suspend(() => ended(closed)))
    )
  }
}
