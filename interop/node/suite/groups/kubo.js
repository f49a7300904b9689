// A real Kubo: everything through Fingerpost with `custom` routing, reading and publishing names
// with `delegated` routing, and two nodes that have no other way to find each other.

import { randomUUID } from 'node:crypto'
import { expectEqual, expectThat } from '../expect.js'
import { Kubo, customRouting, delegatedRouting } from '../kubo.js'
import { Server } from '../server.js'
import { soon } from '../upstreams/cases.js'

// A public address that nobody listens on: what is announced, so that the server keeps it.
const announce = ['/ip4/1.2.3.4/tcp/4001']

function uniqueText () {
  return `Found through Fingerpost alone: ${randomUUID()}\n`
}

async function expectProviders (kubo, cid, expected) {
  const found = await kubo.lines(['routing', 'findprovs', '--num-providers=5', cid])
  expectEqual(found, expected, 'providers')
}

async function expectPeer (kubo, id, expected) {
  const found = await kubo.lines(['routing', 'findpeer', id])
  expectThat(expected.every(addr => found.some(line => line.startsWith(addr))),
    `${JSON.stringify(found)} instead of ${JSON.stringify(expected)}`)
}

// What `publisher` publishes, `reader` resolves: then the same with another value.
async function publishAndResolve (publisher, reader, values) {
  for (const value of values) {
    // Nobody has the content, so it is not asked for.
    await publisher.ipfs(['name', 'publish', '--allow-offline', '--resolve=false', `/ipfs/${value}`])
    const resolved = await reader.ipfs(['name', 'resolve', '--nocache', `/ipns/${publisher.id}`])
    expectEqual(resolved.trim(), `/ipfs/${value}`, 'the name')
  }
}

export const kuboCustomGroup = {
  name: 'kubo-custom',
  needs: ['kubo'],
  seconds: 300,
  run: async context => {
    const { report, fixture } = context
    const server = await Server.start(context, { imports: [context.files.providers] })
    const routing = customRouting(server.url)
    const kubo = await Kubo.start(context, 'node', { routing, announce })
    const reader = await Kubo.start(context, 'reader', { routing, announce })
    const cid = await kubo.add(uniqueText())
    await report.check('findprovs of an import', () => expectProviders(kubo, fixture.one, [fixture.peer]))
    await report.check('findprovs none', () => expectProviders(reader, cid, []))
    await report.check('findpeer of an import', () => expectPeer(kubo, fixture.peer, fixture.oneAddrs))
    // Kubo says nothing when a router refuses, so that it is found is the proof.
    await report.check('provide, and findprovs by another node', async () => {
      // Kubo announces in the background: its command ends before the router has answered.
      await kubo.ipfs(['routing', 'provide', cid])
      await soon(() => expectProviders(reader, cid, [kubo.id]))
    })
    await report.check('findpeer of who provided', () => expectPeer(reader, kubo.id, announce))
    await report.check('name publish and resolve', () => publishAndResolve(kubo, reader, [cid, fixture.one]), { seconds: 125 })
    await kubo.stop()
    await reader.stop()
    await report.check('server stops', () => server.stop())
  }
}

export const kuboDelegatedGroup = {
  name: 'kubo-delegated',
  needs: ['kubo'],
  seconds: 300,
  run: async context => {
    const { report, fixture } = context
    const server = await Server.start(context, { imports: [context.files.providers] })
    const routing = delegatedRouting(server.url)
    const kubo = await Kubo.start(context, 'node', { routing, announce })
    const reader = await Kubo.start(context, 'reader', { routing, announce })
    await report.check('findprovs', () => expectProviders(kubo, fixture.one, [fixture.peer]))
    await report.check('findprovs none', () => expectProviders(kubo, fixture.none, []))
    await report.check('findpeer', () => expectPeer(kubo, fixture.peer, fixture.oneAddrs))
    await report.check('name publish and resolve', () =>
      publishAndResolve(kubo, reader, [fixture.one, fixture.many]), { seconds: 125 })
    await kubo.stop()
    await reader.stop()
    await report.check('server stops', () => server.stop())
  }
}

// Loopback addresses are all that the two have, so the server must take them.
export const kuboExchangeGroup = {
  name: 'kubo-exchange',
  needs: ['kubo'],
  seconds: 300,
  run: async context => {
    const { report } = context
    const server = await Server.start(context, { settings: { allow_private_addrs: true } })
    const routing = customRouting(server.url)
    const nodes = [
      await Kubo.start(context, 'first', { routing }),
      await Kubo.start(context, 'second', { routing })
    ]
    await report.check('nodes do not know each other', async () => {
      for (const node of nodes) {
        expectEqual(await node.lines(['swarm', 'peers']), [], 'peers')
      }
    })
    for (const [giver, taker, name] of [[...nodes, 'second fetches from first'],
      [...nodes.toReversed(), 'first fetches from second']]) {
      await report.check(name, async () => {
        const text = uniqueText()
        const cid = await giver.add(text)
        await giver.ipfs(['routing', 'provide', cid])
        await soon(() => expectProviders(taker, cid, [giver.id]))
        // They would find each other's file by the connection of the fetch before.
        await disconnect(taker)
        expectEqual(await taker.ipfs(['cat', cid]), text, 'the file')
      }, { seconds: 90 })
    }
    await Promise.all(nodes.map(node => node.stop()))
    await report.check('server stops', () => server.stop())
  }
}

async function disconnect (node) {
  for (const peer of await node.lines(['swarm', 'peers'])) {
    await node.ipfs(['swarm', 'disconnect', peer])
  }
  expectEqual(await node.lines(['swarm', 'peers']), [], 'peers after disconnecting')
}
