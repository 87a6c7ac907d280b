/**
 * A broker that does not let us in, or that we do not believe: what is wrong is named with the setting that is to be changed, the
 * records wait, and delivery goes on by itself when it is put right.
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as FileSystem from "@effect/platform/FileSystem"
import { assert, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { Publisher } from "../../src/Publisher.ts"
import * as PulsarWebSocket from "../../src/Publisher/PulsarWebSocket.ts"
import * as PulsarCluster from "../../src/PulsarCluster.ts"
import { Repository } from "../../src/Repository.ts"
import * as Ws from "../../src/WebSocketClient/Ws.ts"
import { message } from "../messages.ts"
import * as Instance from "../servers/Instance.ts"
import * as Server from "../servers/Server.ts"
import * as Topic from "../servers/Topic.ts"
import { append, application, holdsAll, isSaid, noAttemptUsed } from "./pulsarScene.ts"
import { range } from "./scene.ts"

/** A broker of these tests' own. It asks for tokens, and with TLS for a certificate as well. */
class Own extends Context.Tag("effect-trustlog/test/OwnPulsar")<Own, Instance.SecurePulsarInstance>() {}

/** What is wrong, how that is said, and what puts it right while the application runs. */
interface Case {
  readonly what: string
  readonly make: Effect.Effect<
    {
      readonly options: PulsarWebSocket.Options
      readonly cure: Effect.Effect<void>
      readonly topic?: string
    },
    never,
    Own | FileSystem.FileSystem | Scope.Scope
  >
  readonly says: RegExp
}

/** A file that is written, or not yet. */
const file = (content?: string | Uint8Array) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const path = `${yield* Effect.orDie(fs.makeTempDirectoryScoped({ prefix: "trustlog-access-" }))}/file`
    const write = (content: string | Uint8Array) =>
      Effect.orDie(typeof content === "string" ? fs.writeFileString(path, content) : fs.writeFile(path, content))
    if (content !== undefined) yield* write(content)
    return { path, write }
  })

const contents = (path: string) => Effect.orDie(Effect.flatMap(FileSystem.FileSystem, (fs) => fs.readFile(path)))

/** A token that is wrong at first. */
const withToken = (first: (own: Instance.SecurePulsarInstance) => string | undefined): Case["make"] =>
  Effect.gen(function*() {
    const own = yield* Own
    yield* own.grant("app", ["produce"])
    const { path, write } = yield* file(first(own))
    return {
      options: { serviceUrl: own.wsUrl, token: yield* PulsarCluster.tokenFile(path) },
      cure: write(`${own.token("app")}\n`)
    }
  })

/** A file of TLS that is wrong at first, in place of one that is right. */
const withFile = (
  option: "caFile" | "certificateFile" | "keyFile",
  first: (own: Instance.SecurePulsarInstance) => string | undefined,
  right: (own: Instance.SecurePulsarInstance) => string
): Case["make"] =>
  Effect.gen(function*() {
    const own = yield* Own
    yield* own.grant("app", ["produce"])
    const wrong = first(own)
    const { path, write } = yield* file(wrong === undefined ? undefined : yield* contents(wrong))
    const { ca, client } = own.tls
    const tls = { caFile: ca, certificateFile: client.certificate, keyFile: client.key, [option]: path }
    const token = PulsarCluster.token(Redacted.make(own.token("app")))
    return {
      options: { serviceUrl: own.tls.wsUrl, tls, token },
      cure: Effect.flatMap(Effect.provide(contents(right(own)), NodeContext.layer), write)
    }
  })

const closed = "persistent://public/closed"

