/**
 * What a signature costs a record: signing, verifying and reading in batches, beside Node's synchronous `sign` and
 * `verify` over the same bytes in the same minute. Run `npm run build` first.
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Redacted from "effect/Redacted"
import * as crypto from "node:crypto"
import * as os from "node:os"
import * as Envelope from "../dist/Envelope.js"
import * as Operation from "../dist/Operation.js"
import * as Signature from "../dist/Signature.js"
import * as Signer from "../dist/Signer.js"

/** How long each of them is measured, in turns, so that none has a quieter machine than the others. */
const turns = 10
const turnMillis = 200

const stream = "01926f3e-7d4c-7b1a-9c55-3f0e6a1b2c3d"

const envelopes = (count, payloadBytes) =>
  Array.from({ length: count }, (_, n) => {
    const operation = Either.getOrThrow(Operation.fromUnknown({
      actor: `user/${n}`,
      action: "invoice.approve",
      target: `invoice/${n}`,
      payload: { text: "x".repeat(payloadBytes) }
    }))
    return Either.getOrThrow(Envelope.seal(stream, operation, Operation.timestampOf(0)))
  })

const { privateKey, publicKey } = crypto.generateKeyPairSync("ed25519")
const pem = privateKey.export({ format: "pem", type: "pkcs8" })
const publicPem = publicKey.export({ format: "pem", type: "spki" })

const signer = await Effect.runPromise(Signer.makeEd25519({ key: Redacted.make(pem) }))
const keys = await Effect.runPromise(Effect.flatMap(Signature.publicKey(publicPem), (key) => Signature.trust([key])))

const reading = (batch) => Effect.provideService(Signature.read(batch), Signature.TrustedKeys, keys)

/** What is measured on a batch; each answers for all of it. */
const candidates = async (batch) => {
  const signed = await Effect.runPromise(signer.sign(batch))
  const opened = signed.map((bytes) => Either.getOrThrow(Signature.open(bytes)))
  const toSign = batch.map(({ bytes }) => Signature.preAuthentication(Signature.payloadType, bytes))
  const signatures = toSign.map((bytes) => crypto.sign(null, bytes, privateKey))
  const whole = (reads) => reads.every(Either.isRight)
  return {
    sign: async () => (await Effect.runPromise(signer.sign(batch))).length === batch.length,
    "sign, node:crypto": () => toSign.map((bytes) => crypto.sign(null, bytes, privateKey)).length === batch.length,
    verify: async () => whole(await Effect.runPromise(Signature.verify(opened, keys))),
    "verify, node:crypto": () => toSign.every((bytes, i) => crypto.verify(null, bytes, publicKey, signatures[i])),
    "open, without checking": () => signed.every((bytes) => Either.isRight(Signature.open(bytes))),
    "read: open, verify, decode": async () => whole(await Effect.runPromise(reading(signed)))
  }
}

/** Microseconds of a record, turn by turn. */
const measure = async (batch) => {
  const all = Object.entries(await candidates(batch))
  const times = new Map(all.map(([name]) => [name, []]))
  for (let turn = 0; turn <= turns; turn++) {
    for (const [name, run] of all) {
      let records = 0
      const begun = performance.now()
      do {
        if (!(await run())) throw new Error(`${name} has failed`)
        records += batch.length
      } while (performance.now() - begun < turnMillis)
      // The first turn warms up.
      if (turn > 0) times.get(name).push((performance.now() - begun) * 1000 / records)
    }
  }
  return times
}

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]

const shapes = [
  { rows: 100, payload: 100 },
  { rows: 1000, payload: 100 },
  { rows: 100, payload: 4000 },
  { rows: 1000, payload: 4000 }
]

const columns = []
for (const { payload, rows } of shapes) {
  const batch = envelopes(rows, payload)
  columns.push({ heading: `${rows} × ${batch[0].bytes.length} B`, times: await measure(batch) })
}

const lines = [
  ["µs a record, median (least)", ...columns.map(({ heading }) => heading)],
  ...Array.from(columns[0].times.keys(), (name) => [
    name,
    ...columns.map(({ times }) => {
      const values = times.get(name)
      return `${median(values).toFixed(1)} (${Math.min(...values).toFixed(1)})`
    })
  ])
]
const widths = lines[0].map((_, i) => Math.max(...lines.map((line) => line[i].length)))

process.stdout.write(`${process.version}, ${os.availableParallelism()} × ${os.cpus()[0]?.model ?? "unknown"}\n\n`)
for (const line of lines) {
  process.stdout.write(
    `${line.map((cell, i) => i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])).join("  ")}\n`
  )
}
