/**
 * Clears up what a process leaves behind, however that process ends, `kill -9` included: a shell that waits for the end of its
 * standard input, which the system closes when the process is gone.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtemp } from "node:fs/promises"
import * as os from "node:os"
import * as path from "node:path"

// Each line names the process that must not outlive us, or is empty when there is none.
const script = `
pid=
while read -r line; do pid=$line; done
if [ -n "$pid" ]; then pkill -KILL -P "$pid"; kill -KILL "$pid"; fi
eval "$2"
for n in 1 2 3 4 5 6 7 8 9; do rm -rf -- "$1" && exit 0; sleep 0.1; done
exit 1
`

export interface Guard {
  /** A folder of this process's own, which is removed at the end. */
  readonly folder: string
  /** Names the process to kill at the end, with its children; `undefined` when it is gone. */
  readonly watch: (pid: number | undefined) => void
}

/**
 * A temporary folder until the scope closes or the process ends. Commands of a shell that come before its removal find it in `$1`.
 */
export const make = (name: string, commands = ""): Effect.Effect<Guard, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(async () => {
        const folder = await mkdtemp(path.join(os.tmpdir(), `trustlog-${name}-`))
        // In a session of its own, which Ctrl-C does not reach.
        const shell = spawn("sh", ["-c", script, "sh", folder, commands], {
          cwd: "/",
          detached: true,
          stdio: ["pipe", "ignore", "ignore"]
        })
        const ended = once(shell, "exit")
        shell.unref()
        return { folder, shell, ended }
      }),
      ({ ended, folder, shell }) =>
        Effect.promise(async () => {
          shell.ref()
          shell.stdin.end()
          const [code] = await ended
          if (code !== 0) throw new Error(`${folder} could not be removed`)
        })
    ),
    ({ folder, shell }) => ({ folder, watch: (pid) => void shell.stdin.write(`${pid ?? ""}\n`) })
  )
