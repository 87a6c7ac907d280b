/**
 * What others send as JSON and nobody has to keep: numbers are as JavaScript reads them.
 */

/** The object that a text says; `undefined` where it says something else, or is no JSON. */
export const read = (text: string): object | undefined => {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  return typeof value === "object" && value !== null ? value : undefined
}