const cases: ReadonlyArray<Case> = [
  {
    what: "a topic that is missing, and that the broker may not make",
    make: Effect.gen(function*() {
      const own = yield* Own
      const topic = `${closed}/missing`
      const admin = (method: string, path: string, body?: unknown) => Effect.orDie(own.admin(method, path, body))
      yield* admin("PUT", "namespaces/public/closed")
      yield* admin("POST", "namespaces/public/closed/autoTopicCreation", { allowAutoTopicCreation: false })
      yield* admin("POST", "namespaces/public/closed/permissions/app", ["produce"])
      return {
        options: { serviceUrl: own.wsUrl, token: PulsarCluster.token(Redacted.make(own.token("app"))) },
        cure: Topic.create(own, topic),
        topic
      }
    }),
    says: /there is no topic persistent:\/\/public\/closed\/missing.*TRUSTLOG_OPERATION_TOPIC/
  },
  {
    what: "a role without rights",
    make: Effect.gen(function*() {
      const own = yield* Own
      return {
        options: { serviceUrl: own.wsUrl, token: PulsarCluster.token(Redacted.make(own.token("guest"))) },
        cure: own.grant("guest", ["produce"])
      }
    }),
    says: /does not let us produce on persistent:.*grant the token's or certificate's role the right to produce/
  },
  {
    what: "a token that is not the broker's",
    make: withToken((own) => own.token("app").replace(/.$/, (last) => last === "A" ? "E" : "A")),
    says: /does not accept the token \(401\).*TRUSTLOG_PULSAR_TOKEN or TRUSTLOG_PULSAR_TOKEN_FILE/
  },
  {
    what: "a token that has expired",
    make: withToken((own) => own.token("app", { expiresIn: -60 })),
    says: /the token expired at \d{4}-.*TRUSTLOG_PULSAR_TOKEN/
  },
  {
    what: "a token file that is not there",
    make: withToken(() => undefined),
    says: /token file .* cannot be read \(TRUSTLOG_PULSAR_TOKEN_FILE\)/
  },
  {
    what: "a CA that did not sign the broker's certificate",
    make: withFile("caFile", ({ tls }) => tls.foreign.ca, ({ tls }) => tls.ca),
    says: /is not signed by anybody we trust .*TRUSTLOG_PULSAR_CA_FILE/
  },
  {
    what: "a CA file that is not there",
    make: withFile("caFile", () => undefined, ({ tls }) => tls.ca),
    says: /\(TRUSTLOG_PULSAR_CA_FILE\) cannot be read/
  },
  {
    what: "a key that is not the client certificate's",
    make: withFile("keyFile", ({ tls }) => tls.server.key, ({ tls }) => tls.client.key),
    says: /a certificate or key of ours cannot be used .*TRUSTLOG_PULSAR_KEY_FILE/
  }
]

