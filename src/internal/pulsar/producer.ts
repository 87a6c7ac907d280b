/**
 * A producer of one topic over Pulsar's WebSocket interface: pipelined within a window, acknowledgements matched by their
 * context, and one connection, which is made again when it is needed again.
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Outcome, Published } from "../../Publisher.ts"
import type * as PulsarCluster from "../../PulsarCluster.ts"
import { PublisherError } from "../../TrustlogError.ts"
import type { WebSocketClient } from "../../WebSocketClient.ts"
import * as base64 from "../base64.ts"
import * as jsonObject from "../jsonObject.ts"
import * as connections from "./connection.ts"
import * as messageId from "./messageId.ts"
import { verdictOf } from "./sendError.ts"
import type { Topic } from "./topic.ts"

export interface Options {
  readonly cluster: PulsarCluster.Options
  /** Whether the broker's side puts messages together into one entry. */
  readonly batching: boolean
  /** So many messages at most are on their way. */
  readonly window: number
  /** Larger frames are never sent: they would end the connection, and everybody's messages with it. */
  readonly maxFrameBytes: number
  /** How long the broker's side may try to store a message. */
  readonly sendTimeout: Duration.Duration
}

/** A message on its way. */
export interface Outgoing {
  readonly key: string
  readonly bytes: Uint8Array
  readonly properties: Readonly<Record<string, string>>
}

export interface Producer {
  /** As `Publisher.publish`. */
  readonly send: (batch: ReadonlyArray<Outgoing>) => Effect.Effect<Published, PublisherError>
  /** As `Publisher.health`. */
  readonly health: Effect.Effect<void, PublisherError>
}

/** So many bytes at most are on their way, or one message. */
const windowBytes = 8 * 1024 * 1024

/** A batch that somebody waits for. */
interface Job {
  readonly batch: ReadonlyArray<Outgoing>
  readonly outcomes: Array<Outcome>
  /** The next one to send. */
  next: number
  /** How many have no outcome yet. */
  left: number
  outage: PublisherError | undefined
  /** Tells who waits; `undefined` when nobody does any more. */
  resume: ((result: Effect.Effect<Published, PublisherError>) => void) | undefined
}

/** A message without an answer. */
interface InFlight {
  readonly job: Job
  readonly index: number
  readonly size: number
}

const encoder = new TextEncoder()

/** The frame of a message; `undefined` where it would be too large. */
const frameOf = ({ bytes, key, properties }: Outgoing, context: number, maxBytes: number): string | undefined => {
  if (bytes.length * 4 / 3 > maxBytes) return undefined
  const head = `{"context":"${context}","key":${JSON.stringify(key)},"properties":${JSON.stringify(properties)},` +
    `"payload":"`
  const text = `${head}${base64.encode(bytes)}"}`
  return encoder.encode(head).length - head.length + text.length > maxBytes ? undefined : text
}

interface Answer {
  readonly context: string | undefined
  readonly outcome: Outcome
  readonly outage: PublisherError | undefined
}

const readAnswer = (text: string): Answer | undefined => {
  const value = jsonObject.read(text)
  if (value === undefined) return undefined
  const { context, errorMsg, messageId: id, result } = {
    context: undefined,
    errorMsg: "",
    messageId: undefined,
    result: undefined,
    ...value
  }
  if (typeof result !== "string") return undefined
  const known = typeof context === "string" ? context : undefined
  if (result !== "ok") return { context: known, ...verdictOf(result, String(errorMsg)) }
  const named = typeof id === "string" ? messageId.ofBase64(id) : undefined
  return {
    context: known,
    outage: undefined,
    outcome: named === undefined || messageId.isDropped(named)
      ? { _tag: "Unknown", error: `the broker's answer names no message that it stored: ${text.slice(0, 200)}` }
      : { _tag: "Acknowledged", messageId: messageId.pack(named) }
  }
}

