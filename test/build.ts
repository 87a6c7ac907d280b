/**
 * Builds the package before the tests, since the command line and the examples are tested as they are shipped. Runs that are
 * beside each other are told that it is built, with TRUSTLOG_TEST_BUILT=true: one would take the files from under the other.
 */
import { execFileSync } from "node:child_process"

export default (): void => {
  if (process.env["TRUSTLOG_TEST_BUILT"] === "true") return
  execFileSync("npm", ["run", "--silent", "build"], { stdio: "inherit" })
}
