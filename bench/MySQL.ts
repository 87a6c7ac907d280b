/**
 * A MySQL for the comparisons that this project makes between its databases, where `npm run servers` has fetched one.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { startMySQL } from "../test/servers/Daemon.ts"
import * as Database from "../test/servers/Database.ts"
import { find } from "../test/servers/Programs.ts"

const name = "trustlog_bench"

/** The URL of an empty database; it is gone when the scope closes. */
export const MySQL: Effect.Effect<string | undefined, never, Scope.Scope> = Effect.gen(function*() {
  const { mysql } = yield* find
  if (mysql === undefined) return undefined
  const { url } = yield* startMySQL(mysql)
  yield* Database.query(url, `CREATE DATABASE ${name}`)
  const own = new URL(url)
  own.pathname = `/${name}`
  return own.href
})
