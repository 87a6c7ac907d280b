/**
 * Says what it runs on.
 */
import * as runtime from "../runtime.ts"

process.stdout.write(`${runtime.name} ${runtime.version}\n`)
