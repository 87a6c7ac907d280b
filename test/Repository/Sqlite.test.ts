import * as Sqlite from "../../src/Database/Sqlite.ts"
import { target } from "../sqliteDatabase.ts"
import { suite } from "../suites/RepositoryTest.ts"

suite("the repository over the embedded SQLite layer", target((filename) => Sqlite.layer({ filename })))
