/**
 * Messages as the workers send them.
 */
import * as Either from "effect/Either"
import * as Envelope from "../src/Envelope.ts"
import { fromUnknown, timestampOf } from "../src/Operation.ts"
import { type Message, messageOf } from "../src/Publisher.ts"

/** A stream of its own for messages that are told apart by number. */
export const stream = "5f8c1e0a-3f57-4d6f-9a51-0a3c4f6b7d21"

/** The UUID of a number. */
export const idOf = (n: number): string => `00000000-0000-7000-8000-${n.toString(16).padStart(12, "0")}`

/** The message of a number, always the same. */
export const message = (n: number, options: { readonly payload?: unknown; readonly stream?: string } = {}): Message => {
  const of = options.stream ?? stream
  const encoded = Either.getOrThrowWith(
    Either.flatMap(
      fromUnknown({
        id: idOf(n),
        occurredAt: "2026-11-23T14:50:42Z",
        actor: "alice",
        action: "file.read",
        target: `file/${n}`,
        payload: options.payload ?? null
      }),
      (operation) => Envelope.seal(of, operation, timestampOf(0))
    ),
    (error) => error
  )
  return messageOf(of, encoded, encoded.bytes, Envelope.contentType)
}

/** The messages from one number up to, not including, another. */
export const messages = (from: number, to: number): ReadonlyArray<Message> =>
  Array.from({ length: to - from }, (_, i) => message(from + i))
