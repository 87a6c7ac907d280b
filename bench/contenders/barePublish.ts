/**
 * The shortest code that publishes some messages to Apache Pulsar over WebSocket, and knows that each was stored. They are in
 * memory and gone once they were sent: a limit to compare with, not an outbox to use.
 */
import { createHash } from "node:crypto"
import { WebSocket } from "ws"
import type { Contender } from "../Contender.ts"
import { message, type Sample } from "../Sample.ts"
import { make } from "../topic.ts"

/** So many messages are on their way at most. */
const window = 500

/** So many acknowledgements are told of at once. */
const told = 1_000

/** What we send of an operation. */
const messageOf = (sample: Sample) => {
  const own = message(sample)
  const bytes = Buffer.from(JSON.stringify(own))
  return {
    bytes,
    key: own.id,
    properties: {
      "content-type": "application/vnd.trustlog.envelope+json",
      "schema-version": "1",
      "content-hash": createHash("sha256").update(bytes).digest("hex"),
      stream: own.stream
    }
  }
}

export const barePublish: Contender = {
  note: "messages in memory; nothing is read from a database and nothing written down",
  open: async (_, { log }) => {
    let messages: Array<ReturnType<typeof messageOf>> = []
    let acknowledged = 0
    const add = (samples: ReadonlyArray<Sample>) => {
      for (const sample of samples) messages.push(messageOf(sample))
    }
    return {
      append: async (sample) => add([sample]),
      appendAll: async (samples) => add(samples),
      left: async () => ({ pending: messages.length - acknowledged, dead: 0 }),
      work: async (publish) => {
        const topic = make(log)
        const url = `${log}/ws/v2/producer/${topic.path}?maxPendingMessages=${2 * window}`
        const socket = new WebSocket(url, { perMessageDeflate: false })
        await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject))
        let next = 0
        const pump = () => {
          while (next - acknowledged < window) {
            const message = messages[next]
            if (message === undefined) return
            const { bytes, key, properties } = message
            socket.send(JSON.stringify({ payload: bytes.toString("base64"), key, properties, context: String(next++) }))
          }
        }
        socket.on("message", (text) => {
          if (JSON.parse(text.toString()).result !== "ok") throw new Error(text.toString())
          acknowledged++
          if (acknowledged % told === 0 || acknowledged === messages.length) {
            const from = Math.floor((acknowledged - 1) / told) * told
            void publish(messages.slice(from, acknowledged).map(({ bytes }) => bytes))
          }
          pump()
        })
        await publish([])
        pump()
        return async () => {
          socket.terminate()
          messages = []
          acknowledged = 0
          await topic.remove()
        }
      },
      close: async () => {}
    }
  }
}
