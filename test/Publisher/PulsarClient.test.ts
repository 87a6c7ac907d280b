/**
 * How the native client is found and made, what it is told, and what its failures are taken for.
 */
import { assert, describe, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import { createHmac } from "node:crypto"
import * as fs from "node:fs/promises"
import * as os from "node:os"
import * as path from "node:path"
import { afterAll } from "vitest"
import { Publisher } from "../../src/Publisher.ts"
import * as Pulsar from "../../src/Publisher/Pulsar.ts"
import * as PulsarCluster from "../../src/PulsarCluster.ts"
import { PublisherError } from "../../src/TrustlogError.ts"
import * as nativeErrors from "../../src/internal/pulsar/nativeErrors.ts"
import { messages } from "../messages.ts"
import * as Certificates from "../servers/Certificates.ts"
import * as FakePulsarClient from "./FakePulsarClient.ts"

const topic = "persistent://public/default/operation"
const plain = "pulsar://localhost:6650"
const secure = "pulsar+ssl://localhost:6651"

const folder = Effect.acquireRelease(
  Effect.promise(() => fs.mkdtemp(path.join(os.tmpdir(), "trustlog-pulsar-"))),
  (at) => Effect.promise(() => fs.rm(at, { recursive: true, force: true }))
)

const scope = Effect.runSync(Scope.make())
afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

/** A folder with certificates, made once. */
const certificates = Effect.runSync(Effect.cached(
  Scope.extend(Effect.tap(folder, (at) => Effect.promise(() => Certificates.make(at))), scope)
))

const write = (file: string, text: string) => Effect.promise(() => fs.writeFile(file, text))

const failure = (fake: FakePulsarClient.Fake, options: Pulsar.Options) =>
  Effect.scoped(Effect.flip(Pulsar.make(fake.module, options)))

const clientOptions = (fake: FakePulsarClient.Fake, options: Pulsar.Options) =>
  Effect.map(Pulsar.make(fake.module, options), () => fake.broker.clients.at(-1)?.options)

const jwt = (claims: object): string => {
  const [header, body] = [{ alg: "HS256" }, claims].map((part) =>
    Buffer.from(JSON.stringify(part)).toString("base64url")
  )
  return `${header}.${body}.${createHmac("sha256", "k").update(`${header}.${body}`).digest("base64url")}`
}

describe("The native client of Pulsar", () => {
  it.scoped("is told what it does not do by itself", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* clientOptions(FakePulsarClient.make(), { serviceUrl: plain }), {
        serviceUrl: plain,
        operationTimeoutSeconds: 5,
        connectionTimeoutMs: 5000,
        statsIntervalInSeconds: 0,
        logLevel: 2
      })
    }))

  it.scoped("is as patient as asked for, in whole seconds", () =>
    Effect.gen(function*() {
      for (const [patience, seconds] of [["100 millis", 1], ["2900 millis", 3], ["1 minutes", 60]] as const) {
        const options = yield* clientOptions(FakePulsarClient.make(), { serviceUrl: plain, patience })
        assert.strictEqual(options?.operationTimeoutSeconds, seconds)
        assert.strictEqual(options?.connectionTimeoutMs, seconds * 1000)
      }
    }))

  it.effect("is made for its own URLs only", () =>
    Effect.gen(function*() {
      for (const serviceUrl of ["ws://localhost:8080", "http://localhost", "localhost:6650", "pulsar://refused"]) {
        const error = yield* failure(FakePulsarClient.make(), { serviceUrl })
        assert.strictEqual(error.reason, "misconfigured")
        assert.match(error.problem, /pulsar:\/\/ or pulsar\+ssl:\/\/|refuses its options/)
      }
    }))

  it.effect("is what TRUSTLOG_PULSAR_CLIENT names, from where the process was started", () =>
    Effect.scoped(Effect.gen(function*() {
      const at = yield* folder
      yield* write(
        path.join(at, "client.cjs"),
        `class Client { async createProducer() { throw new Error("Failed to create producer: TopicNotFound") }
          async close() {} }
        module.exports = { Client, AuthenticationToken: class {}, AuthenticationTls: class {} }`
      )
      yield* write(path.join(at, "other.cjs"), "module.exports = { Client: 1 }")
      const health = (name: string) =>
        Effect.flatMap(Publisher, (publisher) => publisher.health(topic)).pipe(
          Effect.provide(Pulsar.layer({ serviceUrl: plain })),
          Effect.withConfigProvider(ConfigProvider.fromMap(new Map([["TRUSTLOG_PULSAR_CLIENT", name]]))),
          Effect.flip
        )
      assert.match((yield* health(path.join(at, "client.cjs"))).problem, /there is no topic/)
      assert.match(
        (yield* health(path.relative(process.cwd(), path.join(at, "client.cjs")))).problem,
        /there is no topic/
      )
      assert.match((yield* health(path.join(at, "other.cjs"))).problem, /is not pulsar-client/)
      for (const name of ["no-such-client", path.join(at, "nothing.cjs")]) {
        const error = yield* health(name)
        assert.strictEqual(error.reason, "misconfigured")
        assert.include(error.problem, name)
        assert.match(error.problem, /npm install pulsar-client@1\.18\.0/)
        assert.match(error.problem, /ws:\/\//)
      }
    })))
})

