/**
 * Apache Pulsar as a process of ours: a broker, its bookie and its metadata in one.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { createHmac, randomBytes } from "node:crypto"
import * as fs from "node:fs/promises"
import * as os from "node:os"
import * as path from "node:path"
import * as Broker from "./Broker.ts"
import * as Certificates from "./Certificates.ts"
import { environment, type Instance, make, type Options, run, settings } from "./Daemon.ts"
import * as Port from "./Port.ts"

export interface PulsarOptions extends Options {
  /** Listens with TLS as well, on ports of its own; whether it then wants a client's certificate, default no. */
  readonly tls?: true | { readonly requireClientCertificate: boolean } | undefined
  /** Asks for tokens, and lets in whom `grant` names; `admin` may do everything. */
  readonly tokens?: true | undefined
}

/** Where it listens with TLS: as `localhost`, the name in its certificate. */
export interface Tls extends Certificates.Certificates {
  /** `https://localhost:port`. */
  readonly webUrl: string
  /** `wss://localhost:port`. */
  readonly wsUrl: string
  /** `pulsar+ssl://localhost:port`. */
  readonly serviceUrl: string
}

export interface PulsarInstance extends Instance, Broker.Broker {
  readonly ports: Ports
  /** Where `tls` was asked for. */
  readonly tls: Tls | undefined
  /** A token that it believes where it asks for one. Seconds until it expires, in the past if negative; default never. */
  readonly token: (subject: string, options?: { readonly expiresIn?: number | undefined }) => string
  /** What a role may do to the topics of `public/default`, instead of what it might before: `produce`, `consume`. */
  readonly grant: (role: string, actions: ReadonlyArray<"produce" | "consume">) => Effect.Effect<void>
}

export interface SecurePulsarInstance extends PulsarInstance {
  readonly tls: Tls
}

export interface Ports {
  readonly web: number
  readonly broker: number
  readonly bookie: number
  /** Nothing listens on these two without `tls`. */
  readonly webTls: number
  readonly brokerTls: number
}

// What its own choice falls on may be taken when it comes back.
const free: Effect.Effect<Ports> = Effect.all({
  web: Port.free,
  broker: Port.free,
  bookie: Port.free,
  webTls: Port.free,
  brokerTls: Port.free
})

