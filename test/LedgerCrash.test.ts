/**
 * A ledger whose writer dies, fails or freezes: nothing that was acknowledged is lost, every id is there once, and the
 * tree verifies.
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import { assert, describe, it } from "@effect/vitest"
import { hexToBytes } from "@noble/hashes/utils.js"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { type ChildProcess, execFile, spawn } from "node:child_process"
import * as fs from "node:fs/promises"
import * as os from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { afterAll, beforeAll } from "vitest"
import * as Envelope from "../src/Envelope.ts"
import * as Ledger from "../src/Ledger.ts"
import * as Faulty from "./FaultyFileSystem.ts"
import { bundle } from "./Program.ts"
import { idOf, messages } from "./messages.ts"
import * as runtime from "./runtime.ts"

let root = ""
let program = ""
beforeAll(async () => {
  root = await fs.mkdtemp(path.join(os.tmpdir(), "trustlog-crash-"))
  program = await bundle(fileURLToPath(new URL("./programs/appendToLedger.ts", import.meta.url)))
})
afterAll(() => fs.rm(root, { recursive: true }))

const run = <A, E>(effect: Effect.Effect<A, E, NodeContext.NodeContext>): Promise<A> =>
  Effect.runPromise(Effect.provide(effect, NodeContext.layer))

const acknowledgedBy = (appended: Ledger.Appended): number =>
  appended.outcomes.filter((outcome) => outcome._tag === "Acknowledged").length

const append = (ledger: string, from: number, to: number) =>
  Effect.scoped(Effect.flatMap(Ledger.make({ path: ledger }), (opened) => opened.append(messages(from, to))))

/** The ids in a ledger that verifies, without the birth record. */
const idsIn = (ledger: string) =>
  Effect.gen(function*() {
    const reader = yield* Ledger.read(ledger)
    assert.deepStrictEqual(Chunk.toReadonlyArray(yield* Stream.runCollect(reader.findings)), [])
    assert.isTrue(Either.isRight(reader.remembered))
    const entries = yield* Stream.runCollect(reader.entries(1, Infinity))
    assert.strictEqual(entries.length, reader.checkpoint.size - 1)
    return Chunk.toReadonlyArray(entries).map((entry) => Either.getOrThrow(Envelope.decode(entry.bytes)).id)
  })

const ids = (from: number, to: number): ReadonlyArray<string> =>
  Array.from({ length: to - from }, (_, i) => idOf(from + i))

let copies = 0

const execute = promisify(execFile)

/**
 * A copy of a ledger and its key, to be spoilt. It is made by another process: one that opens and closes the file of an
 * SQLite database loses the locks that it has on it.
 */
const copyOf = async (ledger: string): Promise<string> => {
  const copy = path.join(root, `copy-${copies++}`)
  await execute("cp", ["-r", ledger, copy])
  await execute("cp", [`${ledger}.key`, `${copy}.key`])
  return copy
}

/** A ledger of 1 + `size` entries, appended one batch after another so that there are partial tiles. */
const ledgerOf = async (name: string, size: number): Promise<string> => {
  const ledger = path.join(root, name)
  await run(Ledger.init({ path: ledger }))
  const middle = Math.floor(size / 2)
  if (middle > 0) await run(append(ledger, 0, middle))
  if (size > middle) await run(append(ledger, middle, size))
  return ledger
}

/** What becomes of the operation with a number, and of those after it. */
const faults: Record<string, (at: number) => Faulty.Gate> = {
  "fails once": (at) => (call) => call.index === at ? Effect.fail(Faulty.failure(call)) : Effect.void,
  "is the last that fails, with all after it": (at) => (call) =>
    call.index >= at ? Effect.fail(Faulty.failure(call)) : Effect.void,
  "is done by half, and none after it": (at) => (call) =>
    call.index < at
      ? Effect.void
      : call.index === at
      ? Effect.zipRight(call.half, Effect.fail(Faulty.failure(call)))
      : Effect.fail(Faulty.failure(call))
}

const countCalls = async (effect: (files: Layer.Layer<NodeContext.NodeContext>) => Promise<unknown>) => {
  const calls: Array<string> = []
  await effect(faulty((call) => Effect.sync(() => void calls.push(`${call.operation} ${call.path}`))))
  return calls
}

const faulty = (gate: Faulty.Gate): Layer.Layer<NodeContext.NodeContext> =>
  Layer.provideMerge(Faulty.layer(gate), NodeContext.layer)

