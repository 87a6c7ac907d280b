/**
 * A Pulsar that is running: where it listens, and what its administrator may ask of it.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

/** Where it listens. */
export interface Address {
  /** `http://host:port`. */
  readonly webUrl: string
  /** `pulsar://host:port`. */
  readonly serviceUrl: string
  /** Its administrator's, where it asks for one. */
  readonly adminToken?: string | undefined
}

export interface Broker extends Address {
  /** `ws://host:port`; its paths begin with `/ws/v2/`. */
  readonly wsUrl: string
  /** What requests and WebSocket handshakes of its administrator say. */
  readonly headers: Readonly<Record<string, string>>
  /** Sends JSON to a path below `/admin/v2/`, and gives what was answered: a value if it was JSON, else the text. */
  readonly admin: (method: string, path: string, body?: unknown) => Effect.Effect<unknown, AdminError>
}

/** It answered that it will not, or cannot. */
export class AdminError extends Data.TaggedError("AdminError")<{
  readonly request: string
  readonly status: number
  readonly answer: string
}> {
  override get message(): string {
    return `${this.request}: ${this.status} ${this.answer}`
  }
}

const headersOf = ({ adminToken }: Address): Readonly<Record<string, string>> =>
  adminToken === undefined ? {} : { authorization: `Bearer ${adminToken}` }

// Of its own connection, which ends with it: a server that is killed leaves none that looks alive.
const ask = (address: Address, method: string, path: string, body?: unknown): Promise<Response> =>
  fetch(`${address.webUrl}/${path}`, {
    method,
    headers: { ...headersOf(address), connection: "close", "content-type": "application/json" },
    ...body === undefined ? {} : { body: JSON.stringify(body) }
  })

// What it says of its content is not always so.
const json = Schema.decodeUnknownOption(Schema.parseJson())

export const make = (address: Address): Broker => ({
  ...address,
  wsUrl: address.webUrl.replace(/^http/, "ws"),
  headers: headersOf(address),
  admin: (method, path, body) =>
    Effect.gen(function*() {
      const response = yield* Effect.promise(() => ask(address, method, `admin/v2/${path}`, body))
      const answer = yield* Effect.promise(() => response.text())
      if (!response.ok)
        return yield* new AdminError({ request: `${method} ${path}`, status: response.status, answer })
      return Option.getOrElse(json(answer), () => answer)
    })
})

/** Whether it serves topics of `public/default`: before that, one that just started refuses some of what it is asked. */
export const isReady = async (address: Address): Promise<boolean> => {
  const answer = async (path: string) => (await ask(address, "GET", path)).text()
  try {
    return (await answer("admin/v2/namespaces/public")).includes("\"public/default\"") &&
      (await answer("admin/v2/brokers/health")) === "ok"
  } catch {
    // Nothing listens yet.
    return false
  }
}
