/**
 * The suite of repositories, each test in a Durable Object of its own.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/TestClock"
import * as DurableObject from "../../../src/Database/DurableObject.ts"
import { suite } from "../../suites/RepositoryTest.ts"
import { objectOfTest, Objects, worker } from "../worker.ts"

const target = {
  client: Layer.unwrapEffect(Effect.sync(() => DurableObject.layer({ storage: objectOfTest().storage }))),
  pass: (seconds: number) => Effect.flatMap(Clock.currentTimeMillis, (now) => TestClock.setTime(now + seconds * 1000))
}

suite("the repository over a Durable Object", target)
export { Objects as Tests }
export default worker
