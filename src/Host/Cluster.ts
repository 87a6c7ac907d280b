/**
 * Actors in a cluster of `@effect/cluster`, for applications that run one already.
 *
 * Every runner starts the same actors; of each, one runner runs the cycles: the one that has the shard of its identity. When
 * that runner goes away, another one begins the actor anew, as after a restart. What is told to an actor finds it, from any runner that
 * has started it. An actor that is bound to its process (`Actor.isBound`) runs where it was started, as in `Host/Local`.
 *
 * While a shard moves, and when a runner is frozen, two runners may run one actor for a moment: what it writes has to be fenced, as
 * the leases and claims of the workers are.
 */
import * as ClusterSchema from "@effect/cluster/ClusterSchema"
import * as Entity from "@effect/cluster/Entity"
import * as Sharding from "@effect/cluster/Sharding"
import * as Rpc from "@effect/rpc/Rpc"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import { v4 } from "uuid"
import * as Actor from "../Actor.ts"
import * as Host from "../Host.ts"
import { now } from "../internal/monotonic.ts"
import * as Local from "./Local.ts"

export interface Options {
  /** The group of shards that the actors belong to; `default` by default. */
  readonly shardGroup?: string | undefined
}

/** How long until an actor that did not answer is asked again: its shard is moving, say. */
const retryInterval = "100 millis"

/** How often an actor elsewhere is asked whether it has ended. */
const awaitInterval = "1 second"

const Status = Schema.Struct({
  identity: Schema.String,
  state: Schema.Literal("running", "idle", "held", "backingOff", "paused", "stopped"),
  cycles: Schema.Number,
  failuresInRow: Schema.Number,
  lastError: Schema.NullOr(Schema.String),
  since: Schema.Number
})

const encode = (status: Actor.Status): typeof Status.Type => ({ ...status, lastError: status.lastError ?? null })
const decode = (status: typeof Status.Type): Actor.Status => ({ ...status, lastError: status.lastError ?? undefined })

/** What an actor answers from another runner; `null` where that runner does not run it now. */
const Answer = Schema.NullOr(Schema.Struct({
  /** A new one each time that an actor is begun. */
  instance: Schema.String,
  status: Status,
  /** How the last drain that was asked for from another runner ended; `null` while there is one under way. */
  drained: Schema.NullOr(Status)
}))
type Answer = NonNullable<typeof Answer.Type>

/** The address of actors: the entity with an actor's identity is on the shard of the singleton with that name. */
const makeAddress = (shardGroup: string) =>
  Entity.make("effect-trustlog/Actor", [
    Rpc.make("Tell", { payload: { message: Actor.Message }, success: Answer })
  ])
    .annotate(ClusterSchema.ShardGroup, () => shardGroup)
    .annotate(ClusterSchema.ClientTracingEnabled, false)

/** An actor that runs here. */
interface Instance {
  readonly id: string
  readonly ref: Host.ActorRef
  /** How many drains that other runners have asked for are not done, and how the last one ended. */
  drains: number
  drained: Actor.Status | undefined
}

