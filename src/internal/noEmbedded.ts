/**
 * What stands for `Embedded` where there is no file system: the package's `browser` field tells bundlers so.
 */
import { DatabaseError } from "../TrustlogError.ts"

export const open = (): Promise<never> =>
  Promise.reject(
    new DatabaseError({
      reason: "unavailable",
      problem: "Trustlog.promise keeps files, and this bundle is made for a runtime without any: compose the layers"
    })
  )
