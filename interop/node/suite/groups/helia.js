// Helia's client in Node.

import { join } from 'node:path'
import { runProgram } from '../program.js'
import { Server } from '../server.js'

export const heliaGroups = [9, 6, 4].map(major => ({
  name: `helia-${major}`,
  needs: [],
  seconds: 300,
  run: async context => {
    const server = await Server.start(context, { imports: [context.files.providers] })
    const program = join(import.meta.dirname, '..', 'clients', 'node.js')
    await runProgram(context.report, process.execPath,
      [program, String(major), server.url, context.files.expectations], { seconds: 240 })
    await context.report.check('server stops', () => server.stop())
  }
}))
