/**
 * Both sides of a log on the command line: what the database holds is what the log's side has received.
 */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { until } from "../faults/scene.ts"
import * as SharedPulsar from "../servers/SharedPulsar.ts"
import * as Topic from "../servers/Topic.ts"
import { lines, makeSandbox, uuid } from "./sandbox.ts"

SharedPulsar.on((broker) => {
  it.scopedLive("what is recorded, delivered, signed and sealed is verified from end to end", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      const unsigned = {
        TRUSTLOG_PUBLISHER_URL: broker.wsUrl,
        TRUSTLOG_OPERATION_TOPIC: yield* Topic.make(broker),
        TRUSTLOG_RECORD_TOPIC: yield* Topic.make(broker)
      }
      const env = {
        ...unsigned,
        TRUSTLOG_SIGNING_KEY_FILE: cli.file("signing.key"),
        TRUSTLOG_TRUSTED_KEY_FILES: cli.file("signing.key")
      }
      const sealed = ["verify", "--ledger", "sealed"]
      yield* cli.json(0, ["key", "signing.key"])
      yield* cli.json(0, ["init"], { env })
      yield* cli.json(0, ["append"], { env, stdin: lines(0, 900) })
      assert.include(yield* cli.json(0, ["drain"], { env }), { delivered: 900 })

      // Somebody who may produce there, and has not the key.
      const forger = yield* makeSandbox
      yield* forger.json(0, ["init"], { env: unsigned })
      yield* forger.json(0, ["append"], { env: unsigned, stdin: lines(0, 5) })
      yield* forger.json(0, ["drain"], { env: unsigned })

      const seal = yield* cli.start(["seal", "--ledger", "sealed", "--json"], { env })
      yield* seal.says("started")
      const Verified = Schema.Struct({ verdict: Schema.String, unsealed: Schema.Number })
      const verified = Effect.flatMap(
        Effect.map(cli.run([...sealed, "--json"], { env }), ({ stdout }): unknown => JSON.parse(stdout)),
        Schema.decodeUnknown(Verified)
      )
      yield* until(Effect.map(verified, ({ unsealed, verdict }) => {
        assert.include(["incomplete", "complete"], verdict)
        return verdict === "complete" && unsealed === 0
      }))
      assert.include(yield* cli.json(0, sealed, { env }), { verdict: "complete", delivered: 900, ledgerSize: 901 })

      // What was delivered a moment ago, and is not sealed because nobody does any more, is waited for as long as it is told.
      seal.child.kill("SIGTERM")
      const ended = yield* seal.ended
      assert.strictEqual(ended.code, 0)
      assert.include(JSON.parse(ended.stdout), { received: 905, appended: 900, deadLettered: 5 })
      yield* cli.json(0, ["append"], { env, stdin: lines(900, 1000) })
      yield* cli.json(0, ["drain"], { env })
      assert.include(yield* cli.json(1, [...sealed, "--grace", "1h"], { env }), {
        verdict: "incomplete",
        unsealed: 100
      })
      const late = yield* cli.json(1, [...sealed, "--grace", "1ms"], { env })
      assert.include(late, { verdict: "tampered", missingTotal: 100 })

      yield* cli.sql(`UPDATE operation SET actor = 'mallory' WHERE id = '${uuid(7)}'`)
      const tampered = yield* cli.run([...sealed, "--grace", "1h"], { env })
      assert.include(tampered.stdout, uuid(7))
    }))
})
