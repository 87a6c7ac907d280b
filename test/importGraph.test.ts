/**
 * Actors and workers depend on no runtime: the same code runs in Node, Bun, Deno, a browser or a Durable Object.
 */
import { assert, describe, it } from "@effect/vitest"
import { build } from "esbuild"
import { readdir, readFile } from "node:fs/promises"
import { fileURLToPath } from "node:url"

/** Every package that they may be bundled with. None of them needs a runtime. */
const packages = [
  "@effect/experimental",
  "@effect/platform",
  "@effect/sql",
  "@noble/hashes",
  "effect",
  "fast-check",
  "ipaddr.js",
  "pure-rand",
  "uuid"
]

const packageOf = (path: string): string | undefined => /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1]

/** What a module is made of: the packages, and whatever is left to the runtime. */
const graphOf = async (module: string) => {
  const { metafile } = await build({
    entryPoints: [fileURLToPath(new URL(`../src/${module}.ts`, import.meta.url))],
    bundle: true,
    write: false,
    metafile: true,
    format: "esm",
    platform: "neutral",
    mainFields: ["module", "main"],
    conditions: ["worker", "browser"],
    external: ["node:*"],
    logLevel: "silent"
  })
  const inputs = Object.entries(metafile.inputs)
  return {
    sources: inputs.map(([path]) => path).filter((path) => packageOf(path) === undefined),
    packages: new Set(inputs.flatMap(([path]) => packageOf(path) ?? [])),
    ofRuntime: inputs.flatMap(([path, { imports }]) =>
      imports.flatMap((imported) => imported.external === true ? [`${imported.path} in ${path}`] : [])
    )
  }
}

describe("the import graph", () => {
  for (
    const module of [
      "Actor",
      "Host",
      "Host/Local",
      "CursorWorker",
      "RetryWorker",
      "Drain",
      "CircuitBreaker",
      "Membership",
      "LaneLease",
      "Delivery",
      "Repository/Sql"
    ]
  ) {
    it(`of ${module} leads to no module of a runtime, and to no package that needs one`, async () => {
      const graph = await graphOf(module)
      assert.deepStrictEqual(graph.ofRuntime, [])
      assert.deepStrictEqual(Array.from(graph.packages).filter((name) => !packages.includes(name)), [])
    })
  }

  it("of everything but Host/Cluster leads to no cluster, which is an optional peer", async () => {
    const folder = fileURLToPath(new URL("../src/", import.meta.url))
    const files = (await readdir(folder, { recursive: true })).filter((name) => name.endsWith(".ts"))
    const texts = await Promise.all(files.map((name) => readFile(`${folder}${name}`, "utf8")))
    assert.deepStrictEqual(files.filter((_, n) => /@effect\/(cluster|rpc)\//.test(texts[n] ?? "")), ["Host/Cluster.ts"])
  })

  it("of the workers leads to no host, no database and no log", async () => {
    for (const module of ["CursorWorker", "RetryWorker", "Drain"]) {
      const { sources } = await graphOf(module)
      assert.include(sources, `src/${module}.ts`)
      assert.deepStrictEqual(sources.filter((path) => /src\/(Host|Repository|Publisher|Database)\//.test(path)), [])
    }
  })
})
