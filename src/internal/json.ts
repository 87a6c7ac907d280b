/**
 * JSON without the losses of `JSON.parse`: numbers that a double cannot hold, duplicate keys, and text that a database
 * or a canonical form cannot carry are refused instead of changed.
 */
import * as Either from "effect/Either"
import { InvalidOperation } from "../TrustlogError.ts"

/** Deeper nesting is refused: every parser on the way to an auditor recurses, and each has another limit. */
export const maxDepth = 128

type Path = ReadonlyArray<string | number>

const identifier = /^[A-Za-z_$][A-Za-z0-9_$]*$/

/** Shows control and invisible characters as escapes: what a stranger wrote ends up on a terminal. */
const printable = (text: string): string =>
  text.replace(/\p{C}/gu, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`)

/** `payload.items[3]["odd key"]`, shortened where it is long. */
export const formatPath = (path: Path): string => {
  const text = path.reduce<string>((text, step) => {
    if (typeof step === "number") return `${text}[${step}]`
    const shown = step.slice(0, 64)
    if (!identifier.test(shown)) return `${text}[${printable(JSON.stringify(shown))}]`
    return text === "" ? shown : `${text}.${shown}`
  }, "")
  return text.length > 200 ? `${text.slice(0, 200)}…` : text
}

/** The digits of a number literal without zeros at either end. */
const digitsOf = (literal: string): string => {
  const digits = literal.toLowerCase().replace(/e.*$/, "").replace(/[-.]/g, "")
  let start = 0
  let end = digits.length
  while (digits[start] === "0") start++
  while (end > start && digits[end - 1] === "0") end--
  return digits.slice(start, end)
}

/** Whether a double holds exactly the number that was written, by its shortest round-trip form. */
const isExact = (literal: string): boolean => {
  // A double keeps any 15 digits.
  if (literal.length < 16 && !/e/i.test(literal)) return true
  const value = Number(literal)
  const written = digitsOf(literal)
  if (value === 0) return written === ""
  // The nearest double is not ten times as large: with equal digits it is the same number.
  return Number.isFinite(value) && written === digitsOf(String(value))
}

const [quote, comma, minus, zero, nine] = [0x22, 0x2c, 0x2d, 0x30, 0x39]
const [openBracket, backslash, closeBracket, openBrace, closeBrace] = [0x5b, 0x5c, 0x5d, 0x7b, 0x7d]

/** The index of the quote that ends the string which begins at an index. */
const endOfString = (text: string, start: number): number => {
  let end = start
  let backslashes: number
  do {
    end = text.indexOf("\"", end + 1)
    backslashes = 0
    while (text.charCodeAt(end - 1 - backslashes) === backslash) backslashes++
  } while (backslashes % 2 === 1)
  return end
}

const number = /[-+.0-9eE]+/y

/** An array or object that is open, and where in it we are. */
interface Open {
  /** `undefined` in an array. */
  readonly keys: Set<string> | undefined
  step: string | number
  isKeyNext: boolean
}

/**
 * Finds in valid JSON text what its value no longer shows. One pass and no tree: a parser that builds one took ten times
 * as long for a line, and hundreds of megabytes for a large one.
 */
const findLoss = (text: string, path: Path): InvalidOperation | undefined => {
  const stack: Array<Open> = []
  const refusal = (reason: InvalidOperation["reason"], cure: string) =>
    new InvalidOperation({ field: formatPath([...path, ...stack.map((open) => open.step)]), reason, cure })
  for (let i = 0; i < text.length; i++) {
    const top = stack.at(-1)
    const code = text.charCodeAt(i)
    if (code === quote) {
      const end = endOfString(text, i)
      if (top?.keys !== undefined && top.isKeyNext) {
        const raw = text.slice(i + 1, end)
        const key = raw.includes("\\") ? String(JSON.parse(text.slice(i, end + 1))) : raw
        top.step = key
        top.isKeyNext = false
        if (top.keys.has(key)) return refusal("duplicateKey", "give each key once")
        top.keys.add(key)
      }
      i = end
    } else if (code === comma) {
      if (typeof top?.step === "number") top.step++
      else if (top !== undefined) top.isKeyNext = true
    } else if (code === openBrace || code === openBracket) {
      if (stack.length === maxDepth) return refusal("notJson", `nest at most ${maxDepth} levels`)
      stack.push(
        code === openBrace
          ? { keys: new Set(), step: "", isKeyNext: true }
          : { keys: undefined, step: 0, isKeyNext: false }
      )
    } else if (code === closeBrace || code === closeBracket) {
      stack.pop()
    } else if (code === minus || (code >= zero && code <= nine)) {
      number.lastIndex = i
      const literal = number.exec(text)?.[0] ?? ""
      if (!isExact(literal)) {
        return refusal("inexactNumber", `${literal.slice(0, 40)} is not exact as a double; send it as a string`)
      }
      i += literal.length - 1
    }
  }
  return undefined
}

/**
 * Parses JSON text, refusing what `JSON.parse` hides: duplicate keys (RFC 8259 leaves their meaning open) and numbers
 * whose nearest double is another number. `path` is where the text stands.
 */
export const parse = (text: string, path: Path = []): Either.Either<unknown, InvalidOperation> => {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    const problem = error instanceof Error ? printable(error.message) : "unreadable"
    return Either.left(
      new InvalidOperation({ field: formatPath(path), reason: "notJson", cure: `write valid JSON (${problem})` })
    )
  }
  const loss = findLoss(text, path)
  return loss === undefined ? Either.right(value) : Either.left(loss)
}

/** What is wrong, and where: innermost step first, because the path is built only once something is. */
interface Finding {
  readonly reason: InvalidOperation["reason"]
  readonly cure: string
  readonly path: Array<string | number>
}

const finding = (reason: InvalidOperation["reason"], cure: string): Finding => ({ reason, cure, path: [] })

const surrogate = /[\ud800-\udfff]/
const loneSurrogate = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/

/** Why a database or UTF-8 cannot hold a text; `undefined` when both can. */
export const textProblem = (text: string): string | undefined =>
  text.includes("\u0000")
    ? "remove the NUL character (U+0000), which databases cannot store as text"
    : surrogate.test(text) && loneSurrogate.test(text)
    ? "replace the lone surrogate: it is half a character and has no UTF-8 form"
    : undefined

const findInText = (text: string): Finding | undefined => {
  const problem = textProblem(text)
  return problem === undefined ? undefined : finding("encoding", problem)
}

const isPlain = (value: object): value is Record<string, unknown> => {
  const prototype: unknown = Object.getPrototypeOf(value)
  // Another realm (a `vm` context, a test runner's sandbox) has an `Object.prototype` of its own.
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

/** `room` is what is left of the longest text that the whole may have. */
const find = (value: unknown, depth: number, room: { left: number }): Finding | undefined => {
  room.left -= typeof value === "string" ? value.length + 2 : typeof value === "object" ? 2 : 1
  if (room.left < 0) return finding("tooLarge", "is too large to be recorded; store it elsewhere and record its hash")
  switch (typeof value) {
    case "string":
      return findInText(value)
    case "boolean":
      return undefined
    case "number":
      return Number.isFinite(value) ? undefined : finding("type", "use a finite number")
    case "object":
      return value === null ? undefined : findInObject(value, depth, room)
    default:
      return finding("type", `use a JSON value, not ${typeof value}`)
  }
}

const findInObject = (value: object, depth: number, room: { left: number }): Finding | undefined => {
  if (depth === maxDepth) return finding("notJson", `nest at most ${maxDepth} levels, without cycles`)
  if ("toJSON" in value && typeof value.toJSON === "function") {
    return finding("type", "use plain JSON values: call toJSON first")
  }
  if (Array.isArray(value)) {
    room.left -= Math.max(value.length - 1, 0)
    for (let i = 0; i < value.length; i++) {
      const found = find(value[i], depth + 1, room)
      if (found !== undefined) {
        found.path.push(i)
        return found
      }
    }
    return undefined
  }
  if (!isPlain(value)) return finding("type", "use plain JSON values: convert dates, maps and class instances first")
  for (const key of Object.keys(value)) {
    room.left -= key.length + 3
    const found = findInText(key) ?? find(value[key], depth + 1, room)
    if (found !== undefined) {
      found.path.push(key)
      return found
    }
  }
  return undefined
}

/**
 * Checks that the value of a field is JSON and nothing else: no `undefined` members, functions, big integers, dates,
 * class instances, infinities, cycles or holes, and in its texts and keys neither NUL (PostgreSQL cannot store it) nor
 * lone surrogates (UTF-8 cannot encode them). It is too large when its canonical text is certain to exceed `maxBytes`.
 */
export const inspect = (value: unknown, field: string, maxBytes: number): InvalidOperation | undefined => {
  const found = find(value, 1, { left: maxBytes })
  return found === undefined ? undefined : new InvalidOperation({
    field: formatPath([...found.path, field].toReversed()),
    reason: found.reason,
    cure: found.cure
  })
}

const needsNoEscape = /^[ !#-[\]-~]*$/

/** A JSON string, written as RFC 8785 does: `JSON.stringify` agrees on well-formed text, but costs twice as much. */
export const quoted = (text: string): string => needsNoEscape.test(text) ? `"${text}"` : JSON.stringify(text)

/**
 * RFC 8785 canonical text of a value that `inspect` has passed: keys by UTF-16 code unit, as `sort` has them, numbers as
 * ECMAScript writes them. A host may have changed the value since: what is no JSON is thrown, and never recorded.
 */
export const canonical = (value: unknown): string => {
  switch (typeof value) {
    case "string":
      return quoted(value)
    case "boolean":
      return String(value)
    case "number":
      if (Number.isFinite(value)) return String(value)
      break
    case "object":
      if (value === null) return "null"
      if (Array.isArray(value)) return `[${Array.from(value, canonical).join(",")}]`
      if (isPlain(value)) return canonicalObject(value)
  }
  throw new TypeError(`a payload holds no JSON value, but ${typeof value}: it was changed after it had been checked`)
}

const canonicalObject = (value: Readonly<Record<string, unknown>>): string => {
  let members = ""
  for (const key of Object.keys(value).sort()) {
    const member = value[key]
    if (member !== undefined) members += `${members === "" ? "" : ","}${quoted(key)}:${canonical(member)}`
  }
  return `{${members}}`
}
