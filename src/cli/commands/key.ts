/**
 * Makes a key that signs envelopes, and tells what others need to check with it.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Ledger from "../../Ledger.ts"
import * as Signature from "../../Signature.ts"
import { TrustlogConfig } from "../../TrustlogConfig.ts"
import * as keyFiles from "../../internal/keyFile.ts"
import { UsageError } from "../Failure.ts"
import * as Output from "../Output.ts"

export const key = (options: { readonly file: Option.Option<string>; readonly json: boolean }) =>
  Effect.gen(function*() {
    const { signingKeyFile } = yield* TrustlogConfig
    const keyFile = Option.getOrElse(options.file, () => signingKeyFile)
    if (keyFile === undefined) {
      return yield* new UsageError({ problem: "which key? Name its FILE, or set TRUSTLOG_SIGNING_KEY_FILE" })
    }
    const isNew = yield* Ledger.makeKey(keyFile)
    const { id, pem } = yield* Effect.mapError(
      Effect.flatMap(keyFiles.read(keyFile), (text) => Signature.publicKey(text)),
      keyFiles.about(keyFile)
    )
    yield* Output.result(options.json, { keyFile, isNew, keyId: id, publicKey: pem }, [
      ...Output.table([
        ["file", Output.printable(keyFile), isNew ? "made just now: keep it secret" : "was there before"],
        ["id", id, "what signatures name it by"]
      ]),
      pem.trimEnd()
    ])
  })
