// Boxo's client, in Go.

import { runProgram } from '../program.js'
import { Server } from '../server.js'

export const boxoGroup = {
  name: 'boxo',
  needs: ['boxo'],
  seconds: 300,
  run: async context => {
    const server = await Server.start(context, { imports: [context.files.providers] })
    await runProgram(context.report, context.tools.boxo,
      ['cases', server.url, context.files.expectations], { seconds: 240 })
    await context.report.check('server stops', () => server.stop())
  }
}
