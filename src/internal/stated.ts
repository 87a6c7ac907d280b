/**
 * What callers of an append state, and what it becomes: operations, and the lanes they go to.
 */
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import { fromUnknown, type Input, Lane, laneOf, type Operation } from "../Operation.ts"
import { InvalidOperation } from "../TrustlogError.ts"

/** Names the operation that a refusal speaks of: in a batch of several, the field begins with the index. */
export const inBatch = (size: number, index: number) => (error: InvalidOperation): InvalidOperation =>
  size === 1 ? error : new InvalidOperation({
    field: `[${index}]${error.field === "" || error.field.startsWith("[") ? "" : "."}${error.field}`,
    reason: error.reason,
    cure: error.cure
  })

/** Validates a batch. */
export const validated = (
  operations: ReadonlyArray<Input>
): Either.Either<ReadonlyArray<Operation>, InvalidOperation> =>
  Either.all(
    operations.map((operation, index) => Either.mapLeft(fromUnknown(operation), inBatch(operations.length, index)))
  )

/** Where a kind goes that has no lane of a name. */
const lanes = { operation: Either.right(laneOf("operation")), record: Either.right(laneOf("record")) }

const decode = Schema.decodeUnknownEither(Lane)

/** The lane of an operation, of the name that the host gave it, if any. */
export const laneFor = (operation: Operation, name: string | undefined): Either.Either<Lane, InvalidOperation> =>
  name === undefined ? lanes[operation.kind] : Either.mapLeft(
    decode(`${operation.kind}/${name}`),
    () =>
      new InvalidOperation({
        field: "lane",
        reason: "format",
        cure: "name a lane with 1 to 63 of A-Z a-z 0-9 . _ -, the first a letter or digit"
      })
  )
