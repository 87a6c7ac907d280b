/**
 * The program as processes: killed, frozen, doubled, and given more than fits in memory.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { createInterface } from "node:readline"
import { setTimeout as pause } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import * as Sqlite from "../src/Database/Sqlite.ts"
import { Repository } from "../src/Repository.ts"
import * as Sql from "../src/Repository/Sql.ts"
import { bundle } from "./Program.ts"
import * as runtime from "./runtime.ts"

const bin = fileURLToPath(new URL("../dist/cli/bin.js", import.meta.url))

/** A short lease, so that a test need not wait long for a dead process's lanes. */
const lease = 2000

interface Result {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
  /** The most memory it ever had, in bytes, where the system tells. */
  readonly peak: number
}

/** A folder with a database and a ledger of its own. */
class Place {
  readonly folder = fs.mkdtempSync(path.join(os.tmpdir(), "trustlog-process-"))
  readonly children = new Set<ChildProcess>()

  start(...args: ReadonlyArray<string>): ChildProcess {
    return this.watch(spawn(...runtime.running(bin, ...args), {
      cwd: this.folder,
      env: { ...process.env, TRUSTLOG_LEASE: `${lease}ms` },
      stdio: ["ignore", "pipe", "pipe"]
    }))
  }

  watch(child: ChildProcess): ChildProcess {
    this.children.add(child)
    child.once("exit", () => this.children.delete(child))
    return child
  }

  async run(...args: ReadonlyArray<string>): Promise<Result> {
    const child = this.start(...args)
    const output = { stdout: "", stderr: "" }
    child.stdout?.on("data", (text) => output.stdout += text)
    child.stderr?.on("data", (text) => output.stderr += text)
    let peak = 0
    const watch = setInterval(() => {
      try {
        const status = fs.readFileSync(`/proc/${child.pid}/status`, "utf8")
        peak = Math.max(peak, Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024)
      } catch {
        // It has just ended, or this system does not tell.
      }
    }, 20)
    const [code] = await once(child, "close")
    clearInterval(watch)
    return { code, peak, ...output }
  }

  async json(...args: ReadonlyArray<string>) {
    const { stdout } = await this.run(...args, "--json")
    return JSON.parse(stdout)
  }

  /** How many entries the ledger has. */
  ledgerSize(): number {
    const checkpoint = fs.readFileSync(path.join(this.folder, "trustlog-ledger", "checkpoint"), "utf8")
    return Number(checkpoint.split("\n")[1])
  }

  write(name: string, count: number, from = 0): string {
    const file = path.join(this.folder, name)
    const fd = fs.openSync(file, "w")
    for (let n = from; n < from + count; n += 1000) {
      const lines = Array.from({ length: Math.min(1000, from + count - n) }, (_, i) =>
        JSON.stringify({
          id: `00000000-0000-7000-8000-${(n + i).toString(16).padStart(12, "0")}`,
          kind: (n + i) % 4 === 0 ? "record" : "operation",
          actor: `user-${(n + i) % 97}`,
          action: "document.read",
          target: `document/${n + i}`,
          payload: { note: "x".repeat(200), n: n + i }
        }))
      fs.writeSync(fd, lines.join("\n") + "\n")
    }
    fs.closeSync(fd)
    return file
  }

  close(): void {
    for (const child of this.children) child.kill("SIGKILL")
    fs.rmSync(this.folder, { recursive: true, force: true })
  }
}

const inPlace = (body: (place: Place) => Promise<void>) => async () => {
  const place = new Place()
  try {
    await body(place)
  } finally {
    place.close()
  }
}

/** Waits until something holds; the test's own limit ends it otherwise. */
const until = async (condition: () => boolean | Promise<boolean>): Promise<void> => {
  while (!(await condition())) await pause(10)
}

const kill = async (child: ChildProcess): Promise<void> => {
  child.kill("SIGKILL")
  await once(child, "exit")
}

const lines = (child: ChildProcess): Array<string> => {
  const seen: Array<string> = []
  if (child.stdout !== null) createInterface(child.stdout).on("line", (line) => seen.push(line))
  return seen
}

/** Who owns the lanes, asked of the database itself: a command takes too long to start for what is measured. */
const asking = async (
  place: Place,
  body: (owners: () => Promise<ReadonlyArray<string | null>>) => Promise<void>
): Promise<void> => {
  const filename = path.join(place.folder, "trustlog.db")
  const runtime = ManagedRuntime.make(Layer.provide(Sql.layer(), Sqlite.layer({ filename })))
  const lanes = Effect.flatMap(Repository, (repository) => repository.lanes)
  try {
    await body(async () => (await runtime.runPromise(lanes)).map(({ owner }) => owner))
  } finally {
    await runtime.dispose()
  }
}

