/**
 * What all contenders record, and the one message that all of them send: some 600 bytes of JSON.
 */
import { randomUUID } from "node:crypto"

/** An operation, as an application states it. */
export interface Sample {
  readonly actor: string
  readonly action: string
  readonly target: string
  readonly source: string
  readonly payload: {
    readonly invoice: number
    readonly amount: string
    readonly currency: string
    readonly note: string
    /** When it was stated, in milliseconds since 1970, for what measures latency. */
    readonly at: number
  }
}

const note = "approved after two reviews; the supplier has confirmed the delivery in full. ".repeat(3)

export const sample = (invoice: number): Sample => ({
  actor: "alice@example.org",
  action: "invoice.approve",
  target: `invoice/${invoice}`,
  source: "billing",
  payload: { invoice, amount: "1250.00", currency: "EUR", note, at: performance.timeOrigin + performance.now() }
})

export const samples = (count: number, from = 0): ReadonlyArray<Sample> =>
  Array.from({ length: count }, (_, i) => sample(from + i))

/** What those keep who have no notion of an operation: the same fields as an envelope of ours. */
export interface Message extends Sample {
  readonly id: string
  readonly kind: "operation"
  readonly occurredAt: string
  readonly stream: string
  readonly v: 1
}

export const stream = "00000000-0000-4000-8000-000000000000"

export const message = (sample: Sample): Message => ({
  ...sample,
  id: randomUUID(),
  kind: "operation",
  occurredAt: new Date().toISOString(),
  stream,
  v: 1
})
