/**
 * What can be said of a cluster's configuration before anybody connects.
 */
import * as Effect from "effect/Effect"
import type * as PulsarCluster from "../../PulsarCluster.ts"
import { PublisherError } from "../../TrustlogError.ts"
import { isLocal } from "../serviceUrl.ts"

const refuse = (problem: string) => Effect.fail(new PublisherError({ reason: "misconfigured", problem }))

const isSet = (file: string | undefined): boolean => file !== undefined && file !== ""

/**
 * Refuses what contradicts itself, and warns of what is open to attackers. `protocols` are the two that are understood, the second
 * one with TLS.
 */
export const admitted = (
  { serviceUrl, tls = {}, token }: PulsarCluster.Options,
  protocols: readonly [plain: string, secure: string]
): Effect.Effect<void, PublisherError> =>
  Effect.gen(function*() {
    const [plain, secure] = protocols
    const protocol = `${serviceUrl.split(":")[0]?.toLowerCase() ?? ""}:`
    if (protocol !== plain && protocol !== secure) {
      return yield* refuse(`the service URL begins with ${plain}// or ${secure}//, and this one with ${protocol}//`)
    }
    const { allowInsecure = false, caFile, certificateFile, keyFile } = tls
    if (isSet(certificateFile) !== isSet(keyFile)) {
      return yield* refuse(
        "a client certificate and its key go together: set both of TRUSTLOG_PULSAR_CERT_FILE and TRUSTLOG_PULSAR_KEY_FILE"
      )
    }
    if (protocol === plain) {
      if (isSet(caFile) || isSet(certificateFile) || allowInsecure) {
        return yield* refuse(
          `certificates are configured, and ${plain}// does not use any: write ${secure}// in TRUSTLOG_PUBLISHER_URL`
        )
      }
      if (token !== undefined && !isLocal(serviceUrl)) {
        yield* Effect.logWarning(`the token is sent to ${serviceUrl} without encryption; ${secure}// hides it`)
      }
    }
    if (allowInsecure) {
      yield* Effect.logWarning(
        `whoever answers at ${serviceUrl} is believed, because TRUSTLOG_PULSAR_ALLOW_INSECURE is set: anybody in between can read, ` +
          "withhold and acknowledge what is sent there"
      )
    }
  })