describe("a file operation of an append", () => {
  for (const [title, gateAt] of Object.entries(faults)) {
    it(`${title}: each of them in turn`, async () => {
      // The batch fills a tile of each kind and begins others.
      const base = await ledgerOf(`base-${title.length}`, 300)
      const before = await run(Ledger.read(base))
      const appendWith = (ledger: string, files: Layer.Layer<NodeContext.NodeContext>) =>
        Effect.runPromise(Effect.either(Effect.provide(append(ledger, 295, 600), files)))
      const calls = await countCalls(async (files) => appendWith(await copyOf(base), files))
      assert.isAbove(calls.length, 30)
      for (let at = 0; at < calls.length; at++) {
        const ledger = await copyOf(base)
        const result = await appendWith(ledger, faulty(gateAt(at)))
        const where = `${at}: ${calls[at]}`
        const acknowledged = Either.isRight(result) ? acknowledgedBy(result.right) : 0
        const left = await run(idsIn(ledger))
        assert.isAtLeast(left.length, Math.max(300, 295 + acknowledged), where)
        assert.deepStrictEqual(left.slice(0, 300), ids(0, 300), where)
        const { checkpoint, outcomes } = await run(append(ledger, 295, 605))
        assert.strictEqual(outcomes.filter((outcome) => outcome._tag === "Acknowledged").length, 310, where)
        assert.strictEqual(checkpoint?.size, 606, where)
        assert.deepStrictEqual(await run(idsIn(ledger)), ids(0, 605), where)
        const after = await run(Ledger.read(ledger))
        const proof = await run(after.consistencyProof(before.checkpoint.size))
        assert.isTrue(
          Ledger.verifyConsistency({
            oldSize: before.checkpoint.size,
            oldRoot: hexToBytes(before.checkpoint.root),
            newSize: after.checkpoint.size,
            newRoot: hexToBytes(after.checkpoint.root),
            proof
          }),
          where
        )
        await fs.rm(ledger, { recursive: true })
      }
    })

    it(`${title}, while a ledger is born: each of them in turn`, async () => {
      let births = 0
      const begin = (files: Layer.Layer<NodeContext.NodeContext>) => {
        const ledger = path.join(root, `birth-${title.length}-${births++}`)
        return Effect.runPromise(Effect.either(Effect.provide(Ledger.init({ path: ledger }), files))).then(() => ledger)
      }
      const calls = await countCalls(begin)
      assert.isAbove(calls.length, 20)
      for (let at = 0; at < calls.length; at++) {
        const where = `${at}: ${calls[at]}`
        const ledger = await begin(faulty(gateAt(at)))
        const { origin } = await run(Ledger.init({ path: ledger }))
        assert.strictEqual((await run(Ledger.init({ path: ledger }))).origin, origin, where)
        await run(append(ledger, 0, 3))
        assert.deepStrictEqual(await run(idsIn(ledger)), ids(0, 3), where)
        const left = (await fs.readdir(ledger)).filter((name) => !name.startsWith("ledger.db"))
        assert.deepStrictEqual(left.sort(), ["checkpoint", "tile", "vkey"], where)
        await fs.rm(ledger, { recursive: true })
      }
    })
  }
})

/** A process that appends, and what it has acknowledged so far. */
const appender = (args: ReadonlyArray<string | number>) => {
  const child = spawn(...runtime.running(program, ...args.map(String)), { stdio: ["ignore", "pipe", "pipe"] })
  let output = ""
  let errors = ""
  let onOutput = () => {}
  child.stdout.on("data", (data) => {
    output += data
    onOutput()
  })
  child.stderr.on("data", (data) => errors += data)
  const lines = () => output.slice(0, output.lastIndexOf("\n") + 1).split("\n").filter((line) => line !== "")
  return {
    child,
    lines,
    /** Completes when it has acknowledged so many. */
    reached: (count: number) =>
      new Promise<void>((resolve) => {
        onOutput = () => lines().length >= count && resolve()
        onOutput()
      }),
    exited: exitOf(child).then((exit) => ({ ...exit, errors }))
  }
}

const exitOf = (child: ChildProcess) =>
  new Promise<{ readonly code: number | null; readonly signal: string | null }>((resolve) =>
    child.on("close", (code, signal) => resolve({ code, signal }))
  )

