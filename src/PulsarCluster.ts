/**
 * How an Apache Pulsar cluster is reached, and how both sides trust each other: what publishers and subscribers have in common.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { PublisherError } from "./TrustlogError.ts"
import { expiryOf } from "./internal/pulsar/token.ts"

/** Whom to trust, and how to be trusted, on URLs of TLS (`pulsar+ssl://`, `wss://`). Files are in PEM, and read at each connection. */
export interface Tls {
  /** The certificates that are trusted; without it, or with `""`, those of the system. */
  readonly caFile?: string | undefined
  /** The certificate by which we are known (mutual TLS), and its key. */
  readonly certificateFile?: string | undefined
  readonly keyFile?: string | undefined
  /** Believes whoever answers. Off by default; it is warned of when a connection is made. */
  readonly allowInsecure?: boolean | undefined
}

/** A token, asked for at each connection, so that one that is renewed is used from then on. */
export type Token = Effect.Effect<Redacted.Redacted<string>, PublisherError>

/** How a cluster is reached. */
export interface Options {
  /**
   * Where: `ws://host:8080`, `wss://host:8443` (WebSocket; a path in front of `/ws/v2`, as gateways have, is kept), or
   * `pulsar://host:6650`, `pulsar+ssl://host:6651` (native; several hosts with commas between).
   */
  readonly serviceUrl: string
  readonly tls?: Tls | undefined
  readonly token?: Token | undefined
  /** How long the broker may be silent when it is asked something, before the connection is given up; 5 seconds by default. */
  readonly patience?: Duration.DurationInput | undefined
}

/** A token that stays as it is. */
export const token = (text: Redacted.Redacted<string>): Token => Effect.succeed(text)

/**
 * The token that a file holds, white space around it aside; the file is read anew at each connection. `setting` is what an
 * error says is to be corrected.
 */
export const tokenFile = (
  path: string,
  setting = "TRUSTLOG_PULSAR_TOKEN_FILE"
): Effect.Effect<Token, never, FileSystem.FileSystem> =>
  Effect.map(FileSystem.FileSystem, (fs) =>
    Effect.mapBoth(fs.readFileString(path), {
      onFailure: (cause) =>
        new PublisherError({
          reason: "misconfigured",
          problem: `the token file ${path} cannot be read (${setting}): ${cause.message}`,
          cause
        }),
      onSuccess: (text) => Redacted.make(text.trim())
    }))

/** When a token says that it expires, in milliseconds since 1970; `undefined` where it does not say, or is no JWT. */
export const tokenExpiry = (text: Redacted.Redacted<string>): number | undefined => expiryOf(Redacted.value(text))
