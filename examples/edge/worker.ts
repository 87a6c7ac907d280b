/**
 * A Cloudflare Worker that records operations in a Durable Object and delivers them to a trust log: Apache Pulsar over
 * WebSocket, or whatever takes records over HTTP, as the variable PUBLISHER_URL says.
 *
 *   POST /operations   one operation as JSON, or several as JSON Lines (content-type: application/jsonl)
 *   GET  /status       what is delivered, pending, retrying and dead
 *   POST /actors/delivery/Pause (Resume, Wake, Drain, Status)
 *
 * Who may call it is for you to decide: put Cloudflare Access, or your own Worker, in front.
 */
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as Socket from "@effect/platform/Socket"
import { Next } from "effect-trustlog/Actor"
import * as CircuitBreaker from "effect-trustlog/CircuitBreaker"
import * as ObjectDatabase from "effect-trustlog/Database/DurableObject"
import * as Drain from "effect-trustlog/Drain"
import { type ActorRef, Host } from "effect-trustlog/Host"
import * as ObjectHost from "effect-trustlog/Host/DurableObject"
import * as Migrations from "effect-trustlog/Migrations"
import { fromJson, kindOfLane } from "effect-trustlog/Operation"
import * as HttpPublisher from "effect-trustlog/Publisher/Http"
import * as PulsarPublisher from "effect-trustlog/Publisher/PulsarWebSocket"
import * as Sql from "effect-trustlog/Repository/Sql"
import { Topics } from "effect-trustlog/Topics"
import * as Trustlog from "effect-trustlog/Trustlog"
import { PublisherError } from "effect-trustlog/TrustlogError"
import * as WebSockets from "effect-trustlog/WebSocketClient/Standard"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Redacted from "effect/Redacted"

interface Variables {
  /** `https://…` or `http://…`, or `wss://…` or `ws://…` for Pulsar. */
  readonly PUBLISHER_URL: string | null
  /** The log's token; a secret. */
  readonly PUBLISHER_TOKEN?: string | null
  /** Topics other than `persistent://public/default/operation` and `…/record`. */
  readonly OPERATION_TOPIC?: string | null
  readonly RECORD_TOPIC?: string | null
}

interface Environment extends Variables {
  readonly AUDIT: {
    readonly idFromName: (name: string) => unknown
    readonly get: (id: unknown) => { readonly fetch: (request: Request) => Promise<Response> }
  }
}

interface State {
  readonly storage: ObjectDatabase.Storage & ObjectHost.Storage
}

const publisher = (variables: Variables) => {
  const url = variables.PUBLISHER_URL ?? ""
  const token = variables.PUBLISHER_TOKEN ? Effect.succeed(Redacted.make(variables.PUBLISHER_TOKEN)) : undefined
  if (/^wss?:/.test(url)) {
    const client = Layer.provide(WebSockets.layer, Socket.layerWebSocketConstructorGlobal)
    return Layer.provide(PulsarPublisher.layer({ serviceUrl: url, token }), client)
  }
  return /^https?:/.test(url)
    ? Layer.provide(HttpPublisher.layer({ url, token }), FetchHttpClient.layer)
    : Layer.fail(
      new PublisherError({
        reason: "misconfigured",
        problem: "set PUBLISHER_URL to https://… (a receiver over HTTP) or wss://… (Apache Pulsar over WebSocket)"
      })
    )
}

/** Delivers what is pending, whenever the object's alarm comes. */
class Delivery extends Context.Tag("Delivery")<Delivery, ActorRef>() {}

const cycle = Effect.map(Drain.drainOnce({ budget: "20 seconds" }), ({ outage, stats }) => {
  if (outage !== undefined) return Next.After({ delay: "5 seconds" })
  return stats.pending > 0 && !stats.paused ? Next.Again() : Next.Idle({})
})

