/**
 * Where operations go: the contract of a trust log's back-ends, which live in `Publisher/`.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { Encoded, Recorded } from "./Envelope.ts"
import type { OperationId } from "./Operation.ts"
import { type PublisherError, RefusalReason } from "./TrustlogError.ts"

/** One record on its way to the log. */
export interface Message {
  /** The stream (database) that the record belongs to: with `id` it names the record across applications. */
  readonly stream: string
  readonly id: OperationId
  /** What is sent: the envelope's bytes, signed where a signer is configured. */
  readonly bytes: Uint8Array
  /** The media type of the bytes. */
  readonly contentType: string
  /** SHA-256 of the envelope's unsigned bytes, 64 lower-case hex digits. */
  readonly contentHash: string
  /** What the bytes say, for logs that carry attributes beside them. */
  readonly entry: Recorded
}

/** The message of an envelope, whose bytes are sent as a signer has made them. */
export const messageOf = (stream: string, encoded: Encoded, bytes: Uint8Array, contentType: string): Message => ({
  stream,
  id: encoded.id,
  bytes,
  contentType,
  contentHash: encoded.contentHash,
  entry: encoded.entry
})

/** Why a log refused one record. */
export const Reason = RefusalReason
export type Reason = RefusalReason

/** Whether a record refused for this reason can never be accepted, so that retrying it is pointless. */
export const isFinal = (reason: Reason): boolean =>
  reason === "tooLarge" || reason === "altered" || reason === "conflict"

/**
 * What became of one message.
 *
 * - `Acknowledged`: the log holds it durably; `messageId` is the log's own name for it, packed (1 to 255 bytes)
 * - `Refused`: the log answered that it will not take this record
 * - `Unknown`: no answer; perhaps stored. It is sent again under the same id
 */
export type Outcome =
  | { readonly _tag: "Acknowledged"; readonly messageId: Uint8Array }
  | { readonly _tag: "Refused"; readonly reason: Reason; readonly error: string }
  | { readonly _tag: "Unknown"; readonly error: string }

/** What became of a batch. */
export interface Published {
  /** One outcome per message, in the order of the batch. */
  readonly outcomes: ReadonlyArray<Outcome>
  /** Set when the log as a whole failed while the batch was under way. */
  readonly outage: PublisherError | undefined
  /** The signed state of the log that includes every acknowledged message, where the log has one. `root` is hex. */
  readonly checkpoint: { readonly size: number; readonly root: string } | undefined
}

/**
 * A trust log that can be published to. Every back-end passes `test/suites/PublisherTest.ts`.
 */
export class Publisher extends Context.Tag("effect-trustlog/Publisher")<Publisher, {
  /**
   * Sends a batch and waits for the log's answer to each message. Fails only when nothing was sent at all; afterwards
   * what happened is data. Interrupting it leaves every unanswered message unknown.
   */
  readonly publish: (topic: string, batch: ReadonlyArray<Message>) => Effect.Effect<Published, PublisherError>
  /** Succeeds when the topic would take a record now. It sends none. */
  readonly health: (topic: string) => Effect.Effect<void, PublisherError>
}>() {}
