/**
 * What a receiver's answer to a POST means, and what a POST without an answer does.
 */
import type { HttpClientError } from "@effect/platform/HttpClientError"
import { PublisherError, type RefusalReason } from "../../TrustlogError.ts"

/**
 * - `Stored`: with the receiver's own name for the record, if it gave one
 * - `Refused`: this record, others being fine
 * - `Out`: nothing can be stored there now, and this was not; `after` is how many milliseconds it asks to be left alone, and
 *   `isAboutMethod` whether a POST might fare otherwise
 * - `Lost`: nobody knows
 */
export type Answer =
  | { readonly _tag: "Stored"; readonly receipt: string | undefined }
  | { readonly _tag: "Refused"; readonly reason: RefusalReason; readonly error: string }
  | {
    readonly _tag: "Out"
    readonly error: PublisherError
    readonly after?: number | undefined
    readonly isAboutMethod?: boolean | undefined
  }
  | { readonly _tag: "Lost"; readonly error: PublisherError }

/** What was asked, and when, in milliseconds since 1970. */
export interface Asked {
  readonly url: string
  readonly isAuthorized: boolean
  readonly now: number
}

interface Response {
  readonly status: number
  readonly headers: Readonly<Record<string, string | undefined>>
}

/** Who asks for longer is asked again all the same. */
const longestRest = 5 * 60_000

/** `Retry-After`, in milliseconds from now. */
const restOf = (text: string | undefined, now: number): number | undefined => {
  if (text === undefined) return undefined
  const millis = /^\d+$/.test(text) ? Number(text) * 1_000 : Date.parse(text) - now
  return millis > 0 ? Math.min(millis, longestRest) : undefined
}

const tokenSettings = "TRUSTLOG_HTTP_TOKEN or TRUSTLOG_HTTP_TOKEN_FILE"

const cures: Record<number, string> = {
  403: "the receiver knows us, and does not let us post there: grant it",
  404: "nothing takes records there: correct TRUSTLOG_PUBLISHER_URL",
  405: "nothing takes records by POST there: correct TRUSTLOG_PUBLISHER_URL",
  407: "a proxy in between asks for credentials",
  410: "nothing takes records there any more: correct TRUSTLOG_PUBLISHER_URL"
}

const isTemporary = (status: number): boolean => status === 408 || status === 425 || status === 429 || status >= 500

const reasons: Record<number, RefusalReason> = { 400: "schema", 413: "tooLarge", 415: "encoding", 422: "schema" }

/** An answer's meaning. `text` is its body. */
export const ofStatus = ({ isAuthorized, now, url }: Asked, { headers, status }: Response, text: string): Answer => {
  const said = text.replace(/\s+/g, " ").trim().slice(0, 300)
  const saying = said === "" ? `(${status})` : `(${status}): ${said}`
  const out = (reason: PublisherError["reason"], problem: string) => ({
    _tag: "Out" as const,
    error: new PublisherError({ reason, problem: `${url}: ${problem}` })
  })
  if (status >= 200 && status < 300) {
    return { _tag: "Stored", receipt: headers["location"] || headers["etag"] || undefined }
  }
  if (isTemporary(status)) {
    return {
      ...out("unavailable", `the receiver is not ready ${saying}`),
      after: restOf(headers["retry-after"], now),
      isAboutMethod: status === 501
    }
  }
  if (status === 401) {
    return out(
      "misconfigured",
      isAuthorized
        ? `the receiver does not accept the token ${saying}: correct ${tokenSettings}`
        : `the receiver asks for credentials, and none are configured ${saying}: set ${tokenSettings}`
    )
  }
  // A browser's fetch shows no more of a redirect than that.
  if (status === 0 || (status >= 300 && status < 400)) {
    const place = headers["location"]
    return out(
      "misconfigured",
      `the receiver sends us elsewhere (${status})${
        place === undefined ? "" : ` to ${place}`
      }: correct TRUSTLOG_PUBLISHER_URL`
    )
  }
  const cure = cures[status]
  if (cure !== undefined)
    return { ...out("misconfigured", `${cure} ${saying}`), isAboutMethod: [404, 405, 410].includes(status) }
  return status >= 400
    ? { _tag: "Refused", reason: reasons[status] ?? "rejected", error: `the receiver refuses it ${saying}` }
    : out("misconfigured", `what answers there does not speak as a receiver ${saying}: correct TRUSTLOG_PUBLISHER_URL`)
}

/** The codes and messages of an error and of what caused it. */
const signsOf = (error: unknown, depth = 0): ReadonlyArray<string> =>
  typeof error !== "object" || error === null || depth > 8 ? [] : [
    ...["code", "message"].map((name) => Reflect.get(error, name)).filter((sign) => typeof sign === "string"),
    ...signsOf(Reflect.get(error, "cause"), depth + 1)
  ]

/** No connection was made, and so nothing was sent. */
const isUnconnected =
  /ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|UND_ERR_CONNECT_TIMEOUT|Connection ?Refused|DNS lookup failed|dns error|Unable to connect/i

const isUntrusted =
  /CERT_|CERTIFICATE|SELF_SIGNED|ERR_TLS|ERR_SSL|EPROTO|UNABLE_TO_(VERIFY|GET_ISSUER)|invalid peer certificate|TLS peer/i

/** What a POST without an answer means. What is not known to have gone nowhere may have been stored. */
export const ofFailure = (url: string, error: HttpClientError): Answer => {
  const signs = signsOf(error)
  const problem = `${url}: ${signs.filter((sign) => !sign.includes("POST")).slice(-2).join(": ") || error.message}`
  const made = (reason: PublisherError["reason"], text: string) =>
    new PublisherError({ reason, problem: text, cause: error })
  if (error._tag === "RequestError" && error.reason !== "Transport") {
    return { _tag: "Out", error: made("misconfigured", `${problem}: correct TRUSTLOG_PUBLISHER_URL`) }
  }
  if (signs.some((sign) => isUnconnected.test(sign))) {
    return { _tag: "Out", error: made("unavailable", `no connection to the receiver: ${problem}`) }
  }
  return signs.some((sign) => isUntrusted.test(sign))
    ? { _tag: "Out", error: made("misconfigured", `the receiver's certificate is not trusted: ${problem}`) }
    : { _tag: "Lost", error: made("lost", `the connection to the receiver was lost: ${problem}`) }
}
