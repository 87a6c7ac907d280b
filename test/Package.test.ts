/**
 * The package as it is published: what its tarball holds, and that it installs, type-checks and runs where it says that it does.
 * Older compilers are in a folder of their own, `test/packaging`; the runtimes are those of the other tests.
 */
import { assert, beforeAll, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll } from "vitest"
import lock from "../package-lock.json" with { type: "json" }
import packageJson from "../package.json" with { type: "json" }

const root = fileURLToPath(new URL("..", import.meta.url))
const compilers = fileURLToPath(new URL("packaging/node_modules/", import.meta.url))
const runtimes = fileURLToPath(new URL("runtimes/node_modules/", import.meta.url))

/** What a program wrote to its standard output; fails with all that it wrote. */
const run = (command: string, args: ReadonlyArray<string>, cwd: string): Promise<string> =>
  new Promise((resolve, reject) => {
    // Vitest's own variables would be taken for theirs by programs that know it.
    const env = Object.fromEntries(
      Object.entries(process.env).filter(([name]) => !/^(VITEST|NODE_OPTIONS|NODE_ENV|FORCE_COLOR)/.test(name))
    )
    execFile(
      command,
      args,
      { cwd, env: { ...env, NO_COLOR: "1" }, maxBuffer: 1 << 26 },
      (error, stdout, stderr) =>
        error === null
          ? resolve(stdout)
          : reject(new Error(`${[command, ...args].join(" ")}\n${stdout}${stderr}`, { cause: error }))
    )
  })

const place = fs.mkdtempSync(path.join(os.tmpdir(), "trustlog-package-"))
const app = path.join(place, "app")
afterAll(() => fs.rmSync(place, { recursive: true, force: true }))

interface Packed {
  readonly filename: string
  readonly size: number
  readonly unpackedSize: number
  readonly files: ReadonlyArray<{ readonly path: string }>
}

/** Packs what is built, and `test/build.ts` builds. */
const pack = async (): Promise<Packed> => {
  const args = ["pack", "--ignore-scripts", "--json", "--pack-destination", place]
  const [packed]: ReadonlyArray<Packed> = JSON.parse(await run("npm", args, root))
  if (packed === undefined) throw new Error("npm has packed nothing")
  return packed
}

