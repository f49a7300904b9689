// What the page offers to the suite as `interop`: the cases by name, and a lookup.

import { CID } from 'multiformats/cid'
import { casesOf, runCase } from '../clients/cases.js'
import { openClient } from '../clients/open.js'
import { reasonOf } from '../report.js'
import { bareCases } from './bare.js'

const { api, fixture } = globalThis.suite
document.querySelector('#origins').textContent = `The page is of ${location.origin}, the API of ${api}.`

function show (name, failure) {
  const item = document.createElement('li')
  item.className = failure == null ? 'ok' : 'failed'
  item.textContent = failure == null ? name : `${name}: ${failure}`
  document.querySelector('#cases').append(item)
}

const runs = new Map(bareCases.map(({ name, run }) => [name, () => run({ api, fixture })]))
for (const major of [9, 6, 4]) {
  for (const one of casesOf(major)) {
    runs.set(`helia-${major} ${one.name}`, () => runCase(one, { major, url: api, fixture }))
  }
}

globalThis.interop = {
  names: [...runs.keys()],

  // Null, or why the case failed.
  run: async name => {
    let failure = null
    try {
      await runs.get(name)()
    } catch (error) {
      failure = reasonOf(error)
    }
    show(name, failure)
    return failure
  },

  // The peer IDs of the providers of a key.
  providers: async key => {
    const client = await openClient(9, api)
    try {
      const found = []
      for await (const record of client.providers(CID.parse(key))) {
        found.push(record.id)
      }
      return found
    } finally {
      await client.stop()
    }
  }
}
