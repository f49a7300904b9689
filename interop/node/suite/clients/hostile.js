// Looks up answers that were made from a hostile record and a good one with one major of Helia's client:
// `node hostile.js MAJOR URL LOOKUPS`. The good record must come.

import { readFileSync } from 'node:fs'
import { CID } from 'multiformats/cid'
import { reasonOf, within } from '../report.js'
import { openClient } from './open.js'

const lookupSeconds = 20

const [major, url, path] = process.argv.slice(2)
const client = await openClient(Number(major), url)

async function expectGood (lookup) {
  const ids = []
  for await (const record of client.providers(CID.parse(lookup.CID))) {
    ids.push(record.id)
  }
  if (!ids.includes(lookup.Good)) {
    throw new Error(`${ids.length} records, without the good one`)
  }
}

for (const lookup of JSON.parse(readFileSync(path, 'utf8'))) {
  console.log(`begin ${lookup.Name}`)
  try {
    await within(lookupSeconds, expectGood(lookup))
    console.log(`ok ${lookup.Name}`)
  } catch (error) {
    console.log(`FAIL ${lookup.Name}: ${reasonOf(error)}`)
  }
}
console.log('end')
process.exit()
