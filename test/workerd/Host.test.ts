import { register } from "./conformance.ts"

await register("host")
