/**
 * What everything is measured on.
 */
import * as os from "node:os"

const [processor, ...others] = os.cpus()

export const machine = `${others.length + 1} × ${processor?.model.trim()}, ${
  Math.round(os.totalmem() / 2 ** 30)
} GiB, ${os.type()} ${os.release()}`

export const runtime = `Node ${process.version}`
