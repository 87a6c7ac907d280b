/**
 * The command line: what can be said on it, and how it ends. What a command does is loaded when it is asked for, so that
 * help is quick.
 */
import * as Args from "@effect/cli/Args"
import * as CliConfig from "@effect/cli/CliConfig"
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { version } from "../internal/version.ts"
import * as Failure from "./Failure.ts"
import * as Help from "./Help.ts"
import * as Logger from "./Logger.ts"
import * as Output from "./Output.ts"

/** Runs a part of a command's module, with the configuration of the environment. */
const lazy = <M, E, R>(load: () => Promise<M>, use: (module: M) => Effect.Effect<void, E, R>) =>
  Effect.gen(function*() {
    const [module, { layerFromEnv }] = yield* Effect.promise(() =>
      Promise.all([load(), import("../TrustlogConfig.ts")])
    )
    return yield* Effect.provide(use(module), layerFromEnv())
  })

const json = Options.boolean("json").pipe(
  Options.withDescription("Print one JSON object on standard output, and nothing else there.")
)

const id = Args.text({ name: "ID" }).pipe(Args.withDescription("The id of an operation, a UUID."))

const init = Command.make(
  "init",
  { json },
  (options) => Effect.interruptible(lazy(() => import("./commands/init.ts"), ({ init }) => init(options)))
).pipe(Command.withDescription("Make or upgrade the tables, the ledger and its key. Safe to run again."))

const append = Command.make("append", {
  file: Args.text({ name: "FILE" }).pipe(
    Args.withDescription("JSON Lines, one operation a line; without it, or with -, standard input is read."),
    Args.optional
  ),
  strategy: Options.choice("strategy", ["DbAndTrustlog", "DbOnly"]).pipe(
    Options.withDescription("DbAndTrustlog delivers the operations to the log, DbOnly only stores them."),
    Options.withDefault("DbAndTrustlog" as const)
  ),
  json
}, (options) => Effect.interruptible(lazy(() => import("./commands/append.ts"), ({ append }) => append(options)))).pipe(
  Command.withDescription("Record operations. Refused lines are named by number; the others are kept.")
)

const run = Command.make(
  "run",
  { json },
  (options) => lazy(() => import("./commands/run.ts"), ({ run }) => run(options))
)
  .pipe(Command.withDescription("Deliver operations until SIGTERM or Ctrl-C, then finish what is under way and end."))

const drain = Command.make("drain", {
  budget: Options.text("budget").pipe(
    Options.withPseudoName("DURATION"),
    Options.withDescription("Stop after this long, such as 30s or 5m."),
    Options.optional
  ),
  json
}, (options) => Effect.interruptible(lazy(() => import("./commands/drain.ts"), ({ drain }) => drain(options)))).pipe(
  Command.withDescription("Deliver what is pending and send retries that are due, then end.")
)

const status = Command.make(
  "status",
  { json },
  (options) => Effect.interruptible(lazy(() => import("./commands/status.ts"), ({ status }) => status(options)))
).pipe(Command.withDescription("Show what is pending, retried, dead and delivered."))

const lane = Args.text({ name: "LANE" }).pipe(
  Args.withDescription("The name of a lane, as `trustlog status` shows it; without it, every lane, later ones too."),
  Args.optional
)

const pause = Command.make(
  "pause",
  { lane, json },
  (options) => Effect.interruptible(lazy(() => import("./commands/pause.ts"), ({ pause }) => pause(options)))
).pipe(
  Command.withDescription("Hold the delivery, in every process and over restarts. Recording goes on.")
)

const resume = Command.make(
  "resume",
  { lane, json },
  (options) => Effect.interruptible(lazy(() => import("./commands/pause.ts"), ({ resume }) => resume(options)))
).pipe(Command.withDescription("Let paused lanes go on, at once."))

const deadLetters = () => import("./commands/deadLetters.ts")

