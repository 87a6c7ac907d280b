/**
 * Who delivers which lane: members, and fenced leases on the lanes' rows.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { type Lane, laneOf } from "../../Operation.ts"
import type { Lease, Repository } from "../../Repository.ts"
import * as rows from "../rows.ts"
import type { Context, LaneRow } from "./context.ts"
import type { Losses } from "./losses.ts"

/**
 * No lease lasts for longer. One that seems to was written by a clock that has been set back since; its owner, if it is
 * alive, renews it by the clock as it is now.
 */
const longest = Duration.minutes(5)

/** `held` is kept as the lanes that are delivered here. */
export const make = (
  context: Context,
  losses: Losses,
  held: Set<Lane>
): Pick<Repository["Type"], "register" | "unregister" | "lanes" | "acquire" | "renew" | "release" | "lowerBound"> => {
  const {
    cursor,
    dialect,
    ensureLane,
    fencedUpdate,
    laneName,
    laneRow,
    later,
    now,
    page,
    pending,
    query,
    sql,
    transact
  } = context

  /** The end of a lease that begins now. */
  const end = (timeToLive: Duration.Duration) => later(Duration.min(timeToLive, longest))

  /** Whether a lease of `trustlog_cursor` has not lapsed. */
  const isLive = Effect.map(
    Effect.all([now, later(longest)]),
    ([at, latest]) => sql`lease_until > ${at} AND lease_until <= ${latest}`
  )

  const memberName = (member: string) => `member/${member}`

  const boundOf = (lane: string, otherwise: number) =>
    Effect.map(
      sql<{ readonly position: number }>`SELECT position FROM ${pending} WHERE lane = ${lane}
        ORDER BY position ${context.limit(1)}`,
      ([first]) => first === undefined ? otherwise : Number(first.position) - 1
    )

  return {
    // No transaction: two members that register and clean up at once would wait for each other's rows.
    register: (member, timeToLive) =>
      query(
        "registering as a member",
        Effect.gen(function*() {
          const at = yield* now
          const until = yield* end(timeToLive)
          yield* sql`INSERT INTO ${cursor} (name, lease_until, updated_at)
            VALUES (${memberName(member)}, ${until}, ${at})
            ${dialect.onRepeatedName(sql`lease_until = ${until}, updated_at = ${at}`)}`
          const members = yield* sql<{ readonly name: string; readonly is_live: number }>`SELECT name,
              CASE WHEN ${yield* isLive} THEN 1 ELSE 0 END AS is_live
            FROM ${cursor} WHERE name LIKE 'member/%'`
          const gone = members.filter(({ is_live }) => Number(is_live) === 0).map(({ name }) => name)
          // One by one, by their names: a list may be looked for among all rows, and then waits for the lanes' that are locked.
          for (const name of gone) yield* sql`DELETE FROM ${cursor} WHERE name = ${name} AND NOT (${yield* isLive})`
          return members.length - gone.length
        })
      ),

    unregister: (member) =>
      Effect.asVoid(query("leaving", sql`DELETE FROM ${cursor} WHERE name = ${memberName(member)}`)),

    lanes: page(
      "looking for lanes",
      Effect.gen(function*() {
        const found = yield* sql<{ readonly lane: string }>`${dialect.pendingLanes(context)}`
        const known = yield* sql<
          { readonly lane: string; readonly owner: string | null }
        >`SELECT substr(name, 6) AS lane,
            CASE WHEN ${yield* isLive} THEN owner END AS owner
          FROM ${cursor} WHERE name LIKE 'lane/%'`
        const owners = new Map<string, string | null>([[laneOf("operation"), null], [laneOf("record"), null]])
        for (const { lane } of found) owners.set(lane, null)
        for (const { lane, owner } of known) owners.set(lane, owner)
        return Array.from(owners, ([lane, owner]) => ({ lane: rows.lane(lane), owner }))
      })
    ),

    acquire: (lane, owner, timeToLive) =>
      transact(
        `taking lane ${lane}`,
        Effect.gen(function*() {
          if ((yield* laneRow(lane)) === undefined) yield* ensureLane(lane)
          // Somebody who has the row locked is taking the lane or working on it: there is no reason to wait for that.
          const [before] = yield* sql<LaneRow & { readonly is_held: number }>`SELECT
              value, position, epoch, owner, breaker, paused, in_flight, losses,
              CASE WHEN owner <> ${owner} AND ${yield* isLive} THEN 1 ELSE 0 END AS is_held
            FROM ${cursor} WHERE name = ${laneName(lane)} ${dialect.forUpdateSkipLocked}`
          if (before === undefined || Number(before.is_held) === 1) return undefined
          const isRecovered = before.owner !== null
          const position = yield* boundOf(lane, Number(before.position))
          const lease: Lease = {
            lane,
            owner,
            epoch: Number(before.epoch) + 1,
            position,
            reached: Number(before.position),
            breaker: before.breaker,
            isRecovered
          }
          yield* sql`UPDATE ${cursor} SET owner = ${owner}, epoch = ${lease.epoch}, position = ${position},
            lease_until = ${yield* end(timeToLive)}, updated_at = ${yield* now} WHERE name = ${laneName(lane)}`
          if (isRecovered) yield* losses.count(lane, before, "the process was lost each time it sent this record")
          return lease
        })
      ).pipe(Effect.tap((lease) => Effect.sync(() => lease !== undefined && held.add(lane)))),

    renew: (lease, timeToLive) =>
      Effect.flatMap(
        end(timeToLive),
        (until) =>
          fencedUpdate(
            `renewing the lease of lane ${lease.lane}`,
            lease,
            sql`lease_until = ${until}`,
            dialect.renewal
          )
      ),

    release: (lease) =>
      Effect.suspend(() => {
        held.delete(lease.lane)
        return fencedUpdate(
          `giving lane ${lease.lane} back`,
          lease,
          sql`owner = NULL, lease_until = NULL, in_flight = NULL`
        )
      }).pipe(Effect.catchTag("LeaseLost", () => Effect.void)),

    lowerBound: (lease, otherwise) => page(`looking below lane ${lease.lane}'s cursor`, boundOf(lease.lane, otherwise))
  }
}
