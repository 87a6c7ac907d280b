/**
 * What a comparison has shown: tables for people, the same as JSON, and charts.
 */
import type { Spread } from "./Rounds.ts"

export interface Table {
  readonly title: string
  readonly columns: ReadonlyArray<string>
  readonly rows: ReadonlyArray<ReadonlyArray<string>>
}

/** Bars side by side, each with the least and the most that was seen. */
export interface Chart {
  readonly title: string
  /** What the length of a bar is. */
  readonly unit: string
  readonly bars: ReadonlyArray<{ readonly label: string; readonly isOurs: boolean; readonly spread: Spread }>
}

export interface Report {
  readonly name: string
  readonly title: string
  readonly conditions: ReadonlyArray<string>
  readonly tables: ReadonlyArray<Table>
  readonly charts: ReadonlyArray<Chart>
}

const fixed = (value: number): string =>
  value >= 100 ? Math.round(value).toLocaleString("en") : value >= 10 ? value.toFixed(1) : value.toFixed(2)

/** A figure, or a dash where there is none. */
export const shown = (value: number | null): string => value === null || Number.isNaN(value) ? "–" : fixed(value)

/** How many, where there is no part of one. */
export const counted = (count: number): string => count.toLocaleString("en")

export const shownSpread = ({ max, median, min }: Spread): string =>
  Number.isNaN(median) ? "–" : `${fixed(median)} (${fixed(min)}–${fixed(max)})`

/** Figures stand at the right, under each other; words at the left. */
const isFigures = (rows: Table["rows"], column: number): boolean =>
  column > 0 && rows.every((row) => /^[\d–.,()% -]*$|^LOST$/.test(row[column] ?? ""))

const lines = ({ columns, rows, title }: Table): ReadonlyArray<string> => {
  const all = [columns, ...rows]
  const widths = columns.map((_, i) => Math.max(...all.map((row) => (row[i] ?? "").length)))
  const line = (row: ReadonlyArray<string>) =>
    row.map((cell, i) => isFigures(rows, i) ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0))
      .join("  ").trimEnd()
  return [title, ...all.map(line)]
}

/** For a terminal. */
export const text = ({ conditions, tables, title }: Report): string =>
  [title, ...conditions.map((condition) => `  ${condition}`), ...tables.flatMap((table) => ["", ...lines(table)]), ""]
    .join("\n")

const cell = (text: string): string => text.replaceAll("|", "\\|")

/** For a document: `chartFile` says where the charts are. */
export const markdown = (report: Report, chartFile: (index: number) => string): string =>
  [
    ...report.conditions.map((condition) => `- ${condition}`),
    ...report.charts.flatMap(({ title }, i) => ["", `![${title}](${chartFile(i)})`]),
    ...report.tables.flatMap(({ columns, rows, title }) => [
      "",
      `**${title}**`,
      "",
      `| ${columns.map(cell).join(" | ")} |`,
      `|${columns.map((_, i) => isFigures(rows, i) ? "--:" : "---").join("|")}|`,
      ...rows.map((row) => `| ${row.map(cell).join(" | ")} |`)
    ])
  ].join("\n")
