// Who looks up: real clients behind one face, which gives what they read from the answers.
//
// Each asks for `providers` of a CID and for `peers` of an ID, which are records of `id` and `addrs`,
// and for the record of a `name`: its `sequence` and `value`. Every answer but those of success and of
// nothing found is an error that says the status.

import { unmarshalIPNSRecord } from 'ipns'
import { CID } from 'multiformats/cid'
import { withClient } from '../clients/open.js'
import { expectEqual, expectThat } from '../expect.js'
import { output } from '../processes.js'

const seconds = 20

function sorted ({ id, addrs }) {
  return { id, addrs: [...addrs].sort() }
}

function helia (major, accept) {
  const read = (url, ask) => withClient(major, url, async ({ client, watch }) => {
    watch.accept = accept
    const records = []
    try {
      for await (const record of ask(client)) {
        records.push(sorted(record))
      }
    } catch (error) {
      // Major 4 makes an error of a lookup that finds nothing.
      if (watch.status !== 404) {
        throw error
      }
    }
    // Of peers the client swallows errors.
    expectThat([200, 404].includes(watch.status), 'refused')
    if (watch.status === 200) {
      expectEqual(watch.contentType?.split(';')[0], accept, 'Content-Type')
    }
    return records
  })
  return {
    name: `helia-${major} ${accept.split(/[-/]/).pop()}`,
    providers: (url, cid, options) => read(url, client => client.providers(CID.parse(cid), options)),
    peers: (url, id, options) => read(url, client => client.peers(id, options)),
    record: (url, name) => withClient(major, url, async ({ client }) => {
      const { sequence, value } = unmarshalIPNSRecord(await client.getName(CID.parse(name)))
      return { sequence: Number(sequence), value }
    })
  }
}

function boxo (program) {
  const find = (url, kind, key) => output(program, ['find', url, kind, key], { seconds })
  const records = async (...asked) => (await find(...asked)).split('\n').filter(line => line !== '')
    .map(line => line.split(' ')).map(([id, ...addrs]) => sorted({ id, addrs: addrs.filter(addr => addr !== '') }))
  return {
    name: 'boxo',
    providers: (url, cid) => records(url, 'providers', cid),
    peers: (url, id) => records(url, 'peers', id),
    record: async (url, name) => {
      const [sequence, value] = (await find(url, 'name', name)).trim().split(' ')
      return { sequence: Number(sequence), value }
    }
  }
}

// The first provider alone, without waiting for more.
export function firstProvider (url, cid) {
  return withClient(9, url, async ({ client }) => {
    for await (const record of client.providers(CID.parse(cid))) {
      return sorted(record)
    }
  })
}

export const heliaAsker = helia(9, 'application/x-ndjson')
export const heliaJsonAsker = helia(9, 'application/json')

export function askersOf ({ tools }) {
  return [
    heliaAsker, heliaJsonAsker, helia(6, 'application/x-ndjson'), helia(4, 'application/x-ndjson'), boxo(tools.boxo)
  ]
}
