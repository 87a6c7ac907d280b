import { target } from "../serverDatabase.ts"
import { onEach } from "../servers/Server.ts"
import { suite } from "../suites/RepositoryTest.ts"

onEach((server) => suite("the repository", target(server)))
