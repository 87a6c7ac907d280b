/**
 * Writes src/internal/migrations.generated.ts from sql/<dialect>.sql, and sql/test_data_mysql.sql from sql/test_data.sql.
 * With --check it writes nothing, and exits 1 when something is not what it would write.
 */
import * as fs from "node:fs"

const dialects = ["sqlite", "postgresql", "mysql"]
const root = new URL("../", import.meta.url)

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

const module = [
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

/** MySQL has no type for UUIDs, and takes a zone in a time for a wish. */
const samples = () =>
  "-- Generated from test_data.sql by `npm run codegen`: do not edit. The same rows for MySQL and MariaDB.\n\n" +
  fs.readFileSync(new URL("sql/test_data.sql", root), "utf8")
    .replace(/'([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})'/g, "UNHEX(REPLACE('$1', '-', ''))")
    .replace(/'(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d\.\d{6})Z'/g, "'$1 $2'")

const outputs = [["src/internal/migrations.generated.ts", module], ["sql/test_data_mysql.sql", samples()]]

for (const [file, text] of outputs) {
  const target = new URL(file, root)
  if (!process.argv.includes("--check")) fs.writeFileSync(target, text)
  else if (!fs.existsSync(target) || fs.readFileSync(target, "utf8") !== text) {
    process.stderr.write(`${file} does not match what it is made of: npm run codegen\n`)
    process.exitCode = 1
  }
}
