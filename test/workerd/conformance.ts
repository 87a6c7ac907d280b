/**
 * Suites that run in workerd, each test in a Durable Object of its own, and are told here.
 */
import { afterAll, assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Workerd from "./Workerd.ts"

/** Registers the tests of a program in `programs/`. Skipped where workerd is not to be had. */
export const register = async (program: string): Promise<void> => {
  if (!(await Workerd.isInstalled())) {
    it.skip(`${program} in workerd`, () => {})
    return
  }
  const scope = Effect.runSync(Scope.make())
  afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))
  const { code } = await Workerd.bundleOfTests(program)
  const workerd = await Effect.runPromise(
    Scope.extend(Workerd.serve({ code }), scope)
  )
  const names: ReadonlyArray<string> = await (await fetch(`${workerd.url()}/tests`)).json()
  describe("in workerd", () => {
    for (const [number, name] of names.entries()) {
      it(name, async () => {
        const { error }: { readonly error: string | null } = await (await fetch(`${workerd.url()}/run?n=${number}`))
          .json()
        assert.isNull(error, error ?? "")
      })
    }
  })
}
