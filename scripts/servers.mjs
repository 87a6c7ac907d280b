// What `npm run servers` runs: gets the servers of the tests that npm cannot bring. MariaDB and PgBouncer are packages of the
// system. MySQL is a package of Debian unstable only, and conflicts with MariaDB: it goes into a cache folder with the libraries
// that it needs, and an empty data folder to copy. Apache Pulsar is its own distribution, which Maven gets, in the same cache.
// What is there already is left alone.
import { spawn, spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import { once } from "node:events"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { setTimeout } from "node:timers/promises"

const isRoot = process.getuid?.() === 0
const environment = {
  ...process.env,
  DEBIAN_FRONTEND: "noninteractive",
  PATH: `${process.env.PATH}${path.delimiter}/usr/sbin${path.delimiter}/sbin`
}

const fail = (message) => {
  process.stderr.write(
    `${message}\nWithout it: docker compose up, or a server's URL in the environment (test/servers/README.md).\n`
  )
  process.exit(1)
}

const has = (name) => environment.PATH.split(path.delimiter).some((folder) => fs.existsSync(path.join(folder, name)))

const run = (command, ...args) => {
  process.stdout.write(`${[command, ...args].join(" ")}\n`)
  const { error, status } = spawnSync(command, args, { env: environment, stdio: "inherit" })
  if (error !== undefined || status !== 0) {
    throw new Error(`${command} failed: ${error?.message ?? `it ended with ${status}`}`)
  }
}

const runAsRoot = (...command) => {
  if (isRoot) return run(...command)
  if (has("sudo")) return run("sudo", "-n", ...command)
  throw new Error(`run this as root: ${command.join(" ")}`)
}

const packages = [
  ["mariadbd", "mariadb-server-core"],
  ["pgbouncer", "pgbouncer"],
  ["ps", "procps"],
  ["java", "default-jre-headless"],
  ["openssl", "openssl"]
]

const cache = process.env.TRUSTLOG_CACHE ?? path.join(os.homedir(), ".cache", "trustlog")

// Another run may have been first.
const finish = (partial, folder) => {
  try {
    fs.renameSync(partial, folder)
  } catch (error) {
    if (!fs.existsSync(folder)) throw error
  }
}

const install = (wanted) => {
  const missing = wanted.filter(([program]) => !has(program)).flatMap(([, ...names]) => names)
  if (missing.length === 0) return
  if (!has("apt-get")) throw new Error(`this system has no apt-get; install what has ${missing.join(", ")}`)
  runAsRoot("apt-get", "update", "--quiet")
  runAsRoot("apt-get", "install", "--quiet", "--yes", "--no-install-recommends", ...missing)
}

// The mirror that apt uses for this system's own packages, in either of the two forms of its lists.
const mirror = () => {
  const release = Object.fromEntries(
    fs.readFileSync("/etc/os-release", "utf8").split("\n").map((line) => line.replaceAll("\"", "").split("="))
  )
  if (release.ID !== "debian") throw new Error("MySQL comes from Debian's archive, and this system is not Debian")
  const folder = "/etc/apt/sources.list.d"
  const lists = ["/etc/apt/sources.list", ...fs.readdirSync(folder).sort().map((name) => path.join(folder, name))]
    .filter((file) => fs.existsSync(file))
    .map((file) => [file, fs.readFileSync(file, "utf8").replace(/^\s*#.*\n?/gm, "")])
  const sources = lists.flatMap(([file, text]) =>
    file.endsWith(".sources")
      ? text.split(/\n\s*\n/).map((stanza) => {
        const field = (name) =>
          (new RegExp(`^${name}:(.*(?:\\n[ \\t].*)*)`, "im").exec(stanza)?.[1] ?? "").split(/\s+/).filter(Boolean)
        const isEnabled = field("Types").includes("deb") && field("Enabled")[0] !== "no"
        return isEnabled ? { uris: field("URIs"), suites: field("Suites"), components: field("Components") } : undefined
      })
      : text.split("\n").map((line) => {
        const [, uri, suite, components] = /^\s*deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+(.*)/.exec(line) ?? []
        return uri && { uris: [uri], suites: [suite], components: components.split(/\s+/) }
      })
  ).filter(Boolean)
  const uris = sources
    .filter(({ components, suites }) => suites.includes(release.VERSION_CODENAME) && components.includes("main"))
    .flatMap(({ uris }) => uris)
    .flatMap((uri) =>
      uri.startsWith("mirror+file:")
        ? fs.readFileSync(uri.slice("mirror+file:".length), "utf8").split(/\s+/).filter((word) => /^https?:/.test(word))
        : [uri]
    )
  const found = uris.find((uri) => /\/debian\/?$/.test(uri)) ?? uris[0]
  if (found === undefined) throw new Error("the lists of apt name no mirror of Debian")
  return found
}

// The server runs with the libraries of its own system, without entering it: so it may run as anybody, on any folder.
const mysqld = `#!/bin/sh
here=$(dirname "$0")/root
set -- --no-defaults --basedir="$here/usr" --lc-messages-dir="$here/usr/share/mysql" \\
  --character-sets-dir="$here/usr/share/mysql/charsets" --plugin-dir="$here/usr/lib/mysql/plugin" --secure-file-priv= "$@"
for loader in "$here"/lib*/ld-linux*; do
  exec "$loader" --library-path "$(echo "$here"/usr/lib/*-linux-gnu*):$here/usr/lib" "$here/usr/sbin/mysqld" "$@"
done
`

const mysql = () => {
  const folder = path.join(cache, "mysql-9.7")
  if (fs.existsSync(folder)) return
  install([["debootstrap", "debootstrap", "debian-archive-keyring"]])
  const partial = `${folder}.${process.pid}`
  const root = path.join(partial, "root")
  fs.mkdirSync(partial, { recursive: true })
  try {
    runAsRoot(
      "debootstrap",
      "--force-check-gpg",
      "--variant=minbase",
      "--include=mysql-server-core",
      "sid",
      root,
      mirror()
    )
    runAsRoot("sh", "-c", "rm -rf \"$1\"/var/cache/apt/archives \"$1\"/var/lib/apt/lists", "sh", root)
    const script = path.join(partial, "mysqld")
    fs.writeFileSync(script, mysqld, { mode: 0o755 })
    fs.writeFileSync(
      path.join(partial, "init.sql"),
      "CREATE USER 'root'@'127.0.0.1';\nGRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;\n"
    )
    const data = path.join(partial, "data")
    run(
      script,
      "--initialize-insecure",
      `--datadir=${data}`,
      `--init-file=${path.join(partial, "init.sql")}`,
      "--innodb-redo-log-capacity=8M",
      ...isRoot ? ["--user=root"] : []
    )
    // Each copy is a server of its own.
    fs.rmSync(path.join(data, "auto.cnf"))
    finish(partial, folder)
  } finally {
    if (fs.existsSync(partial)) runAsRoot("rm", "-rf", partial)
  }
}

const pulsarVersion = "4.0.8"
const pulsarDigest =
  "65b769b10696cdfebf7fc5bcdc95dd663702e27051e616c1a13cb100e91279525be35352171befe7b0011176330aab29bd0a6c8a0f2f0646641af46d2e33cbd6"

// Java as Pulsar's own scripts start it, for a small machine: the quick compiler is enough for what a test does. Temporary files
// are in the folder where it is started, the libraries that it unpacks too: one that is killed leaves them behind.
const java = `#!/bin/sh
here=$(dirname "$0")
exec "\${JAVA_HOME:+$JAVA_HOME/bin/}java" -cp "$here/lib/*" -Dlog4j.configurationFile="$here/conf/log4j2.yaml" \\
  "\${CLASSES:--XX:SharedArchiveFile=$here/classes.jsa}" -Xms128m -Xmx512m -XX:MaxDirectMemorySize=512m \\
  -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.io.tmpdir="$PWD" -Djava.net.preferIPv4Stack=true \\
  -Dpulsar.log.dir="$PWD" -Dlog4j2.is.webapp=false -Dlog4j.shutdownHookEnabled=false \\
  -Dio.netty.tryReflectionSetAccessible=true -Dorg.apache.pulsar.shade.io.netty.tryReflectionSetAccessible=true \\
  --add-opens=java.base/java.io=ALL-UNNAMED --add-opens=java.base/java.nio=ALL-UNNAMED \\
  --add-opens=java.base/java.util.zip=ALL-UNNAMED --add-opens=java.base/jdk.internal.misc=ALL-UNNAMED \\
  --add-opens=java.base/jdk.internal.platform=ALL-UNNAMED --add-opens=java.management/sun.management=ALL-UNNAMED \\
  --add-opens=jdk.management/com.sun.management.internal=ALL-UNNAMED --enable-native-access=ALL-UNNAMED \\
  -Dbookkeeper.metadata.bookie.drivers=org.apache.pulsar.metadata.bookkeeper.PulsarMetadataBookieDriver \\
  -Dbookkeeper.metadata.client.drivers=org.apache.pulsar.metadata.bookkeeper.PulsarMetadataClientDriver "$@"
`

// The classes of a broker as Java has them once they are loaded: with these, others start with a third less work. Java takes them
// only for the libraries that they are from, at the same paths.
const archive = async (folder) => {
  const file = path.join(folder, "classes.jsa")
  if (fs.existsSync(file)) return
  process.stdout.write("starting Pulsar once, for the archive of its classes\n")
  const work = fs.mkdtempSync(path.join(os.tmpdir(), "trustlog-pulsar-"))
  let broker
  try {
    const configuration = path.join(work, "standalone.conf")
    const own = ["bindAddress=127.0.0.1", "advertisedAddress=127.0.0.1", "webServicePort=0", "brokerServicePort=0"]
    const shipped = fs.readFileSync(path.join(folder, "conf", "standalone.conf"), "utf8")
    fs.writeFileSync(configuration, [shipped, ...own, ""].join("\n"))
    broker = spawn(
      path.join(folder, "java"),
      [
        "org.apache.pulsar.PulsarStandaloneStarter",
        "--no-functions-worker",
        "--no-stream-storage",
        `--config=${configuration}`,
        `--metadata-dir=${path.join(work, "metadata")}`,
        `--bookkeeper-dir=${path.join(work, "bookkeeper")}`
      ],
      { cwd: work, env: { ...environment, CLASSES: `-XX:ArchiveClassesAtExit=${path.join(work, "classes.jsa")}` } }
    )
    const ended = once(broker, "close")
    let said = ""
    for (const output of [broker.stdout, broker.stderr]) output.setEncoding("utf8").on("data", (text) => said += text)
    let port
    while (port === undefined && broker.exitCode === null) {
      await setTimeout(100)
      port = /bootstrap service port = (\d+)/.exec(said)?.[1]
    }
    if (port === undefined)
      throw new Error(`Pulsar, which needs Java 17 or later, did not start:\n${said.slice(-4000)}`)
    await fetch(`http://127.0.0.1:${port}/admin/v2/brokers/health`)
    broker.kill("SIGTERM")
    await ended
    const made = path.join(work, "classes.jsa")
    // A Java without an archive of its own makes none.
    if (!fs.existsSync(made)) return
    fs.copyFileSync(made, `${file}.${process.pid}`)
    fs.renameSync(`${file}.${process.pid}`, file)
  } finally {
    broker?.kill("SIGKILL")
    fs.rmSync(work, { recursive: true, force: true })
  }
}

const pulsar = (folder) => {
  if (fs.existsSync(folder)) return
  install([["mvn", "maven"]])
  const partial = `${folder}.${process.pid}`
  // A repository of its own: what stays is unpacked, and not here twice.
  const repository = path.join(partial, "repository")
  fs.mkdirSync(repository, { recursive: true })
  try {
    run(
      "mvn",
      "-B",
      "-q",
      `-Dmaven.repo.local=${repository}`,
      "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:get",
      "-Dtransitive=false",
      `-Dartifact=org.apache.pulsar:pulsar-server-distribution:${pulsarVersion}:tar.gz:bin`
    )
    const archive = path.join(
      repository,
      "org/apache/pulsar/pulsar-server-distribution",
      pulsarVersion,
      `pulsar-server-distribution-${pulsarVersion}-bin.tar.gz`
    )
    const digest = createHash("sha512").update(fs.readFileSync(archive)).digest("hex")
    if (digest !== pulsarDigest)
      throw new Error(`Pulsar's archive is not the one that is known here: it has SHA-512 ${digest}`)
    const root = `apache-pulsar-${pulsarVersion}`
    run("tar", "-xzf", archive, "-C", partial, "--strip-components=1", `${root}/lib`, `${root}/conf`)
    fs.rmSync(repository, { recursive: true })
    finish(partial, folder)
  } finally {
    fs.rmSync(partial, { recursive: true, force: true })
  }
}

try {
  install(packages)
  const pulsarFolder = path.join(cache, `pulsar-${pulsarVersion}`)
  pulsar(pulsarFolder)
  const script = path.join(pulsarFolder, "java")
  fs.writeFileSync(`${script}.${process.pid}`, java, { mode: 0o755 })
  fs.renameSync(`${script}.${process.pid}`, script)
  await archive(pulsarFolder)
  mysql()
} catch (error) {
  fail(`npm run servers: ${error.message}`)
}
process.stdout.write("the servers of the tests are there\n")
