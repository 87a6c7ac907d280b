/**
 * Proves that nothing is missing, altered or added.
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { duration, keyFileOf, layerTrustedKeys, TrustlogConfig } from "../../TrustlogConfig.ts"
import * as Verify from "../../Verify.ts"
import { Found, UsageError } from "../Failure.ts"
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

const sealed: Record<Verify.Report["verdict"], string> = {
  complete: "complete: the log received every operation, unaltered, and nothing else",
  incomplete: "incomplete: nothing is missing or altered, but not everything is delivered and received yet",
  tampered: verdicts.tampered
}

const entries = (count: number): string => count === 1 ? "1 entry" : `${Output.count(count)} entries`

interface Options {
  readonly allowPending: boolean
  readonly signedFrom: Option.Option<number>
  readonly ledger: Option.Option<string>
  readonly grace: Option.Option<string>
  readonly json: boolean
}

/** The ledger on the log's side, where one is named. */
const sealOf = (options: Options): Either.Either<Verify.Seal | undefined, UsageError> =>
  Either.gen(function*() {
    const path = Option.getOrUndefined(options.ledger)
    const text = Option.getOrUndefined(options.grace)
    const grace = text === undefined ? undefined : yield* Either.mapLeft(
      duration(text),
      (problem) => new UsageError({ problem: `--grace: ${problem}` })
    )
    if (path === "") return yield* Either.left(new UsageError({ problem: "--ledger: write the path of a folder" }))
    if (path === undefined && grace !== undefined) {
      return yield* Either.left(
        new UsageError({ problem: "--grace is for a ledger on the log's side: name it with --ledger" })
      )
    }
    return path === undefined ? undefined : { path, grace }
  })

export const verify = (options: Options) =>
  Effect.gen(function*() {
    const seal = yield* sealOf(options)
    const config = yield* TrustlogConfig
    const { publisher, trustedKeyFiles } = config
    let checked = 0
    const report = yield* Output.withProgress(
      Effect.sync(() => `${Output.count(checked)} checked`),
      Verify.verify({
        ledger: publisher._tag === "Ledger" ? publisher.path : undefined,
        keyFile: keyFileOf(config),
        seal,
        signedFrom: Option.getOrUndefined(options.signedFrom),
        onProgress: (count) =>
          Effect.sync(() => {
            checked = count
          })
      })
    )
    const { altered, dead, delivered, ledgerSize, missing, operations, otherEntries, pending, purged, retrying } =
      report
    const { alteredTotal, missingTotal, surplus, surplusTotal, unsealed, verdict } = report
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
        unsealed,
        ledgerSize,
        otherEntries,
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
        ...unsealed === null || unsealed === 0
          ? []
          : [`${Output.count(unsealed)} of what was delivered ${unsealed === 1 ? "is" : "are"} on the way to the seal`],
        ...ledgerSize === null
          ? []
          : [
            `the ${unsealed === null ? "ledger" : "seal"} has ${entries(ledgerSize)}` +
            (otherEntries === null || otherEntries === 0 ? "" : `, ${Output.count(otherEntries)} of other databases`),
            ...trustedKeyFiles.length === 0
              ? []
              : [`signatures were checked, with ${Output.counted(trustedKeyFiles.length, "trusted key")}`]
          ],
        ...shown("missing", missing, missingTotal),
        ...shown("altered", altered, alteredTotal),
        ...shown("surplus", surplus, surplusTotal),
        `verdict: ${(unsealed === null ? verdicts : sealed)[verdict]}`
      ]
    )
    if (verdict === "tampered" || (verdict === "incomplete" && !options.allowPending)) return yield* new Found()
  }).pipe(Effect.provide(Layer.provideMerge(Services.repository, layerTrustedKeys)))
