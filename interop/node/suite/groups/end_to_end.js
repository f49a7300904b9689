// From Kubo's announcement to Helia in Chromium: found at once, found after a crash, and gone when
// the time that was announced is over.

import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { Chromium } from '../chromium.js'
import { expectEqual, expectThat } from '../expect.js'
import { keyOf } from '../fixture.js'
import { Kubo, customRouting } from '../kubo.js'
import { output } from '../processes.js'
import { Server } from '../server.js'
import { openSite } from '../site.js'
import { soon } from '../upstreams/cases.js'

// The shortest time that can be announced, and what may pass until it is noticed.
const ttlSeconds = 60
const graceSeconds = 10

export const endToEndGroup = {
  name: 'end-to-end',
  needs: ['chromium', 'kubo', 'boxo'],
  seconds: 420,
  run: async context => {
    const { report, tools } = context
    const server = await Server.start(context)
    const site = await openSite(context, { api: server.url, fixture: context.fixture })
    const chromium = await Chromium.start(context)
    const kubo = await Kubo.start(context, 'node', {
      routing: customRouting(server.url), announce: ['/ip4/1.2.3.4/tcp/4001']
    })

    // Each lookup is a new visitor's, whose browser has no answer from before.
    const lookUp = async (cid, page) => {
      const visitor = page ?? await chromium.newVisitor(site)
      try {
        return await visitor.evaluate(`interop.providers(${JSON.stringify(cid)})`)
      } finally {
        await visitor.close()
      }
    }

    const fleeting = keyOf(`for a minute ${randomUUID()}`)
    let fleetingPeer
    let announcedAt
    const announced = await report.check('announced for a minute is found', async () => {
      announcedAt = Date.now()
      const args = ['announce', server.url, fleeting, `${ttlSeconds}s`]
      const [peer, grantedMs] = (await output(tools.boxo, args, { seconds: 20 })).trim().split(' ')
      const granted = Number(grantedMs) / 1000
      expectThat(granted <= ttlSeconds && granted > ttlSeconds * 0.96, `${granted} s were granted instead of ${ttlSeconds}`)
      fleetingPeer = peer
      expectEqual(await lookUp(fleeting), [peer], 'providers')
    })

    const cid = await kubo.add(`End to end: ${randomUUID()}\n`)
    await report.check('provided by Kubo, found by Helia in Chromium within a second', async () => {
      const page = await chromium.newVisitor(site)
      await kubo.ipfs(['routing', 'provide', cid])
      const since = Date.now()
      // Kubo announces in the background.
      await soon(async () => expectEqual(await lookUp(cid, page), [kubo.id], 'providers'))
      const passed = Date.now() - since
      expectThat(passed <= 1000, `found after ${passed} ms`)
    })

    await report.check('found after kill -9 and a restart', async () => {
      await server.kill()
      await server.start()
      expectEqual(await lookUp(cid), [kubo.id], 'providers')
      if (announced && Date.now() < announcedAt + (ttlSeconds - 5) * 1000) {
        expectEqual(await lookUp(fleeting), [fleetingPeer], 'providers of what was announced for a minute')
      }
    }, { seconds: 60 })

    await report.check('not found after its time', async () => {
      expectThat(announced, 'it was not announced')
      await sleep(Math.max(0, announcedAt + (ttlSeconds + graceSeconds) * 1000 - Date.now()))
      expectEqual(await lookUp(fleeting), [], 'providers')
      expectEqual(await lookUp(cid), [kubo.id], 'providers of what was announced for longer')
    }, { seconds: ttlSeconds + graceSeconds + 30 })

    await kubo.stop()
    await chromium.stop()
    await report.check('server stops', () => server.stop())
  }
}