const signed = (secret: Uint8Array, claims: unknown): string => {
  const encoded = [{ alg: "HS256" }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url"))
  const text = encoded.join(".")
  return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`
}

const loopback = (): string =>
  Object.entries(os.networkInterfaces()).find(([, addresses]) =>
    addresses?.some(({ address }) => address === "127.0.0.1")
  )?.[0] ?? "lo"

/** Starts it from the folder that `npm run servers` made. */
export const startPulsar = (
  from: string,
  options: PulsarOptions = {}
): Effect.Effect<PulsarInstance, never, Scope.Scope> =>
  Effect.gen(function*() {
    const secret = randomBytes(32)
    const token: PulsarInstance["token"] = (subject, { expiresIn } = {}) =>
      signed(secret, {
        sub: subject,
        ...expiresIn === undefined ? {} : { exp: Math.floor(Date.now() / 1000) + expiresIn }
      })
    const adminToken = options.tokens === true ? token("admin") : undefined
    const address = ({ broker, web }: Ports): Broker.Address => ({
      webUrl: `http://127.0.0.1:${web}`,
      serviceUrl: `pulsar://127.0.0.1:${broker}`,
      adminToken
    })

    const withTls = (folder: string, { brokerTls, webTls }: Ports): Record<string, string> => {
      if (options.tls === undefined) return {}
      const { ca, server } = Certificates.locate(folder)
      return {
        // Clients of the broker are led to this name, and compare it with the certificate.
        advertisedAddress: "localhost",
        webServicePortTls: `${webTls}`,
        brokerServicePortTls: `${brokerTls}`,
        tlsCertificateFilePath: server.certificate,
        tlsKeyFilePath: server.key,
        tlsTrustCertsFilePath: ca,
        tlsRequireTrustedClientCertOnConnect: `${options.tls !== true && options.tls.requireClientCertificate}`
      }
    }
    const withTokens = (folder: string): Record<string, string> =>
      adminToken === undefined ? {} : {
        authenticationEnabled: "true",
        authorizationEnabled: "true",
        authenticationProviders: "org.apache.pulsar.broker.authentication.AuthenticationProviderToken",
        tokenSecretKey: `file://${path.join(folder, "secret.key")}`,
        superUserRoles: "admin",
        brokerClientAuthenticationPlugin: "org.apache.pulsar.client.impl.auth.AuthenticationToken",
        brokerClientAuthenticationParameters: JSON.stringify({ token: adminToken })
      }

    const java = path.join(from, "java")
    const daemon = yield* make<Ports>({
      name: "pulsar",
      prepare: async (data, folder) => {
        await fs.mkdir(data)
        await fs.writeFile(path.join(folder, "secret.key"), secret)
        if (options.tls !== undefined) await Certificates.make(folder)
      },
      free,
      configure: async (folder, ports) => {
        const own = settings(options, {
          bindAddress: "127.0.0.1",
          advertisedAddress: "127.0.0.1",
          webServicePort: `${ports.web}`,
          brokerServicePort: `${ports.broker}`,
          // Without this the bookie takes a port of its choice, on all addresses.
          allowEphemeralPorts: "true",
          listeningInterface: loopback(),
          webSocketServiceEnabled: "true",
          // A topic keeps what it was given, with and without subscriptions, also after a restart.
          brokerDeleteInactiveTopicsEnabled: "false",
          defaultRetentionTimeInMinutes: "-1",
          defaultRetentionSizeInMB: "-1",
          // The bookie writes its journal in pieces of this size, and does not notice half a message at its end after kill -9.
          journalWriteBufferSizeKB: "8192",
          // After some failures it would do without its only bookie for half an hour.
          bookkeeperClientHealthCheckEnabled: "false",
          numIOThreads: "2",
          numHttpServerThreads: "8",
          ...withTls(folder, ports),
          ...withTokens(folder)
        })
        const shipped = await fs.readFile(path.join(from, "conf", "standalone.conf"), "utf8")
        // Of two lines with one name the last counts.
        await fs.writeFile(
          path.join(folder, "standalone.conf"),
          [shipped, ...own.map(([name, value]) => `${name}=${value}`), ""].join("\n")
        )
      },
      recover: async (data, folder) => {
        const configuration = path.join(folder, "bookkeeper.conf")
        await fs.writeFile(
          configuration,
          `metadataServiceUri=metadata-store:rocksdb://${path.join(data, "metadata")}\n`
        )
        // The bookie that was killed is still registered, which its successor may take for another's doing: then it registers
        // for ever. Whoever lists them forgets it.
        await run(
          java,
          ["org.apache.bookkeeper.bookie.BookieShell", "-conf", configuration, "listbookies", "-readwrite"],
          { cwd: folder, env: environment(), maxBuffer: 2 ** 26 }
        )
      },
      command: java,
      args: (data, folder, { bookie }) => [
        "org.apache.pulsar.PulsarStandaloneStarter",
        "--no-functions-worker",
        "--no-stream-storage",
        "--config",
        path.join(folder, "standalone.conf"),
        "--metadata-dir",
        path.join(data, "metadata"),
        "--bookkeeper-dir",
        path.join(data, "bookkeeper"),
        "--bookkeeper-port",
        `${bookie}`
      ],
      as: {},
      url: (ports) => address(ports).webUrl,
      ready: { log: "pulsar.log", answers: (ports) => Broker.isReady(address(ports)) },
      stop: "SIGTERM",
      abandon: "SIGKILL"
    }, options)

    const { at: ports, folder } = daemon
    const broker = Broker.make(address(ports))
    return {
      ...daemon,
      ...broker,
      get pid() {
        return daemon.pid
      },
      ports,
      tls: options.tls === undefined ? undefined : {
        ...Certificates.locate(folder),
        webUrl: `https://localhost:${ports.webTls}`,
        wsUrl: `wss://localhost:${ports.webTls}`,
        serviceUrl: `pulsar+ssl://localhost:${ports.brokerTls}`
      },
      token,
      grant: (role, actions) =>
        Effect.orDie(Effect.asVoid(
          broker.admin("POST", `namespaces/public/default/permissions/${encodeURIComponent(role)}`, actions)
        ))
    }
  })
