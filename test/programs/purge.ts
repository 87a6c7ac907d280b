/**
 * Purges everything that was delivered, and says after each receipt how many are purged, one number a line. Its arguments:
 * the database, the ledger's folder.
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as fs from "node:fs"
import * as Sqlite from "../../src/Database/Sqlite.ts"
import * as Purge from "../../src/Purge.ts"
import * as Sql from "../../src/Repository/Sql.ts"

const [, , filename = "", ledger = ""] = process.argv

const program = Purge.purge({
  olderThan: "0 millis",
  keyFile: `${ledger}.key`,
  ledger,
  // What is said to be purged is said before anything can kill this process.
  onProgress: ({ receipts }) =>
    Effect.sync(() => {
      fs.writeSync(1, `${receipts}\n`)
    })
}).pipe(Effect.provide(Layer.provideMerge(Sql.layer(), Sqlite.layer({ filename }))), Effect.provide(NodeContext.layer))

const { skipped } = await Effect.runPromise(program)
if (skipped.length > 0) throw new Error(`skipped ${JSON.stringify(skipped)}`)
