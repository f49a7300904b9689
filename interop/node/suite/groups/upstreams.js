// Fingerpost in front of other routers, which real clients ask through it: Helia's server, the routing
// API of a Kubo gateway, and the two together.
//
// In each group the first case asks the routers themselves, so that it is seen whether they or
// Fingerpost have changed.

import { randomUUID } from 'node:crypto'
import { expectEqual, expectSame, expectThat } from '../expect.js'
import { keyOf, peerIdOf } from '../fixture.js'
import { Kubo, delegatedRouting } from '../kubo.js'
import { output } from '../processes.js'
import { Server } from '../server.js'
import { firstProvider, heliaAsker, heliaJsonAsker } from '../upstreams/askers.js'
import { atOnce, expectProviders, expectUnknown, findNothing, findThrough, soon } from '../upstreams/cases.js'
import { HeliaServer } from '../upstreams/helia.js'
import { KuboRouter } from '../upstreams/kubo.js'
import { Name } from '../upstreams/names.js'

const value = `/ipfs/${keyOf('one')}`

function uniqueText () {
  return `Known to another router: ${randomUUID()}\n`
}

function addrOf (index) {
  return `/ip4/198.51.100.${index}/tcp/4001`
}

function startServer (context, upstreams, settings = {}) {
  const named = Object.entries(upstreams).map(([name, url]) => `${name}=${url}`)
  return Server.start(context, {
    settings: { upstreams: named.join(','), ...settings }, imports: [context.files.providers]
  })
}

export const upstreamsHeliaGroup = {
  name: 'upstreams-helia',
  needs: ['boxo'],
  seconds: 240,
  run: async context => {
    const { report, fixture } = context
    const far = { id: await peerIdOf('far'), addrs: [addrOf(1), '/ip4/198.51.100.1/udp/4001/quic-v1'] }
    const [cid, crowd, unasked] = ['far', 'crowd', 'unasked'].map(keyOf)
    const ownAddr = addrOf(2)
    const helia = await HeliaServer.start(context, {
      providers: { [cid]: [far.id], [unasked]: [far.id], [crowd]: fixture.manyIDs, [fixture.one]: [fixture.peer] },
      peers: {
        ...Object.fromEntries(fixture.manyIDs.map((id, index) => [id, [addrOf(index)]])),
        [far.id]: [...far.addrs, '/ip4/127.0.0.1/tcp/4001'],
        [fixture.peer]: [fixture.oneAddrs[0], ownAddr]
      }
    })
    const name = await Name.create()
    await name.put(helia.url, value, 3)
    let crowdStreamed = 0
    await report.check('helia itself', async () => {
      const [record, ...others] = await heliaAsker.providers(helia.url, cid)
      expectEqual([record?.id, others.length], [far.id, 0], 'providers')
      expectEqual(await heliaAsker.record(helia.url, name.text), { sequence: 3, value }, 'the record')
      crowdStreamed = (await heliaAsker.providers(helia.url, crowd)).length
    })

    const server = await startServer(context, { helia: helia.url })
    const { url } = server
    await findThrough(context, url, {
      cid, providers: [far], peer: far, name: name.text, record: { sequence: 3, value }
    })
    await findNothing(context, url)
    await report.check('providers many', async () => {
      for (const [asker, count] of [[heliaAsker, crowdStreamed], [heliaJsonAsker, 100]]) {
        const ids = new Set((await asker.providers(url, crowd)).map(record => record.id))
        expectEqual(ids.size, count, `records by ${asker.name}`)
        expectThat(ids.isSubsetOf(new Set(fixture.manyIDs)), 'records of others')
      }
    })
    await report.check('providers and peers filtered, which helia does not', async () => {
      const quic = [{ id: far.id, addrs: [far.addrs[1]] }]
      const options = { filterAddrs: ['quic-v1'] }
      expectEqual(await heliaAsker.providers(url, cid, options), quic, 'providers')
      expectEqual(await heliaAsker.peers(url, far.id, options), quic, 'peers')
    })
    await report.check('local provider and the upstream\'s are one record', async () => {
      const united = { id: fixture.peer, addrs: [...fixture.oneAddrs, ownAddr].sort() }
      expectEqual(await heliaJsonAsker.providers(url, fixture.one), [united], 'providers')
      expectEqual(await heliaJsonAsker.peers(url, fixture.peer), [united], 'peers')
      // What has been sent cannot be added to.
      const [record, ...others] = await heliaAsker.providers(url, fixture.one)
      expectEqual([record?.id, others.length], [fixture.peer, 0], 'streamed providers')
      expectThat(fixture.oneAddrs.every(addr => record.addrs.includes(addr)), `addresses ${record.addrs}`)
    })
    const own = await Name.create()
    await report.check('name put arrives at the upstream', async () => {
      await own.put(url, value, 1)
      await soon(async () => {
        expectEqual(await heliaAsker.record(helia.url, own.text), { sequence: 1, value }, 'the record')
      })
    })

    helia.pause()
    await report.check('local record streamed at once while the upstream is stuck', () => atOnce(async () => {
      const record = await firstProvider(url, fixture.many)
      expectThat(fixture.manyIDs.includes(record?.id), `${record?.id} is none of the providers`)
    }))
    const late = await Name.create()
    await report.check('name put and found at once while the upstream is stuck', () => atOnce(async () => {
      await late.put(url, value, 1)
      expectEqual(await heliaAsker.record(url, late.text), { sequence: 1, value }, 'the record')
    }))
    helia.resume()
    await report.check('name put arrives when the upstream goes on', () => soon(async () => {
      expectEqual(await heliaAsker.record(helia.url, late.text), { sequence: 1, value }, 'the record')
    }))

    await helia.kill()
    await report.check('local content at once without the upstream', () => atOnce(async () => {
      const found = await heliaAsker.providers(url, fixture.filtered)
      expectSame(found.map(record => record.id), Object.values(fixture.byFilter), 'providers')
    }))
    await report.check('what was found at once without the upstream', () => atOnce(async () => {
      await expectProviders(heliaAsker, url, cid, [far])
      expectEqual(await heliaAsker.record(url, name.text), { sequence: 3, value }, 'the record')
      expectEqual(await heliaAsker.record(url, own.text), { sequence: 1, value }, 'the record put')
    }))
    await expectUnknown(context, url, unasked)
    await helia.start()
    await report.check('the upstream is asked again when it is back', () => soon(
      () => expectProviders(heliaAsker, url, unasked, [far])))
    await report.check('server stops', () => server.stop())
  }
}

