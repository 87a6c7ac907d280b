/**
 * What stands for `@effect/vitest` in bundles that run in workerd: as much of it as the suites use that run there. Tests are
 * collected, and run when they are asked for by their number.
 */
import { JestAsymmetricMatchers, JestChaiExpect, JestExtend } from "@vitest/expect"
import * as chai from "chai"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import type * as Scope from "effect/Scope"
import * as TestContext from "effect/TestContext"
import type * as TestServices from "effect/TestServices"

export interface Test {
  readonly name: string
  readonly run: () => Promise<void>
}

export const tests: Array<Test> = []

chai.use(JestExtend)
chai.use(JestChaiExpect)
chai.use(JestAsymmetricMatchers)

export const assert = chai.assert

export const expect = (value: unknown) => chai.expect(value)

const groups: Array<string> = []

export const describe = (name: string, body: () => void): void => {
  groups.push(name)
  body()
  groups.pop()
}

const environment = Layer.provide(TestContext.TestContext, Logger.remove(Logger.defaultLogger))

const tester = <R>(mapped: (effect: Effect.Effect<unknown, unknown, R>) => Effect.Effect<unknown, unknown>) =>
(
  name: string,
  body: () => Effect.Effect<unknown, unknown, R>
): void => {
  tests.push({
    name: [...groups, name].join(": "),
    run: () => Effect.runPromise(Effect.asVoid(mapped(Effect.suspend(body))))
  })
}

export const it = {
  scoped: tester<Scope.Scope | TestServices.TestServices>((effect) =>
    Effect.provide(Effect.scoped(effect), environment)
  ),
  scopedLive: tester<Scope.Scope>(Effect.scoped)
}
