/**
 * The embedded ledger: a transparency log in a folder, in the C2SP tlog-tiles layout, under Ed25519 signed checkpoints.
 * Other people's verifiers can read it; several processes can append to it.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import type * as Path from "@effect/platform/Path"
import { bytesToHex, hexToBytes } from "@noble/hashes/utils.js"
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as crypto from "node:crypto"
import { v4 } from "uuid"
import * as Envelope from "./Envelope.ts"
import { timestampOf } from "./Operation.ts"
import type { Message, Outcome, Reason } from "./Publisher.ts"
import * as Signature from "./Signature.ts"
import { LedgerError } from "./TrustlogError.ts"
import * as json from "./internal/json.ts"
import { claimOf } from "./internal/ledger/claim.ts"
import { examine, type Finding } from "./internal/ledger/examine.ts"
import * as folders from "./internal/ledger/folder.ts"
import * as keys from "./internal/ledger/key.ts"
import * as maps from "./internal/ledger/map.ts"
import * as merkle from "./internal/merkle.ts"
import * as note from "./internal/note.ts"
import * as tiles from "./internal/tiles.ts"
import { version } from "./internal/version.ts"

export type { Finding } from "./internal/ledger/examine.ts"
export { verifyConsistency, verifyInclusion } from "./internal/merkle.ts"

/** The state of a ledger: how many entries it has, and the root of their tree in hex. */
export type Head = maps.Head

export interface Options {
  /** The ledger's folder. */
  readonly path: string
  /** The file of the signing key; `<path>.key` by default. */
  readonly keyFile?: string | undefined
  /** How long to wait while another process appends; 5 seconds by default. */
  readonly lockWait?: Duration.DurationInput | undefined
  /** Messages of more bytes are refused as too large; by default none is. */
  readonly maxEntryBytes?: number | undefined
}

/** What became of a batch. */
export interface Appended {
  /** One outcome per message, in the order of the batch. */
  readonly outcomes: ReadonlyArray<Outcome>
  /** What went wrong after the new state may have been published already: its new entries are `Unknown`. */
  readonly failure: LedgerError | undefined
  /** A signed state that includes every acknowledged message; `undefined` for an empty batch. */
  readonly checkpoint: Head | undefined
  /** How many entries there were before, so that indexes from there on are new; those of calls that came together are, too. */
  readonly before: number
}

/** An open ledger. */
export interface Ledger {
  /**
   * Appends messages in order, each (stream, id) once: one that is there already with the same content is acknowledged
   * with the index it has, one with other content is refused. Calls that come together share one lock and checkpoint.
   * What is acknowledged is on the disk. Fails when nothing was appended.
   */
  readonly append: (batch: ReadonlyArray<Message>) => Effect.Effect<Appended, LedgerError>
  /** Succeeds when the lock can be had and the ledger is the one that was left. */
  readonly health: Effect.Effect<void, LedgerError>
}

/** An entry as it was read. */
export interface Entry {
  readonly index: number
  readonly bytes: Uint8Array
}

/** A ledger as it was at one checkpoint. */
export interface Reader {
  readonly path: string
  /** The name of the ledger, and of its key. */
  readonly origin: string
  /** The verifier key, as other tools take it. */
  readonly verifier: string
  /** Its Ed25519 public key, in 32 bytes. */
  readonly publicKey: Uint8Array
  /** The checkpoint, whose signature is that of the verifier key. */
  readonly checkpoint: Head
  /**
   * What was signed last by the word of the map, read before the checkpoint: a checkpoint that does not extend it is an
   * older one. `undefined` where nothing was signed yet.
   */
  readonly remembered: Either.Either<Head | undefined, LedgerError>
  /** The entries from an index up to, not including, another; a chunk per bundle. */
  readonly entries: (from: number, to: number) => Stream.Stream<Entry, LedgerError>
  /**
   * Recomputes every tile of every level from the entries, and the checkpoint from the tiles, and compares the
   * checkpoint with what the map remembers. Yields what does not agree; memory stays flat.
   */
  readonly findings: Stream.Stream<Finding>
  /** The proof that an entry is in the tree of some size (the checkpoint's by default); see `verifyInclusion`. */
  readonly inclusionProof: (
    index: number,
    size?: number
  ) => Effect.Effect<ReadonlyArray<Uint8Array>, LedgerError>
  /** The proof that a tree (the checkpoint's by default) extends a smaller one; see `verifyConsistency`. */
  readonly consistencyProof: (
    oldSize: number,
    newSize?: number
  ) => Effect.Effect<ReadonlyArray<Uint8Array>, LedgerError>
  /** The root that the tree had at a smaller size, by the tiles. */
  readonly rootAt: (size: number) => Effect.Effect<string, LedgerError>
}

