/**
 * The program of the benchmarks: `npm run bench -- NAME`.
 */
import * as Effect from "effect/Effect"
import * as fs from "node:fs"
import { parseArgs } from "node:util"
import type { Bench } from "./Bench.ts"
import * as Report from "./Report.ts"
import { actor } from "./benches/actor.ts"
import { append } from "./benches/append.ts"
import { drain } from "./benches/drain.ts"
import { footprint } from "./benches/footprint.ts"
import { latency } from "./benches/latency.ts"
import { logs } from "./benches/logs.ts"
import { memory } from "./benches/memory.ts"
import { outage } from "./benches/outage.ts"
import { profile } from "./benches/profile.ts"
import { scale } from "./benches/scale.ts"
import { signature } from "./benches/signature.ts"
import { snapshot } from "./benches/snapshot.ts"
import { sqlite } from "./benches/sqlite.ts"
import { svg } from "./svg.ts"

const benches: Readonly<Record<string, Bench>> = {
  actor,
  append,
  drain,
  footprint,
  latency,
  logs,
  memory,
  outage,
  profile,
  scale,
  signature,
  snapshot,
  sqlite
}

const usage = `npm run bench -- NAME [--rounds N] [--scale N] [--json] [--save]

${Object.entries(benches).map(([name, { title }]) => `  ${name.padEnd(12)} ${title}`).join("\n")}

--rounds  rounds that count, beside the first, which warms up; 3 by default
--scale   multiplies counts and lengths: 0.1 is a quick look; 1 by default
--json    one JSON object on standard output in place of tables
--save    writes the tables and charts into docs/performance.md

TRUSTLOG_BENCH_DATABASE_URL (postgres://…) names a server; without it one is started. A database of its own is made there,
and removed at the end. TRUSTLOG_BENCH_PULSAR_URL (ws://…) names a Pulsar in the same way, for what is compared on one.
`

const document = new URL("../docs/performance.md", import.meta.url)
const charts = new URL("../docs/charts/", import.meta.url)

/** Puts a report between its marks in the document. */
const save = (report: Report.Report): void => {
  fs.mkdirSync(charts, { recursive: true })
  const file = (index: number) => `${report.name}${index === 0 ? "" : `-${index + 1}`}.svg`
  report.charts.forEach((chart, i) => fs.writeFileSync(new URL(file(i), charts), svg(chart)))
  const [begin, end] = [`<!-- bench ${report.name} -->`, `<!-- end of ${report.name} -->`]
  const text = fs.readFileSync(document, "utf8")
  const [from, to] = [text.indexOf(begin), text.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`docs/performance.md has no place for ${report.name}: ${begin} … ${end}`)
  const body = Report.markdown(report, (index) => `charts/${file(index)}`)
  fs.writeFileSync(document, `${text.slice(0, from + begin.length)}\n\n${body}\n\n${text.slice(to)}`)
}

const positive = (text: string, name: string): number => {
  const value = Number(text)
  if (!(value > 0)) throw new Error(`--${name}: write a number above 0`)
  return value
}

const read = () => {
  const { positionals: [name = ""], values } = parseArgs({
    allowPositionals: true,
    options: {
      rounds: { type: "string", default: "3" },
      scale: { type: "string", default: "1" },
      json: { type: "boolean", default: false },
      save: { type: "boolean", default: false }
    }
  })
  const bench = benches[name]
  if (bench === undefined) throw new Error(name === "" ? "which one?" : `there is no benchmark ${name}`)
  return {
    ...values,
    name,
    bench,
    rounds: Math.ceil(positive(values.rounds, "rounds")),
    scale: positive(values.scale, "scale")
  }
}

const given = (() => {
  try {
    return read()
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n\n${usage}`)
    process.exit(2)
  }
})()

const main = Effect.gen(function*() {
  const { bench, json, name, rounds, scale } = given
  const note = (text: string) => Effect.sync(() => void process.stderr.write(`${text}\n`))
  const found = yield* Effect.scoped(bench.run({ rounds, scale, note }))
  const report = { name, title: bench.title, ...found }
  process.stdout.write(json ? `${JSON.stringify(report, null, 2)}\n` : Report.text(report))
  if (given.save) save(report)
})

Effect.runCallback(main, {
  onExit: (exit) => {
    if (exit._tag === "Failure") process.stderr.write(`${exit.cause}\n`)
    process.exit(exit._tag === "Success" ? 0 : 1)
  }
})
