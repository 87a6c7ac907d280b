// ../../../tmp/ps/storm.ts
import * as Effect6 from "effect/Effect"
import * as fs4 from "node:fs"

// test/servers/Pulsar.ts
import * as Effect5 from "effect/Effect"
import { createHmac, randomBytes } from "node:crypto"
import * as fs3 from "node:fs/promises"
import * as os2 from "node:os"
import * as path4 from "node:path"

// test/servers/Broker.ts
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
var AdminError = class extends Data.TaggedError("AdminError") {
  get message() {
    return `${this.request}: ${this.status} ${this.answer}`
  }
}
var headersOf = ({ adminToken }) => adminToken === void 0 ? {} : { authorization: `Bearer ${adminToken}` }
var ask = (address, method, path5, body) =>
  fetch(`${address.webUrl}/${path5}`, {
    method,
    headers: { ...headersOf(address), connection: "close", "content-type": "application/json" },
    ...body === void 0 ? {} : { body: JSON.stringify(body) }
  })
var make = (address) => ({
  ...address,
  wsUrl: address.webUrl.replace(/^http/, "ws"),
  headers: headersOf(address),
  admin: (method, path5, body) =>
    Effect.gen(function*() {
      const response = yield* Effect.promise(() => ask(address, method, `admin/v2/${path5}`, body))
      const answer = yield* Effect.promise(() => response.text())
      if (!response.ok)
        return yield* new AdminError({ request: `${method} ${path5}`, status: response.status, answer })
      return response.headers.get("content-type")?.includes("json") === true && answer !== ""
        ? JSON.parse(answer)
        : answer
    })
})
var isReady = async (address) => {
  const answer = async (path5) => (await ask(address, "GET", path5)).text()
  try {
    return (await answer("admin/v2/namespaces/public")).includes("\"public/default\"") &&
      await answer("admin/v2/brokers/health") === "ok"
  } catch {
    return false
  }
}

// test/servers/Certificates.ts
import { execFile } from "node:child_process"
import * as fs from "node:fs/promises"
import * as path from "node:path"
import { promisify } from "node:util"
var run = promisify(execFile)
var file = (folder, name) => ({
  certificate: path.join(folder, `${name}.pem`),
  key: path.join(folder, `${name}.key`)
})
var locate = (folder) => ({
  ca: file(folder, "ca").certificate,
  server: file(folder, "server"),
  client: file(folder, "client"),
  foreign: { ca: file(folder, "foreign-ca").certificate, client: file(folder, "foreign-client") }
})
var make2 = async (folder) => {
  const request = (
    name,
    subject
  ) => ["req", "-newkey", "rsa:2048", "-nodes", "-subj", `/CN=${subject}`, "-keyout", `${name}.key`]
  const openssl = (...args) => run("openssl", args, { cwd: folder })
  const authority = (name) =>
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
  const signed2 = async (name, authority2, subject, extensions) => {
    await openssl(...request(name, subject), "-out", `${name}.csr`)
    await fs.writeFile(path.join(folder, `${name}.ext`), extensions)
    await openssl(
      "x509",
      "-req",
      "-in",
      `${name}.csr`,
      "-CA",
      `${authority2}.pem`,
      "-CAkey",
      `${authority2}.key`,
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
  await signed2(
    "server",
    "ca",
    "localhost",
    "subjectAltName = DNS:localhost\nextendedKeyUsage = serverAuth, clientAuth"
  )
  await signed2("client", "ca", "trustlog", client)
  await signed2("foreign-client", "foreign-ca", "trustlog", client)
}

// test/servers/Daemon.ts
import * as Effect4 from "effect/Effect"
import { execFile as execFile2, spawn as spawn2 } from "node:child_process"
import { once as once2 } from "node:events"
import { closeSync, openSync } from "node:fs"
import * as fs2 from "node:fs/promises"
import * as path3 from "node:path"
import { setTimeout as pause } from "node:timers/promises"
import { promisify as promisify2 } from "node:util"

// test/servers/Guard.ts
import * as Effect2 from "effect/Effect"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtemp } from "node:fs/promises"
import * as os from "node:os"
import * as path2 from "node:path"
var script = `
pid=
while read -r line; do pid=$line; done
if [ -n "$pid" ]; then pkill -KILL -P "$pid"; kill -KILL "$pid"; fi
eval "$2"
for n in 1 2 3 4 5 6 7 8 9; do rm -rf -- "$1" && exit 0; sleep 0.1; done
exit 1
`
var make3 = (name, commands = "") =>
  Effect2.map(
    Effect2.acquireRelease(
      Effect2.promise(async () => {
        const folder = await mkdtemp(path2.join(os.tmpdir(), `trustlog-${name}-`))
        const shell = spawn("sh", ["-c", script, "sh", folder, commands], {
          cwd: "/",
          detached: true,
          stdio: ["pipe", "ignore", "ignore"]
        })
        const ended = once(shell, "exit")
        shell.unref()
        return { folder, shell, ended }
      }),
      ({ ended, folder, shell }) =>
        Effect2.promise(async () => {
          shell.ref()
          shell.stdin.end()
          const [code] = await ended
          if (code !== 0) throw new Error(`${folder} could not be removed`)
        })
    ),
    ({ folder, shell }) => ({
      folder,
      watch: (pid) =>
        void shell.stdin.write(`${pid ?? ""}
`)
    })
  )

// test/servers/Port.ts
import * as Effect3 from "effect/Effect"
import { randomInt } from "node:crypto"
import { createServer } from "node:net"
var [first, last] = [15e3, 32e3]
var isFree = (port) =>
  new Promise((resolve) => {
    const server = createServer()
    server.once("error", () => resolve(false))
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)))
  })
