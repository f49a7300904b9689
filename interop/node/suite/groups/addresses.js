// The table of addresses (tests/fixtures/addresses.json) against those who read them: go-multiaddr,
// js-multiaddr as each major of Helia's client has it, and Fingerpost, which serves an address in the form
// that all of them read, or not at all.

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { keyOf, peerIdOf } from '../fixture.js'
import { output } from '../processes.js'
import { Server } from '../server.js'

const majors = [9, 6, 4]

// How many differences a case shows.
const shownMax = 5

function expectNone (differences) {
  if (differences.length > 0) {
    const shown = differences.slice(0, shownMax).join('; ')
    throw new Error(`${differences.length} addresses: ${shown}`)
  }
}

// The js-multiaddr that a major of the client gets when it imports it.
async function multiaddrOf (major) {
  const packages = join(import.meta.dirname, '..', '..', 'node_modules')
  const own = join(packages, `client-${major}`, 'node_modules')
  const folder = join(existsSync(join(own, '@multiformats/multiaddr')) ? own : packages, '@multiformats/multiaddr')
  const { exports } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  const { multiaddr } = await import(pathToFileURL(join(folder, exports['.'].import)))
  // Text that cannot become bytes is read, but not dialled.
  return text => {
    try {
      const read = multiaddr(text)
      return read.bytes.length > 0 ? read.toString() : null
    } catch {
      return null
    }
  }
}

async function readByGo (context, name, addresses) {
  const path = join(context.scratch, `addresses-${name}.json`)
  writeFileSync(path, JSON.stringify(addresses))
  return JSON.parse(await output(context.tools.boxo, ['addresses', path], { seconds: 30 }))
}

// What Fingerpost serves of records that have one of the addresses each.
async function served (context, addresses) {
  const peer = await peerIdOf('the peer')
  const keys = addresses.map((_, index) => keyOf(`address ${index}`))
  const lines = addresses.map((address, index) =>
    JSON.stringify({ CID: keys[index], Providers: [{ Schema: 'peer', ID: peer, Addrs: [address] }] }))
  const path = join(context.scratch, 'addresses.ndjson')
  writeFileSync(path, lines.join('\n'))
  const server = await Server.start(context, { imports: [path] })
  const forms = []
  for (const key of keys) {
    const response = await fetch(`${server.url}/routing/v1/providers/${key}`)
    const [record] = (await response.json()).Providers
    forms.push(record.Addrs[0] ?? null)
  }
  await context.report.check('server stops', () => server.stop())
  return forms
}

function differences (addresses, got, expected) {
  return addresses.flatMap((address, index) => got[index] === expected[index]
    ? []
    : [`${JSON.stringify(address)} is ${JSON.stringify(got[index])}, not ${JSON.stringify(expected[index])}`])
}

export const addressesGroup = {
  name: 'addresses',
  needs: ['boxo'],
  seconds: 300,
  run: async context => {
    const { report } = context
    const table = JSON.parse(readFileSync(join(context.repository, 'tests/fixtures/addresses.json'), 'utf8'))
    const addresses = table.map(row => row.address)
    const agreed = table.map(row => row.agreed)
    const kept = agreed.filter(form => form != null)
    const byGo = await readByGo(context, 'all', addresses)
    await report.check('go-multiaddr reads what the table says', async () => {
      expectNone(differences(addresses, byGo, table.map(row => row.go)))
    })
    await report.check('go-multiaddr reads what is agreed as what was given', async () => {
      const forms = await readByGo(context, 'agreed', kept)
      expectNone(differences(kept, forms, byGo.filter((_, index) => agreed[index] != null)))
    })
    const readers = await Promise.all(majors.map(multiaddrOf))
    const readByAll = address => {
      const [form, ...others] = readers.map(read => read(address))
      return others.every(other => other === form) ? form : null
    }
    await report.check('js-multiaddr of all majors reads what the table says', async () => {
      expectNone(differences(addresses, addresses.map(readByAll), table.map(row => row.js)))
    })
    await report.check('js-multiaddr of all majors reads what is agreed', async () => {
      expectNone(kept.filter(form => readByAll(form) == null))
    })
    await report.check('Fingerpost serves what is agreed', async () => {
      expectNone(differences(addresses, await served(context, addresses), agreed))
    })
  }
}
