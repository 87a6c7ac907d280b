/**
 * Whether anybody looks at spans. Effect makes them also where the host has given no tracer, and on the path of a single append
 * that is a good part of the work.
 */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"

/** Effect's own, whose spans go nowhere. */
const nowhere = Effect.runSync(Effect.tracer)

/** Whether the host has given a tracer. */
export const isTraced = (fiber: Fiber.RuntimeFiber<unknown, unknown>): boolean =>
  fiber.currentTracer !== nowhere && fiber.getFiberRef(FiberRef.currentTracerEnabled)
