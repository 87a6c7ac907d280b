/**
 * An operation: one audit record, as an application states it.
 */
import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import ipaddr from "ipaddr.js"
import { v7 } from "uuid"
import { InvalidOperation } from "./TrustlogError.ts"
import * as json from "./internal/json.ts"

/** What is recorded: something that was done (`operation`) or something that was kept (`record`). */
export const Kind = Schema.Literal("operation", "record")
export type Kind = typeof Kind.Type

/** A text field holds 1 to 2,048 UTF-16 code units: at least 1,024 characters of any script. */
export const maxTextLength = 2048

/** An envelope holds at most 4 MiB of UTF-8. */
export const maxEnvelopeBytes = 4 * 1024 * 1024

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

const normalised = (normalise: (text: string) => string | undefined, cure: string) =>
  Schema.transformOrFail(Schema.String, Schema.String, {
    strict: true,
    decode: (text, _, ast) => {
      const normal = normalise(text)
      return normal === undefined
        ? ParseResult.fail(new ParseResult.Type(ast, text, cure))
        : ParseResult.succeed(normal)
    },
    encode: ParseResult.succeed
  }).annotations({ message: () => ({ message: cure, override: true }) })

/** A UUID in lower case. It names an operation over both kinds: an id is used once in a database. */
export const OperationId = normalised(
  (text) => uuid.test(text.toLowerCase()) ? text.toLowerCase() : undefined,
  "write a UUID such as 01926f3e-7d4c-7b1a-9c55-3f0e6a1b2c3d"
).pipe(Schema.brand("OperationId"))
export type OperationId = typeof OperationId.Type

/**
 * A stream of entries that is delivered on its own: `operation`, `record`, or one that the host names,
 * `operation/<name>` or `record/<name>`. The kind decides the topic.
 */
export const Lane = Schema.String.pipe(
  Schema.pattern(/^(operation|record)(\/[A-Za-z0-9][A-Za-z0-9._-]{0,62})?$/, {
    message: () =>
      "write operation, record, operation/<name> or record/<name>, a name being 1 to 63 of A-Z a-z 0-9 . _ -"
  }),
  Schema.brand("Lane")
)
export type Lane = typeof Lane.Type

/** The kind of the entries of a lane. */
export const kindOfLane = (lane: Lane): Kind => lane.startsWith("record") ? "record" : "operation"

/** The lane of a kind that the host has named, or the kind's own. */
export const laneOf = (kind: Kind, name?: string | undefined): Lane =>
  Lane.make(name === undefined ? kind : `${kind}/${name}`)

const timestamp =
  /^(\d{4}-\d{2}-\d{2})[Tt](\d{2}:\d{2}:\d{2})(?:\.(\d{1,6})0*)?(?:[Zz]|([+-])([01]\d|2[0-3]):([0-5]\d))$/

const normaliseTimestamp = (text: string): string | undefined => {
  const match = timestamp.exec(text)
  if (match === null) return undefined
  const [, date, time, fraction = "", sign, hours = "0", minutes = "0"] = match
  const local = Date.parse(`${date}T${time}Z`)
  if (Number.isNaN(local) || new Date(local).toISOString().slice(0, 19) !== `${date}T${time}`) return undefined
  const offset = (Number(hours) * 60 + Number(minutes)) * 60_000
  const utc = new Date(sign === "-" ? local + offset : local - offset)
  const year = utc.getUTCFullYear()
  return year < 1000 || year > 9999 ? undefined : `${utc.toISOString().slice(0, 19)}.${fraction.padEnd(6, "0")}Z`
}

/** A point in time in UTC with six fixed digits, `2026-11-23T14:50:42.123456Z`: it sorts as text. */
export const Timestamp = normalised(
  normaliseTimestamp,
  "write RFC 3339 with a zone, to the microsecond at most, such as 2026-11-23T14:50:42.123456+01:00"
).pipe(Schema.brand("Timestamp"))
export type Timestamp = typeof Timestamp.Type

/** The timestamp of a time in milliseconds since 1970. */
export const timestampOf = (millis: number): Timestamp =>
  Timestamp.make(`${new Date(millis).toISOString().slice(0, 23)}000Z`, { disableValidation: true })

/** A text of 1 to 2,048 UTF-16 code units. */
export const Text = Schema.String.pipe(
  Schema.filter((text) =>
    text.length === 0
      ? "must not be empty"
      : text.length > maxTextLength
      ? `holds ${text.length} UTF-16 code units; at most ${maxTextLength} are kept, move the rest into payload`
      : undefined
  )
)

/** A SHA-256 digest in lower-case hex. */
export const Sha256 = normalised(
  (text) => /^[0-9a-fA-F]{64}$/.test(text) ? text.toLowerCase() : undefined,
  "write a SHA-256 digest as 64 hex digits"
)

