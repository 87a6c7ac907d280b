/**
 * What the error numbers of MySQL (https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html) and MariaDB
 * (https://mariadb.com/kb/en/mariadb-error-codes/), and those of the connection to them, mean.
 */
import { DatabaseError, type DatabaseReason } from "../../TrustlogError.ts"
import { codeOf, isConnectionLoss, isTls, messageOf, unwrap } from "./driverErrors.ts"

export { messageOf }

/** A unique key is taken. */
export const repeated = 1062

const reasons: Record<DatabaseReason, ReadonlyArray<number>> = {
  unavailable: [
    1040,
    1053,
    1079,
    1129,
    1152,
    1153,
    1158,
    1159,
    1160,
    1161,
    1184,
    1203,
    1226,
    1317,
    1927,
    2006,
    2013,
    3024,
    3169,
    4031,
    1969
  ],
  locked: [1020, 1205, 1213, 1223, 3058, 3572, 1637],
  readOnly: [1290, 1792, 1836, 1874],
  full: [1021, 1114, 3019, 3675],
  constraint: [1048, 1216, 1217, 1451, 1452, 1364, repeated, 1169, 1586, 3819, 4025, 1050],
  missing: [1049, 1146],
  foreign: [1932, 1347],
  newer: [],
  corrupt: [1034, 1035, 1194, 1195, 1033, 1712],
  denied: [
    1044,
    1045,
    1130,
    1131,
    1132,
    1133,
    1142,
    1143,
    1227,
    1251,
    1370,
    1410,
    1524,
    1698,
    1820,
    1862,
    3118,
    3159,
    3878,
    4151
  ],
  unknown: []
}

const byNumber = new Map(
  Object.entries(reasons).flatMap(([reason, numbers]) => numbers.map((number) => [number, reason] as const))
)

const isReason = (text: string | undefined): text is DatabaseReason => text !== undefined && text in reasons

/** The reason for a failure of a MySQL driver, or for what wraps one. */
export const classify = (error: unknown): DatabaseReason => {
  const cause = unwrap(error)
  if (cause instanceof DatabaseError) return cause.reason
  const code = codeOf(cause)
  const message = messageOf(cause)
  // The storage engine passes on what the operating system said.
  if (code === 1030) return /\b(28|122|139)\b/.test(message) ? "full" : "unavailable"
  const reason = typeof code === "number" ? byNumber.get(code) : undefined
  if (isReason(reason)) return reason
  if (isTls(code) || /does not support secure connection|SSL connection/i.test(message)) return "denied"
  return isConnectionLoss(code, message) ? "unavailable" : "unknown"
}

/** Whether a unique key is taken. */
export const isRepeated = (error: unknown): boolean => codeOf(unwrap(error)) === repeated

/** A deadlock, or (MariaDB) a row that has changed since the snapshot. */
export const isCollision = (error: unknown): boolean => {
  const code = codeOf(unwrap(error))
  return code === 1213 || code === 1020
}