export const upstreamsKuboGroup = {
  name: 'upstreams-kubo',
  needs: ['boxo', 'kubo'],
  seconds: 300,
  run: async context => {
    const { report, tools } = context
    const kubo = await KuboRouter.start(context)
    const { giver } = kubo
    const text = uniqueText()
    const cid = await kubo.announce(text)
    await giver.ipfs(['name', 'publish', '--resolve=false', `/ipfs/${cid}`])
    const far = { id: giver.id, addrs: [giver.swarm] }
    const record = { sequence: 0, value: `/ipfs/${cid}` }
    await report.check('kubo itself', async () => {
      await expectProviders(heliaAsker, kubo.url, cid, [far])
      expectEqual(await heliaAsker.record(kubo.url, giver.ipnsName), record, 'the record')
    })

    // All that the nodes have are loopback addresses.
    const server = await startServer(context, { kubo: kubo.url }, { upstream_allow_private_addrs: true })
    const { url } = server
    await findThrough(context, url, { cid, providers: [far], peer: far, name: giver.ipnsName, record })
    await findNothing(context, url)
    const name = await Name.create()
    await report.check('name put arrives at the upstream', async () => {
      await name.put(url, value, 1)
      await soon(async () => {
        const resolved = await giver.ipfs(['name', 'resolve', '--nocache', `/ipns/${name.text}`])
        expectEqual(resolved.trim(), value, 'the name')
      })
    })

    const taker = await Kubo.start(context, 'taker', { routing: delegatedRouting(url) })
    await report.check('providers, peers and names by kubo', async () => {
      expectEqual(await taker.lines(['routing', 'findprovs', cid]), [giver.id], 'providers')
      expectEqual(await taker.lines(['routing', 'findpeer', giver.id]), [giver.swarm], 'addresses')
      const resolved = await taker.ipfs(['name', 'resolve', '--nocache', `/ipns/${giver.ipnsName}`])
      expectEqual(resolved.trim(), record.value, 'the name')
    })
    await report.check('file fetched by kubo', async () => {
      expectEqual(await taker.lines(['swarm', 'peers']), [], 'peers')
      expectEqual(await taker.ipfs(['cat', cid]), text, 'the file')
    })
    await report.check('announced here, found beside the upstream\'s at once', async () => {
      const [id] = (await output(tools.boxo, ['announce', url, cid, '1h'], { seconds: 20 })).split(' ')
      for (const asker of [heliaJsonAsker, heliaAsker]) {
        const found = await asker.providers(url, cid)
        expectSame(found.map(record => record.id), [id, giver.id], `providers by ${asker.name}`)
      }
    })
    await taker.stop()
    await kubo.stop()
    await report.check('server stops', () => server.stop())
  }
}

