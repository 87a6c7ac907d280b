/**
 * Pieces of statements that dialects share.
 */

/** `(a, b) VALUES (?, ?), (?, ?)`, for dialects whose parameters are question marks. */
export const values = (columns: ReadonlyArray<string>, rows: number): string =>
  `(${columns.join(", ")}) VALUES ${
    Array.from({ length: rows }, () => `(${columns.map(() => "?").join(", ")})`).join(", ")
  }`

/** Rows in chunks of a size that depends on how many are left. */
export const chunks = <A>(rows: ReadonlyArray<A>, size: (left: number) => number): ReadonlyArray<ReadonlyArray<A>> => {
  const all: Array<ReadonlyArray<A>> = []
  let at = 0
  while (at < rows.length) {
    const chunk = rows.slice(at, at + Math.max(1, size(rows.length - at)))
    all.push(chunk)
    at += chunk.length
  }
  return all
}
