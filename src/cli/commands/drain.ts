/**
 * Delivers what can be delivered now, then ends.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Drain from "../../Drain.ts"
import { duration } from "../../TrustlogConfig.ts"
import { Found, UsageError } from "../Failure.ts"
import * as Output from "../Output.ts"
import * as Services from "../Services.ts"

export const drain = (options: { readonly budget: Option.Option<string>; readonly json: boolean }) =>
  Effect.gen(function*() {
    const budget = yield* Effect.transposeMapOption(
      options.budget,
      (text) => Either.mapLeft(duration(text), (problem) => new UsageError({ problem: `--budget: ${problem}` }))
    )
    yield* Effect.provide(work(Option.getOrUndefined(budget), options.json), Services.delivery)
  })

const work = (budget: Duration.Duration | undefined, json: boolean) =>
  Effect.gen(function*() {
    yield* Services.checkLog((error) => error.isRetryable)
    const progress = Effect.map(Services.settled, ({ delivered, refused }) =>
      `${Output.count(delivered)} delivered, ${Output.count(refused)} refused`)
    const { delivered, outage, refused, stats } = yield* Output.withProgress(progress, Drain.drainOnce({ budget }))
    const { dead, isEstimate, pending, retrying } = stats
    const paused = stats.lanes.flatMap((lane) =>
      lane.paused ? [lane.lane] : []
    )
    yield* Output.result(json, { delivered, refused, dead, pending, retrying, paused }, [
      `${Output.count(delivered)} delivered, ${Output.count(refused)} refused`,
      pending + retrying + dead === 0
        ? "nothing is left to deliver"
        : `left: ${Output.about(pending, isEstimate)} pending, ${Output.count(retrying)} to be tried again later, ` +
          `${Output.counted(dead, "dead letter")}`,
      ...paused.length === 0 ? [] : [
        `${Output.counted(paused.length, "lane")} left as ${paused.length === 1 ? "it is" : "they are"}, paused: ` +
        `${paused.slice(0, 10).join(", ")}${paused.length > 10 ? ", …" : ""}; \`trustlog resume\` lets delivery go on`
      ]
    ])
    if (outage?.isRetryable === true)
      yield* Output.note(`the log is out: ${outage.message}`)
    else if (outage !== undefined)
      return yield* outage
    if (outage !== undefined || pending + retrying + dead > 0)
      return yield* new Found()
  })
