/**
 * Workers between a real database and a real Pulsar, and what is to be seen of them from outside.
 */
import type * as SqlClient from "@effect/sql/SqlClient"
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Publisher } from "../../src/Publisher.ts"
import * as PulsarWebSocket from "../../src/Publisher/PulsarWebSocket.ts"
import { Repository } from "../../src/Repository.ts"
import { Topics } from "../../src/Topics.ts"
import * as Trustlog from "../../src/Trustlog.ts"
import * as Ws from "../../src/WebSocketClient/Ws.ts"
import type * as WorkerConfig from "../../src/WorkerConfig.ts"
import type { Broker } from "../servers/Broker.ts"
import * as Topic from "../servers/Topic.ts"
import { id } from "../workers.ts"
import { Crew, entries, quick, repository, until, workers } from "./scene.ts"

export type Application = Repository | SqlClient.SqlClient | Publisher | Trustlog.Trustlog | Crew

/** An application that delivers to one topic of a Pulsar. */
export const application = (
  databaseUrl: string,
  topic: string,
  pulsar: PulsarWebSocket.Options,
  config: Partial<WorkerConfig.Shape> = {}
): Layer.Layer<Application> => {
  const publisher = Layer.orDie(Layer.provide(PulsarWebSocket.layer(pulsar), Ws.layer))
  return Layer.merge(Trustlog.layer, workers({ ...quick, ...config })).pipe(
    Layer.provideMerge(Layer.merge(repository(databaseUrl), publisher)),
    Layer.provide(Layer.succeed(Topics, () => topic))
  )
}

/** Appends numbers, a thousand at a time. */
export const append = (numbers: ReadonlyArray<number>) =>
  Effect.gen(function*() {
    const { appendAll } = yield* Trustlog.Trustlog
    for (let from = 0; from < numbers.length; from += 1000) {
      yield* appendAll(entries(numbers.slice(from, from + 1000)).map(({ operation }) => operation))
    }
  })

const stats = Effect.flatMap(Repository, ({ stats }) => stats)

/** Waits until so many are delivered. */
export const delivered = (count: number) => until(Effect.map(stats, ({ delivered }) => delivered >= count))

/** Waits until the lanes' breaker is in a state. */
export const breakerIs = (state: "open" | "closed") => until(Effect.map(stats, ({ breaker }) => breaker === state))

/** Waits until a line has been logged that matches. */
export const isSaid = (line: RegExp) =>
  Effect.flatMap(Crew, ({ said }) => until(Effect.sync(() => said.some((text) => line.test(text)))))

/** Nothing has gone to retry or to the dead letters. */
export const noAttemptUsed = Effect.map(
  stats,
  ({ dead, retrying }) => assert.deepStrictEqual({ dead, retrying }, { dead: 0, retrying: 0 })
)

/** Waits until nothing is pending; then the topic holds every number, each under its id, and no other. */
export const holdsAll = (broker: Broker, topic: string, numbers: ReadonlyArray<number>) =>
  Effect.gen(function*() {
    yield* until(Effect.map(stats, ({ undelivered }) => undelivered === 0))
    assert.strictEqual((yield* stats).delivered, numbers.length)
    const held = new Set((yield* Topic.messages(broker, topic)).map(({ key }) => key))
    assert.deepStrictEqual(numbers.filter((n) => !held.has(id(n))), [])
    assert.strictEqual(held.size, numbers.length)
  })
