/**
 * The program as it is started where the package is installed, as the README says for the runtime.
 */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as fs from "node:fs/promises"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import * as runtime from "../runtime.ts"
import { makeSandbox } from "./sandbox.ts"

const packageFolder = fileURLToPath(new URL("../..", import.meta.url))

/** What is said before the command's own arguments. */
const words = (): [command: string, ...args: Array<string>] => {
  switch (runtime.name) {
    case "bun":
      return [process.execPath, "x", "--bun", "trustlog"]
    case "deno":
      return [process.execPath, "run", "-A", "npm:effect-trustlog"]
    default:
      return ["node_modules/.bin/trustlog"]
  }
}

it.scopedLive("is started by the runtime's own means, without another runtime", () =>
  Effect.gen(function*() {
    const cli = yield* makeSandbox
    yield* cli.write("package.json", JSON.stringify({ dependencies: { "effect-trustlog": "*" } }))
    yield* Effect.promise(async () => {
      await fs.mkdir(cli.file("node_modules/.bin"), { recursive: true })
      await fs.symlink(packageFolder, cli.file("node_modules/effect-trustlog"))
      await fs.symlink("../effect-trustlog/dist/cli/bin.js", cli.file("node_modules/.bin/trustlog"))
      await fs.chmod(cli.bin, 0o755)
      await fs.mkdir(cli.file("path"))
      await fs.symlink(process.execPath, cli.file(`path/${path.basename(process.execPath)}`))
    })
    const [command, ...before] = words()
    const env = { PATH: cli.file("path") }
    const run = (...args: ReadonlyArray<string>) =>
      Effect.scoped(Effect.flatMap(
        cli.spawned(command.startsWith("node_modules") ? cli.file(command) : command, [...before, ...args], { env }),
        ({ ended }) => ended
      ))
    const version = yield* run("--version")
    assert.match(version.stdout, /^\d+\.\d+\.\d+\n$/, version.stderr)
    assert.strictEqual((yield* run("init")).code, 0)
    const status = yield* run("status", "--json")
    assert.strictEqual(status.code, 0, status.stderr)
    assert.deepInclude(JSON.parse(status.stdout), { pending: 0, dead: 0 })
  }))
