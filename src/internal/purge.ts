/**
 * The signature of a purge: who has the project's key says that a receipt's rows were taken out of the database, and when.
 */
import * as Either from "effect/Either"
import type * as crypto from "node:crypto"
import type { Receipt } from "../Receipt.ts"
import * as note from "./note.ts"

/** What is signed of a receipt that is purged: its root stands for the rows. */
export interface Statement extends Pick<Receipt, "lane" | "sequence" | "root"> {
  readonly purgedAt: string
}

// A name of its own keeps these signatures apart from those of checkpoints, and alike under every log.
const verifierOf = (publicKey: Uint8Array): note.Verifier => ({ name: "trustlog-purge", publicKey })

// The first line says what this is, and no checkpoint has such a second line. The keys are sorted, which makes it
// RFC 8785; a library that writes it would throw on what a tampered row may hold.
const textOf = ({ lane, purgedAt, root, sequence }: Statement): string =>
  `trustlog purge v1\n${JSON.stringify({ lane, purgedAt, root, sequence })}\n`

/** Signs purges with a key. */
export const signWith = (
  key: { readonly privateKey: crypto.KeyObject; readonly publicKey: Uint8Array }
): (statement: Statement) => string => {
  const verifier = verifierOf(key.publicKey)
  return (statement) => note.signatureOf(textOf(statement), verifier, key.privateKey)
}

/** Checks a receipt that says of itself that it was purged: `Left` tells what is wrong. */
export type Check = (receipt: Receipt) => Either.Either<void, string>

/** Checks purges against the key that must have signed them. */
export const checkWith = (publicKey: Uint8Array): Check => {
  const verifier = verifierOf(publicKey)
  return ({ lane, purgedAt, purgeSignature, root, sequence }) => {
    if (purgedAt === null) return Either.left("holds the signature of a purge, and not when that was")
    if (purgeSignature === null) return Either.left("says that it was purged, and nobody has signed that")
    const problem = typeof purgedAt !== "string" || typeof purgeSignature !== "string"
      ? "is no signature"
      : note.signatureProblem(textOf({ lane, sequence, root, purgedAt }), verifier, purgeSignature)
    return problem === undefined
      ? Either.right(undefined)
      : Either.left(`says that it was purged, and the signature of that ${problem}`)
  }
}
