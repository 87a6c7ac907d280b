/**
 * Topics of a broker that only a benchmark uses.
 */
import { randomBytes } from "node:crypto"

const namespace = "public/default"

export interface Topic {
  /** Its full name. */
  readonly name: string
  /** Its place below `/ws/v2/producer/`. */
  readonly path: string
  /** Nobody else's broker is left with what it holds. */
  readonly remove: () => Promise<void>
}

/** A new one: a broker makes it when it is first published to. `url` is `ws://host:port`. */
export const make = (url: string): Topic => {
  const own = `trustlog_bench_${randomBytes(6).toString("hex")}`
  const path = `persistent/${namespace}/${own}`
  return {
    name: `persistent://${namespace}/${own}`,
    path,
    remove: async () => {
      const place = `${url.replace(/^ws/, "http")}/admin/v2/${path}?force=true`
      await (await fetch(place, { method: "DELETE" })).arrayBuffer()
    }
  }
}
