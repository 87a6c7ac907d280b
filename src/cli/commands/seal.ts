/**
 * The log's side as a process: takes what the log holds into a ledger of its own, until it is told to end.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Seal from "../../Seal.ts"
import { layerSubscriber, layerTrustedKeys, TrustlogConfig } from "../../TrustlogConfig.ts"
import * as Output from "../Output.ts"
import * as Services from "../Services.ts"

interface Options {
  readonly ledger: string
  readonly topics: ReadonlyArray<string>
  readonly subscription: string
  readonly deadLetterTopic: Option.Option<string>
  readonly json: boolean
}

/** Only what waits is interruptible: what is appended when a signal comes is acknowledged, and told after it. */
export const seal = ({ deadLetterTopic, json, ledger, subscription, topics }: Options) =>
  Effect.scoped(Effect.gen(function*() {
    const config = yield* TrustlogConfig
    const consumed = topics.length > 0 ? topics : [config.topics.operation, config.topics.record]
    const open = Effect.all([
      Layer.build(layerSubscriber),
      Seal.make({
        ledger: { path: ledger },
        topics: consumed,
        subscription,
        deadLetterTopic: Option.getOrUndefined(deadLetterTopic)
      })
    ])
    const opened = Option.getOrUndefined(yield* Services.untilSignal(open))
    if (opened === undefined) return
    const [subscriber, { run, totals }] = opened
    yield* Effect.logInfo(
      `started: ${consumed.join(" and ")} into ${ledger}; SIGTERM or Ctrl-C finishes what is under way and ends`
    )
    yield* Services.untilSignal(Effect.provide(run, subscriber))
    const { appended, deadLettered, duplicates, received } = yield* totals
    yield* Output.result(json, { received, appended, duplicates, deadLettered }, [
      `ended: ${Output.count(received)} received, ${Output.count(appended)} appended, ` +
      `${Output.count(duplicates)} already there, ${Output.counted(deadLettered, "dead letter")}`
    ])
  })).pipe(Effect.provide(layerTrustedKeys))
