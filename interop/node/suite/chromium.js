// A headless Chromium, driven by the DevTools protocol over pipes: one JSON text a message, ended
// by a zero byte.

import { mkdtempSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { within } from './report.js'
import { Background, lastWords } from './processes.js'

const callSeconds = 30

// Without the background parts Chromium looks for servers of its maker at every start.
const flags = [
  '--headless', '--remote-debugging-pipe', '--no-sandbox', '--disable-gpu', '--disable-quic',
  '--disable-dev-shm-usage', '--no-first-run', '--no-default-browser-check',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
  '--disable-default-apps', '--disable-extensions', '--disable-domain-reliability',
  '--disable-client-side-phishing-detection', '--no-pings', '--metrics-recording-only',
  // Names other than loopback's lead nowhere, so that only loopback can be talked to.
  '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost , EXCLUDE 127.0.0.1'
]

export class Chromium {
  #process
  #last = 0
  #calls = new Map()

  static async start (context) {
    const chromium = new Chromium(context)
    await within(callSeconds, chromium.#call('Browser.getVersion'))
    return chromium
  }

  constructor (context) {
    const profile = mkdtempSync(join(context.scratch, 'chromium-'))
    const log = join(context.logs, `${context.group}-chromium.log`)
    this.#process = new Background(context.tools.chromium,
      [...flags, `--user-data-dir=${profile}`, 'about:blank'],
      { log, stdio: ['pipe', 'pipe'], env: { ...process.env, HOME: profile } })
    context.atEnd(() => this.stop())
    const [input, output] = this.#process.child.stdio.slice(3)
    input.on('error', () => {})
    this.input = input
    let rest = Buffer.alloc(0)
    output.on('data', chunk => {
      rest = Buffer.concat([rest, chunk])
      for (let end = rest.indexOf(0); end >= 0; end = rest.indexOf(0)) {
        this.#take(JSON.parse(rest.subarray(0, end).toString()))
        rest = rest.subarray(end + 1)
      }
    })
    this.#process.exit.then(() => {
      for (const { reject } of this.#calls.values()) {
        reject(new Error(`Chromium ended: ${lastWords(log)}`))
      }
    })
  }

  #take (message) {
    const call = this.#calls.get(message.id)
    if (call == null) {
      return
    }
    this.#calls.delete(message.id)
    if (message.error == null) {
      call.resolve(message.result)
    } else {
      call.reject(new Error(`DevTools: ${message.error.message}`))
    }
  }

  #call (method, params = {}, sessionId = undefined) {
    const id = ++this.#last
    return new Promise((resolve, reject) => {
      if (this.#process.ended) {
        reject(new Error(`Chromium has ended: ${lastWords(this.#process.log)}`))
        return
      }
      this.#calls.set(id, { resolve, reject })
      this.input.write(`${JSON.stringify({ id, method, params, sessionId })}\0`)
    })
  }

  // A page as a new visitor has it: with nothing cached.
  async newVisitor (url) {
    const { browserContextId } = await this.#call('Target.createBrowserContext')
    const { targetId } = await this.#call('Target.createTarget', { url: 'about:blank', browserContextId })
    const { sessionId } = await this.#call('Target.attachToTarget', { targetId, flatten: true })
    const call = (method, params) => within(callSeconds, this.#call(method, params, sessionId))
    await call('Page.enable')
    const { errorText } = await call('Page.navigate', { url })
    if (errorText != null) {
      throw new Error(`Chromium cannot open ${url}: ${errorText}`)
    }
    const page = {
      // The value of an expression, which may be a promise's.
      evaluate: async expression => {
        const { result, exceptionDetails } = await call('Runtime.evaluate',
          { expression, awaitPromise: true, returnByValue: true })
        if (exceptionDetails != null) {
          const { exception, text } = exceptionDetails
          throw new Error(exception?.description?.split('\n')[0] ?? exception?.value ?? text)
        }
        return result.value
      },
      screenshot: async path => {
        const { data } = await call('Page.captureScreenshot', { format: 'png', captureBeyondViewport: true })
        writeFileSync(path, Buffer.from(data, 'base64'))
      },
      close: () => this.#call('Target.disposeBrowserContext', { browserContextId })
    }
    await page.evaluate(`new Promise(resolve => {
      if (document.readyState === 'complete') { resolve() } else { addEventListener('load', resolve) }
    })`)
    return page
  }

  async stop () {
    if (!this.#process.ended) {
      this.#call('Browser.close').catch(() => {})
      await this.#process.end('SIGTERM', 5)
    }
  }
}
