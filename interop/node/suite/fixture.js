// What the server holds when cases begin: made here, so that cases know what to expect.
//
// Peer IDs come from fixed seeds, and addresses are of documentation networks.

import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'

// More than a JSON answer holds, fewer than an NDJSON answer may.
const manyCount = 150

function sha256 (text) {
  return createHash('sha256').update(text).digest()
}

export function keyOf (text) {
  return CID.createV1(0x55, Digest.create(0x12, sha256(text))).toString()
}

export async function peerIdOf (text) {
  const key = await generateKeyPairFromSeed('Ed25519', sha256(text))
  return peerIdFromPrivateKey(key).toString()
}

// Writes the NDJSON to import and the expectations that the cases read; the paths are the answer.
export async function writeFixture (folder) {
  const peer = await peerIdOf('the peer')
  const oneAddrs = ['/ip4/192.0.2.10/tcp/4001', '/ip4/192.0.2.10/udp/4001/quic-v1']
  const byFilter = {
    tcp: await peerIdOf('tcp'),
    gateway: await peerIdOf('gateway'),
    webtransport: await peerIdOf('webtransport'),
    withoutAddrs: await peerIdOf('without addresses')
  }
  const manyIDs = await Promise.all(
    Array.from({ length: manyCount }, (_, index) => peerIdOf(`many ${index}`)))
  const fixture = {
    one: keyOf('one'),
    many: keyOf('many'),
    filtered: keyOf('filtered'),
    none: keyOf('none'),
    noPeer: await peerIdOf('nobody knows this peer'),
    peer, oneAddrs, byFilter, manyIDs
  }
  const bitswap = { Schema: 'bitswap', Protocol: 'transport-bitswap' }
  const lines = [
    { CID: fixture.one, Providers: [{ ...bitswap, ID: peer, Addrs: oneAddrs }] },
    { CID: fixture.many, Providers: manyIDs.map((ID, index) =>
      ({ Schema: 'peer', ID, Addrs: [`/ip4/198.51.100.${index}/tcp/4001`], Protocols: ['transport-bitswap'] })) },
    { CID: fixture.filtered, Providers: [
      { Schema: 'peer', ID: byFilter.tcp, Protocols: ['transport-bitswap'],
        Addrs: ['/ip4/192.0.2.20/tcp/4001', '/ip4/192.0.2.20/udp/4001/quic-v1'] },
      { Schema: 'peer', ID: byFilter.gateway, Protocols: ['transport-ipfs-gateway-http'],
        Addrs: ['/dns4/gateway.example.org/tcp/443/https'] },
      { Schema: 'peer', ID: byFilter.webtransport, Protocols: [],
        Addrs: ['/ip4/192.0.2.21/udp/4001/quic-v1/webtransport'] },
      { Schema: 'peer', ID: byFilter.withoutAddrs, Protocols: ['transport-bitswap'], Addrs: [] }
    ] }
  ]
  const providers = join(folder, 'providers.ndjson')
  writeFileSync(providers, lines.map(line => `${JSON.stringify(line)}\n`).join(''))
  const expectations = join(folder, 'fixture.json')
  writeFileSync(expectations, JSON.stringify(fixture))
  return { providers, expectations, fixture }
}
