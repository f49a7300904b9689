// Helia's client in headless Chromium, in a page of another origin than the API's.

import { join } from 'node:path'
import { Chromium } from '../chromium.js'
import { Server } from '../server.js'
import { openSite } from '../site.js'

export const browserGroup = {
  name: 'browser',
  needs: ['chromium'],
  seconds: 420,
  run: async context => {
    const server = await Server.start(context, { imports: [context.files.providers] })
    const site = await openSite(context, { api: server.url, fixture: context.fixture })
    const chromium = await Chromium.start(context)
    const page = await chromium.newVisitor(site)
    for (const name of await page.evaluate('interop.names')) {
      await context.report.check(name, async () => {
        const failure = await page.evaluate(`interop.run(${JSON.stringify(name)})`)
        if (failure != null) {
          throw new Error(failure)
        }
      })
    }
    await page.screenshot(join(context.folder, 'browser.png'))
    await chromium.stop()
    await context.report.check('server stops', () => server.stop())
  }
}
