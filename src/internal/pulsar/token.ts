/**
 * What a token (RFC 7519) says of itself. Nobody here can check it; it serves to say why a broker did not accept it.
 */
import * as Either from "effect/Either"
import * as Encoding from "effect/Encoding"
import * as jsonObject from "../jsonObject.ts"

/** When it expires, in milliseconds since 1970; `undefined` where it does not say, or is no JWT. */
export const expiryOf = (token: string): number | undefined => {
  const claims = Encoding.decodeBase64UrlString(token.split(".")[1] ?? "")
  if (Either.isLeft(claims)) return undefined
  const value = jsonObject.read(claims.right)
  return value !== undefined && "exp" in value && typeof value.exp === "number"
    ? value.exp * 1000
    : undefined
}
