/**
 * What takes part in a comparison: this project, a peer, or the shortest code that does the same by hand.
 */
import type { Sample } from "./Sample.ts"

/** Sends messages, each a JSON text or its bytes; completes when the log has all of them, and fails when it is out. */
export type Publish = (messages: ReadonlyArray<string | Uint8Array>) => Promise<void>

/** What is not delivered yet: still to be tried, and given up. */
export interface Left {
  readonly pending: number
  readonly dead: number
}

/** A contender over a database. */
export interface Store {
  /** Records one operation in a transaction of its own, through the API that is meant for it. */
  readonly append: (sample: Sample) => Promise<void>
  /** Records many at once, as fast as its API allows; all or none. In one of its lanes, where it has lanes. */
  readonly appendAll: (samples: ReadonlyArray<Sample>, lane?: string) => Promise<void>
  /** Delivers until the function that it gives is called. Absent where nothing is delivered. */
  readonly work?: (publish: Publish) => Promise<() => Promise<void>>
  readonly left: () => Promise<Left>
  /** Keeps all processes from delivering, or no longer. */
  readonly hold?: (isHeld: boolean) => Promise<void>
  /** What its documentation tells an operator to do about those that are given up, if it has an API for it. */
  readonly recover?: () => Promise<void>
  /**
   * Records one operation in a transaction that is open for so long, begun now; completes with the commit. Its `BEGIN` and
   * the row itself come first, the wait after.
   */
  readonly appendLate?: (sample: Sample, millis: number) => Promise<void>
  readonly close: () => Promise<void>
}

export interface Options {
  /** So many connections append at most. */
  readonly connections: number
  /** Where the log is, for those that deliver to one of its own: a folder, or a broker's URL. */
  readonly log: string
}

export interface Contender {
  /** What is said beside its numbers: how it was set up, and what it does not guarantee. */
  readonly note: string
  /** Makes its tables in an empty database, or finds them there. */
  readonly open: (url: string, options: Options) => Promise<Store>
}
