import { assert, describe, it } from "@effect/vitest"
import * as watch from "../../src/internal/torture/watch.ts"

const lane = "operation"

/** A watch that looks every tenth of a second: who has the lane at each look, from 0 on. */
const looking = (owners: ReadonlyArray<string | null>, before: (watched: watch.Watch, at: number) => void) => {
  const watched = watch.make()
  for (const [i, owner] of owners.entries()) {
    before(watched, i * watch.interval)
    watched.observe(i * watch.interval, [{ lane, owner }])
  }
  return watched
}

const killedAt = (time: number, member: string) => (watched: watch.Watch, at: number) => {
  if (at === time) watched.gone(member, at - 50)
}

describe("a watch of owners", () => {
  it("measures a takeover from the death of an owner to the look that finds another", () => {
    const watched = looking(["a", "a", "a", null, null, "b", "b"], killedAt(100, "a"))
    assert.deepInclude(watched.summary(600), { takeovers: [450], longestUnowned: 450, longestIdle: 450 })
    assert.deepStrictEqual(watched.waiting(), [])
  })

  it("counts a lane that nobody takes for as long as it is watched", () => {
    const watched = looking(["a", "a", "a", null], killedAt(100, "a"))
    assert.deepInclude(watched.summary(5_000), { takeovers: [], longestUnowned: 4_950, longestIdle: 4_950 })
    assert.deepStrictEqual(watched.waiting(), [lane])
  })

  it("counts a lane that was given back, and no takeover", () => {
    const watched = looking(["a", null, null, "b"], () => {})
    assert.deepInclude(watched.summary(300), { takeovers: [], longestUnowned: 300, longestIdle: 300 })
  })

  it("counts no takeover when one that was stopped goes on with its lane", () => {
    const watched = looking(["a", "a", "a", "a"], (watched, at) => {
      if (at === 100) watched.gone("a", at)
      if (at === 300) watched.back("a")
    })
    assert.deepInclude(watched.summary(300), { takeovers: [], longestUnowned: 200, longestIdle: 200 })
  })

  it("sees both takeovers where the second owner dies before it was seen alive", () => {
    const watched = looking(["a", "a", "b", "b", "c"], (watched, at) => {
      if (at === 100) watched.gone("a", at)
      if (at === 200) watched.gone("b", at)
    })
    assert.deepInclude(watched.summary(400), { takeovers: [100, 200], longestUnowned: 200, longestIdle: 200 })
  })

  it("waits for no owner of a lane that never had one", () => {
    const watched = looking([null, null], () => {})
    assert.deepInclude(watched.summary(5_000), { takeovers: [], longestUnowned: 0, longestIdle: 0 })
  })

  it("sets aside what the machine had no time for, of the process that waited longest", () => {
    const watched = looking(["a", "a", null, null, null, "b"], killedAt(100, "a"))
    watched.starved("one", 300, 150)
    watched.starved("two", 300, 100)
    watched.starved("two", 500, 100)
    // Before the owner died: nobody's excuse.
    watched.starved("two", 50, 50)
    assert.deepInclude(watched.summary(500), { takeovers: [450], longestUnowned: 450, longestIdle: 250 })
  })

  it("takes a look that came late for a machine that stood still", () => {
    const watched = watch.make()
    watched.observe(0, [{ lane, owner: "a" }])
    watched.gone("a", 0)
    watched.observe(100, [{ lane, owner: "a" }])
    watched.observe(1_100, [{ lane, owner: "b" }])
    assert.deepInclude(watched.summary(1_100), { takeovers: [1_100], longestUnowned: 1_100, longestIdle: 200 })
  })
})
