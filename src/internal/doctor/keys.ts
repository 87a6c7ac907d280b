/**
 * Whether the configured keys can sign and be trusted, and whether what is signed here is trusted here.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Redacted from "effect/Redacted"
import * as Signature from "../../Signature.ts"
import * as Signer from "../../Signer.ts"
import type { Shape } from "../../TrustlogConfig.ts"
import * as keyFiles from "../keyFile.ts"
import { type Finding, ok, problem, warning } from "./finding.ts"

/** The key in a file, or what is wrong with it, told with the variable that names the file. */
const look = (variable: string, file: string, isToSign: boolean) =>
  keyFiles.read(file).pipe(
    Effect.tap((pem) => isToSign ? Signer.makeEd25519({ key: Redacted.make(pem) }) : Effect.void),
    Effect.flatMap((pem) => Signature.publicKey(pem)),
    Effect.mapError(keyFiles.about(`${variable}: ${file}`)),
    Effect.either
  )

export const examine = (
  { signingKeyFile, trustedKeyFiles }: Shape
): Effect.Effect<ReadonlyArray<Finding>, never, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const findings: Array<Finding> = []
    const signing = signingKeyFile === undefined
      ? undefined
      : yield* look("TRUSTLOG_SIGNING_KEY_FILE", signingKeyFile, true)
    if (signing !== undefined) {
      findings.push(
        Either.isLeft(signing)
          ? problem("signing key", signing.left.message)
          : ok("signing key", `signs as ${signing.right.id}`)
      )
    }
    const trusted = yield* Effect.forEach(trustedKeyFiles, (file) => look("TRUSTLOG_TRUSTED_KEY_FILES", file, false))
    for (const key of trusted) {
      findings.push(
        Either.isLeft(key)
          ? problem("trusted keys", key.left.message)
          : ok("trusted keys", `${key.right.id} is trusted`)
      )
    }
    const ids = trusted.flatMap((key) => Either.isRight(key) ? [key.right.id] : [])
    if (
      signing !== undefined && Either.isRight(signing) && trusted.length > 0 && trusted.every(Either.isRight) &&
      !ids.includes(signing.right.id)
    ) {
      findings.push(warning(
        "trusted keys",
        "the key that signs is not among them, and verify will name what it has signed: add its public half to " +
          "TRUSTLOG_TRUSTED_KEY_FILES"
      ))
    }
    return findings
  })
