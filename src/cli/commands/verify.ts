/**
 * Proves that nothing is missing, altered or added.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { keyFileOf, layerTrustedKeys, TrustlogConfig } from "../../TrustlogConfig.ts"
import * as Verify from "../../Verify.ts"
import { Found } from "../Failure.ts"
import * as Output from "../Output.ts"
import * as Services from "../Services.ts"

const shown = (
  name: string,
  findings: ReadonlyArray<Verify.Finding>,
  total: number
): ReadonlyArray<string> => [
  ...findings.map(({ id, reason }) => Output.printable(`${name}  ${id}: ${reason}`)),
  ...total > findings.length ? [`${name}  and ${Output.count(total - findings.length)} more`] : []
]

const verdicts: Record<Verify.Report["verdict"], string> = {
  complete: "complete: every operation is in the log, unaltered, and nothing else is",
  incomplete: "incomplete: nothing is missing or altered, but not everything is delivered yet",
  tampered: "TAMPERED: something is missing, altered or was added"
}

export const verify = (
  options: { readonly allowPending: boolean; readonly signedFrom: Option.Option<number>; readonly json: boolean }
) =>
  Effect.gen(function*() {
    const config = yield* TrustlogConfig
    const { publisher, trustedKeyFiles } = config
    let checked = 0
    const report = yield* Output.withProgress(
      Effect.sync(() => `${Output.count(checked)} checked`),
      Verify.verify({
        ledger: publisher._tag === "Ledger" ? publisher.path : undefined,
        keyFile: keyFileOf(config),
        signedFrom: Option.getOrUndefined(options.signedFrom),
        onProgress: (count) =>
          Effect.sync(() => {
            checked = count
          })
      })
    )
    const { altered, dead, delivered, ledgerSize, missing, operations, pending, purged, retrying } = report
    const { alteredTotal, missingTotal, surplus, surplusTotal, verdict } = report
    yield* Output.result(
      options.json,
      {
        verdict,
        operations,
        delivered,
        purged,
        pending,
        retrying,
        dead,
        ledgerSize,
        missing,
        altered,
        surplus,
        missingTotal,
        alteredTotal,
        surplusTotal
      },
      [
        `${Output.counted(operations, "operation")}: ${Output.count(delivered)} delivered, ` +
        `${Output.count(pending)} pending, ${Output.count(retrying)} retrying, ${Output.counted(dead, "dead letter")}`,
        ...purged === 0 ? [] : [`${Output.count(purged)} more were purged after their delivery`],
        ...ledgerSize === null
          ? []
          : [
            `the ledger has ${ledgerSize === 1 ? "1 entry" : `${Output.count(ledgerSize)} entries`}`,
            ...trustedKeyFiles.length === 0
              ? []
              : [`signatures were checked, with ${Output.counted(trustedKeyFiles.length, "trusted key")}`]
          ],
        ...shown("missing", missing, missingTotal),
        ...shown("altered", altered, alteredTotal),
        ...shown("surplus", surplus, surplusTotal),
        `verdict: ${verdicts[verdict]}`
      ]
    )
    if (verdict === "tampered" || (verdict === "incomplete" && !options.allowPending)) return yield* new Found()
  }).pipe(Effect.provide(Layer.provideMerge(Services.repository, layerTrustedKeys)))