const list = Command.make("list", {
  limit: Options.integer("limit").pipe(
    Options.withDescription("Show so many at most."),
    Options.filterMap(
      Option.liftPredicate((limit: number) => limit > 0),
      "write a number greater than 0"
    ),
    Options.withDefault(100)
  ),
  json
}, (options) => Effect.interruptible(lazy(deadLetters, ({ list }) => list(options)))).pipe(
  Command.withDescription("List them, the oldest first.")
)

const show = Command.make(
  "show",
  { id, json },
  (options) => Effect.interruptible(lazy(deadLetters, ({ show }) => show(options)))
).pipe(
  Command.withDescription("Show one with everything that is recorded of it.")
)

const replay = Command.make("replay", {
  ids: Args.repeated(id),
  all: Options.boolean("all").pipe(Options.withDescription("Every dead letter.")),
  json
}, (options) => Effect.interruptible(lazy(deadLetters, ({ replay }) => replay(options)))).pipe(
  Command.withDescription("Send them again, with all their attempts before them.")
)

const exportTo = Command.make("export", {
  file: Args.text({ name: "FILE" }).pipe(
    Args.withDescription("Written as a whole or not at all; - is standard output.")
  ),
  json
}, (options) => Effect.interruptible(lazy(deadLetters, ({ exportTo }) => exportTo(options)))).pipe(
  Command.withDescription("Write them to a file that `trustlog append` reads.")
)

const promote = Command.make(
  "promote",
  { ids: Args.atLeast(id, 1), json },
  (options) => Effect.interruptible(lazy(() => import("./commands/promote.ts"), ({ promote }) => promote(options)))
).pipe(
  Command.withDescription("Deliver operations after all that were only stored (strategy DbOnly).")
)

const purge = Command.make("purge", {
  olderThan: Options.text("older-than").pipe(
    Options.withPseudoName("DURATION"),
    Options.withDescription("How long ago they must have been delivered, such as 90d.")
  ),
  json
}, (options) => Effect.interruptible(lazy(() => import("./commands/purge.ts"), ({ purge }) => purge(options)))).pipe(
  Command.withDescription("Delete operations that were delivered long ago. Their receipts stay, and say so.")
)

const verify = Command.make("verify", {
  allowPending: Options.boolean("allow-pending").pipe(
    Options.withDescription("Exit 0 also when something is pending, retried or dead, if nothing is wrong.")
  ),
  signedFrom: Options.integer("signed-from").pipe(
    Options.withPseudoName("ENTRY"),
    Options.withDescription("Ask for signatures from this entry of the ledger on: how many it had when signing began."),
    Options.filterMap(
      Option.liftPredicate((entry: number) => entry >= 0),
      "write the number of an entry, 0 or greater"
    ),
    Options.optional
  ),
  ledger: Options.text("ledger").pipe(
    Options.withPseudoName("PATH"),
    Options.withDescription("Compare with this ledger on the log's side, which `trustlog seal` fills."),
    Options.optional
  ),
  grace: Options.text("grace").pipe(
    Options.withPseudoName("DURATION"),
    Options.withDescription("With --ledger: so long may what was delivered be on its way there, 60s by default."),
    Options.optional
  ),
  json
}, (options) => Effect.interruptible(lazy(() => import("./commands/verify.ts"), ({ verify }) => verify(options)))).pipe(
  Command.withDescription("Prove that nothing is missing, altered or added, in database and ledger.")
)

const doctor = Command.make(
  "doctor",
  { json },
  (options) => Effect.interruptible(lazy(() => import("./commands/doctor.ts"), ({ doctor }) => doctor(options)))
).pipe(
  Command.withDescription(
    "Look at database, log, topics, rights, certificates, token and clocks, and say what is wrong. Changes nothing."
  )
)

const key = Command.make("key", {
  file: Args.text({ name: "FILE" }).pipe(
    Args.withDescription("The key's file, made where there is none; without it, that in TRUSTLOG_SIGNING_KEY_FILE."),
    Args.optional
  ),
  json
}, (options) => Effect.interruptible(lazy(() => import("./commands/key.ts"), ({ key }) => key(options)))).pipe(
  Command.withDescription("Make a key that signs what is delivered, and print its id and its public half.")
)

const optional = <A>(option: Options.Options<A>, description: string) =>
  option.pipe(Options.withDescription(description), Options.optional)