describe("a hundred thousand operations", () => {
  it(
    "are appended, killed in the middle and begun again, delivered and verified, in memory that does not grow",
    inPlace(async (place) => {
      const small = place.write("small.jsonl", 30_000)
      const large = place.write("large.jsonl", 100_000)
      await place.run("init")
      const little = await place.run("append", small, "--json")
      assert.deepInclude(JSON.parse(little.stdout), { read: 30_000, appended: 30_000, duplicates: 0, rejected: 0 })

      const killed = place.start("append", large)
      await until(async () => (await place.json("status")).pending > 40_000)
      await kill(killed)
      const rest = await place.run("append", large, "--json")
      const { appended, duplicates, read } = JSON.parse(rest.stdout)
      assert.strictEqual(read, 100_000)
      assert.strictEqual(appended + duplicates, 100_000)
      assert.isAbove(appended, 0)
      assert.isAbove(duplicates, 30_000)
      if (little.peak > 0) assert.isBelow(rest.peak, little.peak * 1.5)

      const drained = await place.run("drain", "--json")
      assert.deepStrictEqual(JSON.parse(drained.stdout), {
        delivered: 100_000,
        refused: 0,
        dead: 0,
        pending: 0,
        retrying: 0,
        paused: []
      })
      const verified = await place.run("verify", "--json")
      assert.deepInclude(JSON.parse(verified.stdout), {
        verdict: "complete",
        operations: 100_000,
        delivered: 100_000,
        ledgerSize: 100_001
      })
      assert.strictEqual(verified.code, 0)
    }),
    600_000
  )
})

describe("run", () => {
  it(
    "killed twenty times while it delivers loses nothing, and the ledger holds each id once",
    inPlace(async (place) => {
      await place.run("init")
      await place.run("append", place.write("all.jsonl", 60_000))
      for (let round = 0; round < 20; round++) {
        const before = place.ledgerSize()
        const child = place.start("run")
        await until(() => place.ledgerSize() > before || child.exitCode !== null)
        // Some moment of the next few pages.
        await pause((round * 37) % 120)
        await kill(child)
      }
      assert.isBelow(place.ledgerSize(), 60_001, "it was killed while there was work left")
      const drained = await place.json("drain")
      assert.deepInclude(drained, { pending: 0, retrying: 0, dead: 0 })
      const verified = await place.json("verify")
      assert.deepInclude(verified, {
        verdict: "complete",
        operations: 60_000,
        delivered: 60_000,
        ledgerSize: 60_001,
        missingTotal: 0,
        alteredTotal: 0,
        surplusTotal: 0
      })
    }),
    600_000
  )

  it(
    "twice on one database shares the lanes; when one is killed the other owns all within the lease and two seconds",
    inPlace(async (place) => {
      await place.run("init")
      const first = place.start("run")
      const second = place.start("run")
      await asking(place, async (owners) => {
        const areOwned = async (members: number) => {
          const found = await owners()
          return new Set(found).size === members && !found.includes(null)
        }
        await until(() => areOwned(2))
        await kill(first)
        const killedAt = performance.now()
        await until(() => areOwned(1))
        assert.isBelow(performance.now() - killedAt, lease + 2000)
        second.kill("SIGTERM")
        const [code] = await once(second, "exit")
        assert.strictEqual(code, 0)
        assert.deepStrictEqual(await owners(), [null, null])
      })
    }),
    300_000
  )

  it(
    "frozen while it publishes settles nothing when it wakes up and another has taken over",
    inPlace(async (place) => {
      await place.run("init")
      await place.run("append", place.write("few.jsonl", 3, 1))
      const program = await bundle(fileURLToPath(new URL("./programs/slowWorker.ts", import.meta.url)))
      const database = path.join(place.folder, "trustlog.db")
      const start = (wait: string) =>
        place.watch(spawn(...runtime.running(program, database, wait), { stdio: ["ignore", "pipe", "pipe"] }))
      const frozen = start("300")
      const said = lines(frozen)
      let logged = ""
      frozen.stderr?.on("data", (data) => logged += data)
      await until(() => said.some((line) => line.startsWith("publishing")))
      frozen.kill("SIGSTOP")
      const delivering = start("0")
      delivering.stderr?.resume()
      await until(async () => (await place.json("status")).delivered === 3)
      const settled = await place.json("status")
      frozen.kill("SIGCONT")
      // Whichever of its timers comes first: it hears from the log, or notices that the lane is not its own any more.
      await until(() => said.includes("published") || logged.includes("taken over"))
      frozen.kill("SIGTERM")
      await once(frozen, "exit")
      await kill(delivering)
      const after = await place.json("status")
      assert.strictEqual(after.delivered, 3)
      assert.strictEqual(settled.delivered, 3)
      assert.deepInclude(after, { pending: 0, retrying: 0, dead: 0 })
    }),
    300_000
  )

  it(
    "busy, with writers beside it, gives verify no false alarm",
    inPlace(async (place) => {
      await place.run("init")
      await place.run("append", place.write("first.jsonl", 5000))
      const worker = place.start("run")
      const verdicts: Array<string> = []
      for (let round = 1; round <= 5; round++) {
        const writer = place.run("append", place.write(`${round}.jsonl`, 5000, round * 5000))
        const report = await place.json("verify")
        verdicts.push(report.verdict)
        assert.deepInclude(report, { missing: [], altered: [], surplus: [] })
        await writer
      }
      assert.notInclude(verdicts, "tampered")
      worker.kill("SIGTERM")
      const [code] = await once(worker, "exit")
      assert.strictEqual(code, 0)
      await place.run("drain")
      assert.deepInclude(await place.json("verify"), { verdict: "complete", operations: 30_000 })
    }),
    300_000
  )
})