Server.on("postgresql-18", (server) => {
  Server.having("pulsar", () => {
    const own = Layer.scoped(Own, Instance.Pulsar({ tls: { requireClientCertificate: true }, tokens: true }))
    layer(Layer.merge(own, NodeContext.layer), { excludeTestServices: true })("a broker", (it) => {
      for (const { make, says, what } of cases) {
        it.scoped(`${what} is named, and delivery goes on when it is put right`, () =>
          Effect.gen(function*() {
            const own = yield* Own
            const { cure, options, topic = yield* Topic.make(own) } = yield* make
            yield* Effect.gen(function*() {
              const { stats } = yield* Repository
              yield* append(range(1, 10))
              yield* isSaid(says)
              assert.strictEqual((yield* stats).pending, 10)
              yield* noAttemptUsed
              yield* cure
              yield* holdsAll(own, topic, range(1, 10))
            }).pipe(Effect.provide(application(yield* Server.database(server), topic, options)))
          }))
      }

      /** What is put right in the configuration, and so by a start anew. */
      const restarted = [
        {
          what: "a host that the broker's certificate does not name",
          wrong: (own: Instance.SecurePulsarInstance, right: PulsarWebSocket.Options) => ({
            ...right,
            serviceUrl: own.tls.wsUrl.replace("localhost", "127.0.0.1")
          }),
          says: /is not made out to the host of TRUSTLOG_PUBLISHER_URL/
        },
        {
          what: "a client certificate that is not there",
          wrong: (own: Instance.SecurePulsarInstance, right: PulsarWebSocket.Options) => ({
            ...right,
            tls: { caFile: own.tls.ca }
          }),
          says: /asks for a client certificate .*TRUSTLOG_PULSAR_CERT_FILE and TRUSTLOG_PULSAR_KEY_FILE/
        },
        {
          what: "a client certificate that the broker does not trust",
          wrong: (own: Instance.SecurePulsarInstance, right: PulsarWebSocket.Options) => ({
            ...right,
            tls: {
              caFile: own.tls.ca,
              certificateFile: own.tls.foreign.client.certificate,
              keyFile: own.tls.foreign.client.key
            }
          }),
          says: /does not trust our client certificate .*TRUSTLOG_PULSAR_CERT_FILE/
        },
        {
          what: "no CA at all, which means the system's",
          wrong: (_: Instance.SecurePulsarInstance, right: PulsarWebSocket.Options) => ({
            ...right,
            tls: { ...right.tls, caFile: "" }
          }),
          says: /is not signed by anybody we trust .*TRUSTLOG_PULSAR_CA_FILE/
        },
        {
          what: "ws:// to a port of TLS",
          wrong: (own: Instance.SecurePulsarInstance, right: PulsarWebSocket.Options) => ({
            serviceUrl: own.tls.wsUrl.replace("wss:", "ws:"),
            token: right.token
          }),
          says: /one side speaks TLS and the other does not .*TRUSTLOG_PUBLISHER_URL/
        }
      ]

      for (const { says, what, wrong } of restarted) {
        it.scoped(`${what} is named, and what waited is delivered when it is put right`, () =>
          Effect.gen(function*() {
            const own = yield* Own
            yield* own.grant("app", ["produce"])
            const topic = yield* Topic.make(own)
            const url = yield* Server.database(server)
            const { ca, client } = own.tls
            const right: PulsarWebSocket.Options = {
              serviceUrl: own.tls.wsUrl,
              tls: { caFile: ca, certificateFile: client.certificate, keyFile: client.key },
              token: PulsarCluster.token(Redacted.make(own.token("app")))
            }
            yield* Effect.gen(function*() {
              yield* append(range(1, 10))
              yield* isSaid(says)
              yield* noAttemptUsed
            }).pipe(Effect.provide(application(url, topic, wrong(own, right))))
            yield* Effect.provide(holdsAll(own, topic, range(1, 10)), application(url, topic, right))
          }))
      }

      it.scoped("that is believed whoever it is takes records, and a warning says so at the start", () =>
        Effect.gen(function*() {
          const own = yield* Own
          yield* own.grant("app", ["produce"])
          const topic = yield* Topic.make(own)
          const { client } = own.tls
          const said: Array<string> = []
          const logger = Logger.make(({ logLevel, message }) => said.push(`${logLevel.label} ${String(message)}`))
          const publisher = PulsarWebSocket.layer({
            serviceUrl: own.tls.wsUrl.replace("localhost", "127.0.0.1"),
            tls: { allowInsecure: true, certificateFile: client.certificate, keyFile: client.key },
            token: PulsarCluster.token(Redacted.make(own.token("app")))
          }).pipe(Layer.provide(Ws.layer), Layer.provide(Logger.replace(Logger.defaultLogger, logger)))
          const { outcomes } = yield* Effect.provide(
            Effect.flatMap(Publisher, ({ publish }) => publish(topic, [message(1)])),
            publisher
          )
          assert.deepStrictEqual(outcomes.map(({ _tag }) => _tag), ["Acknowledged"])
          assert.isTrue(said.some((line) => /^WARN whoever answers .* TRUSTLOG_PULSAR_ALLOW_INSECURE/.test(line)))
        }))
    })
  })
})
