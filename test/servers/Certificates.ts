/**
 * Certificates to throw away: files that prove who is who for two days.
 */
import { execFile } from "node:child_process"
import * as fs from "node:fs/promises"
import * as path from "node:path"
import { promisify } from "node:util"

/** Paths of files, in PEM. */
export interface Identity {
  readonly certificate: string
  readonly key: string
}

export interface Certificates {
  /** Whom to believe: it made `server` and `client`. */
  readonly ca: string
  /** Of `localhost`, by that name only. */
  readonly server: Identity
  readonly client: Identity
  /** A CA that nobody knows, and the client that it made. */
  readonly foreign: { readonly ca: string; readonly client: Identity }
}

const run = promisify(execFile)

const file = (folder: string, name: string): Identity => ({
  certificate: path.join(folder, `${name}.pem`),
  key: path.join(folder, `${name}.key`)
})

/** Where `make` puts them. */
export const locate = (folder: string): Certificates => ({
  ca: file(folder, "ca").certificate,
  server: file(folder, "server"),
  client: file(folder, "client"),
  foreign: { ca: file(folder, "foreign-ca").certificate, client: file(folder, "foreign-client") }
})

/** Makes them in a folder that exists. */
export const make = async (folder: string): Promise<void> => {
  const request = (
    name: string,
    subject: string
  ) => ["req", "-newkey", "rsa:2048", "-nodes", "-subj", `/CN=${subject}`, "-keyout", `${name}.key`]
  const openssl = (...args: ReadonlyArray<string>) => run("openssl", args, { cwd: folder })
  const authority = (name: string) =>
    openssl(
      ...request(name, name),
      "-x509",
      "-days",
      "2",
      "-addext",
      "basicConstraints=critical,CA:TRUE",
      "-addext",
      "keyUsage=critical,keyCertSign,cRLSign",
      "-out",
      `${name}.pem`
    )
  const signed = async (name: string, authority: string, subject: string, extensions: string) => {
    await openssl(...request(name, subject), "-out", `${name}.csr`)
    await fs.writeFile(path.join(folder, `${name}.ext`), extensions)
    await openssl(
      "x509",
      "-req",
      "-in",
      `${name}.csr`,
      "-CA",
      `${authority}.pem`,
      "-CAkey",
      `${authority}.key`,
      "-CAcreateserial",
      "-days",
      "2",
      "-extfile",
      `${name}.ext`,
      "-out",
      `${name}.pem`
    )
  }
  const client = "extendedKeyUsage = clientAuth"
  await Promise.all([authority("ca"), authority("foreign-ca")])
  await signed("server", "ca", "localhost", "subjectAltName = DNS:localhost\nextendedKeyUsage = serverAuth, clientAuth")
  await signed("client", "ca", "trustlog", client)
  await signed("foreign-client", "foreign-ca", "trustlog", client)
}
