/**
 * Turns of the runtime's event loop.
 */
import * as Effect from "effect/Effect"

/**
 * Effect's scheduler lets timers wait for thousands of its own turns. With a database that answers without leaving the
 * thread, cycles that always have more to do would starve everything else, the renewal of their own lease included.
 */
export const nextTurn = Effect.async<void>((resume) => {
  const go = () => resume(Effect.void)
  if (typeof setImmediate === "function") setImmediate(go)
  else setTimeout(go, 0)
})
