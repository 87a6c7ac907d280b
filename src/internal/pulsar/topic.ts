/**
 * Names of Pulsar's topics.
 */
import * as Either from "effect/Either"
import { PublisherError } from "../../TrustlogError.ts"

/** A topic by the parts of its name. */
export interface Topic {
  readonly tenant: string
  readonly namespace: string
  readonly name: string
}

const form = "write persistent://<tenant>/<namespace>/<topic>"

/** Reads a full name. What is not persistent is refused: its acknowledgements promise nothing. */
export const parse = (text: string): Either.Either<Topic, string> => {
  const refuse = (why: string) => Either.left(`the topic ${JSON.stringify(text.slice(0, 200))} ${why}; ${form}`)
  if (text.startsWith("non-persistent://")) return refuse("would be kept in memory only, so that a restart loses it")
  const [, tenant, namespace, name] = /^persistent:\/\/([-=:.\w]+)\/([-=:.\w]+)\/([^/\s?#]+)$/.exec(text) ?? []
  return tenant === undefined || namespace === undefined || name === undefined
    ? refuse("has no full name")
    : Either.right({ tenant, namespace, name })
}

/** The topic that a configuration names. */
export const named = (text: string): Either.Either<Topic, PublisherError> =>
  Either.mapLeft(parse(text), (problem) => new PublisherError({ reason: "misconfigured", problem }))

/** The name as a part of a path of Pulsar's HTTP and WebSocket interfaces. */
export const path = ({ name, namespace, tenant }: Topic): string =>
  `persistent/${tenant}/${namespace}/${encodeURIComponent(name)}`

/** The name as it is written. */
export const format = ({ name, namespace, tenant }: Topic): string => `persistent://${tenant}/${namespace}/${name}`
