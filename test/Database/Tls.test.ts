/**
 * Connections that are protected: whom they believe, and whom they tell who they are.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import { execFile } from "node:child_process"
import * as fs from "node:fs/promises"
import * as os from "node:os"
import * as path from "node:path"
import { promisify } from "node:util"
import { DatabaseError } from "../../src/TrustlogError.ts"
import { client } from "../serverDatabase.ts"
import * as Instance from "../servers/Instance.ts"
import { nobody } from "../servers/Programs.ts"
import { having } from "../servers/Server.ts"

const run = promisify(execFile)

/** A CA, a certificate of `localhost` that it made, one of a client, and another CA that nobody knows. */
const certificates = Effect.acquireRelease(
  Effect.promise(async () => {
    const folder = await fs.mkdtemp(path.join(os.tmpdir(), "trustlog-tls-"))
    const at = (name: string) => path.join(folder, name)
    const openssl = (...args: ReadonlyArray<string>) => run("openssl", args, { cwd: folder })
    const authority = (name: string) =>
      openssl(
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        `/CN=${name}`,
        "-keyout",
        `${name}.key`,
        "-out",
        `${name}.pem`
      )
    const signed = async (name: string, subject: string, extension: string) => {
      await openssl(
        "req",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        `/CN=${subject}`,
        "-keyout",
        `${name}.key`,
        "-out",
        `${name}.csr`
      )
      await fs.writeFile(at(`${name}.ext`), extension)
      await openssl(
        "x509",
        "-req",
        "-in",
        `${name}.csr`,
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        `${name}.ext`,
        "-out",
        `${name}.pem`
      )
    }
    await authority("ca")
    await authority("stranger")
    await signed("server", "localhost", "subjectAltName = DNS:localhost")
    await signed("client", "root", "")
    await fs.chmod(folder, 0o755)
    for (const name of ["server.key", "server.pem", "ca.pem"]) {
      if (nobody.uid !== undefined && nobody.gid !== undefined) await fs.chown(at(name), nobody.uid, nobody.gid)
    }
    await fs.chmod(at("server.key"), 0o600)
    return at
  }),
  (at) => Effect.promise(() => fs.rm(at("."), { recursive: true, force: true }))
)

/** Connects, and tells why it could not. */
const outcome = (url: string, host: string, parameters: Readonly<Record<string, string>>) => {
  const to = new URL(url)
  to.hostname = host
  for (const [name, value] of Object.entries(parameters)) to.searchParams.set(name, value)
  const connected = Effect.flatMap(SqlClient.SqlClient, (sql) => sql`SELECT 1 AS one`)
  return Effect.map(
    Effect.exit(Effect.provide(connected, Layer.mapError(client(to.href), (error) => error))),
    (exit) => {
      if (Exit.isSuccess(exit)) return "connected"
      const error = exit.cause._tag === "Fail" ? exit.cause.error : undefined
      return error instanceof DatabaseError ? error.reason : "another failure"
    }
  )
}

interface Words {
  readonly mode: string
  readonly ca: string
  readonly certificate: string
  readonly key: string
  readonly full: string
  readonly some: string
}

const suite = (
  words: Words,
  start: (settings: Readonly<Record<string, string>>) => ReturnType<typeof Instance.PostgreSQL>,
  settings: (at: (name: string) => string) => Readonly<Record<string, string>>
) => {
  const { ca, certificate, full, key, mode, some } = words

  it.scopedLive("believe a server whose certificate a known CA made out to its host, and no other", () =>
    Effect.gen(function*() {
      const at = yield* certificates
      const { url } = yield* start(settings(at))
      assert.strictEqual(yield* outcome(url, "localhost", { [mode]: full, [ca]: at("ca.pem") }), "connected")
      assert.strictEqual(yield* outcome(url, "127.0.0.1", { [mode]: full, [ca]: at("ca.pem") }), "denied")
      assert.strictEqual(yield* outcome(url, "127.0.0.1", { [mode]: "verify-ca", [ca]: at("ca.pem") }), "connected")
      assert.strictEqual(yield* outcome(url, "localhost", { [mode]: full, [ca]: at("stranger.pem") }), "denied")
      // Without a file the system's CAs are believed, and none of them knows this server.
      assert.strictEqual(yield* outcome(url, "localhost", { [mode]: full }), "denied")
      assert.strictEqual(yield* outcome(url, "127.0.0.1", { [mode]: "require" }), "connected")
      assert.strictEqual(yield* outcome(url, "localhost", { [mode]: full, [ca]: at("gone.pem") }), "denied")
    }))

  it.scopedLive("show a client's certificate to a server that asks for it", () =>
    Effect.gen(function*() {
      const at = yield* certificates
      const { url } = yield* start(settings(at))
      const mutual = { [mode]: some, [ca]: at("ca.pem"), [certificate]: at("client.pem"), [key]: at("client.key") }
      assert.strictEqual(yield* outcome(url, "localhost", mutual), "connected")
      assert.strictEqual(yield* outcome(url, "localhost", { ...mutual, [key]: at("stranger.key") }), "denied")
    }))

  it.scopedLive("are not made to a server that has no certificate", () =>
    Effect.gen(function*() {
      const at = yield* certificates
      const { url } = yield* start({})
      assert.strictEqual(yield* outcome(url, "localhost", {}), "connected")
      assert.strictEqual(yield* outcome(url, "localhost", { [mode]: full, [ca]: at("ca.pem") }), "denied")
      assert.strictEqual(yield* outcome(url, "localhost", { [mode]: "require" }), "denied")
    }))
}

having("postgresql18", () => {
  suite(
    {
      mode: "sslmode",
      ca: "sslrootcert",
      certificate: "sslcert",
      key: "sslkey",
      full: "verify-full",
      some: "verify-full"
    },
    (settings) => Instance.PostgreSQL({ settings }),
    (at) => ({ ssl: "on", ssl_cert_file: at("server.pem"), ssl_key_file: at("server.key"), ssl_ca_file: at("ca.pem") })
  )
})

having("mariadb", () => {
  suite(
    {
      mode: "ssl-mode",
      ca: "ssl-ca",
      certificate: "ssl-cert",
      key: "ssl-key",
      full: "VERIFY_IDENTITY",
      some: "VERIFY_CA"
    },
    (settings) => Instance.MariaDB({ settings }),
    (at) => ({ "ssl-cert": at("server.pem"), "ssl-key": at("server.key"), "ssl-ca": at("ca.pem") })
  )
})