const checkpointName = "checkpoint"
const verifierName = "vkey"
const mapName = maps.fileName
/** Stands in the folder between the making of a key and the first checkpoint, and holds the key's verifier. */
const birthName = "birth"

const encoder = new TextEncoder()

// Beside the folder, however its path is written.
const keyFileOf = (options: Options): string => options.keyFile ?? `${options.path.replace(/(?<=[^/])\/+$/, "")}.key`

/** How a ledger's index is written as a message id: big-endian, without leading zero bytes, one byte at least. */
export const packIndex = (index: number): Uint8Array => {
  let length = 1
  for (let rest = index; rest >= 256; rest = Math.floor(rest / 256)) length++
  const bytes = new Uint8Array(length)
  for (let at = length - 1, rest = index; at >= 0; at--, rest = Math.floor(rest / 256)) bytes[at] = rest % 256
  return bytes
}

/** The index that a message id means; `undefined` where it is none. */
export const unpackIndex = (messageId: Uint8Array): number | undefined => {
  if (messageId.length === 0 || messageId.length > 7 || (messageId[0] === 0 && messageId.length > 1)) return undefined
  const index = messageId.reduce((sum, byte) => sum * 256 + byte, 0)
  return Number.isSafeInteger(index) ? index : undefined
}

const heads = new WeakMap<tiles.Edge, Head>()

/** The state that ends in an edge. It takes up to some hundred hashes, so it is worked out once. */
const headOf = (edge: tiles.Edge): Head => {
  const known = heads.get(edge)
  if (known !== undefined) return known
  const head = { size: edge.size, root: bytesToHex(tiles.rootOf(edge)) }
  heads.set(edge, head)
  return head
}

const emptyHead: Head = headOf(tiles.emptyEdge)

const isSame = (a: Head, b: Head): boolean => a.size === b.size && a.root === b.root

const contentOf = (file: tiles.File): folders.Content => ({ name: tiles.pathOf(file.tile), bytes: file.bytes })

/** Reads the verifier key, without which nothing in the folder means anything. */
const readVerifier = (folder: folders.Folder): Effect.Effect<note.Verifier, LedgerError> =>
  Effect.gen(function*() {
    const names = yield* folder.list
    if (!names.includes(checkpointName) && !names.includes(verifierName)) {
      return yield* names.length === 0 || names.includes(mapName)
        ? new LedgerError({
          reason: "missing",
          path: folder.root,
          problem: "there is no ledger here; run `trustlog init` to make one"
        })
        : new LedgerError({ reason: "foreign", path: folder.root, problem: "this folder holds no ledger" })
    }
    const path = folder.at(verifierName)
    const bytes = yield* Effect.catchIf(
      folder.read(verifierName),
      (error) => error.reason === "missing",
      () => Effect.fail(new LedgerError({ reason: "corrupt", path, problem: "is gone: restore it" }))
    )
    return yield* Either.mapLeft(
      note.parseVerifier(Buffer.from(bytes).toString("utf8").trimEnd()),
      (problem) => new LedgerError({ reason: "corrupt", path, problem })
    )
  })

/** Reads the checkpoint and checks its signature. */
const readCheckpoint = (folder: folders.Folder, verifier: note.Verifier): Effect.Effect<Head, LedgerError> => {
  const path = folder.at(checkpointName)
  return Effect.flatMap(
    Effect.catchIf(
      folder.read(checkpointName),
      (error) => error.reason === "missing",
      () => Effect.fail(new LedgerError({ reason: "corrupt", path, problem: "is gone" }))
    ),
    (bytes) =>
      Either.mapBoth(note.openCheckpoint(bytes, verifier), {
        onLeft: (problem) => new LedgerError({ reason: "corrupt", path, problem }),
        onRight: ({ root, size }) => ({ size, root: bytesToHex(root) })
      })
  )
}

