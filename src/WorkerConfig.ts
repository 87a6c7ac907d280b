/**
 * How the workers work.
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"

/** Every knob of the workers. */
export interface Shape {
  /** How often an idle worker looks, when nothing wakes it. */
  readonly scanInterval: Duration.Duration
  /** So many rows make a page. */
  readonly pageRows: number
  /** So many rows make a page while a backlog drains. */
  readonly backlogPageRows: number
  /** So many bytes of payload end a page before its rows do. */
  readonly pageBytes: number
  /** How long a lane stays with an owner that is not heard of: at most five minutes. */
  readonly lease: Duration.Duration
  /** How often a lease is renewed. */
  readonly leaseRenewal: Duration.Duration
  /** How often members look for lanes without an owner. */
  readonly laneScan: Duration.Duration
  /** How long claimed retries stay with a worker that is not heard of. */
  readonly claim: Duration.Duration
  /** How long the log may take to answer a batch, before every message without an answer is unknown. */
  readonly publishDeadline: Duration.Duration
  /** How long the log may take to say that it is well. */
  readonly healthDeadline: Duration.Duration
  /** How far behind the newest position the cursor trails when it has caught up. */
  readonly trail: Duration.Duration
  /** How often the cursor is derived anew from the pending rows. */
  readonly rederivation: Duration.Duration
  /** How long a worker that is told to end goes on delivering. */
  readonly shutdown: Duration.Duration
}

export const defaults: Shape = {
  scanInterval: Duration.seconds(10),
  pageRows: 100,
  backlogPageRows: 4000,
  pageBytes: 8 * 1024 * 1024,
  lease: Duration.seconds(10),
  leaseRenewal: Duration.seconds(3),
  laneScan: Duration.seconds(1),
  claim: Duration.seconds(60),
  publishDeadline: Duration.seconds(30),
  healthDeadline: Duration.seconds(10),
  trail: Duration.seconds(2),
  rederivation: Duration.seconds(10),
  shutdown: Duration.seconds(10)
}

/** The workers' knobs; change some with `Layer.succeed(WorkerConfig, { ...defaults, pageRows: 10 })`. */
export class WorkerConfig
  extends Context.Reference<WorkerConfig>()("effect-trustlog/WorkerConfig", { defaultValue: () => defaults })
{}
