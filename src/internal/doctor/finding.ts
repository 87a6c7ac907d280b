/**
 * What a look at one thing has shown.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

export interface Finding {
  /** What was looked at. */
  readonly subject: string
  /** `problem`: nothing, or not everything, is delivered until it is put right. `warning`: it will be, or might be, a problem. */
  readonly verdict: "ok" | "warning" | "problem"
  /** How it is, and what to do about it. */
  readonly words: string
}

export const ok = (subject: string, words: string): Finding => ({ subject, verdict: "ok", words })
export const warning = (subject: string, words: string): Finding => ({ subject, verdict: "warning", words })
export const problem = (subject: string, words: string): Finding => ({ subject, verdict: "problem", words })

/** Clocks that differ by more are told. */
const tolerable = 5_000

/** How another clock stands to ours. It was read, in milliseconds since 1970, between two moments of ours. */
export const ofClock = (subject: string, whose: string, theirs: number, before: number, after: number): Finding => {
  // Any moment in between may be the one that they mean.
  const ahead = theirs > after ? theirs - after : theirs < before ? theirs - before : 0
  return Math.abs(ahead) <= tolerable
    ? ok(subject, `agrees with ${whose}`)
    : warning(
      subject,
      `${whose} is ${Math.round(Math.abs(ahead) / 1000)} s ${
        ahead > 0 ? "ahead of" : "behind"
      } this machine's clock: set the ` +
        "wrong one right, or times of operations and of tokens are not what they seem"
    )
}

const day = 86_400_000

/** How long something is still valid. `until` is in milliseconds since 1970. */
export const ofExpiry = (subject: string, until: number, early: number, cure: string): Effect.Effect<Finding> =>
  Effect.map(Clock.currentTimeMillis, (now) => {
    const at = new Date(until).toISOString()
    if (until <= now) return problem(subject, `expired at ${at}: ${cure}`)
    return until - now < early * day
      ? warning(subject, `expires soon, at ${at}: ${cure}`)
      : ok(subject, `valid until ${at}`)
  })
