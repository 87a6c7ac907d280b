import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as MySQL from "../../src/Database/MySQL.ts"
import * as PostgreSQL from "../../src/Database/PostgreSQL.ts"
import * as Sqlite from "../../src/Database/Sqlite.ts"
import * as DatabaseUrl from "../../src/DatabaseUrl.ts"
import * as Server from "../servers/Server.ts"
import { target } from "../sqliteDatabase.ts"
import { suite } from "../suites/PurgeTest.ts"

suite("the repository over the embedded SQLite layer", target((filename) => Sqlite.layer({ filename })).client)

Server.onEach((server) => {
  suite(
    "the repository over a server",
    Layer.unwrapScoped(Effect.gen(function*() {
      const place = yield* DatabaseUrl.fromText(yield* Server.database(server))
      if (place._tag === "Sqlite") return yield* Effect.dieMessage("no server")
      return place._tag === "PostgreSQL"
        ? PostgreSQL.layer({ server: place })
        : MySQL.layer({ server: place })
    }))
  )
})
