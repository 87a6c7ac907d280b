import * as nodeSqlite from "../../src/internal/drivers/nodeSqlite.ts"
import { suite } from "../suites/SqliteTest.ts"

suite("libsql")

if (nodeSqlite.load() !== undefined) suite("node:sqlite")
