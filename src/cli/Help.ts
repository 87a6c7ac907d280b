/**
 * Help texts: what `@effect/cli` renders, with examples below, and without what only a terminal understands elsewhere.
 */
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { stripVTControlCharacters } from "node:util"

/** The words before the first option: the command, and whatever is said to it. */
export const commandWords = (args: ReadonlyArray<string>): ReadonlyArray<string> => {
  const end = args.findIndex((arg) => arg.startsWith("-"))
  return end === -1 ? args : args.slice(0, end)
}

const examples: Record<string, ReadonlyArray<string>> = {
  init: [
    "trustlog init",
    "TRUSTLOG_DATABASE_URL=sqlite:/var/lib/app/audit.db trustlog init"
  ],
  append: [
    "trustlog append operations.jsonl",
    "produce-operations | trustlog append",
    `echo '{"actor":"ann","action":"invoice.approve","target":"invoice/4711"}' | trustlog append`
  ],
  run: ["trustlog run"],
  drain: ["trustlog drain", "trustlog drain --budget 30s --json"],
  pause: ["trustlog pause", "trustlog pause operation/tenant-7", "trustlog pause record --json"],
  resume: ["trustlog resume", "trustlog resume operation/tenant-7"],
  status: ["trustlog status", "trustlog status --json | jq .pending"],
  "dead-letters": [
    "trustlog dead-letters list",
    "trustlog dead-letters show 01926f3e-7d4c-7b1a-9c55-3f0e6a1b2c3d",
    "trustlog dead-letters replay --all",
    "trustlog dead-letters export dead.jsonl"
  ],
  promote: ["trustlog promote 01926f3e-7d4c-7b1a-9c55-3f0e6a1b2c3d"],
  purge: ["trustlog purge --older-than 90d", "trustlog verify && trustlog purge --older-than 90d --json"],
  verify: [
    "trustlog verify",
    "trustlog verify --allow-pending --json",
    "trustlog verify --ledger trustlog-seal --grace 60s"
  ],
  key: [
    "trustlog key signing.key",
    "trustlog key signing.key > signing.pem",
    "TRUSTLOG_SIGNING_KEY_FILE=signing.key trustlog run",
    "TRUSTLOG_TRUSTED_KEY_FILES=signing.pem trustlog verify"
  ],
  seal: [
    "TRUSTLOG_PUBLISHER_URL=wss://pulsar.example.org:8443 trustlog seal --ledger /var/lib/seal/ledger",
    "trustlog seal --ledger ledger --topic persistent://shop/audit/operation --topic persistent://bank/audit/operation"
  ],
  doctor: ["trustlog doctor", "trustlog doctor --json | jq '.findings[] | select(.verdict != \"ok\")'"],
  torture: [
    "trustlog torture --database postgres://app:secret@db.example.org/app --minutes 5",
    "trustlog torture --minutes 0.5 --json | jq .passed"
  ]
}

const general = [
  HelpDoc.h1("FIRST STEPS"),
  ...["trustlog init", "trustlog append operations.jsonl", "trustlog drain", "trustlog verify"].map((line) =>
    HelpDoc.p(`  ${line}`)
  ),
  HelpDoc.p("`trustlog COMMAND --help` tells more of a command."),
  HelpDoc.h1("ENVIRONMENT"),
  HelpDoc.p("  TRUSTLOG_DATABASE_URL    sqlite:<file> (sqlite:trustlog.db by default), postgres://… or mysql://…"),
  HelpDoc.p("  TRUSTLOG_PUBLISHER_URL   ledger:<folder> (ledger:trustlog-ledger by default), or Apache Pulsar:"),
  HelpDoc.p("                           ws://host:8080, wss://host:8443, pulsar://host:6650 or pulsar+ssl://host:6651"),
  HelpDoc.p("  TRUSTLOG_KEY_FILE        the signing key; <ledger>.key by default"),
  HelpDoc.p("  docs/operations.md lists all; `trustlog doctor` says what is wrong with them.")
]

const common = [
  HelpDoc.h1("EXIT CODES"),
  HelpDoc.p("  0  done"),
  HelpDoc.p("  1  something was found or is left, or the log is down"),
  HelpDoc.p("  2  wrong usage or configuration; a database or ledger that is missing or not ours"),
  HelpDoc.p("  3  the database, the disk or the ledger does not let us"),
  HelpDoc.h1("ALSO"),
  HelpDoc.p("  --version; --log-level debug; --completions bash, fish or zsh; --wizard asks for everything")
]

const fields = [
  HelpDoc.h1("A LINE"),
  HelpDoc.p("  actor, action, target        required: who did what to what"),
  HelpDoc.p("  id                           a UUID; without one, the line is a new operation each time"),
  HelpDoc.p("  kind                         operation (default) or record"),
  HelpDoc.p("  occurredAt                   2026-11-23T14:50:42.123+01:00; now by default"),
  HelpDoc.p("  source                       which system reports it"),
  HelpDoc.p("  payload                      any JSON"),
  HelpDoc.p("  requestHash, responseHash    SHA-256 in hex"),
  HelpDoc.p("  clientIp, serverIp           IPv4 or IPv6"),
  HelpDoc.p("  traceparent                  W3C Trace Context")
]

/** What stands below a command's help. */
export const footer = (words: ReadonlyArray<string>): HelpDoc.HelpDoc => {
  const command = words[0] ?? ""
  const lines = examples[command]
  return [
    ...lines === undefined ? general : [HelpDoc.h1("EXAMPLES"), ...lines.map((line) => HelpDoc.p(`  ${line}`))],
    ...command === "append" ? fields : [],
    ...common
  ].reduce(HelpDoc.sequence)
}

const isColoured = (stream: NodeJS.WriteStream): boolean =>
  stream.isTTY === true && (process.env["NO_COLOR"] ?? "") === ""

/** What is said of every option alike says nothing. */
const boilerplate = /^ *(A true or false value\.|This setting is optional\.|A user-defined piece of text\.)\n\n?/gm

const readable = (text: string, words: ReadonlyArray<string>): string =>
  text
    .replace(boilerplate, "")
    // A command's usage begins with its own name alone.
    .replace(/^\$ (\S+)/gm, (line, name: string) => {
      const depth = words.indexOf(name)
      return depth === -1 ? line : `$ ${["trustlog", ...words.slice(0, depth), name].join(" ")}`
    })
    .replace(/\n\n(?= {2}\S)/g, "\n")
    .trimEnd()

/** A console that writes help to standard output, errors to standard error, and colours to terminals alone. */
export const layerConsole = (words: ReadonlyArray<string>): Layer.Layer<never> =>
  Layer.unwrapEffect(Effect.map(Effect.console, (console) => {
    const to = (stream: NodeJS.WriteStream) => (text: unknown) =>
      Effect.sync(() => {
        const shown = readable(String(text), words)
        stream.write(`${isColoured(stream) ? shown : stripVTControlCharacters(shown)}\n`)
      })
    return Console.setConsole({ ...console, log: to(process.stdout), error: to(process.stderr) })
  }))
