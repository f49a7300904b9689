// The routing API on the gateway of a Kubo node, as a router for Fingerpost to ask: it finds what
// another node, with which it is connected, announces in a DHT of the two.

import { setTimeout as sleep } from 'node:timers/promises'
import { Kubo, dhtRouting } from '../kubo.js'

const meetSeconds = 20

export class KuboRouter {
  static async start (context) {
    const router = new KuboRouter()
    const routing = dhtRouting()
    ;[router.giver, router.gateway] = await Promise.all(
      ['giver', 'gateway'].map(name => Kubo.start(context, name, { routing })))
    await router.gateway.ipfs(['swarm', 'connect', `${router.giver.swarm}/p2p/${router.giver.id}`])
    await untilKnown(router.giver, router.gateway)
    await untilKnown(router.gateway, router.giver)
    router.url = router.gateway.gateway
    return router
  }

  // The CID of a file that the giver has, and has announced.
  async announce (text) {
    const cid = await this.giver.add(text)
    await this.giver.ipfs(['routing', 'provide', cid])
    return cid
  }

  // The router alone: the giver still gives what it has.
  async kill () {
    await this.gateway.kill()
  }

  async stop () {
    await Promise.all([this.giver.stop(), this.gateway.stop()])
  }
}

// Until `other` is in the table by which `node` finds its way in the DHT.
async function untilKnown (node, other) {
  const deadline = Date.now() + meetSeconds * 1000
  while (!(await node.ipfs(['stats', 'dht', 'lan'])).includes(other.id)) {
    if (Date.now() > deadline) {
      throw new Error(`no DHT of the two within ${meetSeconds} s`)
    }
    await sleep(50)
  }
}
