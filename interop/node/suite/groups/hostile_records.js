// Records that crash a client, mislead it, or make it drop what follows, if they are passed on as they
// came. Each stands in an answer with a good record, which must reach every client.

import { createServer } from 'node:http'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expectThat } from '../expect.js'
import { keyOf, peerIdOf } from '../fixture.js'
import { runProgram } from '../program.js'
import { Server } from '../server.js'

const clientFields = ['Schema', 'ID', 'Addrs', 'Protocols', 'Protocol']

// The names that Go's JSON reader takes for `name`.
function variantsOf (name) {
  const flip = letter => letter === letter.toLowerCase() ? letter.toUpperCase() : letter.toLowerCase()
  return [
    name.toLowerCase(), name.toUpperCase(), [...name].map(flip).join(''), flip(name[0]) + name.slice(1),
    name.slice(0, -1) + flip(name.at(-1)), name.replace(/s/gi, '\u017f')
  ].filter((variant, index, all) => variant !== name && all.indexOf(variant) === index)
}

// The JSON texts, each under a name.
export async function hostileRecords () {
  const id = await peerIdOf('hostile')
  const other = await peerIdOf('somebody else')
  const record = (schema, fields) => `{"Schema":"${schema}","ID":"${id}"${fields === '' ? '' : `,${fields}`}}`
  const addrs = '"Addrs":["/ip4/192.0.2.1/tcp/4001"]'
  const found = []
  const add = (name, text) => found.push({ name, text })
  const values = { Schema: '"peer"', ID: `"${other}"`, Addrs: '["/ip4/127.0.0.1/tcp/5001"]', Protocols: '[7]', Protocol: '7' }
  for (const field of clientFields) {
    for (const variant of variantsOf(field)) {
      for (const value of ['null', '7', values[field]]) {
        add(`${variant} ${value.slice(0, 12)} beside ${field}`, record('peer', `${addrs},"${variant}":${value}`))
      }
    }
    for (const value of ['null', '7', '{}', '[]', '[null]', '[7]', '[[]]', '""', 'true', '"x"']) {
      add(`${field} ${value} in peer`, record('peer', `"${field}":${value}`))
      add(`${field} ${value} in bitswap`, record('bitswap', `${addrs},"${field}":${value}`))
    }
  }
  for (const variant of variantsOf('Schema')) {
    add(`${variant} peer in an unknown schema`, `{"Schema":"zzz","${variant}":"peer"}`)
    add(`${variant} bitswap before an unknown schema`, `{"${variant}":"bitswap","Schema":"zzz"}`)
  }
  for (const text of ['null', '7', '"x"', '[]', '{}', 'true', '[{}]', '{"Schema":null}', '{"Schema":""}', '{"Schema":{}}',
    '{"Schema":"zzz"}', '{"Schema":"zzz","ID":7,"Addrs":7}', '{"Schema":"peer"}', '{"Schema":"bitswap"}',
    '{"Schema":"Peer","ID":null}', '{"Schema":"zzz","Schema":"peer"}', '{"Schema":"peer","Schema":"zzz"}', '{"Schema":"zzz","Schema":null}']) {
    add(`the record ${text}`, text)
  }
  for (const addr of ['/ip4/192.0.2.1/tcp/+1', '/tcp/004001', '', '/', 'x', '/dns4//tcp/1', '/http-path/%a', '/p2p/k51', '/ip4/192.0.2.1/tcp/1/',
    '/ip4/192.0.2.1/tcp/1/ws/p2p-webrtc-star', '/memory/a', '/ip4/192.0.2.1/tcp/1/x-parity-ws/x', '/unix/%zz', '\\u0000', '/\\ud800']) {
    add(`the address ${addr}`, record('peer', `"Addrs":["${addr}","/ip4/192.0.2.1/tcp/1"]`))
  }
  add('deep', record('peer', `"x":${'['.repeat(15_000)}${']'.repeat(15_000)}`))
  add('deep unknown', `{"Schema":"zzz","x":${'{"a":'.repeat(9_000)}1${'}'.repeat(9_000)}}`)
  add('a huge string', record('peer', `"x":"${'x'.repeat(60_000)}"`))
  add('a huge name', record('peer', `"${'x'.repeat(60_000)}":1`))
  add('a huge protocol', record('bitswap', `"Protocol":"${'p'.repeat(60_000)}"`))
  add('many fields', record('peer', Array.from({ length: 5_000 }, (_, index) => `"x${index}":${index}`).join(',')))
  add('ID twice', record('peer', `"ID":null,${addrs}`))
  add('ID of somebody else', record('peer', `"ID":"${other}",${addrs}`))
  add('Addrs twice', record('peer', `${addrs},"Addrs":"none"`))
  add('a large number', record('peer', '"x":1e999999'))
  add('escaped names', record('peer', `"\\u0069\\u0064":null,${addrs}`))
  add('half a pair', record('peer', '"x":"\\ud800","\\udc00":1'))
  return found
}

