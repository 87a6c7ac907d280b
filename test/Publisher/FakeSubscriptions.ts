/**
 * The consumers of the fake of `pulsar-client`: subscriptions with a place in the topic, and what each consumer has not acknowledged.
 */
import type { Consumer, ConsumerOptions, Received } from "../../src/internal/pulsar/nativeClient.ts"
import type { Broker, Held } from "./FakePulsarClient.ts"

/** A message that waits for a consumer, until a time. */
interface Waiting {
  readonly held: Held
  readonly count: number
  readonly at: number
}

interface Member {
  readonly unacknowledged: Map<string, Waiting>
  isOpen: boolean
}

interface Subscription {
  readonly type: ConsumerOptions["subscriptionType"]
  /** How much of what the broker holds has been looked at. */
  next: number
  readonly queue: Array<Waiting>
  readonly members: Array<Member>
}

export interface Subscriptions {
  readonly subscribe: (options: ConsumerOptions) => Consumer
  /** Every connection is lost: what was not acknowledged comes again. */
  readonly lose: () => void
}

const turn = () => new Promise<void>((resolve) => setTimeout(resolve, 2))

const failed = (what: string, name: string): Error => new Error(`Failed to ${what}: ${name}`)

const placeOf = (broker: Broker, { held }: Waiting): number => broker.held.indexOf(held)

export const make = (broker: Broker): Subscriptions => {
  const subscriptions = new Map<string, Subscription>()

  const giveBack = (subscription: Subscription, member: Member) => {
    for (const { count, held } of member.unacknowledged.values()) {
      subscription.queue.push({ held, count: count + 1, at: 0 })
    }
    member.unacknowledged.clear()
    subscription.queue.sort((a, b) => placeOf(broker, a) - placeOf(broker, b))
  }

  const isFor = (subscription: Subscription, member: Member, { held }: Waiting): boolean => {
    const { members, type } = subscription
    if (type === "Shared") return true
    if (type !== "KeyShared") return members[0] === member
    const hash = Array.from(held.key).reduce((sum, letter) => sum + (letter.codePointAt(0) ?? 0), 0)
    return members[hash % members.length] === member
  }

  const nextFor = (options: ConsumerOptions, subscription: Subscription, member: Member): Waiting | undefined => {
    while (subscription.next < broker.held.length) {
      const held = broker.held[subscription.next++]
      if (held?.topic === options.topic) subscription.queue.push({ held, count: 0, at: 0 })
    }
    const now = Date.now()
    const index = subscription.queue.findIndex((waiting) => waiting.at <= now && isFor(subscription, member, waiting))
    return index === -1 ? undefined : subscription.queue.splice(index, 1)[0]
  }

  const received = ({ count, held }: Waiting): Received => ({
    getData: () => Buffer.from(held.data),
    getProperties: () => held.properties,
    getMessageId: () => ({ toString: () => held.id }),
    getPartitionKey: () => held.key,
    getPublishTimestamp: () => Date.now(),
    getRedeliveryCount: () => count
  })

  const answered = async () => {
    while (broker.state !== "up") await turn()
  }

  return {
    lose: () => {
      for (const subscription of subscriptions.values()) {
        for (const member of subscription.members) giveBack(subscription, member)
      }
    },
    subscribe: (options) => {
      const name = `${options.subscription} ${options.topic}`
      const subscription = subscriptions.get(name) ?? {
        type: options.subscriptionType,
        next: options.subscriptionInitialPosition === "Latest" ? broker.held.length : 0,
        queue: [],
        members: []
      }
      if (subscription.type === "Exclusive" && subscription.members.length > 0)
        throw failed("create consumer", "ConsumerBusy")
      subscriptions.set(name, subscription)
      const member: Member = { unacknowledged: new Map(), isOpen: true }
      subscription.members.push(member)
      let burst = 0
      const idOf = (message: Received) => message.getMessageId().toString()
      return {
        receive: async () => {
          // So many come at once; then the others have their turn.
          if (++burst % 50 === 0) await turn()
          for (;; await turn()) {
            if (!member.isOpen) throw failed("receive message", "AlreadyClosed")
            const next = broker.state === "up" ? nextFor(options, subscription, member) : undefined
            if (next === undefined) continue
            member.unacknowledged.set(next.held.id, next)
            return received(next)
          }
        },
        acknowledge: async (message) => {
          await answered()
          member.unacknowledged.delete(idOf(message))
          return null
        },
        negativeAcknowledge: (message) => {
          const waiting = member.unacknowledged.get(idOf(message))
          if (waiting === undefined) return
          member.unacknowledged.delete(idOf(message))
          const at = Date.now() + (options.nAckRedeliverTimeoutMs ?? 60_000)
          subscription.queue.push({ held: waiting.held, count: waiting.count + 1, at })
        },
        isConnected: () => member.isOpen && broker.state !== "down",
        close: async () => {
          if (!member.isOpen) throw failed("close consumer", "AlreadyClosed")
          member.isOpen = false
          await answered()
          giveBack(subscription, member)
          subscription.members.splice(subscription.members.indexOf(member), 1)
        }
      }
    }
  }
}
