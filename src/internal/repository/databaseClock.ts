/**
 * The database's clock as it goes on after a statement has told it: for what must be known before the statement that is to hold it.
 */
import * as Clock from "effect/Clock"

/** Two clocks keep in step for so long, in microseconds. */
const longest = 60_000_000

const text = (micros: number): string =>
  `${new Date(Math.floor(micros / 1_000)).toISOString().slice(0, -1)}${String(micros % 1_000).padStart(3, "0")}Z`

export const make = () => {
  // Time that a statement takes is not an application's: a test's clock does not drive it.
  const clock = Clock.make()
  const elapsed = () => Number(clock.unsafeCurrentTimeNanos() / 1_000n)
  /** What is to be added to our own time. It errs by what the answer took to come, so that it is never ahead. */
  let offset: number | undefined
  let heardAt = 0

  return {
    /** A canonical timestamp that the database has just told. */
    hear: (timestamp: string): void => {
      heardAt = elapsed()
      offset = Date.parse(`${timestamp.slice(0, 23)}Z`) * 1_000 + Number(timestamp.slice(23, 26)) - heardAt
    },
    /** The time now as a canonical timestamp, unless it was told too long ago. */
    read: (): string | undefined => {
      const now = elapsed()
      return offset === undefined || now - heardAt > longest ? undefined : text(offset + now)
    }
  }
}