/** Reads the right edge that the tree had at a size, in a tree that may have grown since. */
const readEdge = (folder: folders.Folder, size: number, treeSize: number): Effect.Effect<tiles.Edge, LedgerError> =>
  Effect.gen(function*() {
    const partial = (level: tiles.Tile["level"]) => {
      const count = tiles.countAt(level === "entries" ? 0 : level, size)
      const width = count % tiles.tileWidth
      return width === 0
        ? Effect.succeed([])
        : Effect.map(
          folder.readTile({ level, index: Math.floor(count / tiles.tileWidth) }, treeSize),
          (content) => content.slice(0, width)
        )
    }
    const levels = yield* Effect.forEach(Array.from({ length: tiles.heightOf(size) }, (_, level) => level), partial)
    const bundle = yield* partial("entries")
    if (bundle.some((entry, i) => bytesToHex(merkle.leafHash(entry)) !== bytesToHex(levels[0]?.[i] ?? entry))) {
      const index = Math.floor(size / tiles.tileWidth)
      const path = folder.at(tiles.pathOf({ level: "entries", index, width: bundle.length }))
      return yield* new LedgerError({ reason: "corrupt", path, problem: "does not hash to its tile" })
    }
    return { size, levels, bundle }
  })

/** What the map holds of an entry: nothing of those that name no record, as the birth record. */
const mappedOf = (bytes: Uint8Array, index: number): ReadonlyArray<maps.Mapped> => {
  const claim = claimOf(bytes)
  return claim === undefined ? [] : [{ ...claim, index }]
}

/** What signs a ledger, and how. */
interface Signer {
  readonly verifier: note.Verifier
  readonly privateKey: crypto.KeyObject
}

const signerOf = (verifier: note.Verifier, key: keys.Key, keyFile: string): Either.Either<Signer, LedgerError> =>
  bytesToHex(key.publicKey) === bytesToHex(verifier.publicKey)
    ? Either.right({ verifier, privateKey: key.privateKey })
    : Either.left(
      new LedgerError({ reason: "foreign", path: keyFile, problem: `is not the key of the ledger ${verifier.name}` })
    )

const signCheckpoint = (signer: Signer, edge: tiles.Edge): folders.Content => {
  const text = note.format({ origin: signer.verifier.name, size: edge.size, root: hexToBytes(headOf(edge).root) })
  return { name: checkpointName, bytes: encoder.encode(note.sign(text, signer.verifier, signer.privateKey)) }
}

/**
 * Checks, under the lock, that the checkpoint extends what was signed last, and brings a map that is behind it up from
 * the entries. `cached` is the right edge as this process left it.
 */
const takeUp = (
  folder: folders.Folder,
  map: maps.Map,
  verifier: note.Verifier,
  cached: tiles.Edge | undefined
): Effect.Effect<tiles.Edge, LedgerError> =>
  Effect.gen(function*() {
    const inconsistent = (problem: string) =>
      new LedgerError({
        reason: "inconsistent",
        path: folder.at(checkpointName),
        problem: `${problem}; nothing is signed over it: restore the newest copy of the ledger`
      })
    const remembered = (yield* map.head) ?? emptyHead
    const checkpoint = yield* Effect.mapError(
      readCheckpoint(folder, verifier),
      (error) => error.reason === "corrupt" ? inconsistent(error.problem) : error
    )
    if (checkpoint.size < remembered.size) {
      return yield* inconsistent(`has ${checkpoint.size} entries, and ${remembered.size} were signed before`)
    }
    if (cached !== undefined && isSame(checkpoint, remembered) && isSame(checkpoint, headOf(cached))) return cached
    let edge = yield* readEdge(folder, remembered.size, checkpoint.size)
    if (!isSame(headOf(edge), remembered)) {
      return yield* inconsistent(`does not extend the ${remembered.size} entries that were signed before`)
    }
    while (edge.size < checkpoint.size) {
      const first = edge.size
      const bundle = Math.floor(first / tiles.tileWidth)
      const all = yield* folder.readTile({ level: "entries", index: bundle }, checkpoint.size)
      const entries = all.slice(first % tiles.tileWidth)
      yield* map.add(entries.flatMap((bytes, i) => mappedOf(bytes, first + i)))
      edge = tiles.grow(edge, entries).edge
    }
    if (!isSame(headOf(edge), checkpoint)) return yield* inconsistent("is not the root of the entries")
    if (!isSame(checkpoint, remembered)) yield* map.remember(checkpoint)
    return edge
  })

