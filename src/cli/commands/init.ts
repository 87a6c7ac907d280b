/**
 * Makes or upgrades the tables, the ledger and the key.
 */
import * as Effect from "effect/Effect"
import * as DatabaseUrl from "../../DatabaseUrl.ts"
import * as Ledger from "../../Ledger.ts"
import * as Migrations from "../../Migrations.ts"
import * as PublisherUrl from "../../PublisherUrl.ts"
import * as TrustlogConfig from "../../TrustlogConfig.ts"
import * as Output from "../Output.ts"

export const init = (options: { readonly json: boolean }) =>
  Effect.gen(function*() {
    const config = yield* TrustlogConfig.TrustlogConfig
    const { database, publisher } = config
    const naming = TrustlogConfig.namingOf(config)
    const keyFile = TrustlogConfig.keyFileOf(config)
    // The database first: one that is not ours ends it here, before a ledger and a key are made for nothing.
    const { stream } = yield* Effect.zipRight(Migrations.run(naming), Migrations.check(naming)).pipe(
      Effect.provide(TrustlogConfig.layerDatabase({ canCreate: true }))
    )
    const ledger = publisher._tag === "Ledger" ? publisher.path : null
    if (ledger === null) yield* Ledger.makeKey(keyFile)
    else yield* Ledger.init({ path: ledger, keyFile })
    yield* Output.result(options.json, { database: DatabaseUrl.describe(database), stream, ledger, keyFile }, [
      ...Output.table([
        ["database", DatabaseUrl.describe(database), "the tables are there"],
        ledger === null
          ? ["log", PublisherUrl.describe(publisher), "`trustlog doctor` says whether it takes records"]
          : ["ledger", ledger, "it is open for entries"],
        [
          "key",
          keyFile,
          `it signs ${ledger === null ? "purges" : "the ledger"}: keep it secret, and keep a copy of it elsewhere`
        ]
      ]),
      "Ready. Record operations with `trustlog append FILE`, deliver them with `trustlog drain` or `trustlog run`."
    ])
  })
