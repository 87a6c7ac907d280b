/**
 * What a signature costs a record: signing, verifying and reading in batches, beside Node's synchronous `sign` and `verify`
 * over the same bytes in the same minute.
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Redacted from "effect/Redacted"
import * as crypto from "node:crypto"
import * as Envelope from "../../src/Envelope.ts"
import * as Operation from "../../src/Operation.ts"
import * as Signature from "../../src/Signature.ts"
import * as Signer from "../../src/Signer.ts"
import type { Bench } from "../Bench.ts"
import { machine, runtime } from "../Machine.ts"
import { shownSpread } from "../Report.ts"
import * as Rounds from "../Rounds.ts"

const shapes = [
  { records: 100, payload: 100 },
  { records: 1_000, payload: 100 },
  { records: 100, payload: 4_000 },
  { records: 1_000, payload: 4_000 }
]

const stream = "01926f3e-7d4c-7b1a-9c55-3f0e6a1b2c3d"

const envelopes = (count: number, payload: number) =>
  Array.from({ length: count }, (_, n) => {
    const operation = Either.getOrThrow(Operation.fromUnknown({
      actor: `user/${n}`,
      action: "invoice.approve",
      target: `invoice/${n}`,
      payload: { text: "x".repeat(payload) }
    }))
    return Either.getOrThrow(Envelope.seal(stream, operation, Operation.timestampOf(0)))
  })

interface Candidate {
  readonly label: string
  /** The one that it is compared with, where there is one. */
  readonly beside?: string
  /** Does all of the batch; whether that went well. */
  readonly run: () => boolean | Promise<boolean>
}

const candidates = (batch: ReadonlyArray<Envelope.Encoded>) =>
  Effect.gen(function*() {
    const { privateKey, publicKey } = crypto.generateKeyPairSync("ed25519")
    const pem = privateKey.export({ format: "pem", type: "pkcs8" }).toString()
    const publicPem = publicKey.export({ format: "pem", type: "spki" }).toString()
    const signer = yield* Signer.makeEd25519({ key: Redacted.make(pem) })
    const keys = yield* Signature.trust([yield* Signature.publicKey(publicPem)])
    const signed = yield* signer.sign(batch)
    const opened = yield* Either.all(signed.map(Signature.open))
    const toSign = batch.map(({ bytes }) => Signature.preAuthentication(Signature.payloadType, bytes))
    const signatures = toSign.map((bytes) => crypto.sign(null, bytes, privateKey))
    const reading = Effect.provideService(Signature.read(signed), Signature.TrustedKeys, keys)
    const all: ReadonlyArray<Candidate> = [
      {
        label: "sign",
        beside: "sign, node:crypto",
        run: async () => (await Effect.runPromise(signer.sign(batch))).length === batch.length
      },
      {
        label: "sign, node:crypto",
        run: () => toSign.map((bytes) => crypto.sign(null, bytes, privateKey)).length === batch.length
      },
      {
        label: "verify",
        beside: "verify, node:crypto",
        run: async () => (await Effect.runPromise(Signature.verify(opened, keys))).every(Either.isRight)
      },
      {
        label: "verify, node:crypto",
        run: () => toSign.every((bytes, i) => crypto.verify(null, bytes, publicKey, signatures[i] ?? new Uint8Array()))
      },
      { label: "open, without checking", run: () => signed.every((bytes) => Either.isRight(Signature.open(bytes))) },
      {
        label: "read: open, verify, decode",
        run: async () => (await Effect.runPromise(reading)).every(Either.isRight)
      }
    ]
    return all
  }).pipe(Effect.orDieWith((problem) => problem))

/** Microseconds of a record. */
const measure = async ({ label, run }: Candidate, records: number, millis: number): Promise<number> => {
  let done = 0
  const began = performance.now()
  do {
    if (!(await run())) throw new Error(`${label} has failed`)
    done += records
  } while (performance.now() - began < millis)
  return (performance.now() - began) * 1_000 / done
}

export const signature: Bench = {
  title: "What a signature costs a record",
  run: ({ note, rounds, scale }) =>
    Effect.gen(function*() {
      const millis = 600 * scale
      const columns = yield* Effect.forEach(shapes, ({ payload, records }) =>
        Effect.gen(function*() {
          const batch = envelopes(records, payload)
          const heading = `${records} × ${batch[0]?.bytes.length ?? 0} B`
          yield* note(heading)
          const all = yield* candidates(batch)
          const found = yield* Rounds.alternate(all, rounds, (candidate) =>
            Effect.promise(() => measure(candidate, records, millis)))
          const micros = (of: number) =>
            of
          return {
            heading,
            figures: all.map((candidate) => shownSpread(Rounds.figures(found, candidate, micros))),
            ratios: all.flatMap((candidate) => {
              const other = all.find(({ label }) => label === candidate.beside)
              return other === undefined ? [] : [{
                label: candidate.label,
                shown: shownSpread(Rounds.ratio(found, candidate, other, micros))
              }]
            }),
            labels: all.map(({ label }) => label)
          }
        }))
      const headings = ["", ...columns.map(({ heading }) => heading)]
      return {
        conditions: [
          machine,
          runtime,
          `${rounds} rounds of ${millis} ms each; batches of so many envelopes of so many bytes`
        ],
        tables: [{
          title: "Time of a record, µs",
          columns: headings,
          rows: (columns[0]?.labels ?? []).map((label, i) => [label, ...columns.map(({ figures }) => figures[i] ?? "")])
        }, {
          title: "Time as a part of node:crypto's; less is better",
          columns: headings,
          rows: (columns[0]?.ratios ?? []).map(({ label }, i) => [
            label,
            ...columns.map(({ ratios }) => ratios[i]?.shown ?? "")
          ])
        }],
        charts: []
      }
    })
}
