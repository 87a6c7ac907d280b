/**
 * What a message carries beside its bytes, so that consumers can route it without reading them.
 */
import { version } from "../../Envelope.ts"
import type { Message } from "../../Publisher.ts"

/** Names of the properties that every message has. `traceparent` is there where the host recorded one. */
export const names = {
  contentType: "content-type",
  schemaVersion: "schema-version",
  contentHash: "content-hash",
  stream: "stream",
  traceparent: "traceparent"
} as const

// What CloudEvents keeps out of its strings (section "Type System"); a percent sign would be taken for such an escape.
// oxlint-disable-next-line no-control-regex
const unfit = /[\u0000-\u001f%\u007f-\u009f]/g

const attribute = (text: string): string => text.replace(unfit, encodeURIComponent)

/**
 * The attributes of CloudEvents 1.0, but for its version: the action is the type, the target the subject, and the stream (the
 * database) the source, under which ids are unique.
 */
export const cloudEvent = ({ entry, id, stream }: Message) => ({
  id,
  source: `urn:uuid:${stream}`,
  type: entry.action,
  subject: entry.target,
  time: entry.occurredAt
})

/** In their binary mode, which has no binding for Pulsar: named as in that for Kafka. */
const cloudEventProperties = (message: Message): Record<string, string> => {
  const { id, source, subject, time, type } = cloudEvent(message)
  return {
    ce_specversion: "1.0",
    ce_id: id,
    ce_source: source,
    ce_type: attribute(type),
    ce_subject: attribute(subject),
    ce_time: time
  }
}

/** All properties of a message. */
export const of = (message: Message, withCloudEvents: boolean): Record<string, string> => ({
  [names.contentType]: message.contentType,
  [names.schemaVersion]: String(version),
  [names.contentHash]: message.contentHash,
  [names.stream]: message.stream,
  ...message.entry.traceparent === null ? {} : { [names.traceparent]: message.entry.traceparent },
  ...withCloudEvents ? cloudEventProperties(message) : {}
})
