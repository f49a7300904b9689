// Helia's server in a process of its own, so that it can be killed: `node program.js KNOWN PORT`,
// where KNOWN is the JSON file in which it says what its router knows, and PORT may be 0. It prints
// where it listens.

import { readFileSync } from 'node:fs'
import { createDelegatedRoutingV1HttpApiServer } from 'server-5'
import { Router } from './router.js'

const known = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const server = await createDelegatedRoutingV1HttpApiServer(
  { routing: new Router(known) }, { listen: { host: '127.0.0.1', port: Number(process.argv[3]) } })
console.log(`listening on http://127.0.0.1:${server.server.address().port}`)
