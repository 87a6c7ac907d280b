/**
 * Figures as ratios: contenders take turns in rounds, every other one in reverse order, and a figure is divided by that of
 * the reference in the same round. The first round warms everything up and counts for nothing.
 */
import * as Effect from "effect/Effect"

/** Figures of the rounds. */
export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
}

export const median = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2
}

export const spread = (values: ReadonlyArray<number>): Spread => ({
  median: median(values),
  min: Math.min(...values),
  max: Math.max(...values)
})

/** What each contender showed, round by round. */
export type Rounds<C, A> = ReadonlyMap<C, ReadonlyArray<A>>

/** Lets contenders take turns for so many rounds that count. */
export const alternate = <C, A>(
  contenders: ReadonlyArray<C>,
  rounds: number,
  measure: (contender: C, round: number) => Effect.Effect<A>
): Effect.Effect<Rounds<C, A>> =>
  Effect.gen(function*() {
    const found = new Map(contenders.map((contender): [C, Array<A>] => [contender, []]))
    for (let round = 0; round <= rounds; round++) {
      for (const contender of round % 2 === 0 ? contenders : contenders.toReversed()) {
        const answer = yield* measure(contender, round)
        if (round > 0) found.get(contender)?.push(answer)
      }
    }
    return found
  })

/** The figures of one as parts of another's in the same round. */
export const ratio = <C, A>(rounds: Rounds<C, A>, of: C, to: C, figure: (answer: A) => number): Spread => {
  const reference = rounds.get(to) ?? []
  return spread((rounds.get(of) ?? []).map((answer, i) => {
    const other = reference[i]
    return other === undefined ? Number.NaN : figure(answer) / figure(other)
  }))
}

export const figures = <C, A>(rounds: Rounds<C, A>, of: C, figure: (answer: A) => number): Spread =>
  spread((rounds.get(of) ?? []).map(figure))
