/**
 * What is done with an operation: stored, delivered, or both.
 */
import * as Context from "effect/Context"
import * as Schema from "effect/Schema"

/**
 * - `DbOnly`: stored only; it may be promoted to delivery later
 * - `DbAndTrustlog`: stored, then delivered to the trust log by the workers (the default)
 * - `TrustlogOnly`: sent at once and never stored; a failure is the caller's, and no transaction covers it
 */
export const Name = Schema.Literal("DbOnly", "DbAndTrustlog", "TrustlogOnly")
export type Name = typeof Name.Type

/** The strategies that store a row. */
export type Stored = Exclude<Name, "TrustlogOnly">

/**
 * The strategy of every append that does not name its own. It has a default, so nobody need provide it; change it with
 * `Layer.succeed(Strategy, "DbOnly")`.
 */
export class Strategy extends Context.Reference<Strategy>()("effect-trustlog/Strategy", {
  defaultValue: (): Name => "DbAndTrustlog"
}) {}