/** One connection and what is on its way over it. */
interface Session {
  readonly submit: (job: Job) => void
  /** Nobody waits for a job any more. */
  readonly abandon: (job: Job) => void
  readonly connection: connections.Connection
  readonly isOver: () => boolean
  /** Whether something on its way had no answer in time, and nothing had since: the topic may be stuck behind a broker that is well. */
  readonly isDoubted: () => boolean
  /** Ends it: everything without an answer is unknown. */
  readonly end: (error: PublisherError) => void
}

const openSession = (
  topic: Topic,
  { batching, cluster, maxFrameBytes, sendTimeout, window }: Options
): Effect.Effect<Session, PublisherError, WebSocketClient | Scope.Scope> =>
  Effect.gen(function*() {
    const inFlight = new Map<string, InFlight>()
    const queue: Array<Job> = []
    let bytes = 0
    let contexts = 0
    let isOver = false
    let isDoubted = false
    /** There is none yet when a connection has ended as soon as it was open. */
    let connection: connections.Connection | undefined

    const settle = (job: Job, index: number, outcome: Outcome) => {
      job.outcomes[index] = outcome
      job.left--
      if (job.left > 0) return
      job.resume?.(Effect.succeed({ outcomes: job.outcomes, outage: job.outage, checkpoint: undefined }))
      job.resume = undefined
    }

    const fill = () => {
      for (let job = queue[0]; job !== undefined; job = queue[0]) {
        const message = job.resume && job.batch[job.next]
        if (message === undefined) {
          queue.shift()
          continue
        }
        const size = message.bytes.length
        if (inFlight.size >= window || (inFlight.size > 0 && bytes + size > windowBytes)) return
        const index = job.next++
        const context = ++contexts
        const frame = frameOf(message, context, maxFrameBytes)
        if (frame === undefined) {
          settle(job, index, {
            _tag: "Refused",
            reason: "tooLarge",
            error:
              `its ${size} bytes make a frame of more than ${maxFrameBytes}, which Pulsar's WebSocket interface does not take`
          })
          continue
        }
        inFlight.set(String(context), { job, index, size })
        bytes += size
        connection?.send(frame)
      }
    }

    const pump = () => {
      if (!isOver) connection?.together(fill)
    }

    let isPumpDue = false
    /** Acknowledgements come in bursts, and what they make room for goes out as one. */
    const pumpSoon = () => {
      if (isPumpDue) return
      isPumpDue = true
      queueMicrotask(() => {
        isPumpDue = false
        pump()
      })
    }

    const end = (error: PublisherError) => {
      if (isOver) return
      isOver = true
      connection?.end()
      const jobs = new Set([...Array.from(inFlight.values(), ({ job }) => job), ...queue])
      inFlight.clear()
      queue.length = 0
      for (const job of jobs) {
        const { resume } = job
        job.resume = undefined
        if (job.next === 0) {
          resume?.(Effect.fail(new PublisherError({ reason: "unavailable", problem: error.problem, cause: error })))
          continue
        }
        const outcomes = Array.from(
          job.batch,
          (_, index): Outcome => job.outcomes[index] ?? { _tag: "Unknown", error: error.problem }
        )
        resume?.(Effect.succeed({ outcomes, outage: job.outage ?? error, checkpoint: undefined }))
      }
    }

    const onText = (text: string) => {
      const answer = readAnswer(text)
      const sent = answer?.context === undefined ? undefined : inFlight.get(answer.context)
      if (answer?.context === undefined || sent === undefined) {
        // What it answers to cannot be told, so everything that waits for an answer would wait in vain.
        return end(
          new PublisherError({
            reason: "lost",
            problem: `the broker's answer is to nothing that was sent: ${text.slice(0, 200)}`
          })
        )
      }
      inFlight.delete(answer.context)
      bytes -= sent.size
      isDoubted = false
      sent.job.outage ??= answer.outage
      settle(sent.job, sent.index, answer.outcome)
      pumpSoon()
    }

    const opened = yield* connections.open({
      cluster,
      kind: "producer",
      topic,
      query: {
        sendTimeoutMillis: String(Duration.toMillis(sendTimeout)),
        maxPendingMessages: String(2 * window),
        ...batching ? { batchingEnabled: "true", batchingMaxPublishDelay: "1" } : {}
      }
    }, { onText, onEnd: end, isAwaiting: () => inFlight.size > 0 })
    connection = opened

    return {
      connection: opened,
      end,
      isOver: () => isOver,
      isDoubted: () => isDoubted,
      submit: (job) => {
        queue.push(job)
        pump()
      },
      abandon: (job) => {
        job.resume = undefined
        isDoubted ||= job.next > 0
        pump()
      }
    }
  })

