/**
 * What the errors of `pulsar-client` mean. They have no code: everything is in the message, `Failed to <do>: <name>`.
 */
import type { PublisherError, RefusalReason } from "../../TrustlogError.ts"

/** The name in an error, without the `Result` that some begin with; `""` for an error of another form. */
export const nameOf = (error: unknown): string =>
  /^Failed to [\w ]+: (?:Result)?(\w+)$/.exec(error instanceof Error ? error.message : "")?.[1] ?? ""

/** The error for people. */
export const textOf = (error: unknown): string => nameOf(error) || (error instanceof Error ? error.message : `${error}`)

/**
 * What a message that was not sent is:
 *
 * - `refused`: it was, and is why
 * - `unknown`: perhaps it was stored; `outage` says what is wrong with the log. It is `lost` where the message itself may
 *   have been the cause
 */
export type SendFailure =
  | { readonly _tag: "refused"; readonly reason: RefusalReason }
  | { readonly _tag: "unknown"; readonly outage: PublisherError["reason"] }

const refused = (reason: RefusalReason): SendFailure => ({ _tag: "refused", reason })
const unknown = (outage: PublisherError["reason"]): SendFailure => ({ _tag: "unknown", outage })

const sending: Record<string, SendFailure> = {
  MessageTooBig: refused("tooLarge"),
  InvalidMessage: refused("rejected"),
  ChecksumError: refused("rejected"),
  UnknownError: refused("rejected"),
  IncompatibleSchema: refused("schema"),
  // Said before anything was sent, or by a broker that cannot take anything now.
  NotConnected: unknown("unavailable"),
  ProducerQueueIsFull: unknown("unavailable"),
  MemoryBufferIsFull: unknown("unavailable"),
  Interrupted: unknown("unavailable"),
  ProducerBlockedQuotaExceededError: unknown("unavailable"),
  ProducerBlockedQuotaExceededException: unknown("unavailable"),
  BrokerPersistenceError: unknown("unavailable"),
  BrokerMetadataError: unknown("unavailable"),
  ServiceUnitNotReady: unknown("unavailable"),
  TopicTerminated: unknown("misconfigured"),
  TopicNotFound: unknown("misconfigured"),
  ProducerFenced: unknown("misconfigured"),
  AuthorizationError: unknown("misconfigured"),
  AuthenticationError: unknown("misconfigured"),
  CryptoError: unknown("misconfigured"),
  NotAllowedError: unknown("misconfigured")
}

/** What a failed send means. What is not known here, and every time-out, is taken for a loss. */
export const ofSend = (error: unknown): SendFailure => sending[nameOf(error)] ?? unknown("lost")

const misconfigurations = new Set([
  "TopicNotFound",
  "InvalidTopicName",
  "TopicTerminated",
  "IncompatibleSchema",
  "NotAllowedError",
  "OperationNotSupported",
  "UnsupportedVersionError",
  "ProducerFenced",
  "AuthorizationError",
  "AuthenticationError",
  "ErrorGettingAuthenticationData",
  "InvalidConfiguration",
  "InvalidUrl",
  "CryptoError"
])

/** These a broker that is down causes as well as one that does not let us in: the client does not tell. */
const ambiguous = new Set(["TimeOut", "ConnectError", "Disconnected", "Retryable", "NotConnected", "ReadError"])

/** What somebody wanted to do with a topic. */
export type Right = "produce" | "consume"

/** Why there is no producer, or consumer. */
export interface CreationFailure {
  readonly reason: "unavailable" | "misconfigured"
  /** Whether a mistake in the configuration may look the same. */
  readonly isAmbiguous: boolean
  readonly problem: string
}

const tokenSettings = "TRUSTLOG_PULSAR_TOKEN or TRUSTLOG_PULSAR_TOKEN_FILE"
const tlsSettings = "TRUSTLOG_PULSAR_CA_FILE, TRUSTLOG_PULSAR_CERT_FILE and TRUSTLOG_PULSAR_KEY_FILE"
const topicSettings = "TRUSTLOG_OPERATION_TOPIC or TRUSTLOG_RECORD_TOPIC"

const problemOf = (name: string, topic: string, right: Right): string => {
  switch (name) {
    case "TopicNotFound":
      return `there is no topic ${topic}, and the broker may not make it: create it (or its namespace), allow automatic ` +
        `creation, or name another in ${topicSettings}`
    case "TopicTerminated":
      return `the topic ${topic} was terminated, and takes nothing more: name another in ${topicSettings}`
    case "IncompatibleSchema":
      return `the topic ${topic} has a schema, which records are not made for: name another in ${topicSettings}`
    case "AuthorizationError":
      return `the broker knows us, and does not let us ${right} on ${topic}: grant the token's or certificate's role the ` +
        `right to ${right} there`
    case "AuthenticationError":
    case "ErrorGettingAuthenticationData":
      return `the client cannot use what it shall present or trust (${name}): look at ${tokenSettings}, and at ${tlsSettings}`
    case "InvalidUrl":
      return "the client does not accept the URL: correct TRUSTLOG_PUBLISHER_URL"
    default:
      return ambiguous.has(name)
        ? `no connection for ${topic} (${name}). The native client does not tell which it is: the broker is down or out of ` +
          `reach; or it does not accept the token, or wants one (${tokenSettings}); or one side does not trust the other's ` +
          `certificate, or does not speak TLS (${tlsSettings})`
        : `no ${right === "produce" ? "producer" : "consumer"} can be had on ${topic}: ${name}`
  }
}

/** Why a producer or consumer of a topic could not be made. */
export const ofCreation = (error: unknown, topic: string, right: Right): CreationFailure => {
  const name = nameOf(error)
  return {
    reason: misconfigurations.has(name) ? "misconfigured" : "unavailable",
    isAmbiguous: ambiguous.has(name),
    problem: problemOf(textOf(error), topic, right)
  }
}
