/**
 * What PostgreSQL's error codes (SQLSTATE, https://www.postgresql.org/docs/current/errcodes-appendix.html), and those of
 * the connection to it, mean.
 */
import { DatabaseError, type DatabaseReason } from "../../TrustlogError.ts"
import { codeOf, isConnectionLoss, isTls, messageOf, unwrap } from "./driverErrors.ts"

export { messageOf }

const states: Record<string, DatabaseReason> = {
  "25006": "readOnly",
  "25P03": "unavailable",
  "28000": "denied",
  "28P01": "denied",
  "3D000": "missing",
  "3F000": "missing",
  "40001": "locked",
  "40P01": "locked",
  "42501": "denied",
  "42P01": "missing",
  "42P07": "constraint",
  "53100": "full",
  "55P03": "locked",
  "55006": "locked",
  "57014": "unavailable"
}

/** By the first two characters. */
const classes: Record<string, DatabaseReason> = {
  "08": "unavailable",
  "23": "constraint",
  "53": "unavailable",
  "57": "unavailable",
  "58": "unavailable",
  XX: "corrupt"
}

/** The reason for a failure of a PostgreSQL driver, or for what wraps one. */
export const classify = (error: unknown): DatabaseReason => {
  const cause = unwrap(error)
  if (cause instanceof DatabaseError) return cause.reason
  const code = codeOf(cause)
  if (typeof code === "string" && /^[0-9A-Z]{5}$/.test(code)) {
    const reason = states[code] ?? classes[code.slice(0, 2)]
    if (reason !== undefined) return reason
  }
  const message = messageOf(cause)
  if (isTls(code) || /does not support SSL|SSL off|no pg_hba\.conf entry/.test(message)) return "denied"
  return isConnectionLoss(code, message) ? "unavailable" : "unknown"
}

/** A serialisation failure, or a deadlock. */
export const isCollision = (error: unknown): boolean => {
  const code = codeOf(unwrap(error))
  return code === "40001" || code === "40P01"
}
