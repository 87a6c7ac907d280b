/**
 * What an entry of a ledger says that it is, signed or not. Nothing of it is checked, and nothing but the few fields
 * that tell records apart is asked for: an entry may be anybody's.
 */
import * as Either from "effect/Either"
import * as Signature from "../../Signature.ts"
import * as jsonObject from "../jsonObject.ts"
import * as sha256 from "../sha256.ts"

export interface Claim {
  readonly stream: string
  readonly id: string
  readonly contentHash: string
  /** Whether its sender says to keep a row of it. */
  readonly isStored: boolean
}

/** An entry, opened: one that cannot be is taken as it is. */
export const opened = (entry: Uint8Array): Signature.Opened =>
  Either.getOrElse(Signature.open(entry), () => ({ payload: entry, signatures: [] }))

/** The JSON object that some bytes are. */
export const parse = (bytes: Uint8Array): object | undefined => jsonObject.read(Buffer.from(bytes).toString("utf8"))

/** A field of an object, by its own word. */
export const member = (value: object | undefined, key: string): unknown =>
  value === undefined ? undefined : Object.getOwnPropertyDescriptor(value, key)?.value

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** The record that an entry is; `undefined` for those that name none, as the birth record. */
export const claimOf = (entry: Uint8Array): Claim | undefined => {
  const { payload } = opened(entry)
  const value = parse(payload)
  const id = member(value, "id")
  const stream = member(value, "stream")
  const digest = member(value, "contentHash")
  return typeof id === "string" && uuid.test(id) && typeof stream === "string"
    ? {
      stream,
      id,
      contentHash: typeof digest === "string" ? digest : sha256.hexOfBytes(payload),
      isStored: member(value, "stored") !== false
    }
    : undefined
}