/** Waits until the system says that a process is stopped. */
const stopped = async (pid: number): Promise<void> => {
  while (!/^State:\s+T/m.test(await fs.readFile(`/proc/${pid}/status`, "utf8"))) {
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

const assertHeld = async (ledger: string, lines: ReadonlyArray<string>) => {
  const held = await run(idsIn(ledger))
  for (const line of lines) {
    const [id, index] = line.split(" ")
    assert.strictEqual(held[Number(index) - 1], id)
  }
  assert.strictEqual(new Set(held).size, held.length)
}

describe("a process that appends", () => {
  it("is killed before each of its file operations in turn", async () => {
    const base = await ledgerOf("base-kill", 254)
    const whole = await copyOf(base)
    const calls = await countCalls((files) => Effect.runPromise(Effect.provide(append(whole, 250, 260), files)))
    const kill = async (at: number) => {
      const ledger = await copyOf(base)
      const victim = appender([ledger, 250, 1, 10, "SIGKILL", at])
      const { errors, signal } = await victim.exited
      assert.strictEqual(signal, "SIGKILL", `${at}: ${calls[at]}: ${errors}`)
      await assertHeld(ledger, victim.lines())
      await run(append(ledger, 250, 260))
      assert.deepStrictEqual(await run(idsIn(ledger)), ids(0, 260), `${at}: ${calls[at]}`)
      await fs.rm(ledger, { recursive: true })
    }
    for (let at = 0; at < calls.length; at += 2) {
      await Promise.all([kill(at), ...at + 1 < calls.length ? [kill(at + 1)] : []])
    }
  })

  it("is killed at any moment, ten times", async () => {
    const ledger = await ledgerOf("random-kill", 0)
    let first = 0
    for (let round = 0; round < 10; round++) {
      const victim = appender([ledger, first, 1000, 40])
      await victim.reached(40 * (1 + round % 3))
      await new Promise((resolve) => setTimeout(resolve, (round * 7) % 23))
      victim.child.kill("SIGKILL")
      await victim.exited
      await assertHeld(ledger, victim.lines())
      // The batch whose answer nobody has heard is sent again.
      first += victim.lines().length
    }
    await run(append(ledger, first, first + 40))
    const held = await run(idsIn(ledger))
    assert.deepStrictEqual(held.slice(0, first + 40), ids(0, first + 40))
  })

  it("shares the ledger with three others, and each id is there once", async () => {
    const ledger = await ledgerOf("four", 0)
    // Each pair sends the same ids.
    const four = [0, 0, 5000, 5000].map((first) => appender([ledger, first, 10, 30]))
    for (const each of four) assert.deepInclude(await each.exited, { code: 0 })
    for (const each of four) {
      assert.strictEqual(each.lines().length, 300)
      await assertHeld(ledger, each.lines())
    }
    assert.deepStrictEqual((await run(idsIn(ledger))).toSorted(), [...ids(0, 300), ...ids(5000, 5300)])
  })

  it("is frozen in the middle of an append: others report so after their wait, and go on when it wakes or dies", async () => {
    for (const end of ["SIGCONT", "SIGKILL"] as const) {
      const ledger = await ledgerOf(`frozen-${end}`, 10)
      const calls = await countCalls(async (files) => {
        const copy = await copyOf(ledger)
        await Effect.runPromise(Effect.provide(append(copy, 100, 130), files))
      })
      const rename = calls.findIndex((call) => call.startsWith("rename"))
      const frozen = appender([ledger, 100, 1, 30, "SIGSTOP", rename])
      const pid = frozen.child.pid ?? 0
      await stopped(pid)
      const failed = await run(Effect.scoped(Effect.gen(function*() {
        const waiting = yield* Ledger.make({ path: ledger, lockWait: "200 millis" })
        return [yield* Effect.flip(waiting.append(messages(200, 210))), yield* Effect.flip(waiting.health)]
      })))
      for (const error of failed) {
        assert.strictEqual(error.reason, "locked")
        assert.isTrue(error.isRetryable)
        assert.include(error.problem, "another process holds the ledger's append lock")
      }
      assert.deepStrictEqual(await run(idsIn(ledger)), ids(0, 10))
      const others = [300, 400, 500].map((first) => appender([ledger, first, 3, 10]))
      process.kill(pid, end)
      const { code } = await frozen.exited
      assert.strictEqual(code, end === "SIGCONT" ? 0 : null)
      for (const other of others) assert.deepInclude(await other.exited, { code: 0 })
      await run(append(ledger, 100, 130))
      for (const each of [frozen, ...others]) await assertHeld(ledger, each.lines())
      assert.deepStrictEqual(
        (await run(idsIn(ledger))).toSorted(),
        [...ids(0, 10), ...ids(100, 130), ...ids(300, 330), ...ids(400, 430), ...ids(500, 530)]
      )
    }
  })

  it("makes a new ledger together with seven others: there is one birth, and all append to it", async () => {
    const ledger = path.join(root, "together")
    const born = await Promise.all(
      Array.from({ length: 8 }, () => run(Ledger.init({ path: ledger, lockWait: "30 seconds" })))
    )
    assert.strictEqual(new Set(born.map(({ origin }) => origin)).size, 1)
    assert.strictEqual(born.filter(({ isNew }) => isNew).length, 1)
    await run(append(ledger, 0, 3))
    assert.deepStrictEqual(await run(idsIn(ledger)), ids(0, 3))
  })
})
