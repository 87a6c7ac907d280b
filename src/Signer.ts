/**
 * Puts a signature on envelopes before they are sent.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { contentType, type Encoded } from "./Envelope.ts"

/** What signs. Content hashes and receipts are over the unsigned bytes, so keys can change without breaking a proof. */
export interface Service {
  /** The media type of what it makes. */
  readonly contentType: string
  /** The bytes to send for each envelope, in the same order. */
  readonly sign: (envelopes: ReadonlyArray<Encoded>) => Effect.Effect<ReadonlyArray<Uint8Array>>
}

/** Sends envelopes as they are. */
export const none: Service = {
  contentType,
  sign: (envelopes) => Effect.succeed(envelopes.map((envelope) => envelope.bytes))
}

/** The signer of this process; by default it signs nothing. */
export class Signer extends Context.Reference<Signer>()("effect-trustlog/Signer", { defaultValue: () => none }) {}

/** Says explicitly that nothing is signed. */
export const layerNone: Layer.Layer<never> = Layer.succeed(Signer, none)
