// Schemathesis reads specs/openapi.yaml and makes requests from it, valid and broken ones; every
// answer must have a status, headers and a body that the document allows.
//
// Deterministic: the same document and server give the same result, so that a red run can be had
// again; the random search is the work of the fuzz targets.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { run } from '../processes.js'
import { Server } from '../server.js'
import { HeliaServer } from '../upstreams/helia.js'

const seconds = 170

export const openapiGroup = {
  name: 'openapi',
  needs: ['schemathesis'],
  seconds: seconds + 60,
  run: context => hold(context, {}, ['examples', 'coverage', 'fuzzing', 'stateful'])
}

// What is known here is sent while an upstream, which knows nothing, is asked.
export const openapiUpstreamGroup = {
  name: 'openapi-upstream',
  needs: ['schemathesis'],
  seconds: seconds + 60,
  run: async context => {
    const helia = await HeliaServer.start(context, { providers: {}, peers: {} })
    await hold(context, { upstreams: `helia=${helia.url}` }, ['examples', 'coverage'])
  }
}

// Holds a server with these settings to the document, in these phases of Schemathesis.
async function hold (context, settings, phases) {
  const imports = [join(context.repository, 'examples', 'providers.ndjson')]
  const server = await Server.start(context, { settings, imports })
  await context.report.check(
    'schemathesis', () => schemathesis(context, server.url, phases), { seconds: seconds + 10 })
  await context.report.check('server stops', () => server.stop())
}

async function schemathesis (context, url, phases) {
  const inRepository = (...path) => join(context.repository, ...path)
  const { code, stdout, stderr } = await run(context.tools.schemathesis, [
    '--config-file', inRepository('interop', 'schemathesis.toml'),
    'run', inRepository('specs', 'openapi.yaml'), '--url', url, '--no-color',
    '--phases', phases.join(','), '--generation-deterministic',
    '--max-examples', '100', '--request-timeout', '10', '--continue-on-failure'
  ], {
    // The tool leaves folders of its own where it runs.
    cwd: context.scratch,
    env: {
      ...process.env,
      SCHEMATHESIS_HOOKS: inRepository('interop', 'schemathesis_hooks.py'),
      PYTHONDONTWRITEBYTECODE: '1'
    },
    seconds
  })
  const log = join(context.logs, `${context.group}-schemathesis.log`)
  writeFileSync(log, stdout + stderr)
  if (code !== 0) {
    const found = stdout.split('\n').filter(line => /^\s*(- |\[\d+\] )/.test(line)).slice(0, 3)
    throw new Error(`ended with ${code}: ${found.join(' | ')} (all of it: ${log})`)
  }
}
