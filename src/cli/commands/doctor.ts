/**
 * Says what is wrong with what delivery needs.
 */
import * as Effect from "effect/Effect"
import * as Doctor from "../../Doctor.ts"
import { Found } from "../Failure.ts"
import * as Output from "../Output.ts"

const marks: Record<Doctor.Finding["verdict"], string> = { ok: "ok", warning: "WARNING", problem: "PROBLEM" }

const conclusion = (problems: number, warnings: number): string =>
  problems > 0
    ? `${Output.counted(problems, "problem")}: what is recorded waits until ${
      problems === 1 ? "it is" : "they are"
    } put right`
    : warnings > 0
    ? `everything works; ${Output.counted(warnings, "warning")}`
    : "everything is well"

export const doctor = (options: { readonly json: boolean }) =>
  Effect.gen(function*() {
    const findings = yield* Doctor.examine
    const count = (verdict: Doctor.Finding["verdict"]) =>
      findings.filter((finding) => finding.verdict === verdict).length
    const [problems, warnings] = [count("problem"), count("warning")]
    yield* Output.result(options.json, { isWell: problems === 0, problems, warnings, findings }, [
      ...Output.table(findings.map(({ subject, verdict, words }) => [
        marks[verdict],
        Output.printable(subject),
        Output.printable(words)
      ])),
      conclusion(problems, warnings)
    ])
    if (problems > 0) return yield* new Found()
  })
