/**
 * Delivers operations after all that were only stored.
 */
import * as Effect from "effect/Effect"
import { Repository } from "../../Repository.ts"
import { Found } from "../Failure.ts"
import * as Output from "../Output.ts"
import * as Services from "../Services.ts"

const reasons = {
  alreadyPromoted: "was promoted before",
  notDbOnly: "is delivered anyway",
  unknown: "is not recorded"
} as const

export const promote = (options: { readonly ids: ReadonlyArray<string>; readonly json: boolean }) =>
  Effect.gen(function*() {
    const ids = yield* Services.ids(options.ids)
    const repository = yield* Repository
    const results = yield* repository.promote(ids)
    const unchanged = results.flatMap(({ id, outcome }) => outcome === "promoted" ? [] : [{ id, reason: outcome }])
    const promoted = results.length - unchanged.length
    yield* Output.result(options.json, { promoted, unchanged }, [
      ...unchanged.map(({ id, reason }) => `${id} ${reasons[reason]}`),
      `${Output.counted(promoted, "operation")} will be delivered`
    ])
    if (unchanged.some(({ reason }) => reason === "unknown")) return yield* new Found()
  }).pipe(Effect.provide(Services.repository))
