/**
 * A process that is killed while it delivers, on every runtime; `Process.test.ts` does it at length on one.
 */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { lines, makeSandbox } from "./cli/sandbox.ts"

const operations = 8000
const env = { TRUSTLOG_LEASE: "2s" }

it.scopedLive("run loses nothing when it is killed again and again, and the ledger holds each operation once", () =>
  Effect.gen(function*() {
    const cli = yield* makeSandbox
    const ledgerSize = Effect.map(cli.read("trustlog-ledger/checkpoint"), (text) => Number(text.split("\n")[1]))
    yield* cli.run(["init"])
    yield* cli.run(["append"], { stdin: lines(0, operations) })
    for (let round = 0; round < 3; round++) {
      const before = yield* ledgerSize
      const { child, ended } = yield* cli.start(["run"], { env })
      yield* Effect.repeat(ledgerSize, { until: (size) => size > before })
      child.kill("SIGKILL")
      assert.strictEqual((yield* ended).signal, "SIGKILL")
    }
    assert.isBelow(yield* ledgerSize, operations + 1, "it was killed while there was work left")
    assert.deepInclude(yield* cli.json(0, ["drain"], { env }), { pending: 0, retrying: 0, dead: 0 })
    assert.deepInclude(yield* cli.json(0, ["verify"]), {
      verdict: "complete",
      operations,
      delivered: operations,
      ledgerSize: operations + 1,
      missingTotal: 0,
      alteredTotal: 0,
      surplusTotal: 0
    })
  }))