const seal = Command.make("seal", {
  ledger: Options.text("ledger").pipe(
    Options.withPseudoName("PATH"),
    Options.withDescription("The folder of the ledger; it is made with its key, PATH.key, where there is none.")
  ),
  topics: Options.text("topic").pipe(
    Options.withPseudoName("TOPIC"),
    Options.withDescription("A topic to take from, in place of the configured two; may be given several times."),
    Options.repeated
  ),
  subscription: Options.text("subscription").pipe(
    Options.withPseudoName("NAME"),
    Options.withDescription("Several processes with the same one share the work, into one ledger."),
    Options.withDefault("trustlog-seal")
  ),
  deadLetterTopic: optional(
    Options.text("dead-letter-topic").pipe(Options.withPseudoName("TOPIC")),
    "Where messages go that are no envelopes; <topic>-<subscription>-DLQ by default."
  ),
  json
}, (options) => lazy(() => import("./commands/seal.ts"), ({ seal }) => seal(options))).pipe(
  Command.withDescription("Take what the log holds into a ledger of its own, until SIGTERM or Ctrl-C.")
)

const torture = Command.make("torture", {
  database: Options.text("database").pipe(
    Options.withPseudoName("URL"),
    Options.withDescription(
      "Where: postgres://…, mysql://… or sqlite:<file>; TRUSTLOG_DATABASE_URL by default. What is in it is not touched."
    ),
    Options.optional
  ),
  minutes: optional(Options.float("minutes"), "How long, about; 1 by default, 0.5 is half a minute."),
  workers: optional(Options.integer("workers"), "So many worker processes; 4 by default."),
  writers: optional(Options.integer("writers"), "So many writers at once; 8 by default, 32 from ten minutes on."),
  seed: optional(Options.integer("seed"), "Decides what happens by chance; a report tells it."),
  keep: Options.boolean("keep").pipe(Options.withDescription("Leave the scratch schema and all notes where they are.")),
  json
}, (options) => Effect.interruptible(lazy(() => import("./commands/torture.ts"), ({ torture }) => torture(options))))
  .pipe(
    Command.withDescription(
      "Kill, freeze and cut off workers on your own database, in a scratch schema, and count what is lost: nothing."
    )
  )

const trustlog = Command.make("trustlog").pipe(
  Command.withDescription(
    "Records audit operations in a database and delivers each one to a tamper-evident log, at least once."
  ),
  Command.withSubcommands([
    init,
    append,
    run,
    drain,
    pause,
    resume,
    status,
    Command.make("dead-letters").pipe(
      Command.withDescription("Operations that the log has refused for good."),
      Command.withSubcommands([list, show, replay, exportTo])
    ),
    promote,
    purge,
    verify,
    seal,
    key,
    doctor,
    torture
  ])
)

/** No option is understood after the - that stands for standard input or output, so it goes to the end. */
const dashLast = (argv: ReadonlyArray<string>): ReadonlyArray<string> => [
  ...argv.filter((arg) => arg !== "-"),
  ...argv.filter((arg) => arg === "-")
]

/**
 * Runs the command line and tells the exit code, having said on standard error what went wrong. It is to be run
 * uninterruptible: commands are interruptible where they can be.
 */
export const main = (argv: ReadonlyArray<string>) => {
  const words = Help.commandWords(argv.slice(2))
  const cli = Command.run(trustlog, { name: "trustlog", version, footer: Help.footer(words) })
  return cli(dashLast(argv)).pipe(
    Effect.provide(Layer.mergeAll(Help.layerConsole(words), Logger.layer, CliConfig.layer({ showBuiltIns: false }))),
    Effect.exit,
    Effect.flatMap(Exit.match({
      onSuccess: () => Effect.succeed<number>(Failure.exitCode.done),
      onFailure: (cause) => {
        const { code, problems } = Failure.ending(cause)
        return Effect.as(
          Effect.forEach(problems, (problem) => Output.note(`trustlog: ${problem}`), { discard: true }),
          code
        )
      }
    }))
  )
}
