/**
 * What the WebSocket interface of a broker means when it could not store a message. It gives a number for what is wrong with the
 * frame, and for everything else the text of a Java exception.
 */
import type { Outcome } from "../../Publisher.ts"
import { PublisherError } from "../../TrustlogError.ts"

export interface Verdict {
  readonly outcome: Outcome
  readonly outage: PublisherError | undefined
}

const refused = (reason: "tooLarge" | "encoding" | "rejected", error: string): Verdict => ({
  outcome: { _tag: "Refused", reason, error },
  outage: undefined
})

const unknown = (error: string, outage?: PublisherError["reason"]): Verdict => ({
  outcome: { _tag: "Unknown", error },
  outage: outage && new PublisherError({ reason: outage, problem: `the broker could not store a message: ${error}` })
})

/** Judges an answer: `send-error:<number>` and its text. */
export const verdictOf = (result: string, text: string): Verdict => {
  const error = text.trim() === "" ? result : text.trim().slice(0, 500)
  if (/^send-error:[347]$/.test(result)) return refused("encoding", error)
  if (/InvalidMessageException|MessageTooBig|exceeds \d+ bytes|is bigger than \d+ bytes/.test(error)) {
    return refused("tooLarge", error)
  }
  if (/NotAllowed|Checksum/.test(error)) return refused("rejected", error)
  // After a time-out the message may have been stored, and after a hang it mostly was. The server's own client would have
  // told a record that the broker does not take; so the topic, or its storage, is out.
  if (
    /Timeout|AlreadyClosed|NotConnected|QueueIsFull|MemoryBuffer|ConnectException|Lookup|TooManyRequests|Quota|Persistence|Metadata|ServiceNotReady|BrokerException/
      .test(error)
  ) return unknown(error, "unavailable")
  if (
    /TopicTerminated|Authorization|Authentication|IncompatibleSchema|ProducerFenced|TopicDoesNotExist|NotFound/.test(
      error
    )
  ) {
    return unknown(error, "misconfigured")
  }
  return unknown(error)
}
