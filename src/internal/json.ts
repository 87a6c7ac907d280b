/**
 * JSON without the losses of `JSON.parse`: numbers that a double cannot hold, duplicate keys, and text that a database
 * or a canonical form cannot carry are refused instead of changed.
 */
import { type AnyNode, parse as parseTree } from "@humanwhocodes/momoa"
import canonicalize from "canonicalize"
import * as Either from "effect/Either"
import { InvalidOperation } from "../TrustlogError.ts"

/** Deeper nesting is refused: every parser on the way to an auditor recurses, and each has another limit. */
export const maxDepth = 128

const refuse = (field: string, reason: InvalidOperation["reason"], cure: string) =>
  Either.left(new InvalidOperation({ field, reason, cure }))

type Path = ReadonlyArray<string | number>

const identifier = /^[A-Za-z_$][A-Za-z0-9_$]*$/

/** `payload.items[3]["odd key"]` */
export const formatPath = (path: Path): string =>
  path.reduce<string>((text, step) => {
    if (typeof step === "number") return `${text}[${step}]`
    if (!identifier.test(step)) return `${text}[${JSON.stringify(step.slice(0, 64))}]`
    return text === "" ? step : `${text}.${step}`
  }, "")

/**
 * The exact value of a JSON number literal, as its digits without zeros at either end and the power of ten of the last
 * digit, so that two literals of one number compare equal.
 */
const exactValue = (literal: string): string => {
  const [mantissa = "", exponent = "0"] = literal.toLowerCase().split("e")
  const isNegative = mantissa.startsWith("-")
  const [whole = "", fraction = ""] = mantissa.replace(/^[-+]/, "").split(".")
  const digits = (whole + fraction).replace(/^0+/, "")
  const significant = digits.replace(/0+$/, "")
  if (significant === "") return "0"
  const power = BigInt(exponent) - BigInt(fraction.length) + BigInt(digits.length - significant.length)
  return `${isNegative ? "-" : ""}${significant}e${power}`
}

/** Whether a double holds exactly the number that was written, by its shortest round-trip form. */
const isExact = (literal: string, value: number): boolean =>
  Number.isFinite(value) && (literal.length < 16 && !literal.includes("e") && !literal.includes("E")
    ? true
    : exactValue(literal) === exactValue(String(value)))

const isTooDeep = (text: string): boolean => {
  let depth = 0
  let isInString = false
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (isInString) {
      if (code === 0x5c) i++
      else if (code === 0x22) isInString = false
    } else if (code === 0x22) isInString = true
    else if (code === 0x5b || code === 0x7b) {
      if (++depth > maxDepth) return true
    } else if (code === 0x5d || code === 0x7d) depth--
  }
  return false
}

/**
 * Parses JSON text, refusing what `JSON.parse` hides: duplicate keys (RFC 8259 leaves their meaning open) and numbers
 * whose nearest double is another number.
 */
export const parse = (text: string): Either.Either<unknown, InvalidOperation> => {
  if (isTooDeep(text)) return refuse("", "notJson", `nest at most ${maxDepth} levels`)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    return refuse("", "notJson", `write one JSON object (${error instanceof Error ? error.message : String(error)})`)
  }
  const finding = hidden(text, parseTree(text, { mode: "json", ranges: true }).body, [])
  return finding === undefined ? Either.right(value) : Either.left(finding)
}

const hidden = (text: string, node: AnyNode, path: Path): InvalidOperation | undefined => {
  switch (node.type) {
    case "Object": {
      const names = new Set<string>()
      for (const member of node.members) {
        const name = member.name.type === "String" ? member.name.value : ""
        const inner = [...path, name]
        if (names.has(name)) {
          return new InvalidOperation({
            field: formatPath(inner),
            reason: "duplicateKey",
            cure: "give each key once"
          })
        }
        names.add(name)
        const finding = hidden(text, member.value, inner)
        if (finding !== undefined) return finding
      }
      return undefined
    }
    case "Array": {
      for (let i = 0; i < node.elements.length; i++) {
        const element = node.elements[i]
        const finding = element === undefined ? undefined : hidden(text, element.value, [...path, i])
        if (finding !== undefined) return finding
      }
      return undefined
    }
    case "Number": {
      const literal = node.range === undefined ? String(node.value) : text.slice(node.range[0], node.range[1])
      return isExact(literal, node.value) ? undefined : new InvalidOperation({
        field: formatPath(path),
        reason: "inexactNumber",
        cure: `${literal.slice(0, 40)} is not exact as a double; send it as a string`
      })
    }
    default:
      return undefined
  }
}

/**
 * Checks that a value is JSON and nothing else: no `undefined` members, functions, big integers, dates, class instances,
 * infinities, cycles or holes, and in its texts and keys neither NUL (PostgreSQL cannot store it) nor lone surrogates
 * (UTF-8 cannot encode them).
 */
export const inspect = (value: unknown, path: Path = []): InvalidOperation | undefined => {
  const refusal = (reason: InvalidOperation["reason"], cure: string) =>
    new InvalidOperation({ field: formatPath(path), reason, cure })
  switch (typeof value) {
    case "string":
      return inspectText(value, path)
    case "boolean":
      return undefined
    case "number":
      return Number.isFinite(value) ? undefined : refusal("type", "use a finite number")
    case "object": {
      if (value === null) return undefined
      if (path.length >= maxDepth) return refusal("notJson", `nest at most ${maxDepth} levels, without cycles`)
      if (Array.isArray(value)) {
        for (let i = 0; i < value.length; i++) {
          const finding = inspect(value[i], [...path, i])
          if (finding !== undefined) return finding
        }
        return undefined
      }
      const prototype: unknown = Object.getPrototypeOf(value)
      if (prototype !== null && prototype !== Object.prototype) {
        return refusal("type", "use plain JSON values: convert dates, maps and class instances first")
      }
      for (const [key, member] of Object.entries(value)) {
        const inner = [...path, key]
        const finding = inspectText(key, inner) ?? inspect(member, inner)
        if (finding !== undefined) return finding
      }
      return undefined
    }
    default:
      return refusal("type", `use a JSON value, not ${typeof value}`)
  }
}

const inspectText = (text: string, path: Path): InvalidOperation | undefined => {
  if (text.includes("\u0000")) {
    return new InvalidOperation({
      field: formatPath(path),
      reason: "encoding",
      cure: "remove the NUL character (U+0000), which databases cannot store as text"
    })
  }
  return isWellFormed(text) ? undefined : new InvalidOperation({
    field: formatPath(path),
    reason: "encoding",
    cure: "replace the lone surrogate: it is half a character and has no UTF-8 form"
  })
}

const loneSurrogate = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/

const isWellFormed = (text: string): boolean => !loneSurrogate.test(text)

/** RFC 8785 canonical text of a value that `inspect` has passed. */
export const canonical = (value: unknown): string => canonicalize(value) ?? "null"