// A router that answers each lookup with the two records of its key.
async function hostileRouter (context, bodies) {
  const router = createServer((request, response) => {
    const body = bodies.get(request.url.split('/').at(-1))
    response.writeHead(body == null ? 404 : 200, { 'Content-Type': 'application/json' })
    response.end(body ?? '{"Providers":[]}')
  })
  router.listen(0, '127.0.0.1')
  await once(router, 'listening')
  context.atEnd(async () => { router.close() })
  return `http://127.0.0.1:${router.address().port}`
}

// Runs a program over the lookups: a line for each that fails, and one for all if none does.
async function readAll (report, name, count, command, args) {
  let read = 0
  const each = {
    ok: () => { read += 1 },
    fail: (lookup, reason) => report.fail(`${name}: ${lookup}`, reason)
  }
  await runProgram(each, command, args, { seconds: 200 })
  if (read === count) {
    report.ok(`${name} reads ${count} answers`)
  }
}

export const hostileRecordsGroup = {
  name: 'hostile-records',
  needs: ['boxo'],
  seconds: 600,
  run: async context => {
    const { report } = context
    const good = await peerIdOf('the good one')
    const goodRecord = `{"Schema":"peer","ID":"${good}","Addrs":["/ip4/192.0.2.7/tcp/4001"],"Protocols":["transport-bitswap"]}`
    const records = await hostileRecords()
    const lookups = records.map(({ name }) => ({ Name: name.replace(/[^ -~]/g, '?'), CID: keyOf(`hostile ${name}`), Good: good }))
    const list = index => `[${records[index].text},${goodRecord}]`
    const path = join(context.scratch, 'hostile.json')
    writeFileSync(path, JSON.stringify(lookups))
    const ndjson = join(context.scratch, 'hostile.ndjson')
    writeFileSync(ndjson, lookups.map(({ CID }, index) => `{"CID":"${CID}","Providers":${list(index)}}\n`).join(''))
    const router = await hostileRouter(context,
      new Map(lookups.map(({ CID }, index) => [CID, `{"Providers":${list(index)}}`])))
    const servers = {
      imported: await Server.start(context, { imports: [ndjson] }),
      upstream: await Server.start(context, { settings: { upstreams: `hostile=${router}` } })
    }
    expectThat(records.length >= 200, `only ${records.length} hostile records`)
    const helia = join(import.meta.dirname, '..', 'clients', 'hostile.js')
    for (const [name, server] of Object.entries(servers)) {
      await readAll(report, `${name}: boxo`, lookups.length, context.tools.boxo, ['hostile', server.url, path])
      for (const major of ['9', '6', '4']) {
        await readAll(report, `${name}: Helia's client ${major}`, lookups.length,
          process.execPath, [helia, major, server.url, path])
      }
      await report.check(`${name}: server stops`, () => server.stop())
    }
  }
}
