/**
 * What errors of database drivers have in common.
 */
import { SqlError } from "@effect/sql/SqlError"

const field = (cause: unknown, name: string): unknown =>
  typeof cause === "object" && cause !== null ? Reflect.get(cause, name) : undefined

/** What a client's error was made of. */
export const unwrap = (error: unknown): unknown =>
  error instanceof SqlError ? unwrap(error.cause ?? error.message) : error

/** A connection to a name with several addresses fails with an error for each of them, and without a word of its own. */
const first = (cause: unknown): unknown => {
  const errors = field(cause, "errors")
  return Array.isArray(errors) ? errors[0] : undefined
}

/** The driver's own code. */
export const codeOf = (cause: unknown): string | number | undefined => {
  for (const name of ["errno", "code"]) {
    const value = field(cause, name)
    // A system's error numbers are negative, and it has a name as well.
    if (typeof value === "string" || (typeof value === "number" && value > 0)) return value
  }
  const inner = first(cause)
  return inner === undefined ? undefined : codeOf(inner)
}

/** What a driver said, in words. */
export const messageOf = (error: unknown): string => {
  const cause = unwrap(error)
  if (typeof cause === "string" && cause !== "") return cause
  const message = field(cause, "message")
  if (typeof message === "string" && message !== "") return message
  const inner = first(cause)
  const code = field(cause, "code")
  if (inner !== undefined) return messageOf(inner)
  return typeof code === "string" ? code : "an error without a message"
}

const lossCodes = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "ECONNABORTED",
  "EPIPE",
  "ENOENT",
  "ENOTFOUND",
  "EAI_AGAIN",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "EHOSTDOWN",
  "ENETUNREACH",
  "ENETDOWN",
  "EADDRNOTAVAIL",
  "EMFILE",
  "ENFILE",
  "PROTOCOL_CONNECTION_LOST",
  "PROTOCOL_PACKETS_OUT_OF_ORDER",
  "POOL_CLOSED"
])

/** Whether the connection could not be made, or was lost. */
export const isConnectionLoss = (code: string | number | undefined, message: string): boolean =>
  (typeof code === "string" && lossCodes.has(code)) ||
  /connection terminated|connection timed? ?out|timeout expired|timeout exceeded when trying to connect|not queryable|closed state|connection is closed|connection lost|socket hang up|ended by|Connection error|No client returned/i
    .test(message)

/** Whether the other side's certificate, or ours, was not accepted. */
export const isTls = (code: string | number | undefined): boolean =>
  typeof code === "string" &&
  (/^ERR_(TLS|SSL|OSSL)/.test(code) || /CERT|SELF_SIGNED|UNABLE_TO_|HANDSHAKE_SSL_ERROR|^CRL_|EPROTO/.test(code))
