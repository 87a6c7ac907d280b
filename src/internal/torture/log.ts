/**
 * A log that is a file: one line for each record, written before it is acknowledged. What a process has handed to the
 * system stays there when the process is killed.
 */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as fs from "node:fs"
import { type Outcome, Publisher } from "../../Publisher.ts"
import { PublisherError } from "../../TrustlogError.ts"

/** How a log misbehaves, by probability. */
export interface Manners {
  /** That it refuses a record. */
  readonly refuses: number
  /** That it loses its answers to the rest of a batch. */
  readonly loses: number
  /** How long it takes to answer, at most. */
  readonly delayMillis: number
}

export const wellBehaved: Manners = { refuses: 0, loses: 0, delayMillis: 0 }
export const illBehaved: Manners = { refuses: 0.02, loses: 0.01, delayMillis: 20 }

const lost = new PublisherError({ reason: "lost", problem: "the answer was lost" })

const encoder = new TextEncoder()

/** Writes to a file that nobody else writes to. `stored` runs when records are there and not yet acknowledged. */
export const make = (file: string, manners: Manners, stored: Effect.Effect<void> = Effect.void) =>
  Effect.gen(function*() {
    const fd = yield* Effect.acquireRelease(
      Effect.sync(() => fs.openSync(file, "a")),
      (fd) => Effect.sync(() => fs.closeSync(fd))
    )
    let count = 0
    return Publisher.of({
      publish: (_, batch) =>
        Effect.gen(function*() {
          yield* Effect.sleep(yield* Random.nextRange(0, manners.delayMillis))
          const answers = (yield* Random.next) < manners.loses
            ? yield* Random.nextIntBetween(0, batch.length)
            : batch.length
          const outcomes: Array<Outcome> = []
          let lines = ""
          for (const [i, message] of batch.entries()) {
            if ((yield* Random.next) < manners.refuses) {
              outcomes.push({ _tag: "Refused", reason: "rejected", error: "refused by chance" })
              continue
            }
            lines += `${message.id} ${message.contentHash}\n`
            outcomes.push(
              i < answers
                ? { _tag: "Acknowledged", messageId: encoder.encode(String(count++)) }
                : { _tag: "Unknown", error: lost.problem }
            )
          }
          yield* Effect.sync(() => fs.writeSync(fd, lines))
          yield* stored
          return { outcomes, outage: answers < batch.length ? lost : undefined, checkpoint: undefined }
        }),
      health: () => Effect.void
    })
  })