/** Where a ledger was made or found. */
export interface Initialised {
  readonly origin: string
  /** Whether it was made just now. */
  readonly isNew: boolean
}

/**
 * Makes a ledger and its key where there is none yet; also makes the map anew where it is gone. Two processes may do so
 * at once. A key without its ledger is an error and never the beginning of a new ledger.
 */
export const init = (
  options: Options
): Effect.Effect<Initialised, LedgerError, FileSystem.FileSystem | Path.Path> =>
  Effect.scoped(Effect.gen(function*() {
    const folder = yield* folders.make(options.path)
    const keyFile = keyFileOf(options)
    const found = yield* folder.list
    if (found.length > 0 && ![checkpointName, verifierName, mapName].some((name) => found.includes(name))) {
      return yield* new LedgerError({
        reason: "foreign",
        path: folder.root,
        problem: "this folder is not empty and holds no ledger; choose another"
      })
    }
    yield* folder.make
    const map = yield* maps.open(folder.at(mapName), { lockWait: options.lockWait ?? "5 seconds" })
    return yield* map.lock(Effect.gen(function*() {
      yield* map.create
      if (yield* folder.exists(checkpointName)) {
        const verifier = yield* readVerifier(folder)
        yield* Effect.flatMap(keys.load(keyFile), (key) => signerOf(verifier, key, keyFile))
        yield* takeUp(folder, map, verifier, undefined)
        yield* folder.removeAll([birthName])
        return { origin: verifier.name, isNew: false }
      }
      if ((yield* map.head) !== undefined) {
        return yield* new LedgerError({
          reason: "inconsistent",
          path: folder.at(checkpointName),
          problem: "is gone, and entries were signed before: restore the newest copy of the ledger"
        })
      }
      const origin = yield* bear(folder, map, keyFile)
      yield* folder.removeAll([birthName])
      return { origin, isNew: true }
    }))
  }))

/** Makes the key, unless a birth that was cut short has made it, and everything up to the first checkpoint. */
const bear = (folder: folders.Folder, map: maps.Map, keyFile: string) =>
  Effect.gen(function*() {
    const begun = (yield* folder.exists(birthName))
      ? Either.getOrUndefined(note.parseVerifier(Buffer.from(yield* folder.read(birthName)).toString("utf8")))
      : undefined
    const signer = yield* (yield* keys.exists(keyFile))
      ? findKey(folder, keyFile, begun)
      : makeSigner(folder, keyFile, begun)
    const verifier = note.formatVerifier(signer.verifier)
    const record = json.canonical({
      type: "birth",
      origin: signer.verifier.name,
      verifier,
      software: { name: "effect-trustlog", version },
      time: timestampOf(yield* Clock.currentTimeMillis)
    })
    const { edge } = tiles.grow(tiles.emptyEdge, [encoder.encode(record)])
    yield* folder.write([
      { name: verifierName, bytes: encoder.encode(`${verifier}\n`) },
      ...tiles.partials(edge).map(contentOf)
    ])
    yield* folder.stage(signCheckpoint(signer, edge))
    yield* folder.publish(checkpointName)
    yield* map.remember(headOf(edge))
    return signer.verifier.name
  })