export const upstreamsBothGroup = {
  name: 'upstreams-both',
  needs: ['boxo', 'kubo'],
  seconds: 300,
  run: async context => {
    const { report, fixture } = context
    const kubo = await KuboRouter.start(context)
    const { giver } = kubo
    const far = { id: await peerIdOf('far'), addrs: [addrOf(1)] }
    const elsewhere = addrOf(2)
    const [inHelia, unasked] = ['far', 'unasked'].map(keyOf)
    const [inKubo, inBoth] = [await kubo.announce(uniqueText()), await kubo.announce(uniqueText())]
    const helia = await HeliaServer.start(context, {
      providers: { [inHelia]: [far.id], [inBoth]: [far.id, giver.id], [unasked]: [far.id] },
      peers: { [far.id]: far.addrs, [giver.id]: [elsewhere] }
    })
    const routers = { helia: helia.url, kubo: kubo.url }
    await report.check('helia and kubo themselves', async () => {
      await expectProviders(heliaAsker, helia.url, inHelia, [far])
      await expectProviders(heliaAsker, helia.url, inKubo, [])
      await expectProviders(heliaAsker, kubo.url, inHelia, [])
      await expectProviders(heliaAsker, kubo.url, inKubo, [{ id: giver.id, addrs: [giver.swarm] }])
    })

    const server = await startServer(context, routers, { upstream_allow_private_addrs: true })
    const { url } = server
    await report.check('what one or the other knows', async () => {
      await expectProviders(heliaAsker, url, inHelia, [far])
      await expectProviders(heliaAsker, url, inKubo, [{ id: giver.id, addrs: [giver.swarm] }])
    })
    await report.check('what both know is one record a provider', async () => {
      const united = { id: giver.id, addrs: [elsewhere, giver.swarm].sort() }
      await expectProviders(heliaJsonAsker, url, inBoth, [far, united])
    })
    for (const [newer, older] of [['helia', 'kubo'], ['kubo', 'helia']]) {
      await report.check(`newer name of ${newer}`, async () => {
        const name = await Name.create()
        await name.put(routers[older], value, 1)
        await name.put(routers[newer], value, 2)
        expectEqual(await heliaAsker.record(url, name.text), { sequence: 2, value }, 'the record')
      })
    }
    await report.check('name put arrives at both', async () => {
      const name = await Name.create()
      await name.put(url, value, 1)
      for (const [router, at] of Object.entries(routers)) {
        await soon(async () => {
          expectEqual(await heliaAsker.record(at, name.text), { sequence: 1, value }, `the record of ${router}`)
        })
      }
    })

    await helia.kill()
    await report.check('what kubo knows without helia', async () => {
      const cid = await kubo.announce(uniqueText())
      await expectProviders(heliaAsker, url, cid, [{ id: giver.id, addrs: [giver.swarm] }])
    })
    await kubo.kill()
    await report.check('what was found at once without either', () => atOnce(async () => {
      await expectProviders(heliaAsker, url, inHelia, [far])
      await expectProviders(heliaAsker, url, inKubo, [{ id: giver.id, addrs: [giver.swarm] }])
    }))
    await report.check('local content at once without either', () => atOnce(async () => {
      const found = await heliaAsker.providers(url, fixture.one)
      expectEqual(found, [{ id: fixture.peer, addrs: fixture.oneAddrs }], 'providers')
    }))
    await expectUnknown(context, url, unasked)
    await kubo.stop()
    await report.check('server stops', () => server.stop())
  }
}
