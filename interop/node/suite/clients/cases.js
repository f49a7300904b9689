// The cases for Helia's client: the same for each major, in Node and in browsers.
//
// A case gets the open client, the watch over its requests, and the fixture.

import { generateKeyPair } from '@libp2p/crypto/keys'
import { createIPNSRecord, marshalIPNSRecord, unmarshalIPNSRecord } from 'ipns'
import { CID } from 'multiformats/cid'
import { expectEqual, expectFailure, expectSame, expectThat } from '../expect.js'
import { withClient } from './open.js'

const json = 'application/json'
const ndjson = 'application/x-ndjson'

async function all (records) {
  const read = []
  for await (const record of records) {
    read.push(record)
  }
  return read
}

const ids = records => records.map(record => record.id)

async function expectOne ({ client, fixture }) {
  const [record, ...others] = await all(client.providers(CID.parse(fixture.one)))
  expectThat(record != null && others.length === 0, `${record == null ? 0 : 1 + others.length} records instead of 1`)
  expectEqual(record, {
    schema: 'peer', id: fixture.peer, addrs: fixture.oneAddrs, protocols: ['transport-bitswap']
  }, 'the record')
}

async function expectFiltered ({ client, fixture }, options, names) {
  const found = await all(client.providers(CID.parse(fixture.filtered), options))
  expectSame(ids(found), names.map(name => fixture.byFilter[name]), `providers of ${JSON.stringify(options)}`)
  return found
}

// What a name is put and got with; `sequence` orders its records.
async function recordOf (key, fixture, sequence) {
  const record = await createIPNSRecord(key, `/ipfs/${fixture.one}`, sequence, 3_600_000)
  return marshalIPNSRecord(record)
}

function putAndGet (type) {
  return async ({ client, watch, fixture }) => {
    const key = await generateKeyPair(type, type === 'RSA' ? 2048 : undefined)
    const name = key.publicKey.toCID()
    for (const sequence of [1, 2]) {
      const record = await recordOf(key, fixture, sequence)
      await client.putName(name, record)
      const got = await client.getName(name)
      expectEqual(watch.contentType, 'application/vnd.ipfs.ipns-record', 'Content-Type')
      expectEqual([...got], [...record], `the record of sequence ${sequence}`)
      expectEqual(unmarshalIPNSRecord(got).value, `/ipfs/${fixture.one}`, 'the value')
    }
    await expectFailure(async () => client.putName(name, await recordOf(key, fixture, 1)), 'an older record')
    expectEqual(watch.status, 409, 'the status of an older record')
  }
}

