/**
 * Delivers until it is told to end.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as CursorWorker from "../../CursorWorker.ts"
import * as HostLocal from "../../Host/Local.ts"
import * as Monitor from "../../Monitor.ts"
import { Publisher } from "../../Publisher.ts"
import { Repository } from "../../Repository.ts"
import * as RetryWorker from "../../RetryWorker.ts"
import type { PublisherError } from "../../TrustlogError.ts"
import * as Output from "../Output.ts"
import * as Services from "../Services.ts"

/** The publisher, and what ends the process: a log that does not agree with what it said before, which no waiting cures. */
const watched = (publisher: Publisher["Type"], trouble: Deferred.Deferred<never, PublisherError>) => {
  const watch = (error: PublisherError | undefined) =>
    error?.reason === "untrusted" ? Deferred.fail(trouble, error) : Effect.void
  return Publisher.of({
    publish: (topic, batch) =>
      publisher.publish(topic, batch).pipe(
        Effect.tap(({ outage }) => watch(outage)),
        Effect.tapError(watch)
      ),
    health: (topic) => Effect.tapError(publisher.health(topic), watch)
  })
}

const work = Effect.gen(function*() {
  const publisher = yield* Publisher
  const trouble = yield* Deferred.make<never, PublisherError>()
  const workers = Layer.mergeAll(CursorWorker.layer, RetryWorker.layer, Monitor.layer()).pipe(
    Layer.provide([HostLocal.layer, Layer.succeed(Publisher, watched(publisher, trouble))])
  )
  // What is wrong with the broker's settings may be put right there; a log that contradicts itself is not cured by time.
  yield* Services.checkLog((error) => error.reason !== "untrusted")
  yield* Effect.logInfo("started; SIGTERM or Ctrl-C delivers what is pending and ends")
  // No race: one that is interrupted does not wait for the ends of its sides.
  return yield* Effect.provide(Deferred.await(trouble), workers)
})

/** Only what waits is interruptible: a signal ends the work in order, and what was done is told after it. */
export const run = (options: { readonly json: boolean }) =>
  Effect.scoped(Effect.gen(function*() {
    const services = Option.getOrUndefined(yield* Services.untilSignal(Layer.build(Services.delivery)))
    if (services === undefined) return
    yield* Services.untilSignal(Effect.provide(work, services))
    const { delivered, refused } = yield* Services.settled
    const { dead, isEstimate, pending, retrying } = yield* Effect.provide(
      Effect.flatMap(Repository, (repository) => repository.stats),
      services
    )
    yield* Output.result(options.json, { delivered, refused, dead, pending, retrying }, [
      `ended: ${Output.count(delivered)} delivered, ${Output.count(refused)} refused; ` +
      `${Output.about(pending, isEstimate)} pending, ${Output.count(retrying)} to be tried again later, ` +
      `${Output.counted(dead, "dead letter")}`
    ])
  }))