const findKey = (folder: folders.Folder, keyFile: string, begun: note.Verifier | undefined) =>
  Effect.flatMap(keys.load(keyFile), (key) =>
    Either.orElse(
      begun === undefined ? Either.left(undefined) : signerOf(begun, key, keyFile),
      () =>
        Either.left(
          new LedgerError({
            reason: "missing",
            path: folder.root,
            problem:
              `the ledger that the key ${keyFile} signed is gone: restore it, or remove the key to begin a new one`
          })
        )
    ))

const makeSigner = (folder: folders.Folder, keyFile: string, begun: note.Verifier | undefined) =>
  Effect.gen(function*() {
    const names = yield* folder.list
    if (begun === undefined && (names.includes(verifierName) || names.includes("tile"))) {
      return yield* new LedgerError({
        reason: "inconsistent",
        path: folder.root,
        problem: "holds what is left of a ledger whose checkpoint is gone: restore it, or choose another folder"
      })
    }
    const { privateKey, publicKey } = yield* keys.generate
    const verifier = { name: `trustlog.local/${v4()}`, publicKey }
    yield* folder.write([{ name: birthName, bytes: encoder.encode(note.formatVerifier(verifier)) }])
    yield* keys.store(keyFile, privateKey)
    return { verifier, privateKey }
  })

/**
 * Makes a signing key on its own, where there is none yet, for those who publish elsewhere. Two processes may do so at
 * once. Returns whether it was made just now.
 */
export const makeKey = (keyFile: string): Effect.Effect<boolean, LedgerError, FileSystem.FileSystem | Path.Path> =>
  Effect.gen(function*() {
    if (yield* keys.exists(keyFile)) return false
    const stored = yield* Effect.exit(
      Effect.flatMap(keys.generate, ({ privateKey }) => keys.store(keyFile, privateKey))
    )
    if (Exit.isFailure(stored) && !(yield* keys.exists(keyFile))) yield* stored
    return Exit.isSuccess(stored)
  })

/** What is to be done with a batch. */
interface Plan {
  readonly outcomes: ReadonlyArray<Outcome>
  readonly entries: ReadonlyArray<Uint8Array>
  readonly mapped: ReadonlyArray<maps.Mapped>
}

const acknowledged = (index: number): Outcome => ({ _tag: "Acknowledged", messageId: packIndex(index) })

const refused = (reason: Reason, error: string): Outcome => ({ _tag: "Refused", reason, error })

/** The bytes of the entry that a message becomes. A digest form has no room for the signatures either. */
const entryOf = (message: Message): Either.Either<Uint8Array, Outcome> =>
  message.bytes.length <= tiles.maxEntryBytes
    ? Either.right(message.bytes)
    : Either.mapBoth(Either.flatMap(Signature.open(message.bytes), ({ payload }) => Envelope.decode(payload)), {
      onLeft: (problem) =>
        refused("tooLarge", `${message.bytes.length} bytes, which have no digest form: the message ${problem}`),
      onRight: Envelope.digestForm
    })

const plan = (
  batch: ReadonlyArray<Message>,
  found: Effect.Effect.Success<ReturnType<maps.Map["find"]>>,
  size: number,
  maxEntryBytes: number
): Plan => {
  const entries: Array<Uint8Array> = []
  const mapped: Array<maps.Mapped> = []
  const nameOf = (message: Message) => `${message.id} ${message.stream}`
  const known = new Map<string, { readonly index: number; readonly contentHash: string }>()
  for (const { hash, key, position } of found) {
    const message = batch[key]
    if (message !== undefined) known.set(nameOf(message), { index: position, contentHash: hash })
  }
  const outcomes = batch.map((message): Outcome => {
    const earlier = known.get(nameOf(message))
    if (earlier !== undefined) {
      return earlier.contentHash === message.contentHash
        ? acknowledged(earlier.index)
        : refused("conflict", `the ledger holds other content under this id, as entry ${earlier.index}`)
    }
    if (message.bytes.length > maxEntryBytes) {
      return refused("tooLarge", `${message.bytes.length} bytes; this ledger takes at most ${maxEntryBytes}`)
    }
    const entry = entryOf(message)
    if (Either.isLeft(entry)) return entry.left
    const index = size + entries.length
    entries.push(entry.right)
    mapped.push({ stream: message.stream, id: message.id, index, contentHash: message.contentHash })
    known.set(nameOf(message), { index, contentHash: message.contentHash })
    return acknowledged(index)
  })
  return { outcomes, entries, mapped }
}