var free = Effect3.promise(async () => {
  for (;;) {
    const port = randomInt(first, last)
    if (await isFree(port)) return port
  }
})

// test/servers/Daemon.ts
var run2 = promisify2(execFile2)
var longestWords = 16384
var environment = () => ({
  ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(PG|MYSQL|MARIADB|LC_|LANG)/.test(name))),
  LC_ALL: "C"
})
var removeData = `
id=$(sed -n 7p "$DATA/postmaster.pid" 2>/dev/null | sed "s/.* //")
[ -z "$id" ] || ipcrm -m "$id"
rm -rf -- "$DATA"
`
var quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`
var processes = async () => {
  const { stdout } = await run2("ps", ["-A", "-o", "pid=,ppid=,stat="], { maxBuffer: 2 ** 26 })
  return stdout.split("\n").filter((line) => line.trim() !== "").map((line) => {
    const [pid, parent, state] = line.trim().split(/\s+/)
    return {
      pid: Number(pid),
      parent: Number(parent),
      isDead: state?.startsWith("Z") ?? true,
      isStopped: state?.startsWith("T") ?? false
    }
  })
}
var familyOf = async (pid) => (await processes()).filter((process2) => process2.pid === pid || process2.parent === pid)
var signal = (pid, name) => {
  try {
    process.kill(pid, name)
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error
  }
}
var make4 = (kind, options) =>
  Effect4.gen(function*() {
    const guard = yield* make3(
      kind.name,
      `DATA=${options.dataDirectory === void 0 ? "$1" : quoted(options.dataDirectory)}/data
${removeData}`
    )
    const { folder } = guard
    const data = path3.join(options.dataDirectory ?? folder, "data")
    let at = yield* kind.free
    let child
    const running = () => {
      const { pid } = child ?? {}
      if (child === void 0 || pid === void 0) throw new Error(`${kind.name} is not running`)
      return Object.assign(child, { pid })
    }
    const launch = async () => {
      const { ready } = kind
      await kind.configure?.(folder, at)
      const log = ready instanceof RegExp ? void 0 : path3.join(folder, ready.log)
      const output = log === void 0 ? "pipe" : openSync(log, "a")
      const started = spawn2(kind.command, kind.args(data, folder, at), {
        ...kind.as,
        cwd: folder,
        detached: true,
        env: environment(),
        stdio: ["ignore", output, output]
      })
      child = started
      if (started.pid !== void 0) guard.watch(started.pid)
      if (typeof output === "number") closeSync(output)
      return new Promise((resolve, reject) => {
        let said = ""
        const hear = (text) => {
          said = (said + text).slice(-longestWords)
          if (ready instanceof RegExp && ready.test(said)) resolve(void 0)
        }
        started.stdout?.setEncoding("utf8").on("data", hear)
        started.stderr?.setEncoding("utf8").on("data", hear)
        started.once("error", reject)
        started.once("close", () => {
          if (child === started) child = void 0
          guard.watch(void 0)
          resolve(log === void 0 ? said : fs2.readFile(log, "utf8").then((text) => text.slice(-longestWords)))
        })
        if (ready instanceof RegExp) return
        const ask2 = async () => {
          if (child !== started) return
          if (await ready.answers(at)) return resolve(void 0)
          await pause(50)
          return ask2()
        }
        ask2().catch(reject)
      })
    }
    const start = async () => {
      if (child !== void 0) throw new Error(`${kind.name} is running`)
      const problem = await launch()
      if (problem !== void 0)
        throw new Error(`${kind.name} did not start:
