/**
 * What the tests of the workers share: a real SQLite repository under Effect's clock, and a log in memory.
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as FileSystem from "@effect/platform/FileSystem"
import type * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as CircuitBreaker from "../src/CircuitBreaker.ts"
import * as Sqlite from "../src/Database/Sqlite.ts"
import type { Host } from "../src/Host.ts"
import * as HostLocal from "../src/Host/Local.ts"
import * as Migrations from "../src/Migrations.ts"
import { fromUnknown, type Input, laneOf, type OperationId } from "../src/Operation.ts"
import type { Publisher } from "../src/Publisher.ts"
import * as Memory from "../src/Publisher/Memory.ts"
import { type Entry, Repository } from "../src/Repository.ts"
import * as Sql from "../src/Repository/Sql.ts"

export const uuid = (n: number): string => `00000000-0000-7000-8000-${n.toString(16).padStart(12, "0")}`

export const entry = (n: number, input: Partial<Input> = {}, lane = laneOf(input.kind ?? "operation")): Entry => ({
  operation: Either.getOrThrowWith(
    fromUnknown({ id: uuid(n), actor: "alice", action: "read", target: "file/1", ...input }),
    (error) => error
  ),
  lane,
  strategy: "DbAndTrustlog"
})

export const id = (n: number): OperationId => entry(n).operation.id

/** Appends operations 1 … count. */
export const appended = (count: number) =>
  Effect.flatMap(
    Repository,
    (repository) => repository.append(Array.from({ length: count }, (_, n) => entry(n + 1)))
  )

/** An empty database in a folder of its own. */
export const database: Layer.Layer<Repository | SqlClient.SqlClient> = Layer.unwrapScoped(
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const directory = yield* fs.makeTempDirectoryScoped({ prefix: "trustlog-workers-" })
    return Layer.provideMerge(
      Layer.provide(Sql.layer(), Migrations.layer()),
      Sqlite.layer({ filename: `${directory}/trustlog.db` })
    )
  })
).pipe(Layer.provide(NodeContext.layer), Layer.orDie)

/** Everything that the workers need. */
export const layer: Layer.Layer<
  | Repository
  | SqlClient.SqlClient
  | Publisher
  | Memory.Control
  | CircuitBreaker.CircuitBreakers
  | Host
> = Layer.mergeAll(database, Memory.layer, CircuitBreaker.layer, HostLocal.layer)

/** What the log holds, as the numbers of `uuid`, in the order of arrival. */
export const held = Effect.flatMap(
  Memory.Control,
  (control) => Effect.map(control.held, (all) => all.map(({ message }) => Number(`0x${message.id.slice(-12)}`)))
)
