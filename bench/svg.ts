/**
 * Charts as SVG: readable on light and dark pages, and without anything from elsewhere.
 */
import type { Chart } from "./Report.ts"
import { shown } from "./Report.ts"

const width = 760
const labelWidth = 220
const valueWidth = 70
const barHeight = 20
const step = 30
const top = 56

const escaped = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")

export const svg = ({ bars, title, unit }: Chart): string => {
  const most = Math.max(...bars.map(({ spread }) => spread.max))
  const room = width - labelWidth - valueWidth
  const x = (value: number) => (labelWidth + room * value / most).toFixed(1)
  const height = top + bars.length * step + 12
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${
      escaped(title)
    }"` +
    ` font-family="system-ui, sans-serif" font-size="13">`,
    "<style>text{fill:#1f2328}.other{fill:#8c959f}.ours{fill:#0969da}.range{stroke:#1f2328}" +
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.other{fill:#6e7681}.ours{fill:#4493f8}.range{stroke:#e6edf3}}" +
    "</style>",
    `<text x="0" y="18" font-size="15" font-weight="600">${escaped(title)}</text>`,
    `<text x="0" y="38" opacity="0.75">${escaped(unit)}</text>`,
    ...bars.flatMap(({ isOurs, label, spread: { max, median, min } }, i) => {
      const y = top + i * step
      const middle = y + barHeight / 2
      return [
        `<text x="${labelWidth - 10}" y="${middle + 4}" text-anchor="end"${isOurs ? ` font-weight="600"` : ""}>${
          escaped(label)
        }</text>`,
        `<rect class="${isOurs ? "ours" : "other"}" x="${labelWidth}" y="${y}" width="${
          Math.max(1, room * median / most).toFixed(1)
        }" height="${barHeight}" rx="2"/>`,
        `<path class="range" d="M${x(min)} ${middle}H${x(max)}" stroke-width="1.5"/>`,
        `<text x="${Number(x(max)) + 8}" y="${middle + 4}">${shown(median)}</text>`
      ]
    }),
    "</svg>",
    ""
  ].join("\n")
}