export const cases = [
  {
    name: 'providers json',
    run: async context => {
      // The client reads JSON, but always prefers NDJSON.
      context.watch.accept = json
      await expectOne(context)
      expectEqual(context.watch.contentType, json, 'Content-Type')
    }
  },
  {
    name: 'providers json capped',
    run: async ({ client, watch, fixture }) => {
      watch.accept = json
      const found = await all(client.providers(CID.parse(fixture.many)))
      expectEqual(new Set(ids(found)).size, 100, 'records')
    }
  },
  {
    name: 'providers ndjson',
    run: async context => {
      await expectOne(context)
      expectEqual(context.watch.contentType, ndjson, 'Content-Type')
    }
  },
  {
    name: 'providers ndjson many',
    run: async ({ client, fixture }) => {
      expectSame(ids(await all(client.providers(CID.parse(fixture.many)))), fixture.manyIDs, 'providers')
    }
  },
  {
    name: 'providers filtered by protocol',
    run: async context => {
      const protocol = 'transport-ipfs-gateway-http'
      await expectFiltered(context, { filterProtocols: [protocol] }, ['gateway'])
      await expectFiltered(context, { filterProtocols: [protocol, 'unknown'] }, ['gateway', 'webtransport'])
    }
  },
  {
    name: 'providers filtered by address',
    run: async context => {
      await expectFiltered(context, { filterAddrs: ['https'] }, ['gateway'])
      await expectFiltered(context, { filterAddrs: ['unknown'] }, ['withoutAddrs'])
      const found = await expectFiltered(context, { filterAddrs: ['!tcp'] }, ['tcp', 'webtransport'])
      const left = found.find(record => record.id === context.fixture.byFilter.tcp).addrs
      expectEqual(left, ['/ip4/192.0.2.20/udp/4001/quic-v1'], 'the addresses left')
    }
  },
  {
    name: 'providers filtered as browsers do',
    run: context => expectFiltered(context, {
      filterAddrs: ['https', 'webtransport', 'webrtc', 'webrtc-direct', 'wss', 'tls'],
      filterProtocols: ['unknown', 'transport-bitswap', 'transport-ipfs-gateway-http']
    }, ['gateway', 'webtransport'])
  },
  {
    name: 'providers none',
    run: async ({ client, watch, fixture }) => {
      const ask = () => all(client.providers(CID.parse(fixture.none)))
      if (client.throwsOnNone) {
        const error = await expectFailure(ask, 'a lookup that finds nothing')
        expectEqual(error.name, 'NotFoundError', 'the error')
      } else {
        expectEqual(await ask(), [], 'providers')
      }
      expectEqual(watch.status, 404, 'the status')
    }
  },
  {
    name: 'providers left after the first record',
    run: async context => {
      const { client, fixture } = context
      for await (const record of client.providers(CID.parse(fixture.many))) {
        expectThat(fixture.manyIDs.includes(record.id), `${record.id} is none of the providers`)
        break
      }
      await expectOne(context)
    }
  },
  {
    name: 'providers aborted after the first record',
    run: async context => {
      const { client, fixture } = context
      const abort = new AbortController()
      let read = 0
      try {
        for await (const record of client.providers(CID.parse(fixture.many), { signal: abort.signal })) {
          read += record == null ? 0 : 1
          abort.abort()
        }
      } catch {
        // Whether an abort ends the records or fails them is the client's own affair.
      }
      expectThat(read > 0, 'no record came before the abort')
      await expectOne(context)
    }
  },
  {
    name: 'peers',
    run: async ({ client, fixture }) => {
      const [record, ...others] = await all(client.peers(fixture.peer))
      expectThat(record != null && others.length === 0, `${record == null ? 0 : 1 + others.length} records instead of 1`)
      expectEqual(record.id, fixture.peer, 'the peer')
      expectSame(record.addrs, fixture.oneAddrs, 'its addresses')
      expectEqual(record.protocols, ['transport-bitswap'], 'its protocols')
    }
  },
  {
    name: 'peers filtered by address',
    run: async ({ client, fixture }) => {
      const found = await all(client.peers(fixture.peer, { filterAddrs: ['quic-v1'] }))
      expectEqual(found.flatMap(record => record.addrs), ['/ip4/192.0.2.10/udp/4001/quic-v1'], 'addresses')
    }
  },
  {
    name: 'peers none',
    run: async ({ client, watch, fixture }) => {
      expectEqual(await all(client.peers(fixture.noPeer)), [], 'peers')
      // The client swallows errors here, so the status must say that this is none.
      expectEqual(watch.status, 404, 'the status')
    }
  },
  {
    name: 'closest peers refused',
    run: async ({ client, watch, fixture }) => {
      expectEqual(await all(client.closestPeers(fixture.peer)), [], 'peers')
      expectEqual(watch.status, 501, 'the status')
    },
    since: 6
  },
  { name: 'ipns put and get ed25519', run: putAndGet('Ed25519') },
  { name: 'ipns put and get rsa', run: putAndGet('RSA') },
  { name: 'ipns put and get secp256k1', run: putAndGet('secp256k1') },
  {
    name: 'ipns none',
    run: async ({ client, watch }) => {
      const key = await generateKeyPair('Ed25519')
      const error = await expectFailure(() => client.getName(key.publicKey.toCID()), 'a name that nobody put')
      expectEqual(error.name, 'NotFoundError', 'the error')
      expectEqual(watch.status, 404, 'the status')
    }
  }
]

export function casesOf (major) {
  return cases.filter(one => major >= (one.since ?? 0))
}

// Runs one case with a client of its own.
export function runCase (one, { major, url, fixture }) {
  return withClient(major, url, ({ client, watch }) => one.run({ client, watch, fixture }))
}
