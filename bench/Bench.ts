/**
 * One comparison that can be asked for by name.
 */
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Report } from "./Report.ts"

export interface Settings {
  /** Rounds that count. */
  readonly rounds: number
  /** What counts are multiplied by: less than 1 for a quick look. */
  readonly scale: number
  /** Told what goes on. */
  readonly note: (text: string) => Effect.Effect<void>
}

export interface Bench {
  readonly title: string
  readonly run: (settings: Settings) => Effect.Effect<Omit<Report, "name" | "title">, never, Scope.Scope>
}