const delivery = Layer.scoped(
  Delivery,
  Effect.gen(function*() {
    const host = yield* Host
    // Retries become due without anybody saying so.
    return yield* host.start({ identity: "delivery", pollInterval: "30 seconds", cycle })
  })
)

const topics = (variables: Variables) =>
  Layer.succeed(Topics, (lane) =>
    kindOfLane(lane) === "operation"
      ? variables.OPERATION_TOPIC ?? "persistent://public/default/operation"
      : variables.RECORD_TOPIC ?? "persistent://public/default/record")

const layerOf = (storage: State["storage"], variables: Variables) => {
  const repository = Layer.provide(Sql.layer(), Migrations.layer())
  const services = Layer.mergeAll(
    Layer.provide(repository, ObjectDatabase.layer({ storage })),
    publisher(variables),
    CircuitBreaker.layer,
    ObjectHost.layer({ storage })
  )
  return Layer.provideMerge(Layer.merge(Trustlog.layer, delivery), Layer.provideMerge(services, topics(variables)))
}

const problem = (status: number, body: Record<string, unknown>) => Response.json(body, { status })

const append = (request: Request) =>
  Effect.gen(function*() {
    const trustlog = yield* Trustlog.Trustlog
    const text = yield* Effect.promise(() => request.text())
    const isLines = /jsonl|ndjson|json-lines/.test(request.headers.get("content-type") ?? "")
    const lines = isLines ? text.split("\n").filter((line) => line.trim() !== "") : [text]
    const operations = yield* Either.all(lines.map((line) => fromJson(line)))
    const results = yield* trustlog.appendAll(operations)
    // It is stored by now: an alarm that is not set in time is made up for by the next one.
    yield* Effect.flatMap(Delivery, (actor) => actor.send("Wake"))
    return Response.json(results)
  }).pipe(
    Effect.catchTags({
      InvalidOperation: ({ cure, field, reason }) => Effect.succeed(problem(400, { field, reason, cure })),
      OperationConflict: ({ id, message, reason }) => Effect.succeed(problem(409, { id, reason, cure: message })),
      DatabaseError: ({ message, reason }) => Effect.succeed(problem(503, { reason, cure: message }))
    })
  )

const status = Effect.gen(function*() {
  const { stats } = yield* Trustlog.Trustlog
  const { statuses } = yield* ObjectHost.Events
  return Response.json({ ...yield* stats, actors: yield* statuses })
})

const answer = (request: Request) =>
  Effect.gen(function*() {
    const { pathname } = new URL(request.url)
    if (pathname === "/operations" && request.method === "POST") return yield* append(request)
    if (pathname === "/status" && request.method === "GET") return yield* status
    const { fetch } = yield* ObjectHost.Events
    return (yield* fetch(request)) ?? problem(404, { cure: "POST /operations, or GET /status" })
  })

/** The object: its storage is the database, its alarm runs the delivery. */
export class Audit {
  readonly storage: State["storage"]
  readonly runtime: ManagedRuntime.ManagedRuntime<
    Trustlog.Trustlog | ObjectHost.Events | Delivery,
    Layer.Layer.Error<ReturnType<typeof layerOf>>
  >

  constructor({ storage }: State, variables: Variables) {
    this.storage = storage
    this.runtime = ManagedRuntime.make(layerOf(storage, variables))
  }

  fetch(request: Request): Promise<Response> {
    return this.runtime.runPromise(answer(request))
  }

  /** It never fails: what cannot be built now is built by the alarm in a minute. */
  async alarm(): Promise<void> {
    try {
      await this.runtime.runPromise(Effect.flatMap(ObjectHost.Events, (events) => events.alarm))
    } catch (error) {
      console.error(error)
      await this.storage.setAlarm(Date.now() + 60_000)
    }
  }
}

export default {
  fetch: (request: Request, { AUDIT }: Environment): Promise<Response> =>
    AUDIT.get(AUDIT.idFromName("audit")).fetch(request)
}
