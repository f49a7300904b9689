// Runs the cases for one major in a process of its own, which a client may crash without ending
// the suite: `node node.js MAJOR URL FIXTURE`.

import { readFileSync } from 'node:fs'
import { reasonOf, within } from '../report.js'
import { casesOf, runCase } from './cases.js'

const caseSeconds = 20

const [major, url, fixturePath] = process.argv.slice(2)
const fixture = JSON.parse(readFileSync(fixturePath, 'utf8'))

// Major 9 cancels a body that it is reading when it is aborted, which fails, and nobody awaits that:
// its own affair, in browsers without effect. Any other rejection ends the process.
process.on('unhandledRejection', error => {
  if (error?.code !== 'ERR_INVALID_STATE') {
    throw error
  }
})

for (const one of casesOf(Number(major))) {
  console.log(`begin ${one.name}`)
  try {
    await within(caseSeconds, runCase(one, { major: Number(major), url, fixture }))
    console.log(`ok ${one.name}`)
  } catch (error) {
    console.log(`FAIL ${one.name}: ${reasonOf(error)}`)
  }
}
console.log('end')
process.exit()
