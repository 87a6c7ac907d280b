/**
 * Builds the package before the tests, since the command line and the examples are tested as they are shipped.
 */
import { execFileSync } from "node:child_process"

export default (): void => {
  execFileSync("npm", ["run", "--silent", "build"], { stdio: "inherit" })
}
