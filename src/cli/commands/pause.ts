/**
 * Holds the delivery of lanes, and lets it go on.
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { Lane } from "../../Operation.ts"
import { Repository } from "../../Repository.ts"
import { UsageError } from "../Failure.ts"
import * as Output from "../Output.ts"
import * as Services from "../Services.ts"

interface Options {
  readonly lane: Option.Option<string>
  readonly json: boolean
}

const laneOf = (text: string): Either.Either<Lane, UsageError> =>
  Either.mapLeft(
    Schema.decodeUnknownEither(Lane)(text),
    () =>
      new UsageError({
        problem: `${JSON.stringify(text.slice(0, 100))} is not the name of a lane; write operation, record, ` +
          "operation/<name> or record/<name>"
      })
  )

const set =
  (paused: boolean, lines: (lane: string | null, changed: number) => ReadonlyArray<string>) => (options: Options) =>
    Effect.gen(function*() {
      const lane = Option.getOrUndefined(yield* Effect.transposeMapOption(options.lane, laneOf))
      const repository = yield* Repository
      const changed = yield* repository.setPaused(paused, lane)
      yield* Output.result(options.json, { paused, lane: lane ?? null, changed }, lines(lane ?? null, changed))
    }).pipe(Effect.provide(Services.repository))

export const pause = set(true, (lane, changed) => [
  lane === null
    ? "every lane is paused, and those that come later will be: `trustlog resume` lets them go on"
    : changed === 0
    ? `lane ${lane} was paused already`
    : `lane ${lane} is paused: \`trustlog resume ${lane}\` lets it go on`
])

export const resume = set(false, (lane, changed) => [
  lane === null
    ? "no lane is paused"
    : changed === 0
    ? `lane ${lane} was not paused`
    : `lane ${lane} goes on`
])
