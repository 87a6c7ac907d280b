/**
 * A trust log in memory, for tests and for trying things out: it keeps what it is sent, and misbehaves when it is told to.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { type Message, type Outcome, Publisher, type Reason } from "../Publisher.ts"
import { PublisherError } from "../TrustlogError.ts"

/** A message that the log holds. It numbers them from 0; sent twice, a message is held twice, as by a broker. */
export interface Held {
  readonly topic: string
  readonly message: Message
}

/** One call of `publish`, whatever became of it. */
export interface Call {
  readonly topic: string
  readonly ids: ReadonlyArray<string>
}

/** What the log has seen, and what it shall do from now on. */
export class Control extends Context.Tag("effect-trustlog/Publisher/Memory/Control")<Control, {
  /** Everything the log holds, in the order of arrival. */
  readonly held: Effect.Effect<ReadonlyArray<Held>>
  /** Every call so far, in order. */
  readonly calls: Effect.Effect<ReadonlyArray<Call>>
  /** Refuses the record with this id, each time. */
  readonly refuse: (id: string, reason: Reason) => Effect.Effect<void>
  /** Loses the connection each time it is sent the record with this id: what stands before it in the batch is stored. */
  readonly breakOn: (id: string) => Effect.Effect<void>
  /** Takes the record with this id like any other again. */
  readonly accept: (id: string) => Effect.Effect<void>
  /** Down (`true`), it takes nothing and its health check fails. */
  readonly outage: (isDown: boolean) => Effect.Effect<void>
  /** Hung (`true`), it stores what it is sent and answers only once it is released (`false`). */
  readonly hang: (isHung: boolean) => Effect.Effect<void>
  /** Loses the connection in the middle of the next batch, after so many answers. */
  readonly answerOnly: (count: number) => Effect.Effect<void>
}>() {}

const lost = new PublisherError({ reason: "lost", problem: "the connection to the log was lost" })

const encoder = new TextEncoder()

/** Makes a log and the handle that controls it. Messages of more than `maxBytes` are refused as too large. */
export const make = (
  options: { readonly maxBytes?: number | undefined } = {}
): Effect.Effect<{ readonly publisher: Publisher["Type"]; readonly control: Control["Type"] }> =>
  Effect.gen(function*() {
    const held: Array<Held> = []
    const calls: Array<Call> = []
    const refused = new Map<string, Reason>()
    const breaking = new Set<string>()
    const answering = yield* Effect.makeLatch(true)
    let isDown = false
    let answers = Infinity

    const checkUp = Effect.suspend(() =>
      isDown ? Effect.fail(new PublisherError({ reason: "unavailable", problem: "the log is down" })) : Effect.void
    )

    const take = (topic: string, batch: ReadonlyArray<Message>): ReadonlyArray<Outcome> => {
      const limit = answers
      answers = Infinity
      let isLost = false
      return batch.map((message, index): Outcome => {
        isLost ||= index >= limit || breaking.has(message.id)
        if (isLost) return { _tag: "Unknown", error: lost.problem }
        const reason = message.bytes.length > (options.maxBytes ?? Infinity) ? "tooLarge" : refused.get(message.id)
        if (reason !== undefined) return { _tag: "Refused", reason, error: `refused: ${reason}` }
        held.push({ topic, message })
        return { _tag: "Acknowledged", messageId: encoder.encode(String(held.length - 1)) }
      })
    }

    return {
      publisher: Publisher.of({
        publish: (topic, batch) =>
          Effect.gen(function*() {
            calls.push({ topic, ids: batch.map((message) => message.id) })
            yield* checkUp
            const outcomes = take(topic, batch)
            yield* answering.await
            return {
              outcomes,
              outage: outcomes.some((outcome) => outcome._tag === "Unknown") ? lost : undefined,
              checkpoint: undefined
            }
          }),
        health: () => Effect.zipRight(checkUp, answering.await)
      }),
      control: Control.of({
        held: Effect.sync(() => [...held]),
        calls: Effect.sync(() => [...calls]),
        refuse: (id, reason) => Effect.sync(() => void refused.set(id, reason)),
        breakOn: (id) => Effect.sync(() => void breaking.add(id)),
        accept: (id) =>
          Effect.sync(() => {
            refused.delete(id)
            breaking.delete(id)
          }),
        outage: (down) =>
          Effect.sync(() => {
            isDown = down
          }),
        hang: (isHung) => isHung ? answering.close : answering.open,
        answerOnly: (count) =>
          Effect.sync(() => {
            answers = count
          })
      })
    }
  })

/** A log in memory and its control; messages of more than `maxBytes` are refused as too large. */
export const layerWith = (
  options: { readonly maxBytes?: number | undefined }
): Layer.Layer<Publisher | Control> =>
  Layer.effectContext(
    Effect.map(make(options), ({ control, publisher }) =>
      Context.make(Publisher, publisher).pipe(Context.add(Control, control)))
  )

/** A log in memory and its control. */
export const layer: Layer.Layer<Publisher | Control> = layerWith({})
