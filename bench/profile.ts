/**
 * Where the time of this process goes, and what it allocates.
 */
import * as fs from "node:fs"
import { Session } from "node:inspector/promises"
import { fileURLToPath } from "node:url"

/** A function, or a group of them, and its part of the whole. */
export interface Share {
  readonly name: string
  /** Percent of the time or of the bytes. */
  readonly percent: number
}

export interface Profile {
  /** By the function that was running. */
  readonly functions: ReadonlyArray<Share>
  /** By the module that it belongs to. */
  readonly modules: ReadonlyArray<Share>
  /** Bytes allocated, by module. */
  readonly allocations: ReadonlyArray<Share>
  /** KiB allocated, by sampling. */
  readonly allocated: number
}

const root = fileURLToPath(new URL("..", import.meta.url))

/** Whose code it is: a package, a file of ours, or the runtime. */
const moduleOf = (url: string, name: string): string => {
  if (name === "(garbage collector)" || name === "(program)" || name === "(idle)") return name
  if (url === "" || url.startsWith("node:")) return url === "" ? "V8" : "Node"
  const file = url.replace(/^file:\/\//, "").replace(root, "")
  const [, ...packages] = file.split("node_modules/")
  const found = packages.at(-1)
  if (found === undefined) return file
  const [scope = "", own = ""] = found.split("/")
  return scope.startsWith("@") ? `${scope}/${own}` : scope
}

const shares = (sums: ReadonlyMap<string, number>): ReadonlyArray<Share> => {
  const total = Array.from(sums.values()).reduce((sum, value) => sum + value, 0)
  return Array.from(sums, ([name, value]) => ({ name, percent: value / total * 100 }))
    .sort((a, b) => b.percent - a.percent)
}

const add = (sums: Map<string, number>, name: string, value: number) => sums.set(name, (sums.get(name) ?? 0) + value)

interface AllocationNode {
  readonly callFrame: { readonly functionName: string; readonly url: string }
  readonly selfSize: number
  readonly children: ReadonlyArray<AllocationNode>
}

/** Watches while something runs. The processor's profile, for a flame graph, is written to a file. */
export const profiled = async <A>(file: string, run: () => Promise<A>): Promise<readonly [A, Profile]> => {
  const session = new Session()
  session.connect()
  await session.post("Profiler.enable")
  await session.post("Profiler.setSamplingInterval", { interval: 200 })
  await session.post("HeapProfiler.startSampling", {
    samplingInterval: 65_536,
    includeObjectsCollectedByMajorGC: true,
    includeObjectsCollectedByMinorGC: true
  })
  await session.post("Profiler.start")
  const answer = await run()
  const { profile } = await session.post("Profiler.stop")
  const { profile: heap } = await session.post("HeapProfiler.stopSampling")
  session.disconnect()
  fs.writeFileSync(file, JSON.stringify(profile))

  const nodes = new Map(profile.nodes.map((node) => [node.id, node]))
  const functions = new Map<string, number>()
  const modules = new Map<string, number>()
  profile.samples?.forEach((id, i) => {
    const callFrame = nodes.get(id)?.callFrame
    if (callFrame === undefined || callFrame.functionName === "(idle)") return
    const module = moduleOf(callFrame.url, callFrame.functionName)
    const micros = profile.timeDeltas?.[i] ?? 0
    add(functions, `${callFrame.functionName || "(anonymous)"} ${module}:${callFrame.lineNumber + 1}`, micros)
    add(modules, module, micros)
  })
  const allocations = new Map<string, number>()
  const visit = ({ callFrame, children, selfSize }: AllocationNode) => {
    add(allocations, moduleOf(callFrame.url, callFrame.functionName), selfSize)
    children.forEach(visit)
  }
  visit(heap.head)
  return [answer, {
    functions: shares(functions),
    modules: shares(modules),
    allocations: shares(allocations),
    allocated: Array.from(allocations.values()).reduce((sum, bytes) => sum + bytes, 0) / 1_024
  }]
}
