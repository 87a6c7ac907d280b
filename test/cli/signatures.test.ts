import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as crypto from "node:crypto"
import * as fs from "node:fs/promises"
import { first, second } from "../keys.ts"
import { lines, makeSandbox, type Options, type Sandbox, uuid } from "./sandbox.ts"

const signingWith = (file: string): Options => ({ env: { TRUSTLOG_SIGNING_KEY_FILE: file } })

const trusting = (...files: ReadonlyArray<string>): Options => ({ env: { TRUSTLOG_TRUSTED_KEY_FILES: files.join() } })

/** Runs a command that must end with exit code 2 and a message, and print no result. */
const refuses = (cli: Sandbox, message: RegExp, args: ReadonlyArray<string>, options?: Options) =>
  Effect.map(cli.run(args, options), (ended) => {
    assert.strictEqual(ended.code, 2, ended.stderr)
    assert.match(ended.stderr, message)
    assert.strictEqual(ended.stdout, "")
  })

const ids = (report: unknown): ReadonlyArray<string> =>
  Object(report).altered.map((finding: { readonly id: string }) => finding.id)

describe("trustlog key", () => {
  it.scopedLive("makes a key once, for its owner alone, and prints what others need of it", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      const made = Object(yield* cli.json(0, ["key", "keys/signing.key"]))
      assert.hasAllKeys(made, ["keyFile", "isNew", "keyId", "publicKey"])
      assert.deepInclude(made, { keyFile: "keys/signing.key", isNew: true })
      const { mode } = yield* Effect.promise(() => fs.stat(cli.file("keys/signing.key")))
      assert.strictEqual(mode & 0o777, 0o600)
      const pem = yield* cli.read("keys/signing.key")
      assert.match(pem, /^-----BEGIN PRIVATE KEY-----\n/)
      const publicKey = crypto.createPublicKey(pem)
      assert.strictEqual(made.publicKey, publicKey.export({ format: "pem", type: "spki" }).toString())
      const raw = Buffer.from(publicKey.export({ format: "jwk" }).x ?? "", "base64url")
      assert.strictEqual(made.keyId, crypto.createHash("sha256").update(raw).digest("hex").slice(0, 32))
      for (
        const [args, options] of [[["key", "keys/signing.key"]], [["key"], signingWith("keys/signing.key")]] as const
      ) {
        assert.deepStrictEqual(yield* cli.json(0, args, options), { ...made, isNew: false })
      }
      assert.strictEqual(yield* cli.read("keys/signing.key"), pem)
      // What it prints for people is a file that others can trust.
      const { stderr, stdout } = yield* cli.run(["key", "keys/signing.key"])
      assert.strictEqual(stderr, "")
      assert.notInclude(stdout, "PRIVATE")
      yield* cli.write("public.pem", stdout)
      assert.deepStrictEqual(yield* cli.json(0, ["key", "public.pem"]), {
        ...made,
        keyFile: "public.pem",
        isNew: false
      })
    }))

  it.scopedLive("needs to know which, and refuses a file that holds no such key, as it is", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* refuses(cli, /which key\? Name its FILE, or set TRUSTLOG_SIGNING_KEY_FILE/, ["key"])
      assert.deepStrictEqual(yield* cli.list, [])
      yield* cli.write("notes.txt", "mine")
      yield* refuses(cli, /notes\.txt is no key in PEM/, ["key", "notes.txt"])
      assert.strictEqual(yield* cli.read("notes.txt"), "mine")
      const { privateKey } = crypto.generateKeyPairSync("ec", { namedCurve: "P-256" })
      yield* cli.write("ec.key", privateKey.export({ format: "pem", type: "pkcs8" }))
      yield* refuses(cli, /ec\.key is no Ed25519 key/, ["key", "ec.key"])
      yield* refuses(cli, /\. cannot be read/, ["key", "."])
    }))
})