const make = ({ shardGroup = "default" }: Options) =>
  Effect.gen(function*() {
    const sharding = yield* Sharding.Sharding
    const local = yield* Effect.provide(Host.Host, Local.layer)
    const scope = yield* Effect.scope
    const running = new Map<string, Instance>()
    const address = makeAddress(shardGroup)

    /** Tells an actor that runs here something, and answers at once. */
    const answer = (identity: string, message: Actor.Message): Effect.Effect<Answer | null> =>
      Effect.gen(function*() {
        const instance = running.get(identity)
        if (instance === undefined) return null
        if (message === "Drain") {
          instance.drains++
          yield* instance.ref.send("Drain").pipe(
            Effect.map((status) => {
              instance.drains--
              instance.drained = status
            }),
            Effect.forkIn(scope)
          )
        }
        const status = yield* instance.ref.send(message === "Drain" ? "Status" : message)
        const { drained, drains, id } = instance
        return {
          instance: id,
          status: encode(status),
          drained: drains > 0 || drained === undefined ? null : encode(drained)
        }
      })

    yield* sharding.registerEntity(
      address,
      Effect.map(Entity.CurrentAddress, ({ entityId }) =>
        address.of({ Tell: ({ payload }) => answer(entityId, payload.message) })),
      { concurrency: "unbounded" }
    )
    const client = yield* sharding.makeClient(address)

    /** Asks whichever runner runs the actor, for as long as none answers. */
    const ask = (identity: string, message: Actor.Message): Effect.Effect<Answer> =>
      Effect.gen(function*() {
        while (true) {
          // Whatever became of the call (its shard has moved, its runner is gone, its mailbox is full) is cured by asking again.
          const exit = yield* Effect.exit(
            running.has(identity) ? answer(identity, message) : client(identity).Tell({ message })
          )
          if (Exit.isSuccess(exit) && exit.value !== null)
            return exit.value
          yield* Effect.sleep(retryInterval)
        }
      })

    /** Asks for a drain, again of an actor that was begun anew meanwhile, and waits until it is done. */
    const drain = (identity: string): Effect.Effect<Actor.Status> =>
      Effect.gen(function*() {
        let asked: string | undefined
        while (true) {
          const { drained, instance } = yield* ask(identity, asked === undefined ? "Drain" : "Status")
          if (asked === instance && drained !== null)
            return decode(drained)
          if (asked === undefined || asked === instance) {
            asked = instance
            yield* Effect.sleep(retryInterval)
          } else {
            asked = undefined
          }
        }
      })

    const start = <E, R>(actor: Actor.Actor<E, R>): Effect.Effect<Host.ActorRef, never, R | Scope.Scope> =>
      Effect.uninterruptible(Effect.gen(function*() {
        const { identity } = actor
        const context = yield* Effect.context<R>()
        const unbegun = Actor.status(Actor.stopped(Actor.initial(actor, yield* now), yield* now))
        const closed = yield* Effect.makeLatch()
        let isClosed = false
        /** The last one that this runner ran. */
        let last: Host.ActorRef | undefined
        /** Ends it. */
        let end = Effect.void

        yield* Effect.addFinalizer(() =>
          Effect.suspend(() => {
            isClosed = true
            return closed.open
          })
        )
        yield* sharding.registerSingleton(
          identity,
          Effect.gen(function*() {
            const lifetime = yield* Scope.make()
            end = Effect.suspend(() => {
              // Whoever asks from now on waits for the next one that runs it.
              running.delete(identity)
              return Scope.close(lifetime, Exit.void)
            })
            yield* Effect.addFinalizer(() =>
              end
            )
            last = yield* Scope.extend(
              local.start({ ...actor, cycle: Effect.provide(actor.cycle, context) }),
              lifetime
            )
            running.set(identity, { id: v4(), ref: last, drains: 0, drained: undefined })
          }),
          { shardGroup }
        )
        // Before the cluster does it: the less lies between, the sooner the cycle knows.
        yield* Effect.addFinalizer(() => Effect.suspend(() => end))

        const atClose = Effect.suspend(() => last === undefined ? Effect.succeed(unbegun) : last.status)
        const unlessClosed = <A>(effect: Effect.Effect<A>, otherwise: Effect.Effect<A>) =>
          Effect.raceFirst(effect, Effect.zipRight(closed.await, otherwise))

        const send = (message: Actor.Message): Effect.Effect<Actor.Status> =>
          Effect.suspend(() => {
            if (isClosed) return atClose
            const here = running.get(identity)
            // An actor that runs here is told without the cluster.
            if (here === undefined) {
              const asked = message === "Drain"
                ? drain(identity)
                : Effect.map(ask(identity, message), ({ status }) => decode(status))
              return unlessClosed(asked, atClose)
            }
            if (message !== "Drain") return here.ref.send(message)
            return Effect.flatMap(
              here.ref.send("Drain"),
              (status) => running.get(identity) === here ? Effect.succeed(status) : send("Drain")
            )
          })

        /** Whether it has ended, by its own decision. */
        const hasEnded: Effect.Effect<boolean> = Effect.suspend(() => {
          const here = running.get(identity)
          return here === undefined
            ? Effect.flatMap(
              ask(identity, "Status"),
              ({ status }) =>
                status.state === "stopped" ? Effect.succeed(true) : Effect.delay(Effect.succeed(false), awaitInterval)
            )
            // One that has ended because its shard has moved is not here any more.
            : Effect.map(here.ref.await, () => running.get(identity) === here)
        })
        const untilEnded = Effect.asVoid(Effect.repeat(hasEnded, {
          until: (hasEnded) => hasEnded
        }))
        return { identity, send, status: send("Status"), await: unlessClosed(untilEnded, Effect.void) }
      }))

    return Host.Host.of({
      start: (actor) => actor.isBound === true ? local.start(actor) : start(actor)
    })
  })

/** Actors in the cluster that the application runs. A runner has one such host. */
export const layer = (options: Options = {}): Layer.Layer<Host.Host, never, Sharding.Sharding> =>
  Layer.scoped(Host.Host, make(options))
