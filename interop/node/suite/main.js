// The suite: runs the groups that are named, or all of them, one after the other.
//
// Started by interop/run with the paths in the environment. Nothing is skipped: a tool that cannot
// be had is a failed case of each group that needs it.

import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { GroupReport, Report, within } from './report.js'
import { Tools, prepareFolder } from './tools.js'
import { addressesGroup } from './groups/addresses.js'
import { boxoGroup } from './groups/boxo.js'
import { browserGroup } from './groups/browser.js'
import { endToEndGroup } from './groups/end_to_end.js'
import { heliaGroups } from './groups/helia.js'
import { hostileRecordsGroup } from './groups/hostile_records.js'
import { kuboCustomGroup, kuboDelegatedGroup, kuboExchangeGroup } from './groups/kubo.js'
import { openapiGroup, openapiUpstreamGroup } from './groups/openapi.js'
import { upstreamsBothGroup, upstreamsHeliaGroup, upstreamsKuboGroup } from './groups/upstreams.js'
import { writeFixture } from './fixture.js'

const groups = [
  openapiGroup, ...heliaGroups, browserGroup, boxoGroup, addressesGroup, hostileRecordsGroup,
  kuboCustomGroup, kuboDelegatedGroup, kuboExchangeGroup, endToEndGroup,
  upstreamsHeliaGroup, upstreamsKuboGroup, upstreamsBothGroup, openapiUpstreamGroup
]

function chosen (names) {
  const unknown = names.filter(name => !groups.some(group => group.name === name))
  if (unknown.length > 0) {
    console.error(`no cases are called ${unknown.join(', ')}; there are: ${groups.map(group => group.name).join(' ')}`)
    process.exit(2)
  }
  return groups.filter(group => names.length === 0 || names.includes(group.name))
}

async function runGroup (group, shared) {
  const report = new GroupReport(shared.report, group.name)
  const cleanUp = []
  const tools = {}
  try {
    for (const name of group.needs) {
      tools[name] = await shared.tools.get(name)
    }
    const context = { ...shared, report, tools, group: group.name, atEnd: end => cleanUp.push(end) }
    await within(group.seconds, group.run(context))
  } catch (error) {
    report.fail('setup', error)
  }
  // What the group left running, because something failed.
  for (const end of cleanUp.reverse()) {
    await within(30, end()).catch(error => { report.fail('clean up', error) })
  }
}

const wanted = chosen(process.argv.slice(2))
const folder = process.env.INTEROP_FOLDER
prepareFolder(folder)
const scratch = mkdtempSync(join(folder, 'scratch', 'run-'))
process.on('exit', () => { rmSync(scratch, { recursive: true, force: true }) })

const report = new Report()
const { fixture, ...files } = await writeFixture(scratch)
const shared = {
  report,
  repository: process.env.INTEROP_REPOSITORY,
  binary: process.env.FINGERPOST_BIN,
  folder,
  scratch,
  logs: join(folder, 'logs'),
  files,
  fixture
}
shared.tools = new Tools(shared)

const started = Date.now()
for (const group of wanted) {
  await runGroup(group, shared)
}
const seconds = Math.round((Date.now() - started) / 1000)
console.log(`interop: ${report.passed} passed, ${report.failed} failed, 0 skipped (${seconds} s)`)
process.exit(report.failed === 0 ? 0 : 1)
