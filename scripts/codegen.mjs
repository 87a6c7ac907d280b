/**
 * Writes src/internal/migrations.generated.ts from sql/<dialect>.sql. With --check it writes nothing, and exits 1 when
 * the module is not what it would write.
 */
import * as fs from "node:fs"

const dialects = ["sqlite", "postgresql", "mysql"]
const root = new URL("../", import.meta.url)
const target = new URL("src/internal/migrations.generated.ts", root)

/** `-- migration: <n> <title>` begins a section, a semicolon at the end of a line ends a statement. */
const sections = (dialect) => {
  const file = `sql/${dialect}.sql`
  const [, ...parts] = fs.readFileSync(new URL(file, root), "utf8").split(/^-- migration: /m)
  return parts.map((part, index) => {
    const [heading = "", ...lines] = part.split("\n")
    const [, version, title] = /^(\d+) (.+)$/.exec(heading) ?? []
    if (Number(version) !== index + 1) throw new Error(`${file}: section ${index + 1} is headed "${heading}"`)
    const statements = lines.filter((line) => !/^\s*--/.test(line)).join("\n").split(/;[ \t]*$/m)
      .map((text) => text.trim())
    if (statements.pop() !== "") throw new Error(`${file}: the last statement of section ${version} has no semicolon`)
    return { version: index + 1, title, statements }
  })
}

const generated = [
  "/** Generated from sql/*.sql by `npm run codegen`: do not edit. */",
  "export interface Migration {",
  "  readonly version: number",
  "  readonly title: string",
  "  readonly statements: ReadonlyArray<string>",
  "}",
  ...dialects.flatMap((dialect) => [
    "",
    `export const ${dialect}: ReadonlyArray<Migration> = ${JSON.stringify(sections(dialect), null, 2)}`
  ]),
  ""
].join("\n")

if (process.argv.includes("--check")) {
  const current = fs.existsSync(target) ? fs.readFileSync(target, "utf8") : ""
  if (current !== generated) {
    process.stderr.write("src/internal/migrations.generated.ts does not match sql/*.sql: npm run codegen\n")
    process.exitCode = 1
  }
} else {
  fs.writeFileSync(target, generated)
}