/** A call of `append` that waits for its turn. */
interface Request {
  readonly batch: ReadonlyArray<Message>
  readonly answer: Deferred.Deferred<Appended, LedgerError>
}

/** How many calls share one checkpoint at most, which bounds what is in memory at once. */
const maxGroup = 16

/** Opens a ledger for appending, until the scope closes. */
export const make = (
  options: Options
): Effect.Effect<Ledger, LedgerError, FileSystem.FileSystem | Path.Path | Scope.Scope> =>
  Effect.gen(function*() {
    const folder = yield* folders.make(options.path)
    const verifier = yield* readVerifier(folder)
    const keyFile = keyFileOf(options)
    const signer = yield* Effect.flatMap(keys.load(keyFile), (key) => signerOf(verifier, key, keyFile))
    const mapFile = folder.at(mapName)
    const mapGone = new LedgerError({
      reason: "inconsistent",
      path: mapFile,
      problem: "is gone, which remembers what was signed last. If nobody has put an older copy of the ledger here " +
        "(`trustlog verify` tells), `trustlog init` makes it anew"
    })
    if (!(yield* folder.exists(mapName))) return yield* mapGone
    const map = yield* maps.open(mapFile, { lockWait: options.lockWait ?? "5 seconds" })
    const identity = yield* folder.identity(mapName)

    // The lock is worth something only as long as everybody locks the same file.
    const checkIdentity = Effect.flatMap(
      Effect.catchIf(folder.identity(mapName), (error) => error.reason === "missing", () => Effect.fail(mapGone)),
      (now) =>
        now === identity ? Effect.void : new LedgerError({
          reason: "inconsistent",
          path: mapFile,
          problem: "is another file than the one that was opened: the ledger was replaced under a running process"
        })
    )

    let cached: tiles.Edge | undefined
    const current = Effect.suspend(() => {
      const edge = cached
      cached = undefined
      return Effect.zipRight(checkIdentity, takeUp(folder, map, verifier, edge))
    })

    /** Partial tiles whose full tile is there, since the last checkpoint. */
    let outgrown: ReadonlyArray<string> = []

    const appendAll = (batch: ReadonlyArray<Message>): Effect.Effect<Appended, LedgerError> =>
      Effect.suspend(() => {
        let published: { readonly before: Head; readonly outcomes: ReadonlyArray<Outcome> } | undefined
        const locked = Effect.gen(function*() {
          const edge = yield* current
          const found = yield* map.find(batch)
          const { entries, mapped, outcomes } = plan(batch, found, edge.size, options.maxEntryBytes ?? Infinity)
          const before = edge.size
          if (entries.length === 0) return { edge, outcomes, before }
          const { edge: grown, filled } = tiles.grow(edge, entries)
          // While the disk writes, the map's transaction, which is not committed yet, is prepared.
          yield* folders.together([
            folder.write([...filled, ...tiles.partials(grown, edge)].map(contentOf)),
            folder.stage(signCheckpoint(signer, grown)),
            Effect.zipRight(map.add(mapped), map.remember(headOf(grown)))
          ])
          published = { before: headOf(edge), outcomes }
          yield* folder.publish(checkpointName)
          outgrown = filled
            .filter(({ tile }) => tiles.widthAt(tile.level, tile.index, edge.size) > 0)
            .map(({ tile }) => `${tiles.fullPathOf(tile)}.p`)
          return { edge: grown, outcomes, before }
        })
        return map.lock(locked).pipe(
          Effect.map(({ before, edge, outcomes }): Appended => {
            cached = edge
            return { outcomes, failure: undefined, checkpoint: headOf(edge), before }
          }),
          Effect.catchAll((failure) =>
            published === undefined ? Effect.fail(failure) : Effect.succeed(unsure(published, failure))
          )
        )
      })

    const waiting: Array<Request> = []
    const hasWaiting = yield* Effect.makeLatch()
    let isClosed = false
    const closed = new LedgerError({ reason: "io", path: folder.root, problem: "the ledger has been closed" })
    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        isClosed = true
        return Effect.forEach(waiting.splice(0), ({ answer }) => Deferred.fail(answer, closed), { discard: true })
      })
    )
    const serve = Effect.gen(function*() {
      const group = waiting.splice(0, maxGroup)
      if (waiting.length === 0) yield* hasWaiting.close
      if (group.length === 0) return
      const exit = yield* Effect.exit(appendAll(group.flatMap((request) => request.batch)))
      let at = 0
      for (const { answer, batch } of group) {
        const from = at
        at += batch.length
        yield* Deferred.done(
          answer,
          Exit.map(exit, (appended) => ({ ...appended, outcomes: appended.outcomes.slice(from, from + batch.length) }))
        )
      }
      yield* folder.removeAll(outgrown)
      outgrown = []
    })
    // An append that has begun goes on to its end in this fibre, whoever still waits for it.
    yield* hasWaiting.await.pipe(
      Effect.zipRight(Effect.uninterruptible(serve)),
      Effect.forever,
      Effect.interruptible,
      Effect.forkScoped
    )

    const enqueue = (batch: ReadonlyArray<Message>): Effect.Effect<Appended, LedgerError> =>
      Effect.gen(function*() {
        if (isClosed) return yield* closed
        const request: Request = { batch, answer: Deferred.unsafeMake(FiberId.none) }
        waiting.push(request)
        yield* hasWaiting.open
        return yield* Effect.onInterrupt(
          Deferred.await(request.answer),
          () =>
            Effect.sync(() => {
              const index = waiting.indexOf(request)
              if (index >= 0) waiting.splice(index, 1)
            })
        )
      })

    return {
      append: (batch) =>
        batch.length === 0
          ? Effect.succeed({ outcomes: [], failure: undefined, checkpoint: undefined, before: 0 })
          : enqueue(batch),
      health: Effect.map(map.lock(current), (edge) => {
        cached = edge
      })
    }
  })

