import { assert, describe, it } from "@effect/vitest"
import * as Either from "effect/Either"
import * as Redacted from "effect/Redacted"
import * as DatabaseUrl from "../src/DatabaseUrl.ts"

const server = (text: string): DatabaseUrl.Server => {
  const url = Either.getOrThrowWith(DatabaseUrl.fromText(text), (problem) => new Error(problem))
  if (url._tag === "Sqlite") throw new Error("is a file")
  return url
}

const refused = (text: string): string =>
  Either.match(DatabaseUrl.fromText(text), { onLeft: (problem) => problem, onRight: () => "accepted" })

describe("the URL of a database", () => {
  it("is a file's, whose path is taken literally", () => {
    const filename = (text: string) =>
      Either.match(DatabaseUrl.fromText(text), {
        onLeft: () => undefined,
        onRight: (url) => url._tag === "Sqlite" ? url.filename : undefined
      })
    assert.strictEqual(filename("sqlite:trustlog.db"), "trustlog.db")
    assert.strictEqual(filename("SQLite:C:\\data\\trustlog.db"), "C:\\data\\trustlog.db")
    assert.strictEqual(filename("sqlite:/var/a b%20c#d.db"), "/var/a b%20c#d.db")
    assert.strictEqual(filename("sqlite:///var/trustlog.db"), "/var/trustlog.db")
  })

  it("is a server's, whose parts are decoded and whose password is redacted", () => {
    const url = server("postgres://ann%40x:p%40ss%2F%25@db.example:6543/app%20log?application_name=billing")
    assert.include(url, {
      _tag: "PostgreSQL",
      host: "db.example",
      port: 6543,
      database: "app log",
      username: "ann@x",
      applicationName: "billing"
    })
    assert.strictEqual(url.password && Redacted.value(url.password), "p@ss/%")
    assert.notInclude(JSON.stringify(url), "p@ss")
    assert.include(server("postgresql://ann@[::1]/app"), { host: "::1", port: 5432 })
    assert.include(server("mysql://ann@db/app"), { _tag: "MySQL", port: 3306, password: undefined })
    assert.include(server("MariaDB://ann@db/app"), { _tag: "MySQL" })
    assert.include(server("postgres://ann@/app?host=/run/postgresql".replace("ann@", "ann@x")), {
      host: "/run/postgresql"
    })
    assert.include(server("mysql://ann@x/app?socket=/run/mysqld/mysqld.sock"), { host: "/run/mysqld/mysqld.sock" })
  })

  it("says how the connection is protected, in the words of its kind", () => {
    const tls = (text: string) => server(text).tls
    const nothing = { ca: undefined, certificate: undefined, key: undefined }
    assert.deepStrictEqual(tls("postgres://a@b/c"), { mode: "disable", ...nothing })
    assert.deepStrictEqual(tls("postgres://a@b/c?sslmode=verify-full"), { mode: "verify-full", ...nothing })
    assert.deepStrictEqual(tls("mysql://a@b/c?ssl-mode=VERIFY_IDENTITY"), { mode: "verify-full", ...nothing })
    assert.deepStrictEqual(tls("mysql://a@b/c?ssl-mode=REQUIRED"), { mode: "require", ...nothing })
    assert.deepStrictEqual(
      tls("postgres://a@b/c?sslmode=require&sslrootcert=/etc/ca%20x.pem&sslcert=/c.pem&sslkey=/k.pem"),
      { mode: "verify-ca", ca: "/etc/ca x.pem", certificate: "/c.pem", key: "/k.pem" }
    )
  })

  it("is refused with what to write instead, and without its password", () => {
    const form = /is not accepted; write sqlite:<file>, postgres:\/\/<user>/
    for (
      const text of [
        "",
        "sqlite:",
        "sqlite::memory:",
        "sqlite://host/x.db",
        "sqlite:x.db?mode=ro",
        "trustlog.db",
        "file:x",
        "sqlit:x",
        "postgres:",
        "postgres:app",
        "postgres://",
        "postgres://ann@db",
        "postgres://ann@db/",
        "postgres://ann@db/a/b",
        "postgres://db/app",
        "postgres://ann@/app",
        "postgres://ann@db:port/app",
        "postgres://ann@db/app#x",
        "mysql://ann@db"
      ]
    ) assert.match(refused(text), form, text)
    assert.match(
      refused("postgres://a@b/c?sslmode=prefer"),
      /write sslmode as disable, require, verify-ca or verify-full$/
    )
    assert.match(refused("mysql://a@b/c?ssl-mode="), /write ssl-mode as /)
    assert.match(refused("postgres://a@b/c?sslmode=disable&sslmode=require"), /sslmode once$/)
    assert.match(refused("postgres://a@b/c?pool=3"), /the parameter "pool" is not known here: sslmode, .*host, /)
    assert.match(refused("postgres://a@b/c?__proto__=3"), /the parameter "__proto__" is not known/)
    assert.match(refused("postgres://a@b/c?sslmode=verify-full&sslrootcert="), /name a file/)
    assert.match(refused("postgres://a@b/c?sslrootcert=/ca.pem"), /certificates without a mode/)
    assert.match(refused("postgres://a@b/c?sslmode=verify-full&sslcert=/c.pem"), /go together$/)
    assert.match(refused("postgres://a:%zz@b/c"), /written %25$/)
    for (
      const text of [
        "postgres://ann:s3cret@db/app?x=1",
        "postgres://ann:s3/cr@et:s3cret@db",
        "mysql://ann:s3cret@db",
        "postgres://ann@db/app?password=s3cret",
        "postgres://ann:s3cret@db\u001b[2J"
      ]
    ) assert.notMatch(refused(text), /s3cret|\p{Cc}/u, text)
  })

  it("is shown without secrets", () => {
    assert.strictEqual(
      DatabaseUrl.describe(server("postgres://ann:s3cret@db/app?sslmode=require")),
      "postgres://db:5432/app"
    )
    assert.strictEqual(DatabaseUrl.describe(server("mysql://ann@[::1]/app")), "mysql://[::1]:3306/app")
    assert.strictEqual(
      DatabaseUrl.describe(server("postgres://ann@x/app?host=/run/postgresql")),
      "postgres:///app?host=/run/postgresql"
    )
  })
})
