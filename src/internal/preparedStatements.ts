/**
 * Statements that a connection to PostgreSQL parses and plans once, and not each time: for an INSERT of one row that is most
 * of the work.
 */
import type { ClientBase } from "pg"

/** What such a statement begins with. The client of `@effect/sql-pg` has no other way to tell it from the others. */
const mark = "/* prepared */ "

export const marked = (text: string): string => `${mark}${text}`

/** There are as many as there are tables of ours. */
const names = new Map<string, string>()

const nameOf = (text: string): string => {
  const known = names.get(text)
  if (known !== undefined) return known
  const name = `trustlog_${names.size + 1}`
  names.set(text, name)
  return name
}

/** Has a connection prepare marked statements. It must be the server's own: behind a pooler the next one may be another's. */
export const prepare = (client: ClientBase): void => {
  const query: unknown = Reflect.get(client, "query")
  if (typeof query !== "function") return
  Object.assign(client, {
    query: (statement: unknown, ...rest: ReadonlyArray<unknown>): unknown =>
      Reflect.apply(query, client, [
        typeof statement === "string" && statement.startsWith(mark)
          ? { name: nameOf(statement), text: statement }
          : statement,
        ...rest
      ])
  })
}
