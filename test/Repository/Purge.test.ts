import * as Sqlite from "../../src/Database/Sqlite.ts"
import { suite } from "../suites/PurgeTest.ts"

suite("the repository over the embedded SQLite layer", (filename) => Sqlite.layer({ filename }))