${problem}`)
    }
    const end = async (how2) => {
      const { pid } = running()
      const ended = once2(running(), "close")
      await how2(pid)
      await ended
    }
    const kill = () =>
      end(async (pid) => {
        signal(pid, "SIGSTOP")
        for (const member of await familyOf(pid)) signal(member.pid, "SIGKILL")
      })
    const thaw = async (pid) => {
      for (const member of (await familyOf(pid)).toReversed()) signal(member.pid, "SIGCONT")
    }
    const freeze = async (pid) => {
      for (;;) {
        const moving = (await familyOf(pid)).filter(({ isDead, isStopped }) => !isDead && !isStopped)
        if (moving.length === 0) return
        for (const { pid: pid2 } of moving) signal(pid2, "SIGSTOP")
        await pause(1)
      }
    }
    yield* Effect4.acquireRelease(
      Effect4.promise(async () => {
        await kind.prepare(data, folder)
        for (let attempt = 1;; attempt++) {
          const problem = await launch()
          if (problem === void 0) return
          if (attempt === 5 || !/address already in use/i.test(problem)) {
            throw new Error(`${kind.name} did not start:
${problem}`)
          }
          at = await Effect4.runPromise(kind.free)
        }
      }),
      () =>
        Effect4.promise(async () => {
          if (child === void 0) return
          await end(async (pid) => {
            signal(pid, kind.abandon)
            await thaw(pid)
          })
        })
    )
    return {
      folder,
      at,
      url: kind.url(at),
      get pid() {
        return running().pid
      },
      kill: Effect4.promise(kill),
      stop: Effect4.promise(
        () =>
          end(async (pid) => {
            signal(pid, kind.stop)
          })
      ),
      start: Effect4.promise(start),
      ended: Effect4.promise(async () => {
        if (child !== void 0) await once2(child, "close")
      }),
      freeze: Effect4.promise(() => freeze(running().pid)),
      thaw: Effect4.promise(() => thaw(running().pid))
    }
  })
var settings = (options, own) => Object.entries({ ...own, ...options.settings })
var asRoot = process.getuid?.() === 0 ? ["--user=root"] : []

// test/servers/Pulsar.ts
var free2 = Effect5.all({
  web: free,
  broker: free,
  bookie: free,
  webTls: free,
  brokerTls: free
})
var signed = (secret, claims) => {
  const encoded = [{ alg: "HS256" }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url"))
  const text = encoded.join(".")
  return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`
}
var loopback = () =>
  Object.entries(os2.networkInterfaces()).find(
    ([, addresses]) => addresses?.some(({ address }) => address === "127.0.0.1")
  )?.[0] ?? "lo"
