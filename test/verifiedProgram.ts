/** A busy application as a process of its own; the world's folder is its argument. */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { bustle, worldIn } from "./verified.ts"

NodeRuntime.runMain(bustle(worldIn(process.argv[2] ?? "")))
