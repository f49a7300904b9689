// Cases of upstreams: the same whatever router is behind Fingerpost.

import { setTimeout as sleep } from 'node:timers/promises'
import { expectEqual, expectFailure, expectSame, expectThat } from '../expect.js'
import { peerIdOf } from '../fixture.js'
import { askersOf, heliaAsker, heliaJsonAsker } from './askers.js'
import { Name } from './names.js'

// What is known at once must not wait for routers that are gone.
const atOnceMs = 1000

// What goes on behind an answer takes so long at most: handing a name on after it was put, and finding
// that a router is back, which is tried after pauses that grow with the time for which it was gone.
const soonMs = 20_000

export async function expectProviders (asker, url, cid, expected) {
  expectSame(texts(await asker.providers(url, cid)), texts(expected), 'providers')
}

function texts (records) {
  return records.map(record => JSON.stringify(record))
}

export async function atOnce (ask) {
  const since = Date.now()
  await ask()
  const passed = Date.now() - since
  expectThat(passed <= atOnceMs, `answered after ${passed} ms`)
}

// Asks again until what `ask` expects holds; the last failure, if it never does.
export async function soon (ask) {
  const deadline = Date.now() + soonMs
  for (;;) {
    try {
      return await ask()
    } catch (error) {
      if (Date.now() > deadline) {
        throw error
      }
    }
    await sleep(25)
  }
}

async function expectStatus (status, ask, what) {
  const error = await expectFailure(ask, what)
  expectThat(new RegExp(`\\b${status}\\b`).test(error.message), `${what}: ${error.message}`)
}

// What one router alone knows: a content with its providers, a peer, and a name.
export async function findThrough (context, url, { cid, providers, peer, name, record }) {
  const { report } = context
  for (const asker of askersOf(context)) {
    await report.check(`providers by ${asker.name}`, () => expectProviders(asker, url, cid, providers))
    await report.check(`peers by ${asker.name}`, async () => {
      expectEqual(await asker.peers(url, peer.id), [peer], 'peers')
    })
    await report.check(`name by ${asker.name}`, async () => {
      expectEqual(await asker.record(url, name), record, 'the record')
    })
  }
}

export async function findNothing ({ report, fixture }, url) {
  for (const asker of [heliaAsker, heliaJsonAsker]) {
    await report.check(`nothing by ${asker.name}`, async () => {
      expectEqual(await asker.providers(url, fixture.none), [], 'providers')
      expectEqual(await asker.peers(url, fixture.noPeer), [], 'peers')
      const nobodys = await Name.create()
      await expectStatus(404, () => asker.record(url, nobodys.text), 'a name that nobody put')
    })
  }
}

// That it is an error, and not "nobody has it", when only routers could know that are gone.
export async function expectUnknown (context, url, cid) {
  const { report } = context
  for (const asker of askersOf(context)) {
    await report.check(`unknown by ${asker.name} without upstreams`, async () => {
      await expectStatus(502, () => asker.providers(url, cid), 'providers')
      await expectStatus(502, async () => asker.peers(url, await peerIdOf(`unknown to ${asker.name}`)), 'peers')
      const name = await Name.create()
      await expectStatus(502, () => asker.record(url, name.text), 'the record')
    })
  }
}