describe("TLS to Pulsar", () => {
  it.scoped("is always verified, host name included, by the given CA or those of the system", () =>
    Effect.gen(function*() {
      const { ca: caFile } = Certificates.locate(yield* certificates)
      const verified = { tlsValidateHostname: true, tlsAllowInsecureConnection: false }
      const given = yield* clientOptions(FakePulsarClient.make(), { serviceUrl: secure, tls: { caFile } })
      assert.deepInclude(given, { ...verified, tlsTrustCertsFilePath: caFile })
      for (const tls of [undefined, {}, { caFile: "" }]) {
        const system = yield* clientOptions(FakePulsarClient.make(), { serviceUrl: secure, tls })
        assert.deepInclude(system, verified)
        // Left to itself, the client would trust what is in its package.
        if (process.platform === "linux") assert.match(system?.tlsTrustCertsFilePath ?? "", /^\/etc\//)
      }
    }))

  it.scoped("is only unverified where that is asked for, and then warns", () =>
    Effect.gen(function*() {
      const logged: Array<unknown> = []
      const logger = Logger.replace(Logger.defaultLogger, Logger.make(({ message }) => void logged.push(message)))
      const options = yield* Effect.provide(
        clientOptions(FakePulsarClient.make(), { serviceUrl: secure, tls: { allowInsecure: true } }),
        logger
      )
      assert.deepInclude(options, { tlsValidateHostname: true, tlsAllowInsecureConnection: true })
      assert.match(String(logged), /TRUSTLOG_PULSAR_ALLOW_INSECURE/)
    }))

  it.scoped("presents a certificate: as who we are, or beside a token for the connection", () =>
    Effect.gen(function*() {
      const { certificate: certificateFile, key: keyFile } = Certificates.locate(yield* certificates).client
      const tls = { certificateFile, keyFile }
      const alone = yield* clientOptions(FakePulsarClient.make(), { serviceUrl: secure, tls })
      assert.deepStrictEqual(alone?.authentication, {
        options: { certificatePath: certificateFile, privateKeyPath: keyFile }
      })
      assert.isUndefined(alone?.tlsCertificateFilePath)
      const both = yield* clientOptions(FakePulsarClient.make(), {
        serviceUrl: secure,
        tls,
        token: PulsarCluster.token(Redacted.make("t"))
      })
      assert.deepStrictEqual(both?.authentication, { token: "t" })
      assert.deepInclude(both, { tlsCertificateFilePath: certificateFile, tlsPrivateKeyFilePath: keyFile })
    }))

  it.effect("fails before anything is asked of the client, and names the file and the setting", () =>
    Effect.scoped(Effect.gen(function*() {
      const at = yield* certificates
      const file = (name: string) => path.join(at, name)
      yield* write(file("empty.pem"), "")
      yield* write(
        file("broken.pem"),
        "-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n"
      )
      const ours = { certificateFile: file("client.pem"), keyFile: file("client.key") }
      const cases: ReadonlyArray<readonly [PulsarCluster.Tls, RegExp]> = [
        [{ caFile: file("nothing.pem") }, /nothing\.pem cannot be read \(TRUSTLOG_PULSAR_CA_FILE\)/],
        [{ caFile: file("empty.pem") }, /empty\.pem holds no certificate in PEM \(TRUSTLOG_PULSAR_CA_FILE\)/],
        [{ caFile: file("broken.pem") }, /broken\.pem holds a broken certificate \(TRUSTLOG_PULSAR_CA_FILE\)/],
        [
          { ...ours, certificateFile: file("nothing.pem") },
          /nothing\.pem cannot be read \(TRUSTLOG_PULSAR_CERT_FILE\)/
        ],
        [
          { ...ours, certificateFile: file("client.key") },
          /client\.key holds no certificate in PEM \(TRUSTLOG_PULSAR_CERT_FILE\)/
        ],
        [{ ...ours, keyFile: file("nothing.key") }, /nothing\.key cannot be read \(TRUSTLOG_PULSAR_KEY_FILE\)/],
        [
          { ...ours, keyFile: file("client.pem") },
          /client\.pem holds no private key in PEM.* \(TRUSTLOG_PULSAR_KEY_FILE\)/
        ],
        [
          { ...ours, keyFile: file("foreign-client.key") },
          /foreign-client\.key \(TRUSTLOG_PULSAR_KEY_FILE\) is not that of the certificate/
        ],
        [{ certificateFile: ours.certificateFile }, /TRUSTLOG_PULSAR_CERT_FILE and TRUSTLOG_PULSAR_KEY_FILE/]
      ]
      for (const [tls, problem] of cases) {
        const fake = FakePulsarClient.make()
        const error = yield* failure(fake, { serviceUrl: secure, tls })
        assert.strictEqual(error.reason, "misconfigured")
        assert.match(error.problem, problem)
        assert.deepStrictEqual(fake.broker.clients, [])
      }
    })))

  it.effect("is not to be had at pulsar://, where the client would ignore what is asked for", () =>
    Effect.gen(function*() {
      for (
        const tls of [{ caFile: "ca.pem" }, { certificateFile: "c.pem", keyFile: "c.key" }, { allowInsecure: true }]
      ) {
        const error = yield* failure(FakePulsarClient.make(), { serviceUrl: plain, tls })
        assert.strictEqual(error.reason, "misconfigured")
        assert.match(error.problem, /pulsar\+ssl:\/\//)
      }
    }))
})

/** A publisher that presents a token, and what its health says. */
const withToken = (
  token: PulsarCluster.Token,
  body: (scene: {
    readonly broker: FakePulsarClient.Broker
    readonly publisher: Publisher["Type"]
  }) => Effect.Effect<void, unknown, Scope.Scope>
) =>
  Effect.gen(function*() {
    const fake = FakePulsarClient.make()
    const publisher = yield* Pulsar.make(fake.module, { serviceUrl: plain, token })
    yield* body({ broker: fake.broker, publisher })
    assert.strictEqual(fake.broker.aborts, 0)
  })

describe("A token for Pulsar", () => {
  it.scoped("that stays as it is is given as a text: a process with a supplier does not end by itself", () =>
    withToken(PulsarCluster.token(Redacted.make("constant")), ({ broker, publisher }) =>
      Effect.gen(function*() {
        broker.token = "constant"
        yield* publisher.health(topic)
        assert.deepStrictEqual(broker.clients[0]?.options.authentication, { token: "constant" })
      })))

  it.scoped("is asked for at each connection", () => {
    let count = 0
    return withToken(
      Effect.sync(() => Redacted.make(`token ${++count}`)),
      ({ broker, publisher }) =>
        Effect.gen(function*() {
          yield* publisher.health(topic)
          yield* publisher.health(topic)
          assert.strictEqual(new Set(broker.tokens).size, 2)
        })
    )
  })

  it.scoped("that cannot be read any more is the last one that could", () => {
    let isGone: "no" | "fails" | "dies" = "no"
    const token = Effect.suspend((): PulsarCluster.Token => {
      if (isGone === "fails") {
        return Effect.fail(new PublisherError({ reason: "misconfigured", problem: "the token file t is gone" }))
      }
      if (isGone === "dies") throw new Error("a defect")
      return Effect.succeed(Redacted.make("good"))
    })
    return withToken(token, ({ broker, publisher }) =>
      Effect.gen(function*() {
        broker.token = "good"
        yield* publisher.health(topic)
        isGone = "fails"
        yield* publisher.health(topic)
        isGone = "dies"
        yield* publisher.health(topic)
        // What it may be is said when it is not accepted any more.
        isGone = "fails"
        broker.token = "another"
        const error = yield* Effect.flip(publisher.health(topic))
        assert.strictEqual(error.reason, "unavailable")
        assert.match(error.problem, /the token is an older one, for the token file t is gone/)
      }))
  })

  it.scoped("that was never to be had is said to be so, and the broker is not asked", () =>
    withToken(
      Effect.fail(new PublisherError({ reason: "misconfigured", problem: "the token file t is not there" })),
      ({ broker, publisher }) =>
        Effect.gen(function*() {
          const error = yield* Effect.flip(publisher.publish(topic, messages(0, 1)))
          assert.deepStrictEqual([error.reason, error.problem], ["misconfigured", "the token file t is not there"])
          assert.deepStrictEqual(broker.tokens, [])
        })
    ))

  it.scoped("that is empty is said to be so", () =>
    withToken(PulsarCluster.token(Redacted.make("")), ({ publisher }) =>
      Effect.gen(function*() {
        assert.match(
          (yield* Effect.flip(publisher.health(topic))).problem,
          /the token is empty \(TRUSTLOG_PULSAR_TOKEN/
        )
      })))

  // Claims are in seconds since 1970; the test's clock stands at 0.
  for (const exp of [0, -1]) {
    it.scoped(`that expired is why there is no connection (${exp})`, () =>
      withToken(
        PulsarCluster.token(Redacted.make(jwt({ sub: "us", exp }))),
        ({ broker, publisher }) =>
          Effect.gen(function*() {
            broker.token = "another"
            const error = yield* Effect.flip(publisher.health(topic))
            assert.strictEqual(error.reason, "misconfigured")
            assert.match(error.problem, / the token expired at 19(70|69)-.*: renew it/)
          })
      ))
  }

  for (const token of [jwt({ sub: "us", exp: 60 }), jwt({ sub: "us" }), "no JWT at all"]) {
    it.scoped(`of which nothing wrong is known is one of three causes (${token.slice(0, 40)})`, () =>
      withToken(PulsarCluster.token(Redacted.make(token)), ({ broker, publisher }) =>
        Effect.gen(function*() {
          broker.token = "another"
          const error = yield* Effect.flip(publisher.health(topic))
          assert.strictEqual(error.reason, "unavailable")
          for (
            const part of [
              "TimeOut",
              "down",
              "TRUSTLOG_PULSAR_TOKEN_FILE",
              "TRUSTLOG_PULSAR_CA_FILE",
              "TRUSTLOG_PULSAR_KEY_FILE"
            ]
          ) assert.include(error.problem, part)
          assert.notInclude(error.problem, token)
        })))
  }
})

describe("What the client says", () => {
  it.scoped("is told with the failure that it explains, and no longer", () =>
    Effect.gen(function*() {
      const fake = FakePulsarClient.make()
      const publisher = yield* Pulsar.make(fake.module, { serviceUrl: plain })
      fake.log(2, "an old story")
      yield* publisher.health(topic)
      fake.log(1, "Connected")
      fake.broker.creationError = "ConnectError"
      fake.broker.creationWarning = "Handshake failed: certificate verify failed"
      const problem = Effect.map(Effect.flip(publisher.health(topic)), (error) => error.problem)
      const said = yield* problem
      assert.match(said, /the client says: Handshake failed: certificate verify failed$/)
      assert.notMatch(said, /Connected|an old story/)
      fake.broker.creationWarning = undefined
      assert.notMatch(yield* problem, /the client says/)
    }))

  it.scoped("goes to one listener, however many clients there are", () =>
    Effect.gen(function*() {
      const fake = FakePulsarClient.make()
      const publishers = [
        yield* Pulsar.make(fake.module, { serviceUrl: plain }),
        yield* Pulsar.make(fake.module, { serviceUrl: plain })
      ]
      assert.strictEqual(fake.logHandlers(), 1)
      fake.broker.state = "down"
      for (const publisher of publishers) {
        assert.match((yield* Effect.flip(publisher.health(topic))).problem, /the client says: .*Connection refused/)
      }
    }))
})

describe("A failure of the native client", () => {
  const error = (what: string, name: string) => new Error(`Failed to ${what}: ${name}`)

  it("has its name in its message, with or without Result before it", () => {
    assert.strictEqual(nativeErrors.nameOf(error("send message", "TimeOut")), "TimeOut")
    assert.strictEqual(nativeErrors.nameOf(error("create producer", "ResultProducerFenced")), "ProducerFenced")
    assert.strictEqual(nativeErrors.nameOf(new Error("Invalid scheme: foo")), "")
    assert.strictEqual(nativeErrors.textOf(new Error("Invalid scheme: foo")), "Invalid scheme: foo")
    assert.strictEqual(nativeErrors.textOf("text"), "text")
  })

  const sends: Record<string, string> = {
    MessageTooBig: "tooLarge",
    InvalidMessage: "rejected",
    ChecksumError: "rejected",
    UnknownError: "rejected",
    TimeOut: "lost",
    AlreadyClosed: "lost",
    ResultDisconnected: "lost",
    Retryable: "lost",
    ReadError: "lost",
    NotConnected: "unavailable",
    ProducerQueueIsFull: "unavailable",
    ResultMemoryBufferIsFull: "unavailable",
    ResultInterrupted: "unavailable",
    ProducerBlockedQuotaExceededError: "unavailable",
    ProducerBlockedQuotaExceededException: "unavailable",
    BrokerPersistenceError: "unavailable",
    BrokerMetadataError: "unavailable",
    TopicTerminated: "misconfigured",
    ResultProducerFenced: "misconfigured",
    CryptoError: "misconfigured",
    SomethingNew: "lost"
  }

  it("of a message is a refusal, or says what is wrong with the log", () => {
    for (const [name, expected] of Object.entries(sends)) {
      const meaning = nativeErrors.ofSend(error("send message", name))
      assert.strictEqual(meaning._tag === "refused" ? meaning.reason : meaning.outage, expected, name)
    }
    assert.deepStrictEqual(nativeErrors.ofSend(new Error("no name")), { _tag: "unknown", outage: "lost" })
  })

  const creations: Record<string, "unavailable" | "misconfigured"> = {
    TimeOut: "unavailable",
    ConnectError: "unavailable",
    ResultDisconnected: "unavailable",
    Retryable: "unavailable",
    LookupError: "unavailable",
    ServiceUnitNotReady: "unavailable",
    TooManyLookupRequestException: "unavailable",
    ProducerBusy: "unavailable",
    ProducerBlockedQuotaExceededError: "unavailable",
    UnknownError: "unavailable",
    BrokerMetadataError: "unavailable",
    BrokerPersistenceError: "unavailable",
    AlreadyClosed: "unavailable",
    TopicNotFound: "misconfigured",
    InvalidTopicName: "misconfigured",
    TopicTerminated: "misconfigured",
    IncompatibleSchema: "misconfigured",
    ResultNotAllowedError: "misconfigured",
    OperationNotSupported: "misconfigured",
    UnsupportedVersionError: "misconfigured",
    ResultProducerFenced: "misconfigured",
    AuthorizationError: "misconfigured",
    AuthenticationError: "misconfigured",
    ErrorGettingAuthenticationData: "misconfigured",
    InvalidConfiguration: "misconfigured",
    InvalidUrl: "misconfigured"
  }

  it.scoped("to make a producer waits, or is the configuration's", () =>
    Effect.gen(function*() {
      const fake = FakePulsarClient.make()
      const publisher = yield* Pulsar.make(fake.module, { serviceUrl: plain })
      for (const [name, reason] of Object.entries(creations)) {
        fake.broker.creationError = name
        const failed = yield* Effect.flip(publisher.publish(topic, messages(0, 1)))
        assert.strictEqual(failed.reason, reason, name)
        assert.match(
          failed.problem,
          /^pulsar:\/\/localhost:6650: .*(persistent:\/\/public\/default\/operation|TRUSTLOG_)/
        )
      }
    }))
})
