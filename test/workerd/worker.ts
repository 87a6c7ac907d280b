/**
 * Runs the tests of a bundle, each in a Durable Object of its own, when it is asked to.
 */
import type * as Database from "../../src/Database/DurableObject.ts"
import type * as Host from "../../src/Host/DurableObject.ts"
import { tests } from "./vitest.ts"

interface State {
  readonly storage: Database.Storage & Host.Storage
}

interface Namespace {
  readonly idFromName: (name: string) => unknown
  readonly get: (id: unknown) => { readonly fetch: (request: Request) => Promise<Response> }
}

let current: Objects | undefined

/** The object whose test runs. They run one at a time. */
export const objectOfTest = (): Objects => {
  if (current === undefined) throw new Error("no test is running")
  return current
}

const textOf = (error: unknown): string => error instanceof Error ? error.stack ?? error.message : String(error)

/** A class of objects, each of which runs the test whose number is asked for. */
export class Objects {
  readonly storage: State["storage"]
  /** What a test does when the object's alarm comes. */
  onAlarm: () => Promise<void> = () => Promise.resolve()

  constructor({ storage }: State) {
    this.storage = storage
  }

  alarm(): Promise<void> {
    return this.onAlarm()
  }

  fetch(request: Request): Promise<Response> {
    return run(this, Number(new URL(request.url).searchParams.get("n")))
  }
}

const run = async (object: Objects, number: number): Promise<Response> => {
  current = object
  try {
    await tests[number]?.run()
    return Response.json({ error: null })
  } catch (error) {
    return Response.json({ error: textOf(error) })
  }
}

export const worker = {
  fetch: (request: Request, env: { readonly TESTS: Namespace }): Promise<Response> | Response => {
    const { pathname, search } = new URL(request.url)
    return pathname === "/tests"
      ? Response.json(tests.map(({ name }) => name))
      : env.TESTS.get(env.TESTS.idFromName(search)).fetch(request)
  }
}
