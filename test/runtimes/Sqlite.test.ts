import { suite } from "../suites/SqliteTest.ts"

suite("node:sqlite")
