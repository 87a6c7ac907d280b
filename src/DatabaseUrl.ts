/**
 * Which database, as a URL says it: `sqlite:<file>`, `postgres://…` or `mysql://…`.
 */
import * as Either from "effect/Either"
import * as Redacted from "effect/Redacted"

/**
 * How the connection to a server is protected; named as PostgreSQL's `sslmode` is.
 *
 * - `disable`: it is not
 * - `require`: encrypted, but whoever answers is believed; with a CA file it is `verify-ca`
 * - `verify-ca`: the certificate must come from a CA that is trusted
 * - `verify-full`: and be made out to the host that was asked for
 */
export interface Tls {
  readonly mode: "disable" | "require" | "verify-ca" | "verify-full"
  /** A file with the CA certificates that are trusted; without one the system's are. */
  readonly ca: string | undefined
  /** Files with the certificate and the key that say who we are. */
  readonly certificate: string | undefined
  readonly key: string | undefined
}

/** A server of PostgreSQL, or of MySQL or MariaDB. */
export interface Server {
  readonly _tag: "PostgreSQL" | "MySQL"
  /** A name or an address; a path is a socket (MySQL), or the folder of one (PostgreSQL). */
  readonly host: string
  readonly port: number
  readonly database: string
  readonly username: string
  readonly password: Redacted.Redacted | undefined
  readonly tls: Tls
  readonly applicationName: string
}

export interface File {
  readonly _tag: "Sqlite"
  readonly filename: string
}

export type DatabaseUrl = File | Server

/** The URL for people, without secrets. */
export const describe = (url: DatabaseUrl): string => {
  if (url._tag === "Sqlite") return url.filename
  const host = url.host.startsWith("/") ? "" : url.host.includes(":") ? `[${url.host}]` : url.host
  const path = url.host.startsWith("/") ? `?${url._tag === "PostgreSQL" ? "host" : "socket"}=${url.host}` : ""
  const scheme = url._tag === "PostgreSQL" ? "postgres" : "mysql"
  return `${scheme}://${host}${host === "" ? "" : `:${url.port}`}/${url.database}${path}`
}

/** What is accepted, for whoever wrote something else. */
const form = "write sqlite:<file>, postgres://<user>:<password>@<host>:<port>/<database> or " +
  "mysql://<user>:<password>@<host>:<port>/<database>"

/** What stands before an @, and in the parameters of a URL that has one, may be secret. */
const unspoken = (text: string): string =>
  /\/\/.*@/s.test(text) ? text.replace(/\/\/.*@/s, "//***@").replace(/=[^&]*/g, "=***") : text

/** A value that is not accepted, and what to write. */
export const refusal = (value: string, cure: string): string =>
  `${JSON.stringify(unspoken(value).slice(0, 200))} is not accepted; ${cure}`

const modes: Record<string, Tls["mode"]> = {
  disable: "disable",
  disabled: "disable",
  require: "require",
  required: "require",
  "verify-ca": "verify-ca",
  "verify-full": "verify-full",
  "verify-identity": "verify-full"
}

/** Parameters by what they mean; each kind of server has its own words for them. */
const parameters: Record<
  Server["_tag"],
  Record<string, "mode" | "ca" | "certificate" | "key" | "host" | "application">
> = {
  PostgreSQL: {
    sslmode: "mode",
    sslrootcert: "ca",
    sslcert: "certificate",
    sslkey: "key",
    host: "host",
    application_name: "application"
  },
  MySQL: {
    "ssl-mode": "mode",
    "ssl-ca": "ca",
    "ssl-cert": "certificate",
    "ssl-key": "key",
    socket: "host"
  }
}

const parse = (text: string): URL | undefined => {
  try {
    return new URL(text)
  } catch {
    return undefined
  }
}

const decode = (text: string): string | undefined => {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

const server = (text: string, tag: Server["_tag"]): Either.Either<Server, string> => {
  const refuse = (cure: string) => Either.left(refusal(text, cure))
  // An authority that is empty, as that of a socket's URL, is understood by some schemes only.
  const url = parse(text.replace(/^[a-z]+:/i, "http:").replace(/^http:\/\/\//, "http://localhost/"))
  if (url === undefined || !/^[a-z]+:\/\//i.test(text) || url.hash !== "") return refuse(form)
  const known = parameters[tag]
  const given = new Map<string, string>()
  for (const [name, value] of url.searchParams) {
    const meaning = Object.hasOwn(known, name) ? known[name] : undefined
    if (meaning === undefined) {
      return refuse(
        `the parameter ${JSON.stringify(name.slice(0, 40))} is not known here: ${Object.keys(known).join(", ")} are`
      )
    }
    if (given.has(meaning)) return refuse(`give the parameter ${name} once`)
    given.set(meaning, value)
  }
  const stated = given.get("mode")
  const mode = modes[(stated ?? "disable").toLowerCase().replaceAll("_", "-")]
  if (mode === undefined) {
    const [name] = Object.entries(known).find(([, meaning]) => meaning === "mode") ?? []
    return refuse(`write ${name} as disable, require, verify-ca or verify-full`)
  }
  const [ca, certificate, key] = [given.get("ca"), given.get("certificate"), given.get("key")]
  for (const file of [ca, certificate, key]) {
    if (file === "")
      return refuse("name a file, or leave the parameter out: then the system's certificates are trusted")
  }
  if (stated === undefined && (ca ?? certificate ?? key) !== undefined) {
    return refuse("certificates without a mode would not be used: say how the connection is verified, best verify-full")
  }
  if ((certificate === undefined) !== (key === undefined)) {
    return refuse("a client's certificate and its key go together")
  }
  const [username, password, database] = [url.username, url.password, url.pathname.slice(1)].map(decode)
  if (username === undefined || password === undefined || database === undefined) {
    return refuse("a % in a name or password is written %25")
  }
  if (username === "" || database === "" || database.includes("/")) return refuse(form)
  const host = given.get("host") ?? url.hostname.replace(/^\[|\]$/g, "")
  return host === ""
    ? refuse(form)
    : Either.right({
      _tag: tag,
      host,
      port: url.port === "" ? (tag === "PostgreSQL" ? 5432 : 3306) : Number(url.port),
      database,
      username,
      password: password === "" ? undefined : Redacted.make(password),
      tls: { mode: mode === "require" && ca !== undefined ? "verify-ca" : mode, ca, certificate, key },
      applicationName: given.get("application") ?? "trustlog"
    })
}

/**
 * Reads a URL; says what to write instead where it is not accepted, without showing a password. SQLite's path is taken
 * literally; `sqlite:///<absolute path>` is understood as well.
 */
export const fromText = (text: string): Either.Either<DatabaseUrl, string> => {
  if (/^postgres(ql)?:/i.test(text)) return server(text, "PostgreSQL")
  if (/^(mysql|mariadb):/i.test(text)) return server(text, "MySQL")
  const filename = /^sqlite:(?:\/\/(?=\/))?([^?]+)$/i.exec(text)?.[1]
  return filename === undefined || filename === ":memory:" || /^\/\/[^/]/.test(filename)
    ? Either.left(refusal(text, form))
    : Either.right({ _tag: "Sqlite", filename })
}
