// The majors of Helia's client behind one face, in Node and in browsers.
//
// Majors differ in how they are made, in how they name peers, and in whether IPNS records pass
// through them as bytes or parsed.

import { defaultLogger } from '@libp2p/logger'
import { peerIdFromString } from '@libp2p/peer-id'
import { marshalIPNSRecord, unmarshalIPNSRecord } from 'ipns'
import { base58btc } from 'multiformats/bases/base58'
import { CID } from 'multiformats/cid'
import { Watch } from './watch.js'

function make (module, init) {
  return module.createDelegatedRoutingV1HttpApiClient == null
    ? module.delegatedRoutingV1HttpApiClient(init)({ logger: defaultLogger() })
    : module.createDelegatedRoutingV1HttpApiClient(init.url, init)
}

const majors = {
  4: async () => ({ module: await import('client-4'), parsesNames: true, asksByPeerId: true }),
  6: async () => ({ module: await import('client-6'), parsesNames: true, asksByPeerId: true }),
  9: async () => ({ module: await import('client-9'), parsesNames: false, asksByPeerId: false })
}

// A record as cases compare it: with plain texts.
function plain (record) {
  const id = record.ID.multihash?.bytes == null || record.ID.toCID != null
    ? record.ID.toString()
    : base58btc.encode(record.ID.multihash.bytes).slice(1)
  return {
    schema: record.Schema,
    id,
    addrs: record.Addrs.map(addr => addr.toString()),
    protocols: record.Protocols
  }
}

async function * plainly (records) {
  for await (const record of records) {
    yield plain(record)
  }
}

// `init` is for the client: its timeout, and its cache, which is off unless a case wants it, so
// that each lookup is a request.
export async function openClient (major, url, init = {}) {
  const { module, parsesNames, asksByPeerId } = await majors[major]()
  const client = make(module, { url, timeout: 10_000, cacheTTL: 0, ...init })
  await client.start?.()
  return {
    major,
    // A lookup that finds nothing is an error to this major.
    throwsOnNone: major === 4,
    providers: (cid, options) => plainly(client.getProviders(cid, options)),
    peers: (id, options) => {
      const peer = peerIdFromString(id)
      return plainly(client.getPeers(asksByPeerId ? peer : peer.toCID(), options))
    },
    closestPeers: id => {
      const peer = peerIdFromString(id)
      return plainly(client.getClosestPeers(asksByPeerId ? peer : CID.parse(peer.toCID().toString())))
    },
    putName: (name, bytes) => client.putIPNS(name, parsesNames ? unmarshalIPNSRecord(bytes) : bytes),
    getName: async name => {
      const record = await client.getIPNS(name)
      return parsesNames ? marshalIPNSRecord(record) : record
    },
    stop: () => client.stop?.()
  }
}

// What `use` makes of a client of its own, and of the watch over its requests: one such client at a
// time, since the watch replaces the global `fetch`.
export async function withClient (major, url, use) {
  const watch = new Watch()
  let client
  try {
    client = await openClient(major, url)
    return await use({ client, watch })
  } catch (error) {
    throw watch.explain(error)
  } finally {
    await client?.stop()
    watch.end()
  }
}
