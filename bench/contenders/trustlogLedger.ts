/**
 * This project with its embedded ledger, a new one each time that it delivers.
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as path from "node:path"
import * as Ledger from "../../src/Ledger.ts"
import * as PublisherLedger from "../../src/Publisher/Ledger.ts"
import { delivering, watched } from "./trustlog.ts"

let made = 0

export const trustlogLedger = delivering((publish, { log }) => {
  const options = { path: path.join(log, `ledger-${made++}`) }
  const ledger = Layer.unwrapEffect(Effect.as(Ledger.init(options), PublisherLedger.layer(options)))
  return watched(Layer.provide(ledger, NodeContext.layer), publish)
})
