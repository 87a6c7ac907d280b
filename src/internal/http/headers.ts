/**
 * What a record carries beside its bytes when it is posted.
 */
import type { Message } from "../../Publisher.ts"
import * as properties from "../pulsar/properties.ts"

// What the binding of CloudEvents for HTTP (section 3.1.3.2) has encoded: all but printable ASCII, and what encodes itself.
const unfit = /[^\x21-\x7e]|["%]/gu

/** A text as a header's value. A lone surrogate, which operations do not hold, would be an error. */
const value = (text: string): string => text.replace(unfit, (character) => encodeURIComponent(character))

const cloudEvent = (message: Message): Record<string, string> => ({
  "ce-specversion": "1.0",
  ...Object.fromEntries(
    Object.entries(properties.cloudEvent(message)).map(([name, text]) => [`ce-${name}`, value(text)])
  )
})

/** All headers of a record, but for its content type, which goes with the body. */
export const of = (topic: string, message: Message, withCloudEvents: boolean): Record<string, string> => {
  const { [properties.names.contentType]: _, ...others } = properties.of(message, false)
  return {
    ...others,
    "idempotency-key": message.id,
    topic: value(topic),
    ...withCloudEvents ? cloudEvent(message) : {}
  }
}