var startPulsar = (from, options = {}) =>
  Effect5.gen(function*() {
    const secret = randomBytes(32)
    const token = (subject, { expiresIn } = {}) =>
      signed(secret, {
        sub: subject,
        ...expiresIn === void 0 ? {} : { exp: Math.floor(Date.now() / 1e3) + expiresIn }
      })
    const adminToken = options.tokens === true ? token("admin") : void 0
    const address = ({ broker: broker2, web }) => ({
      webUrl: `http://127.0.0.1:${web}`,
      serviceUrl: `pulsar://127.0.0.1:${broker2}`,
      adminToken
    })
    const withTls = (folder2, { brokerTls, webTls }) => {
      if (options.tls === void 0) return {}
      const { ca, server } = locate(folder2)
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
    const withTokens = (folder2) =>
      adminToken === void 0 ? {} : {
        authenticationEnabled: "true",
        authorizationEnabled: "true",
        authenticationProviders: "org.apache.pulsar.broker.authentication.AuthenticationProviderToken",
        tokenSecretKey: `file://${path4.join(folder2, "secret.key")}`,
        superUserRoles: "admin",
        brokerClientAuthenticationPlugin: "org.apache.pulsar.client.impl.auth.AuthenticationToken",
        brokerClientAuthenticationParameters: JSON.stringify({ token: adminToken })
      }
    const daemon = yield* make4({
      name: "pulsar",
      prepare: async (data, folder2) => {
        await fs3.mkdir(data)
        await fs3.writeFile(path4.join(folder2, "secret.key"), secret)
        if (options.tls !== void 0) await make2(folder2)
      },
      free: free2,
      configure: async (folder2, ports2) => {
        const own = settings(options, {
          bindAddress: "127.0.0.1",
          advertisedAddress: "127.0.0.1",
          webServicePort: `${ports2.web}`,
          brokerServicePort: `${ports2.broker}`,
          // Without this the bookie takes a port of its choice, on all addresses.
          allowEphemeralPorts: "true",
          listeningInterface: loopback(),
          webSocketServiceEnabled: "true",
          // A topic keeps what it was given, with and without subscriptions, also after a restart.
          brokerDeleteInactiveTopicsEnabled: "false",
          defaultRetentionTimeInMinutes: "-1",
          defaultRetentionSizeInMB: "-1",
          // After some failures it would do without its only bookie for half an hour.
          bookkeeperClientHealthCheckEnabled: "false",
          numIOThreads: "2",
          numHttpServerThreads: "8",
          ...withTls(folder2, ports2),
          ...withTokens(folder2)
        })
        const shipped = await fs3.readFile(path4.join(from, "conf", "standalone.conf"), "utf8")
        await fs3.writeFile(
          path4.join(folder2, "standalone.conf"),
          [shipped, ...own.map(([name, value]) => `${name}=${value}`), ""].join("\n")
        )
      },
      command: path4.join(from, "standalone"),
      args: (data, folder2, { bookie }) => [
        "--config",
        path4.join(folder2, "standalone.conf"),
        "--metadata-dir",
        path4.join(data, "metadata"),
        "--bookkeeper-dir",
        path4.join(data, "bookkeeper"),
        "--bookkeeper-port",
        `${bookie}`
      ],
      as: {},
      url: (ports2) => address(ports2).webUrl,
      ready: { log: "pulsar.log", answers: (ports2) => isReady(address(ports2)) },
      stop: "SIGTERM",
      abandon: "SIGKILL"
    }, options)
    const { at: ports, folder } = daemon
    const broker = make(address(ports))
    return {
      ...daemon,
      ...broker,
      get pid() {
        return daemon.pid
      },
      ports,
      tls: options.tls === void 0 ? void 0 : {
        ...locate(folder),
        webUrl: `https://localhost:${ports.webTls}`,
        wsUrl: `wss://localhost:${ports.webTls}`,
        serviceUrl: `pulsar+ssl://localhost:${ports.brokerTls}`
      },
      token,
      grant: (role, actions) =>
        Effect5.orDie(Effect5.asVoid(
          broker.admin("POST", `namespaces/public/default/permissions/${encodeURIComponent(role)}`, actions)
        ))
    }
  })

// ../../../tmp/ps/storm.ts
import { createRequire } from "node:module"
var { WebSocket } = createRequire("/work/main/node_modules/x.js")("ws")
var n = Number(process.argv[2] ?? 10)
var how = process.argv[3] ?? "kill"
var settings2 = JSON.parse(process.argv[4] ?? "{}")
await Effect6.runPromise(Effect6.scoped(Effect6.gen(function*() {
  const t0 = Date.now()
  const p = yield* startPulsar("/root/.cache/trustlog/pulsar-4.0.8", { settings: settings2 })
  const log = fs4.realpathSync(`/proc/${p.pid}/cwd`) + "/pulsar.log"
  console.log("made", Date.now() - t0, log)
  let lines = 0
  for (let i = 0; i < n; i++) {
    const topic = `persistent/public/default/t${i}`
    const c0 = Date.now()
    const e = yield* Effect6.exit(p.admin("PUT", topic))
    const c1 = Date.now()
    const s = new WebSocket(`${p.wsUrl}/ws/v2/producer/${topic}`)
    let acks = 0
    s.on("error", (e2) => console.log("ws", e2.message))
    s.on("open", () => {
      for (let k = 0; k < 300; k++)
        s.send(JSON.stringify({ payload: Buffer.alloc(600).toString("base64"), context: "" + k }))
    })
    s.on("message", () => {
      acks++
      s.send(JSON.stringify({ payload: Buffer.alloc(600).toString("base64"), context: "x" }))
    })
    yield* Effect6.sleep(800)
    yield* how === "kill" ? p.kill : p.stop
    const t = Date.now()
    yield* p.start
    const up = Date.now() - t
    if (process.argv[5]) yield* Effect6.sleep(Number(process.argv[5]))
    const text = fs4.readFileSync(log, "utf8").split("\n")
    const added = text.slice(lines)
    lines = text.length
    console.log(
      i,
      e._tag,
      "create",
      c1 - c0,
      "acks",
      acks,
      "start",
      up,
      "log lines",
      added.length,
      "deleted",
      added.filter((l) => /Bookie .* deleted/.test(l)).length
    )
    if (added.length > 3e3) fs4.writeFileSync("/tmp/ps/storm.log", added.slice(0, 5e3).join("\n"))
  }
})))
