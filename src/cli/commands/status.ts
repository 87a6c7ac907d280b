/**
 * Shows how far the delivery is.
 */
import * as Effect from "effect/Effect"
import { Repository } from "../../Repository.ts"
import { Topics } from "../../Topics.ts"
import * as Output from "../Output.ts"
import * as Services from "../Services.ts"

const seconds = (amount: number): string =>
  amount < 120
    ? `${Math.round(amount)} s`
    : amount < 7200
    ? `${Math.round(amount / 60)} min`
    : amount < 172_800
    ? `${Math.round(amount / 3600)} h`
    : `${Math.round(amount / 86_400)} days`

const toMillis = (amount: number): number => Math.round(amount * 1000) / 1000

export const status = (options: { readonly json: boolean }) =>
  Effect.gen(function*() {
    const repository = yield* Repository
    const topicOf = yield* Topics
    const stats = yield* repository.stats
    const { breaker, dead, delivered, oldestPendingSeconds, paused, pending, purged, retrying } = stats
    const lanes = stats.lanes.map(({ lagSeconds, lane, owner, pending, position }) => ({
      lane,
      topic: topicOf(lane),
      position,
      pending,
      lagSeconds: toMillis(lagSeconds),
      owner
    }))
    yield* Output.result(
      options.json,
      {
        pending,
        oldestPendingSeconds: toMillis(oldestPendingSeconds),
        retrying,
        dead,
        delivered,
        purged,
        breaker,
        paused,
        lanes
      },
      [
        ...Output.table([
          [
            "pending",
            Output.count(pending),
            pending === 0 ? "nothing waits" : `the oldest for ${seconds(oldestPendingSeconds)}`
          ],
          ["retrying", Output.count(retrying), retrying === 0 ? "" : "refused by the log, to be sent again"],
          ["dead", Output.count(dead), dead === 0 ? "" : "see `trustlog dead-letters list`"],
          ["delivered", Output.count(delivered), purged === 0 ? "" : `${Output.count(purged)} of them purged`],
          [
            "log",
            breaker === "closed" ? "well" : breaker === "open" ? "out" : "being tried",
            `breaker ${breaker}${paused ? ", paused" : ""}`
          ]
        ]),
        ...lanes.length === 0 ? [] : [
          "",
          ...Output.table([
            ["lane", "pending", "lag", "position", "owner", "topic"],
            ...lanes.map(({ lagSeconds, lane, owner, pending, position, topic }) => [
              lane,
              Output.count(pending),
              seconds(lagSeconds),
              String(position),
              owner ?? "nobody",
              topic
            ])
          ])
        ]
      ]
    )
  }).pipe(Effect.provide(Services.repository))
