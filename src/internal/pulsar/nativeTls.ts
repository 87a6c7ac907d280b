/**
 * Files of TLS for the native client. What is wrong with them it reports as a time-out, so they are read here first.
 */
import * as Effect from "effect/Effect"
import * as crypto from "node:crypto"
import * as fs from "node:fs"
import * as process from "node:process"
import type { Tls } from "../../PulsarCluster.ts"
import { PublisherError } from "../../TrustlogError.ts"
import { settings } from "./tlsFiles.ts"

/**
 * Where systems keep the certificates that they trust, in one file. Left to itself the client trusts what it has in its
 * package: what Node trusted when it was installed, which knows nothing of what was added to, or taken from, the system.
 */
const bundles = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
  "/etc/ssl/ca-bundle.pem",
  "/etc/ssl/cert.pem"
]

/** The file of the certificates that the system trusts; `undefined` where it has none, as Windows. */
const systemBundle = (): string | undefined =>
  [process.env["SSL_CERT_FILE"] ?? "", ...bundles].find((file) => {
    try {
      fs.accessSync(file, fs.constants.R_OK)
      return true
    } catch {
      return false
    }
  })

const misconfigured = (problem: string, cause?: unknown): PublisherError =>
  new PublisherError({ reason: "misconfigured", problem, cause })

const read = (file: string, setting: string): Effect.Effect<string, PublisherError> =>
  Effect.try({
    try: () => fs.readFileSync(file, "utf8"),
    catch: (cause) => misconfigured(`${file} cannot be read (${setting}): ${reasonOf(cause)}`, cause)
  })

const reasonOf = (cause: unknown): string => cause instanceof Error ? cause.message : String(cause)

const certificate = /-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----[^]*?-----END (?:TRUSTED |X509 )?CERTIFICATE-----/g

const certificates = (
  file: string,
  setting: string
): Effect.Effect<ReadonlyArray<crypto.X509Certificate>, PublisherError> =>
  Effect.flatMap(read(file, setting), (text) => {
    const found = text.match(certificate) ?? []
    return found.length === 0
      ? Effect.fail(misconfigured(`${file} holds no certificate in PEM (${setting})`))
      : Effect.try({
        try: () => found.map((pem) => new crypto.X509Certificate(pem)),
        catch: (cause) => misconfigured(`${file} holds a broken certificate (${setting}): ${reasonOf(cause)}`, cause)
      })
  })

const privateKey = (file: string, setting: string): Effect.Effect<crypto.KeyObject, PublisherError> =>
  Effect.flatMap(read(file, setting), (text) =>
    Effect.try({
      try: () => crypto.createPrivateKey(text),
      catch: (cause) =>
        misconfigured(
          `${file} holds no private key in PEM, or one with a password (${setting}): ${reasonOf(cause)}`,
          cause
        )
    }))

const spki = { type: "spki", format: "der" } as const

/** The public halves. */
const fit = (key: crypto.KeyObject, certificate: crypto.X509Certificate): boolean =>
  crypto.createPublicKey(key).export(spki).equals(certificate.publicKey.export(spki))

/** What the client needs to know of TLS. */
export interface Trust {
  /** The file of the certificates that are trusted; `undefined` leaves it to the client. */
  readonly caFile: string | undefined
  /** What we are known by. */
  readonly identity: { readonly certificateFile: string; readonly keyFile: string } | undefined
  readonly isInsecure: boolean
}

/** Fails where a file is missing, is not what it should be, or does not fit the other. */
export const check = (
  { allowInsecure = false, caFile = "", certificateFile = "", keyFile = "" }: Tls
): Effect.Effect<Trust, PublisherError> =>
  Effect.gen(function*() {
    if (caFile !== "") yield* certificates(caFile, settings.caFile)
    const trust = { caFile: caFile === "" ? systemBundle() : caFile, isInsecure: allowInsecure }
    if (certificateFile === "") return { ...trust, identity: undefined }
    const [ours] = yield* certificates(certificateFile, settings.certificateFile)
    const key = yield* privateKey(keyFile, settings.keyFile)
    if (ours !== undefined && !fit(key, ours)) {
      return yield* misconfigured(
        `the key in ${keyFile} (${settings.keyFile}) is not that of the certificate in ${certificateFile} ` +
          `(${settings.certificateFile})`
      )
    }
    return { ...trust, identity: { certificateFile, keyFile } }
  })
