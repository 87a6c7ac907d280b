/**
 * Hints that a database pushes. What another process appends is found by looking every few milliseconds; where the
 * database can push a word of it, looking is not waited for. A hint may be lost, so nothing relies on it.
 */
import * as Context from "effect/Context"
import * as Stream from "effect/Stream"

export interface Shape {
  /** What is said on a channel from now on. It never fails, and never ends: what is lost meanwhile is lost. */
  readonly listen: (channel: string) => Stream.Stream<string>
}

/** The database's way of pushing hints. By default there is none. */
export class Listener extends Context.Reference<Listener>()("effect-trustlog/Listener", {
  defaultValue: (): Shape => ({ listen: () => Stream.empty })
}) {}
