/**
 * How soon an actor answers, and what its mailbox holds, while it is flooded: 100,000 messages from a hundred senders, over
 * a cycle that hangs, and over cycles that never rest. Run `npm run build` first, and this with `--expose-gc`.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as os from "node:os"
import * as Actor from "../dist/Actor.js"
import * as Host from "../dist/Host.js"
import * as HostLocal from "../dist/Host/Local.js"

const messages = 100_000
const senders = 100

/** So many messages a sender has at a time; then others, timers and sockets have their turn. */
const burst = 10
const turn = Effect.async((resume) => {
  setImmediate(() => resume(Effect.void))
})

const used = () => {
  globalThis.gc?.()
  return process.memoryUsage().heapUsed
}

/** A cycle that waits for what never comes, and one that uses the thread for a millisecond and has more to do. */
const cycles = {
  "a cycle that hangs": Effect.never,
  "cycles without rest": Effect.sync(() => {
    for (const end = performance.now() + 1; performance.now() < end;);
    return Actor.Next.Again()
  })
}

const quantile = (sorted, part) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))].toFixed(2)

const measure = (name, cycle) =>
  Effect.scoped(Effect.gen(function*() {
    const host = yield* Host.Host
    const actor = yield* host.start({ identity: "bench", cycle })
    yield* actor.send("Wake")
    const before = used()
    const isFlooded = yield* Deferred.make()
    const asking = yield* Effect.fork(Effect.gen(function*() {
      const answers = []
      while (!(yield* Deferred.isDone(isFlooded))) {
        const began = performance.now()
        yield* actor.status
        answers.push(performance.now() - began)
        yield* Effect.sleep(1)
      }
      return answers.sort((a, b) => a - b)
    }))
    const began = performance.now()
    yield* Effect.forEach(
      Array.from({ length: senders }),
      () =>
        Effect.repeatN(
          Effect.zipRight(Effect.repeatN(actor.send("Wake"), burst - 1), turn),
          messages / senders / burst - 1
        ),
      { concurrency: "unbounded", discard: true }
    )
    const took = performance.now() - began
    yield* Deferred.succeed(isFlooded, undefined)
    const answers = yield* Fiber.join(asking)
    const { cycles } = yield* actor.status
    console.log(
      `${name}: ${messages} messages in ${
        took.toFixed(0)
      } ms, ${cycles} cycles ended; ${answers.length} answers after ` +
        `${quantile(answers, 0.5)} ms (median), ${quantile(answers, 0.99)} (99 %), ${quantile(answers, 1)} (worst); ` +
        `heap ${((used() - before) / 1024).toFixed(0)} KiB larger`
    )
  }))

console.log(`node ${process.version}, ${os.cpus().length} cores, load ${os.loadavg()[0]?.toFixed(1)}`)
await Effect.runPromise(
  Effect.forEach(Object.entries(cycles), ([name, cycle]) => measure(name, cycle)).pipe(
    Effect.provide(HostLocal.layer)
  )
)
