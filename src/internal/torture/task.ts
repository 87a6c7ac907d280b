/**
 * What is said between a torture and the processes that it starts, one line of JSON each way.
 */
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import { Lane } from "../../Operation.ts"

const Text = Schema.UndefinedOr(Schema.String)

const Database = Schema.Union(
  Schema.TaggedStruct("Sqlite", { filename: Schema.String }),
  Schema.Struct({
    _tag: Schema.Literal("PostgreSQL", "MySQL"),
    host: Schema.String,
    port: Schema.Number,
    database: Schema.String,
    username: Schema.String,
    password: Schema.UndefinedOr(Schema.Redacted(Schema.String)),
    tls: Schema.Struct({
      mode: Schema.Literal("disable", "require", "verify-ca", "verify-full"),
      ca: Text,
      certificate: Text,
      key: Text
    }),
    applicationName: Schema.String
  })
)

const common = {
  database: Database,
  schema: Text,
  prefix: Schema.String,
  /** Where it writes down what it has seen. */
  file: Schema.String,
  seed: Schema.Number
}

/** Delivers, to a log that is a file. */
export const Worker = Schema.TaggedStruct("Worker", {
  ...common,
  leaseMillis: Schema.Number,
  rederivationMillis: Schema.Number,
  /** How wrong the application's clock is. */
  clockOffsetMillis: Schema.Number
})
export type Worker = typeof Worker.Type

/** Appends, as an application does. */
export const Writer = Schema.TaggedStruct("Writer", {
  ...common,
  /** So many at once. */
  writers: Schema.Number,
  lanes: Schema.Array(Lane),
  /** How long one waits between its transactions, on average. */
  pauseMillis: Schema.Number,
  /** How long a transaction stays open between its statements, at most. */
  holdMillis: Schema.Number,
  /** How many operations are appended at most. */
  maxOperations: Schema.Number
})
export type Writer = typeof Writer.Type

/** The first line that a process is given: it holds a password, which does not belong on a command line. */
export const Task = Schema.parseJson(Schema.Union(Worker, Writer))
export type Task = typeof Task.Type

/** Where a worker freezes itself: when the log holds the records, and before the commit of a settlement. */
export type Place = "publish" | "settle"

/** The lines after it. When there are no more, whoever said them is gone. */
export const Command = Schema.parseJson(Schema.Union(
  Schema.TaggedStruct("Freeze", { place: Schema.Literal("publish", "settle") }),
  /** It need not freeze any more, if it has not yet. */
  Schema.TaggedStruct("GoOn", {}),
  /** Finishes what it does, and ends. */
  Schema.TaggedStruct("End", {})
))
export type Command = typeof Command.Type

/** What a worker says. */
export const Event = Schema.parseJson(Schema.Union(
  /** It is registered, and how it signs its leases. */
  Schema.TaggedStruct("Member", { member: Schema.String }),
  Schema.TaggedStruct("Acquired", { lane: Schema.String, epoch: Schema.Number }),
  Schema.TaggedStruct("Settled", { lane: Schema.String, epoch: Schema.Number }),
  /** The machine had no time for it for so long, up to now. */
  Schema.TaggedStruct("Starved", { millis: Schema.Number }),
  /** It stops itself now. */
  Schema.TaggedStruct("Freezing", {})
))
export type Event = typeof Event.Type

const line = <A>(schema: Schema.Schema<A, string>) => {
  const encode = Schema.encodeSync(schema)
  const decode = Schema.decodeEither(schema)
  return {
    write: (value: A): string => `${encode(value)}\n`,
    read: (text: string): Either.Either<A, string> => Either.mapLeft(decode(text), (error) => error.message)
  }
}

export const task = line(Task)
export const command = line(Command)
export const event = line(Event)