const sources = fs.readdirSync(path.join(root, "src"), { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts"))
  .map((file) => file.slice(0, -".ts".length).split(path.sep).join("/"))

/** What can be imported of the package. */
const modules = sources
  .filter((module) => !/^(internal|cli)\//.test(module))
  .map((module) => module === "index" ? packageJson.name : `${packageJson.name}/${module}`)

/** Its declarations name @effect/rpc's, which need those of browsers. */
const cluster = `${packageJson.name}/Host/Cluster`

const tarball = pack()

const options = {
  target: "ES2022",
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  verbatimModuleSyntax: true,
  isolatedModules: true
}

/** A program knows the types of Node or those of browsers: none should need both. */
const modes = {
  "module nodenext": { ...options, module: "nodenext", lib: ["ES2022"], types: ["node"] },
  "moduleResolution bundler": { ...options, module: "esnext", moduleResolution: "bundler", types: [] }
}

/** An empty project, into which nothing is installed but the tarball and what that asks for. */
const install = async () => {
  fs.mkdirSync(app)
  const write = (name: string, content: unknown) =>
    fs.writeFileSync(path.join(app, name), typeof content === "string" ? content : JSON.stringify(content))
  write("package.json", { name: "app", private: true, type: "module" })
  // With the versions that everything else is tested with.
  write("package-lock.json", { ...lock, name: "app", packages: { ...lock.packages, "": { name: "app" } } })
  // No script: nothing is compiled, and nothing comes from elsewhere.
  await run("npm", ["install", "--ignore-scripts", "--omit=optional", path.join(place, (await tarball).filename)], app)
  for (const program of ["program.ts", "native.ts"]) {
    fs.copyFileSync(path.join(root, "test/packaging/consumer", program), path.join(app, program))
  }
  const importing = (names: ReadonlyArray<string>) =>
    names.map((name, i) => `export * as m${i} from "${name}"\n`).join("")
  write("modules.ts", importing(modules.filter((name) => name !== cluster)))
  write("cluster.ts", importing([cluster]))
  for (const [name, compilerOptions] of Object.entries(modes)) {
    write(`${name}.json`, { compilerOptions, files: ["program.ts", "modules.ts"] })
  }
  write("cluster.json", { compilerOptions: { ...modes["module nodenext"], skipLibCheck: true }, files: ["cluster.ts"] })
}

const needed = [
  ...["pulsar-client", "typescript5", "typescript6"].map((name) => [compilers, name] as const),
  ...["bun", "deno", "node22", "node24"].map((name) => [runtimes, name] as const)
]

/** Why there are no compilers or no runtimes; nothing where both are there. */
const missing: Array<string> = []
for (
  const folder of new Set(needed.flatMap(([at, name]) => fs.existsSync(path.join(at, name)) ? [] : path.dirname(at)))
) {
  await run("npm", ["ci"], folder).catch((error) =>
    missing.push(`the test of the package needs \`npm ci\` in ${folder}, which failed:\n${error}\n`)
  )
}
if (missing.length > 0 && process.env["CI"] === "true") throw new Error(missing.join(""))
for (const problem of missing) process.stderr.write(`SKIPPED: ${problem}`)

const compile = (version: number, args: ReadonlyArray<string>) =>
  run(process.execPath, [
    version === 7
      ? path.join(root, "node_modules/typescript/lib/tsc.js")
      : path.join(compilers, `typescript${version}/lib/tsc.js`),
    ...args
  ], app)

describe("the tarball", () => {
  it("holds the modules, their sources and the SQL, and nothing else", async () => {
    const { files, size, unpackedSize } = await tarball
    process.stdout.write(
      `${packageJson.name}: ${files.length} files, ${Math.round(size / 1000)} kB, unpacked ${
        Math.round(unpackedSize / 1000)
      } kB\n`
    )
    assert.sameMembers(files.map((file) => file.path), [
      "LICENSE",
      "README.md",
      "package.json",
      ...["README.md", "mysql.sql", "postgresql.sql", "sqlite.sql", "test_data.sql", "test_data_mysql.sql"]
        .map((file) => `sql/${file}`),
      ...sources.map((module) => `src/${module}.ts`),
      ...sources.flatMap((module) => ["js", "d.ts", "js.map", "d.ts.map"].map((ending) => `dist/${module}.${ending}`))
    ])
  })

  it("holds the source that each map names", async () => {
    const { files } = await tarball
    const names = new Set(files.map((file) => file.path))
    for (const name of names) {
      if (!name.endsWith(".map")) continue
      const map: { readonly sources: ReadonlyArray<string> } = JSON.parse(
        fs.readFileSync(path.join(root, name), "utf8")
      )
      assert.isNotEmpty(map.sources, name)
      for (const source of map.sources)
        assert.isTrue(names.has(path.posix.join(path.posix.dirname(name), source)), name)
    }
  })
})

describe.skipIf(missing.length > 0)("the package, installed without scripts and what is optional", () => {
  beforeAll(async () => {
    await install()
    await compile(7, ["-p", "module nodenext.json", "--outDir", "out"])
  })

  it("has the program trustlog", async () => {
    const version = await run(path.join(app, "node_modules/.bin/trustlog"), ["--version"], app)
    assert.include(version, packageJson.version)
  })

  it("keeps its internals closed", async () => {
    const codes = ["internal/json", "cli/Cli", "dist/Envelope.js"].map((name) =>
      `import("${packageJson.name}/${name}").then(() => "open", (error) => error.code)`
    )
    const script = `console.log(JSON.stringify(await Promise.all([${codes.join()}])))`
    const closed = "ERR_PACKAGE_PATH_NOT_EXPORTED"
    assert.deepStrictEqual(
      JSON.parse(await run(process.execPath, ["--input-type=module", "--eval", script], app)),
      [closed, closed, "ERR_MODULE_NOT_FOUND"]
    )
  })

  for (const version of [5, 6, 7]) {
    for (const mode of Object.keys(modes)) {
      it(`has types for TypeScript ${version}, ${mode}`, async () => {
        // Older compilers take 5 s longer for everybody's declarations, and have them looked at in one mode.
        const skipLibCheck = version !== 7 && mode !== "module nodenext"
        await compile(version, ["-p", `${mode}.json`, "--noEmit", "--skipLibCheck", String(skipLibCheck)])
      })
    }
  }

  it("has types for an application's cluster", () => compile(7, ["-p", "cluster.json", "--noEmit"]))

  it("has types that fit those of pulsar-client", async () => {
    // Only where compilers look for it: it is not installed.
    fs.cpSync(path.join(compilers, "pulsar-client/index.d.ts"), path.join(app, "pulsar-client.d.ts"))
    const compilerOptions = { ...modes["module nodenext"], paths: { "pulsar-client": ["./pulsar-client.d.ts"] } }
    fs.writeFileSync(path.join(app, "native.json"), JSON.stringify({ compilerOptions, files: ["native.ts"] }))
    await compile(7, ["-p", "native.json", "--noEmit"])
  })

  it("has types for Deno", async () => {
    await run(path.join(runtimes, "deno/deno"), ["check", "program.ts", "modules.ts"], app)
  })

  /** What the program says of itself on a runtime, after every module was imported there. */
  const outcome = async (command: string, args: ReadonlyArray<string>) => {
    const cwd = fs.mkdtempSync(path.join(place, "run-"))
    const of = (name: string) => run(command, [...args, path.join(app, "out", name)], cwd)
    await of("modules.js")
    const said: { readonly modules: number; readonly recorded: unknown; readonly native: string } = JSON.parse(
      await of("program.js")
    )
    assert.isAbove(said.modules, 30)
    assert.match(said.native, /Run npm install pulsar-client@/)
    return said.recorded
  }
  const complete = { delivered: 1, verdict: "complete" }

  const programs: ReadonlyArray<readonly [title: string, program: string, ...args: ReadonlyArray<string>]> = [
    ["Node 22", "node22/bin/node"],
    ["Node 24", "node24/bin/node"],
    ["Bun", "bun/bin/bun.exe", "run"],
    ["Deno", "deno/deno", "run", "--allow-all"]
  ]
  for (const [title, program, ...args] of programs) {
    it(`records, delivers and verifies on ${title}`, async () => {
      assert.deepStrictEqual(await outcome(path.join(runtimes, program), args), complete)
    })
  }

  it("does so on this Node, which is told what to install if it has no SQLite", async () => {
    if (process.getBuiltinModule?.("node:sqlite") === undefined) {
      assert.match(String(await outcome(process.execPath, [])), /npm install libsql/)
      await run("npm", ["install", "--ignore-scripts", "--include=optional", "libsql"], app)
    }
    assert.deepStrictEqual(await outcome(process.execPath, []), complete)
  })
})
