/**
 * An application that does not use Effect.
 */
import { promise } from "effect-trustlog/Trustlog"

const trustlog = await promise({ database: "app.db", ledger: "audit-ledger" })
const { outcome } = await trustlog.append({
  actor: "alice",
  action: "report.export",
  target: "report/2026-11",
  payload: { rows: 1200, format: "csv" },
  clientIp: "192.0.2.7"
})
console.log(outcome)
await trustlog.close()