const closed = new PublisherError({ reason: "unavailable", problem: "the publisher is closed" })
const gone = new PublisherError({ reason: "unavailable", problem: "the connection to the broker has just ended" })

/** Makes a producer, which connects when it is first used. When the scope closes, what has no answer is unknown. */
export const make = (
  topic: Topic,
  options: Options
): Effect.Effect<Producer, never, WebSocketClient | Scope.Scope> =>
  Effect.gen(function*() {
    const context = yield* Effect.context<WebSocketClient | Scope.Scope>()
    const scope = yield* Effect.scope
    let session: Session | undefined
    let opening: Deferred.Deferred<Session, PublisherError> | undefined
    let isClosed = false
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        isClosed = true
        session?.end(closed)
      })
    )

    const open = Effect.interruptible(Effect.provide(openSession(topic, options), context)).pipe(
      Effect.tap((opened) => {
        session = opened
        if (isClosed) opened.end(closed)
      }),
      Effect.filterOrFail((opened) => !opened.isOver(), () => gone)
    )

    /** The open session; of those who ask at once the first opens it, and the others wait for what came of it. */
    const current: Effect.Effect<Session, PublisherError> = Effect.uninterruptibleMask((restore) =>
      Effect.gen(function*() {
        if (isClosed) return yield* closed
        if (session !== undefined && !session.isOver()) return session
        if (opening === undefined) {
          const mine = yield* Deferred.make<Session, PublisherError>()
          opening = mine
          yield* open.pipe(
            Effect.onExit(() =>
              Effect.sync(() => {
                opening = undefined
              })
            ),
            Effect.intoDeferred(mine),
            Effect.forkIn(scope)
          )
          return yield* restore(Deferred.await(mine))
        }
        return yield* restore(Deferred.await(opening))
      })
    )

    /** Makes a second connection, which proves that a producer can be had, and ends it. */
    const probe = Effect.scoped(Effect.provide(
      Effect.map(openSession(topic, options), (probed) => probed.connection.end()),
      context
    ))

    return {
      send: (batch) =>
        batch.length === 0
          ? Effect.succeed({ outcomes: [], outage: undefined, checkpoint: undefined })
          : Effect.flatMap(current, (session) =>
            Effect.async<Published, PublisherError>((resume) => {
              // It may have ended since it was asked for.
              if (session.isOver()) return resume(Effect.fail(gone))
              const job: Job = {
                batch,
                outcomes: [],
                next: 0,
                left: batch.length,
                outage: undefined,
                resume
              }
              session.submit(job)
              return Effect.sync(() => session.abandon(job))
            })),
      health: Effect.gen(function*() {
        if (session === undefined || session.isOver()) return yield* Effect.asVoid(current)
        const { connection, end, isDoubted } = session
        if (connection.answers === undefined) return yield* probe
        if (isDoubted()) {
          yield* probe
          end(new PublisherError({ reason: "lost", problem: "what was sent had no answer in time" }))
          return yield* Effect.asVoid(current)
        }
        yield* Effect.tapError(connection.answers, (error) => Effect.sync(() => end(error)))
      }).pipe(
        Effect.mapError((error) =>
          error.reason === "lost"
            ? new PublisherError({ reason: "unavailable", problem: error.problem, cause: error })
            : error
        )
      )
    }
  })
