import { SqliteClient } from "@effect/sql-sqlite-node"
import { target } from "../sqliteDatabase.ts"
import { suite } from "../suites/RepositoryTest.ts"

suite("the repository over @effect/sql-sqlite-node", target((filename) => SqliteClient.layer({ filename })))
