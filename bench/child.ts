/**
 * The process of a contender: its name, the database's URL, and where the log is, are its arguments; then it is told what to
 * do, one thing after the other.
 */
import { contenders, type Name } from "./contenders.ts"
import { type Options, type Task, tasks } from "./tasks.ts"

interface Call<K extends Task> {
  readonly task: K
  readonly options: Options<K>
}

/** So many connections append at most. */
const connections = 16

const isName = (name: string): name is Name => name in contenders

const [name = "", url = "", log = ""] = process.argv.slice(2)
if (!isName(name)) throw new Error(`no contender is called ${name}`)
const { note, open } = await contenders[name]()
const store = await open(url, { connections, log })

const perform = async <K extends Task>({ options, task }: Call<K>) => tasks[task](store, options)

const tell = (said: unknown): void => void process.send?.(JSON.stringify(said))

process.on("message", (text) => {
  perform(JSON.parse(String(text))).then(
    (answer) => tell({ answer }),
    (error: unknown) => tell({ error: error instanceof Error ? error.stack ?? error.message : String(error) })
  )
})
process.on("disconnect", () => process.exit(0))
tell({ answer: note })