describe("the command line, with keys", () => {
  it.scopedLive("signs in run and in drain, and verifies by the keys that are trusted", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* cli.run(["init"])
      for (const [name, key] of [["old", first], ["new", second]] as const) {
        yield* cli.write(`${name}.key`, key.pem)
        yield* Effect.promise(() => fs.chmod(cli.file(`${name}.key`), 0o600))
        yield* cli.write(`${name}.pem`, key.publicPem)
      }
      yield* cli.run(["append"], { stdin: lines(0, 20) })
      assert.deepInclude(yield* cli.json(0, ["drain"], signingWith("old.key")), { delivered: 20 })
      const { child, ended, says } = yield* cli.start(["run"], signingWith("new.key"))
      yield* says("started")
      yield* cli.run(["append"], { stdin: lines(20, 30) })
      child.kill("SIGTERM")
      assert.strictEqual((yield* ended).code, 0)
      const { code, stdout } = yield* cli.run(["verify"], trusting("old.pem", "new.key"))
      assert.strictEqual(code, 0)
      assert.match(stdout, /^signatures were checked, with 2 trusted keys\nverdict: complete/m)
      assert.notMatch((yield* cli.run(["verify"])).stdout, /signatures/)
      const report = yield* cli.json(1, ["verify"], trusting("new.pem"))
      assert.deepInclude(report, { verdict: "tampered", alteredTotal: 20, missingTotal: 0, surplusTotal: 0 })
      assert.sameMembers(
        [...ids(report)],
        Array.from({ length: 20 }, (_, n) => uuid(n))
      )
      // One more without a signature.
      yield* cli.run(["append"], { stdin: lines(30, 31) })
      yield* cli.run(["drain"])
      const unsigned = yield* cli.run(["verify"], trusting("old.pem", "new.pem"))
      assert.strictEqual(unsigned.code, 1)
      assert.match(unsigned.stdout, new RegExp(`^altered  ${uuid(30)}: entry 31 of the ledger is not signed$`, "m"))
    }))

  it.scopedLive("names a key that cannot be used with the variable that says so, before it delivers anything", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* cli.run(["init"])
      yield* cli.run(["append"], { stdin: lines(0, 1) })
      yield* cli.write("public.pem", first.publicPem)
      yield* cli.write("cut.key", first.pem.slice(0, 60))
      yield* cli.write("two.pem", first.publicPem + second.publicPem)
      for (const command of ["run", "drain"]) {
        yield* refuses(
          cli,
          /^trustlog: TRUSTLOG_SIGNING_KEY_FILE: none\.key is not there: correct the path, or make a key with `trustlog key`$/m,
          [command],
          signingWith("none.key")
        )
      }
      yield* refuses(cli, /public\.pem is a public key, which cannot sign/, ["drain"], signingWith("public.pem"))
      yield* refuses(cli, /cut\.key is no key in PEM, or is cut/, ["drain"], signingWith("cut.key"))
      assert.deepInclude(yield* cli.json(0, ["status"]), { pending: 1 })
      yield* refuses(
        cli,
        /^trustlog: TRUSTLOG_TRUSTED_KEY_FILES: none\.pem is not there/m,
        ["verify"],
        trusting("public.pem", "none.pem")
      )
      yield* refuses(cli, /0 or greater/, ["verify", "--signed-from", "-1"])
      yield* refuses(cli, /two\.pem holds 2 keys/, ["verify"], trusting("two.pem"))
    }))

  it.scopedLive("the doctor looks at the keys, and whether what is signed here is trusted here", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* cli.run(["init"])
      for (const [name, key] of [["one", first], ["two", second]] as const) {
        yield* cli.write(`${name}.key`, key.pem)
        yield* Effect.promise(() => fs.chmod(cli.file(`${name}.key`), 0o600))
        yield* cli.write(`${name}.pem`, key.publicPem)
      }
      const keysIn = (report: unknown) =>
        Object(report).findings.filter(({ subject }: { subject: string }) => /keys?$/.test(subject))
      const both = (signing: string, trusted: string): Options => ({
        env: { TRUSTLOG_SIGNING_KEY_FILE: signing, TRUSTLOG_TRUSTED_KEY_FILES: trusted }
      })
      assert.deepStrictEqual(keysIn(yield* cli.json(0, ["doctor"], both("one.key", "two.pem,one.pem"))), [
        { subject: "signing key", verdict: "ok", words: `signs as ${first.id}` },
        { subject: "trusted keys", verdict: "ok", words: `${second.id} is trusted` },
        { subject: "trusted keys", verdict: "ok", words: `${first.id} is trusted` }
      ])
      const apart = keysIn(yield* cli.json(0, ["doctor"], both("one.key", "two.pem")))
      assert.deepInclude(apart[2], { subject: "trusted keys", verdict: "warning" })
      assert.match(apart[2].words, /^the key that signs is not among them/)
      const broken = keysIn(yield* cli.json(1, ["doctor"], both("one.pem", "none.pem")))
      assert.deepStrictEqual(
        broken.map(({ subject, verdict }: { subject: string; verdict: string }) => [subject, verdict]),
        [["signing key", "problem"], ["trusted keys", "problem"]]
      )
      assert.match(broken[0].words, /^TRUSTLOG_SIGNING_KEY_FILE: one\.pem is a public key, which cannot sign/)
      assert.match(broken[1].words, /^TRUSTLOG_TRUSTED_KEY_FILES: none\.pem is not there/)
    }))

  it.scopedLive("warns of a signing key that others may read, and of no public one", () =>
    Effect.gen(function*() {
      const cli = yield* makeSandbox
      yield* cli.run(["init"])
      yield* cli.write("open.key", first.pem)
      yield* cli.write("public.pem", first.publicPem)
      yield* Effect.promise(() => fs.chmod(cli.file("open.key"), 0o644))
      const warning = /WARN open\.key: others than its owner may read or change this signing key; run chmod 600/
      assert.match((yield* cli.run(["drain"], signingWith("open.key"))).stderr, warning)
      assert.match((yield* cli.run(["verify"], trusting("open.key"))).stderr, warning)
      assert.strictEqual((yield* cli.run(["verify"], trusting("public.pem"))).stderr, "")
      yield* Effect.promise(() => fs.chmod(cli.file("open.key"), 0o600))
      assert.strictEqual((yield* cli.run(["drain"], signingWith("open.key"))).stderr, "")
    }))
})
