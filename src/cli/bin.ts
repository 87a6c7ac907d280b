#!/usr/bin/env node
/**
 * Where the program begins. Scripts ask for the version to see whether it is there, and wait for nothing else to load.
 */
import { version } from "../internal/version.ts"

// Whoever writes is told of a failure; without a listener it would end the process as well.
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {})

if (process.argv.slice(2).join(" ") === "--version") process.stdout.write(`${version}\n`)
else (await import("./Program.ts")).run()
