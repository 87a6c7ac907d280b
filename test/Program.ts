/**
 * Programs that tests run as processes of their own: Node 20 does not run TypeScript.
 */
import { build } from "esbuild"
import { createHash, randomUUID } from "node:crypto"
import * as fs from "node:fs/promises"
import * as path from "node:path"
import { fileURLToPath } from "node:url"

const cache = fileURLToPath(new URL("../node_modules/.cache/trustlog/", import.meta.url))

/** Bundles a TypeScript entry, but for the packages it imports, and returns the path of a module that Node runs. */
export const bundle = async (entry: string): Promise<string> => {
  const { outputFiles } = await build({
    entryPoints: [entry],
    bundle: true,
    platform: "node",
    format: "esm",
    target: "es2022",
    packages: "external",
    write: false
  })
  const contents = outputFiles[0]?.contents ?? new Uint8Array()
  const name = `${path.basename(entry, ".ts")}-${createHash("sha256").update(contents).digest("hex").slice(0, 16)}`
  const target = path.join(cache, `${name}.mjs`)
  const written = path.join(cache, `${name}.${randomUUID()}`)
  await fs.mkdir(cache, { recursive: true })
  // Tests run in parallel, and may bundle the same program.
  await fs.writeFile(written, contents)
  await fs.rename(written, target)
  return target
}
