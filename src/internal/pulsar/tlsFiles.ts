/**
 * The files of TLS: what options, the environment and Node call them.
 */
import type { Tls } from "../../PulsarCluster.ts"

/** The environment's variables, by their options. */
export const settings = {
  caFile: "TRUSTLOG_PULSAR_CA_FILE",
  certificateFile: "TRUSTLOG_PULSAR_CERT_FILE",
  keyFile: "TRUSTLOG_PULSAR_KEY_FILE"
} as const

const files = [
  { option: "caFile", material: "ca" },
  { option: "certificateFile", material: "cert" },
  { option: "keyFile", material: "key" }
] as const

export interface TlsFile {
  readonly path: string
  /** What it is in Node's options of TLS. */
  readonly material: "ca" | "cert" | "key"
  /** The variable that names it. */
  readonly setting: string
}

/** Those that are given. */
export const given = (tls: Tls): ReadonlyArray<TlsFile> =>
  files.flatMap(({ material, option }) => {
    const path = tls[option] ?? ""
    return path === "" ? [] : [{ path, material, setting: settings[option] }]
  })
