/**
 * What a failed handshake with a Pulsar broker means, and what to do about it.
 */
import * as Redacted from "effect/Redacted"
import { PublisherError } from "../../TrustlogError.ts"
import type { OpenError } from "../../WebSocketClient.ts"
import { expiryOf } from "./token.ts"
import { format, type Topic } from "./topic.ts"

/** What was tried. */
export interface Attempt {
  readonly url: string
  readonly topic: Topic
  readonly right: "produce" | "consume"
  readonly token: Redacted.Redacted<string> | undefined
  /** Milliseconds since 1970. */
  readonly now: number
}

type Meaning = readonly [reason: PublisherError["reason"], problem: string]

const tokenSettings = "TRUSTLOG_PULSAR_TOKEN or TRUSTLOG_PULSAR_TOKEN_FILE"

/** The text of Pulsar's answers, which come as pages of HTML, or as JSON within a text. */
const textOf = (detail: string): string => {
  const reason = /"reason":"([^"]*)"/.exec(detail)?.[1] ?? /<h2>(.*?)<\/h2>/is.exec(detail)?.[1] ?? detail
  return reason.replace(/<[^>]*>/g, " ").replace(/\s+/g, " ").trim().slice(0, 300)
}

const unauthorized = ({ now, token }: Attempt): string => {
  if (token === undefined) return `the broker asks for credentials (401), and none are configured: set ${tokenSettings}`
  const expiry = expiryOf(Redacted.value(token))
  return expiry !== undefined && expiry <= now
    ? `the token expired at ${new Date(expiry).toISOString()} (401): renew it, and set ${tokenSettings}`
    : `the broker does not accept the token (401), which is wrong, revoked, or made for another cluster: correct ${tokenSettings}`
}

const ofStatus = (attempt: Attempt, status: number, detail: string): Meaning => {
  const topic = format(attempt.topic)
  const said = textOf(detail)
  const isPulsar = /producer|consumer|topic|namespace|tenant|subscription/i.test(said)
  switch (status) {
    case 400:
      return ["misconfigured", `the broker does not accept how it is asked (400): ${said}`]
    case 401:
      return ["misconfigured", unauthorized(attempt)]
    case 403:
      return [
        "misconfigured",
        `the broker knows us, and does not let us ${attempt.right} on ${topic} (403): ` +
        `grant the token's or certificate's role the right to ${attempt.right} there`
      ]
    case 404:
      return isPulsar
        ? [
          "misconfigured",
          `there is no topic ${topic}, and the broker may not make it (404): create it (or its namespace), allow automatic ` +
          "creation, or name another in TRUSTLOG_OPERATION_TOPIC or TRUSTLOG_RECORD_TOPIC"
        ]
        : [
          "misconfigured",
          "nothing speaks Pulsar's WebSocket interface there (404): set webSocketServiceEnabled=true in the broker, or correct " +
          "TRUSTLOG_PUBLISHER_URL"
        ]
    case 409:
      return ["unavailable", `the broker has no place for us on ${topic} now (409): ${said}`]
    case 429:
    case 500:
    case 502:
    case 503:
    case 504:
      return ["unavailable", `the broker is not ready (${status}): ${said}`]
    default:
      return [
        "misconfigured",
        `what answers there is no Pulsar broker (HTTP status ${status}): correct TRUSTLOG_PUBLISHER_URL`
      ]
  }
}

const ofTls = (code: string, detail: string): Meaning => {
  if (/ALTNAME|HOSTNAME_MISMATCH/.test(code)) {
    return [
      "misconfigured",
      `the broker's certificate is not made out to the host of TRUSTLOG_PUBLISHER_URL: ${detail}; name the host as the ` +
      "certificate does, or have the certificate made out to it"
    ]
  }
  // An alert is what the other side says of us.
  if (/ALERT/.test(code) && /CERTIFICATE|UNKNOWN_CA/.test(code)) {
    return [
      "misconfigured",
      /BAD_CERTIFICATE|CERTIFICATE_REQUIRED/.test(code)
        ? `the broker asks for a client certificate that we have not, or that it cannot read (${code}): set ` +
          "TRUSTLOG_PULSAR_CERT_FILE and TRUSTLOG_PULSAR_KEY_FILE"
        : `the broker does not trust our client certificate (${code}): correct TRUSTLOG_PULSAR_CERT_FILE and ` +
          "TRUSTLOG_PULSAR_KEY_FILE"
    ]
  }
  if (/HPE_|WRONG_VERSION|EPROTO|PACKET_LENGTH|RECORD_TOO/.test(code)) {
    return [
      "misconfigured",
      `one side speaks TLS and the other does not (${code}): write wss:// for a port of TLS and ws:// for one without in ` +
      "TRUSTLOG_PUBLISHER_URL"
    ]
  }
  if (/EXPIRED|NOT_YET_VALID/.test(code)) {
    return ["misconfigured", `the broker's certificate is not valid now (${code}): renew it, and look at both clocks`]
  }
  return /KEY|PEM|OSSL/.test(code)
    ? [
      "misconfigured",
      `a certificate or key of ours cannot be used (${code}: ${detail}): look at TRUSTLOG_PULSAR_CA_FILE, ` +
      "TRUSTLOG_PULSAR_CERT_FILE and TRUSTLOG_PULSAR_KEY_FILE"
    ]
    : [
      "misconfigured",
      `the broker's certificate is not signed by anybody we trust (${code}): put its CA into TRUSTLOG_PULSAR_CA_FILE`
    ]
}

const meaning = (attempt: Attempt, { code = "", detail, reason, status = 0 }: OpenError): Meaning => {
  switch (reason) {
    case "refused":
      return ofStatus(attempt, status, detail)
    case "tls":
      return ofTls(code, detail)
    case "configuration":
      return ["misconfigured", detail]
    case "unreachable":
    case "unknown":
      return ["unavailable", `no connection to the broker: ${detail}`]
  }
}

/** The error that a failed handshake is to who wanted to publish or subscribe. It says where, without any secret. */
export const errorOf = (attempt: Attempt, cause: OpenError): PublisherError => {
  const [reason, problem] = meaning(attempt, cause)
  return new PublisherError({ reason, problem: `${attempt.url}: ${problem}`, cause })
}
