/**
 * Which topic of the log a lane's records go to. A lane has exactly one.
 */
import * as Context from "effect/Context"
import { kindOfLane, type Lane } from "./Operation.ts"

/**
 * The mapping from lanes to topics. The default sends a lane to its kind's topic, as the system this re-creates does:
 * `persistent://public/default/operation` and `persistent://public/default/record`.
 */
export class Topics extends Context.Reference<Topics>()("effect-trustlog/Topics", {
  defaultValue: () => (lane: Lane): string => `persistent://public/default/${kindOfLane(lane)}`
}) {}