/** The answer when nobody can tell whether the new checkpoint is on the disk. */
const unsure = (
  published: { readonly before: Head; readonly outcomes: ReadonlyArray<Outcome> },
  failure: LedgerError
): Appended => ({
  outcomes: published.outcomes.map((outcome) =>
    outcome._tag === "Acknowledged" && (unpackIndex(outcome.messageId) ?? 0) >= published.before.size
      ? { _tag: "Unknown", error: failure.problem }
      : outcome
  ),
  failure,
  checkpoint: published.before,
  before: published.before.size
})

/** What a ledger's map remembers as signed last: `undefined` where nothing was, an error where the map is gone. */
export const rememberedHead = (
  path: string
): Effect.Effect<Head | undefined, LedgerError, FileSystem.FileSystem | Path.Path> =>
  Effect.flatMap(folders.make(path), remembered)

const remembered = (
  folder: folders.Folder
): Effect.Effect<Head | undefined, LedgerError, FileSystem.FileSystem> =>
  Effect.zipRight(folder.identity(mapName), maps.readHead(folder.at(mapName)))

/** So many tiles of 8 KiB are kept for the next proof. */
const maxCachedTiles = 64

/** Reads a ledger as it is at this moment. Needs no key. */
export const read = (path: string): Effect.Effect<Reader, LedgerError, FileSystem.FileSystem | Path.Path> =>
  Effect.gen(function*() {
    const folder = yield* folders.make(path)
    const verifier = yield* readVerifier(folder)
    // In this order: what is signed later must not look like what was remembered earlier.
    const memory = yield* Effect.either(remembered(folder))
    const checkpoint = yield* readCheckpoint(folder, verifier)

    // Proofs about neighbouring entries go through the same tiles, and no tile of a checkpoint ever changes.
    const cache = new Map<string, ReadonlyArray<Uint8Array>>()
    const tileAt = (level: number, index: number): Effect.Effect<ReadonlyArray<Uint8Array>, LedgerError> => {
      const name = `${level}/${index}`
      const known = cache.get(name)
      return known === undefined
        ? Effect.tap(folder.readTile({ level, index }, checkpoint.size), (hashes) => {
          const [oldest] = cache.keys()
          if (cache.size === maxCachedTiles && oldest !== undefined) cache.delete(oldest)
          cache.set(name, hashes)
        })
        : Effect.succeed(known)
    }
    const nodeAt = (node: merkle.Node): Effect.Effect<Uint8Array, LedgerError> => {
      const level = Math.floor(node.height / 8)
      const width = 2 ** (node.height % 8)
      const from = node.index * width
      return Effect.map(
        tileAt(level, Math.floor(from / tiles.tileWidth)),
        (hashes) => merkle.root(hashes.slice(from % tiles.tileWidth, from % tiles.tileWidth + width))
      )
    }
    const hashOf = (range: merkle.Range) => Effect.map(Effect.forEach(merkle.nodesOf(range), nodeAt), merkle.rangeHash)
    const within = <A>(isWithin: boolean, proof: Effect.Effect<A, LedgerError>) =>
      isWithin ? proof : new LedgerError({
        reason: "missing",
        path: folder.root,
        problem: `the checkpoint has ${checkpoint.size} entries, and no proof about others`
      })
    const rootAt = (size: number): Effect.Effect<string, LedgerError> =>
      within(isUpTo(size, checkpoint.size), Effect.map(hashOf({ from: 0, to: size }), bytesToHex))

    return {
      path,
      origin: verifier.name,
      verifier: note.formatVerifier(verifier),
      publicKey: verifier.publicKey,
      checkpoint,
      remembered: memory,
      entries: (from, to) =>
        Stream.unfoldChunkEffect(Math.max(0, from), (at) =>
          Effect.gen(function*() {
            const end = Math.min(to, checkpoint.size)
            if (at >= end) return Option.none()
            const index = Math.floor(at / tiles.tileWidth)
            const bundle = yield* folder.readTile({ level: "entries", index }, checkpoint.size)
            const first = index * tiles.tileWidth
            const chunk = bundle.slice(at - first, end - first).map((bytes, i): Entry => ({ index: at + i, bytes }))
            return Option.some([Chunk.unsafeFromArray(chunk), at + chunk.length] as const)
          })),
      findings: Stream.concat(
        Stream.unwrap(Effect.map(contradiction(memory, checkpoint, rootAt), Stream.fromIterable)),
        examine(folder, checkpoint)
      ),
      inclusionProof: (index, size = checkpoint.size) =>
        within(
          isUpTo(size, checkpoint.size) && isUpTo(index, size - 1),
          Effect.forEach(merkle.inclusionPath(index, size), hashOf)
        ),
      consistencyProof: (oldSize, newSize = checkpoint.size) =>
        within(
          isUpTo(newSize, checkpoint.size) && isUpTo(oldSize, newSize),
          Effect.forEach(merkle.consistencyPath(oldSize, newSize), hashOf)
        ),
      rootAt
    }
  })

const isUpTo = (n: number, most: number): boolean => Number.isSafeInteger(n) && n >= 0 && n <= most

/** What speaks against the checkpoint, by the word of the map. */
const contradiction = (
  memory: Reader["remembered"],
  checkpoint: Head,
  rootAt: Reader["rootAt"]
): Effect.Effect<ReadonlyArray<Finding>> => {
  const remembered = Either.getOrUndefined(memory)
  const finding = (problem: string): ReadonlyArray<Finding> => [{ thing: checkpointName, problem, index: undefined }]
  if (remembered === undefined) return Effect.succeed([])
  if (remembered.size > checkpoint.size) {
    return Effect.succeed(finding(`has ${checkpoint.size} entries, and ${remembered.size} were signed before`))
  }
  // Of an equal size the tiles have no say.
  const root = remembered.size === checkpoint.size ? Effect.succeed(checkpoint.root) : rootAt(remembered.size)
  return Effect.match(root, {
    // A tile that cannot be read is a finding of its own.
    onFailure: () => [],
    onSuccess: (root) =>
      root === remembered.root
        ? []
        : finding(`does not extend the ${remembered.size} entries that were signed before`)
  })
}
