/**
 * Torments trustlog in a database of the user's, in a place of its own.
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as DatabaseUrl from "../../DatabaseUrl.ts"
import * as Torture from "../../Torture.ts"
import { TrustlogConfig } from "../../TrustlogConfig.ts"
import { Found, UsageError } from "../Failure.ts"
import * as Output from "../Output.ts"

interface Options {
  readonly database: Option.Option<string>
  readonly minutes: Option.Option<number>
  readonly workers: Option.Option<number>
  readonly writers: Option.Option<number>
  readonly seed: Option.Option<number>
  readonly keep: boolean
  readonly json: boolean
}

const titles: Record<Torture.Name, string> = {
  late: "late commits and rollbacks",
  crash: "kill -9",
  freeze: "frozen workers",
  cut: "connections cut",
  clock: "wrong clocks"
}

const announcement = (plan: Torture.Plan): ReadonlyArray<string> => {
  const isFile = plan.database._tag === "Sqlite"
  const where = DatabaseUrl.describe(plan.database)
  return [
    isFile
      ? `makes a folder ${plan.name} beside ${where}, which itself is not touched`
      : `makes the schema ${plan.name} in ${where} (tables of that prefix where it may not), and touches nothing else`,
    `for about ${plan.minutes} min, ${plan.workers} worker processes deliver what ` +
    `${Output.counted(plan.writers, "writer")} ${plan.writers === 1 ? "appends" : "append"}: ` +
    `at most ${Output.counted(plan.maxOperations, "operation")}` +
    (isFile ? "" : `, over at most ${plan.connections} connections`),
    isFile
      ? "kills and freezes these processes, and no others"
      : "kills and freezes these processes, ends connections of theirs, and no others'",
    plan.keep ? "leaves everything where it is (--keep)" : "removes everything at the end, and on Ctrl-C",
    `--seed ${plan.seed}`
  ]
}

const inSeconds = (value: number | null): string => value === null ? "-" : `${value.toFixed(1)} s`

const cells = (result: Torture.Scenario): ReadonlyArray<string> =>
  result.skipped ? [titles[result.name], "skipped"] : [
    titles[result.name],
    result.passed ? "passed" : "FAILED",
    ...[result.committed, result.delivered, result.lost, result.phantom, result.duplicated, result.takeovers.count]
      .map(Output.count),
    inSeconds(result.takeovers.minSeconds),
    inSeconds(result.takeovers.medianSeconds),
    inSeconds(result.takeovers.maxSeconds),
    inSeconds(result.unownedSeconds),
    inSeconds(result.boundSeconds)
  ]

const heading = [
  "",
  "",
  "committed",
  "delivered",
  "lost",
  "phantom",
  "duplicated",
  "takeovers",
  "min",
  "median",
  "max",
  "no owner",
  "bound"
]

const details = (result: Torture.Scenario): ReadonlyArray<string> => [
  `${titles[result.name]}: ${result.skipped ? "skipped, " : ""}${result.faults}` +
  (result.lateSeconds === null ? "" : `, delivered within ${inSeconds(result.lateSeconds)}`) +
  (result.starvedSeconds < 1 ? "" : `; the machine was too busy for ${inSeconds(result.starvedSeconds)}`),
  ...result.problems.map((problem) => `  FAILED  ${Output.printable(problem)}`)
]

export const torture = (options: Options) =>
  Effect.gen(function*() {
    const config = yield* TrustlogConfig
    const database = yield* Effect.transposeMapOption(
      options.database,
      (text) =>
        Either.mapLeft(DatabaseUrl.fromText(text), (problem) => new UsageError({ problem: `--database: ${problem}` }))
    )
    const plan = yield* Either.mapLeft(
      Torture.plan({
        database: Option.getOrElse(database, () => config.database),
        minutes: Option.getOrUndefined(options.minutes),
        workers: Option.getOrUndefined(options.workers),
        writers: Option.getOrUndefined(options.writers),
        seed: Option.getOrUndefined(options.seed),
        keep: options.keep,
        lease: config.workers.lease
      }),
      (problem) => new UsageError({ problem: `--${problem}` })
    )
    yield* Effect.forEach(announcement(plan), Output.note, { discard: true })

    let doing = ""
    const onProgress = ({ name, result }: Torture.Progress) => {
      doing = titles[name]
      if (result === undefined) return Effect.void
      return Output.note(
        result.skipped
          ? `${titles[name]}: skipped`
          : `${titles[name]}: ${result.passed ? "passed" : "FAILED"}, ` +
            `${Output.count(result.delivered)} of ${Output.count(result.committed)} delivered`
      )
    }
    const report = yield* Output.withProgress(Effect.sync(() => doing), Torture.run(plan, onProgress))
    yield* Output.result(options.json, report, [
      ...Output.table([heading, ...report.scenarios.map(cells)]),
      "",
      ...report.scenarios.flatMap(details),
      ...report.kept ? [`kept: ${report.scratch}`] : [],
      ...report.notes === null ? [] : [`what the processes noted: ${report.notes}`],
      report.passed
        ? "passed: everything that was committed is in the log, and nothing else"
        : `FAILED, see above; again with --seed ${report.seed}`
    ])
    if (!report.passed) return yield* new Found()
  })
