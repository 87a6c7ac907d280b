/**
 * What is used of `pulsar-client`, the official native client, by its shape. It is an optional peer: it is loaded when it
 * is needed, and neither the compiler nor a bundler has to find it.
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import { createRequire } from "node:module"
import * as path from "node:path"
import * as process from "node:process"
import { pathToFileURL } from "node:url"
import { PublisherError } from "../../TrustlogError.ts"

/** The version that was tested. */
const version = "1.18.0"

/** What is authenticated with; only the client looks inside. */
export type Authentication = object

/** How a client is made. What is of a wrong type it ignores without a word. */
export interface ClientOptions {
  readonly serviceUrl: string
  readonly authentication?: Authentication
  readonly operationTimeoutSeconds: number
  readonly connectionTimeoutMs: number
  readonly statsIntervalInSeconds: number
  /** 2 is warnings. The first client of a process decides for all. */
  readonly logLevel: number
  readonly tlsTrustCertsFilePath?: string
  readonly tlsCertificateFilePath?: string
  readonly tlsPrivateKeyFilePath?: string
  readonly tlsValidateHostname?: boolean
  readonly tlsAllowInsecureConnection?: boolean
}

export interface ProducerOptions {
  readonly topic: string
  readonly sendTimeoutMs: number
  readonly maxPendingMessages: number
  readonly maxPendingMessagesAcrossPartitions: number
  readonly blockIfQueueFull: false
  readonly messageRoutingMode: "RoundRobinDistribution"
  readonly hashingScheme: "JavaStringHash"
  readonly batchingEnabled: boolean
  readonly batchingMaxPublishDelayMs: number
}

/** Node's `Buffer`, which the client insists on; the types of programs without Node's do not know that name. */
type Bytes = typeof globalThis extends { readonly Buffer: { isBuffer(value: unknown): value is infer Known } } ? Known
  : Uint8Array

export interface ProducerMessage {
  readonly data: Bytes
  readonly partitionKey: string
  readonly properties: Record<string, string>
}

/** Its text is `(ledger,entry,partition,batch)`. */
export interface MessageId {
  toString(): string
}

export interface Producer {
  /** The promises of one producer are kept in any order. */
  send(message: ProducerMessage): Promise<MessageId>
  flush(): Promise<unknown>
  close(): Promise<unknown>
  /** True on a broker that hangs. */
  isConnected(): boolean
}

export interface ConsumerOptions {
  readonly topic: string
  readonly subscription: string
  readonly subscriptionType: "Exclusive" | "Shared" | "KeyShared" | "Failover"
  readonly subscriptionInitialPosition: "Latest" | "Earliest"
  readonly receiverQueueSize?: number
  readonly nAckRedeliverTimeoutMs?: number
}

/** A message as a consumer gets it. */
export interface Received {
  getData(): Bytes
  getProperties(): Record<string, string>
  getMessageId(): MessageId
  getPartitionKey(): string
  getPublishTimestamp(): number
  getRedeliveryCount(): number
}

export interface Consumer {
  /** Without a time-out (milliseconds) it waits on no thread. */
  receive(timeout?: number): Promise<Received>
  acknowledge(message: Received): Promise<unknown>
  negativeAcknowledge(message: Received): void
  isConnected(): boolean
  close(): Promise<unknown>
}

export interface Client {
  createProducer(options: ProducerOptions): Promise<Producer>
  subscribe(options: ConsumerOptions): Promise<Consumer>
  close(): Promise<unknown>
}

/** Levels from 0 (debug) to 3 (error). */
export type LogHandler = (level: number, file: string, line: number, message: string) => void

export interface Module {
  readonly Client: {
    new(options: ClientOptions): Client
    /** For the whole process; without one nothing is logged. */
    setLogHandler?(handler: LogHandler): void
  }
  readonly AuthenticationToken: new(options: { token: string | (() => Promise<string>) }) => Authentication
  readonly AuthenticationTls: new(options: { certificatePath: string; privateKeyPath: string }) => Authentication
}

const isModule = (loaded: unknown): loaded is Module =>
  typeof loaded === "object" && loaded !== null &&
  ["Client", "AuthenticationToken", "AuthenticationTls"].every((name) =>
    typeof Reflect.get(loaded, name) === "function"
  )

const setting = "TRUSTLOG_PULSAR_CLIENT"

// Whoever names a module or a path means it as seen from where the process was started.
const resolved = (specifier: string): string =>
  pathToFileURL(createRequire(path.resolve(process.cwd(), "trustlog.js")).resolve(specifier)).href

/** The module, or what to install. `TRUSTLOG_PULSAR_CLIENT` names another one, or its path. */
export const load: Effect.Effect<Module, PublisherError> = Effect.gen(function*() {
  const named = yield* Effect.orElseSucceed(Config.nonEmptyString(setting), () => undefined)
  const name = named ?? "pulsar-client"
  const problem = (why: string) =>
    `the native client of Pulsar cannot be used: ${why}. Run npm install pulsar-client@${version}, ` +
    `or reach Pulsar by ws://… or wss://…, which needs no native code`
  const loaded = yield* Effect.tryPromise({
    try: async (): Promise<unknown> => {
      const specifier = named === undefined ? name : resolved(named)
      return await import(/* @vite-ignore */ specifier)
    },
    catch: (cause) =>
      new PublisherError({
        reason: "misconfigured",
        problem: problem(
          `${name}${named === undefined ? "" : ` (${setting})`} does not load: ${
            String(cause instanceof Error ? cause.message : cause).split("\n", 1)[0]?.replace(/[\s.?!]+$/, "")
          }`
        ),
        cause
      })
  })
  // It is CommonJS: Node names what it exports only under `default`.
  for (const candidate of [Reflect.get(Object(loaded), "default"), loaded]) if (isModule(candidate)) return candidate
  return yield* new PublisherError({
    reason: "misconfigured",
    problem: problem(`${name}${named === undefined ? "" : ` (${setting})`} is not pulsar-client`)
  })
})