const ipv4 = /^(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(\.(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}$/

const normaliseIp = (text: string): string | undefined => {
  if (ipv4.test(text)) return text
  const tail = text.includes(".") ? text.slice(text.lastIndexOf(":") + 1) : undefined
  if ((tail !== undefined && !ipv4.test(tail)) || text.includes("%") || !ipaddr.IPv6.isValid(text)) return undefined
  const address = ipaddr.IPv6.parse(text)
  return address.isIPv4MappedAddress()
    ? `::ffff:${address.toIPv4Address().toString()}`
    : address.toRFC5952String()
}

/** An IPv4 or IPv6 address in its canonical form (RFC 5952; IPv4-mapped addresses stay `::ffff:192.0.2.1`). */
export const IpAddress = normalised(normaliseIp, "write an IPv4 or IPv6 address without zone or prefix length, or null")

const traceparent = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/

/** A W3C Trace Context header, version 00. */
export const Traceparent = Schema.String.pipe(
  Schema.filter((text) =>
    traceparent.test(text) ? undefined : "write a W3C traceparent in lower case, such as " +
      "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
  )
)

const nullable = <A, I>(schema: Schema.Schema<A, I>) =>
  Schema.optionalWith(Schema.NullOr(schema), { default: () => null })

/**
 * One audit record. Fields that may be absent are `null`, but for `occurredAt`: left out, it is the moment of the append.
 */
export class Operation extends Schema.Class<Operation>("effect-trustlog/Operation")({
  /** Made (UUIDv7, so that ids sort by time) where it is left out. */
  id: Schema.optionalWith(OperationId, { default: () => OperationId.make(v7(), { disableValidation: true }) }),
  kind: Schema.optionalWith(Kind, { default: () => "operation" as const }),
  /** When it happened, by the application's word. */
  occurredAt: Schema.optionalWith(Timestamp, { nullable: true }),
  /** Who did it. */
  actor: Text,
  /** What was done. */
  action: Text,
  /** What it was done to. */
  target: Text,
  /** Which system reports it. */
  source: nullable(Text),
  /** Any JSON; `null` is the same as absent. */
  payload: Schema.optionalWith(Schema.Unknown, { default: () => null }),
  /** SHA-256 of the request, and of the response, where the application keeps them elsewhere. */
  requestHash: nullable(Sha256),
  responseHash: nullable(Sha256),
  clientIp: nullable(IpAddress),
  serverIp: nullable(IpAddress),
  traceparent: nullable(Traceparent)
}) {}

/** What a caller writes: the JSON Lines form. An `Operation` is accepted wherever an input is. */
export interface Input {
  readonly id?: string | undefined
  readonly kind?: Kind | undefined
  readonly occurredAt?: string | null | undefined
  readonly actor: string
  readonly action: string
  readonly target: string
  readonly source?: string | null | undefined
  readonly payload?: unknown
  readonly requestHash?: string | null | undefined
  readonly responseHash?: string | null | undefined
  readonly clientIp?: string | null | undefined
  readonly serverIp?: string | null | undefined
  readonly traceparent?: string | null | undefined
}

const decode = Schema.decodeUnknownEither(Operation, { onExcessProperty: "error", errors: "first" })

const reasons: Record<string, InvalidOperation["reason"]> = {
  Missing: "missing",
  Unexpected: "unknownField",
  Type: "type",
  Refinement: "format",
  Transformation: "format"
}

const cures: Record<string, string> = {
  Missing: "is required",
  Unexpected: "is not a field of an operation; put it into payload"
}

const refusal = (error: ParseResult.ParseError, input: unknown): InvalidOperation => {
  const [issue] = ParseResult.ArrayFormatter.formatErrorSync(error)
  if (issue === undefined) return new InvalidOperation({ field: "", reason: "type", cure: error.message })
  const field = issue.path.map((step) => typeof step === "symbol" ? String(step) : step)
  const value = typeof input === "object" && input !== null
    ? Object.entries(input).find(([key]) => key === field[0])?.[1]
    : undefined
  const reason = typeof value === "string" && issue._tag === "Type" ? "format" : reasons[issue._tag] ?? "format"
  return new InvalidOperation({ field: json.formatPath(field), reason, cure: cures[issue._tag] ?? issue.message })
}

/** Validates and normalises an input of unknown origin. */
export const fromUnknown = (input: unknown): Either.Either<Operation, InvalidOperation> => {
  if (input instanceof Operation) return Either.right(input)
  if (typeof input !== "object" || input === null || Array.isArray(input)) {
    return Either.left(new InvalidOperation({ field: "", reason: "type", cure: "write an object with its fields" }))
  }
  // An `undefined` member is an absent one to TypeScript, and to nobody else.
  const given = Object.fromEntries(Object.entries(input).filter(([, value]) => value !== undefined))
  const finding = json.inspect(given)
  if (finding !== undefined) return Either.left(finding)
  return Either.mapLeft(decode(given), (error) => refusal(error, given))
}

/** Parses one line of JSON Lines. */
export const fromJson = (line: string): Either.Either<Operation, InvalidOperation> =>
  Either.flatMap(json.parse(line), fromUnknown)

/** An operation of kind `operation`. */
export const operation = (input: Omit<Input, "kind">): Either.Either<Operation, InvalidOperation> =>
  fromUnknown({ ...input, kind: "operation" })

/** An operation of kind `record`. */
export const record = (input: Omit<Input, "kind">): Either.Either<Operation, InvalidOperation> =>
  fromUnknown({ ...input, kind: "record" })
