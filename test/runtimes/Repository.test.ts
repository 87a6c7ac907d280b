import { SqliteClient } from "@effect/sql-sqlite-node"
import * as Sqlite from "../../src/Database/Sqlite.ts"
import { target } from "../sqliteDatabase.ts"
import { suite } from "../suites/RepositoryTest.ts"

suite("the repository over node:sqlite", target((filename) => Sqlite.layer({ filename, driver: "node:sqlite" })))

suite("the repository over @effect/sql-sqlite-node", target((filename) => SqliteClient.layer({ filename })))
