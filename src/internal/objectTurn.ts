/**
 * Whose turn it is in a Durable Object's storage. Whatever is written there while a transaction is open is part of it,
 * whoever writes: so writers that are no part of it wait for its end.
 */
import * as turn from "./turn.ts"

const turns = new WeakMap<object, turn.Turn>()

/** The turn that all users of an object's storage share. */
export const of = (storage: object): turn.Turn => {
  const known = turns.get(storage)
  if (known !== undefined) return known
  const made = turn.make()
  turns.set(storage, made)
  return made
}
