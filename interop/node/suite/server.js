// The server under test: the real binary, on free ports of 127.0.0.1, with a data directory that
// is new for each group.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Background, lastWords } from './processes.js'

const readySeconds = 30
const stopSeconds = 20

// A variable like FINGERPOST_BIN is no setting, and the server refuses what is no setting.
function environment (settings) {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('FINGERPOST_'))
  const given = Object.entries(settings).map(([name, value]) =>
    [`FINGERPOST_${name.toUpperCase()}`, String(value)])
  return Object.fromEntries([...kept, ...given])
}

export class Server {
  #context
  #settings
  #imports
  #starts = 0
  #process

  constructor (context, { settings = {}, imports = [] } = {}) {
    this.#context = context
    this.#settings = settings
    this.#imports = imports
    this.dataDir = mkdtempSync(join(context.scratch, `data-${context.group}-`))
    context.atEnd(() => this.kill())
  }

  static async start (context, options) {
    const server = new Server(context, options)
    await server.start()
    return server
  }

  // Starts, for the first time or again: then on the same port, with what is in the data
  // directory and without an import.
  async start () {
    const again = this.#starts > 0
    this.#starts += 1
    const listen = again ? new URL(this.url).host : '127.0.0.1:0'
    const args = ['serve', '--listen', listen, '--admin-listen', '127.0.0.1:0',
      '--data-dir', this.dataDir]
    if (!again && this.#imports.length > 0) {
      args.push('--import', ...this.#imports)
    }
    const log = join(this.#context.logs, `${this.#context.group}-server-${this.#starts}.log`)
    this.#process = new Background(this.#context.binary, args, {
      log, env: environment(this.#settings)
    })
    await this.#untilReady(log)
  }

  async #untilReady (log) {
    const deadline = Date.now() + readySeconds * 1000
    for (;;) {
      if (this.#process.ended) {
        throw new Error(`the server did not start: ${lastWords(log)}`)
      }
      const text = readFileSync(log, 'utf8')
      this.url = /^public API: (http:\S+)/m.exec(text)?.[1].replace(/\/$/, '')
      const admin = /^admin: (http:\S+)/m.exec(text)?.[1].replace(/\/$/, '')
      if (this.url != null && admin != null && await isReady(admin)) {
        return
      }
      if (Date.now() > deadline) {
        throw new Error(`the server was not ready within ${readySeconds} s: ${lastWords(log)}`)
      }
      await sleep(25)
    }
  }

  // As a power cut would end it. Nothing happens if it has ended.
  async kill () {
    await this.#process?.end('SIGKILL', 1)
  }

  // Ends the server for good. It must end by itself, with 0, whatever the cases did to it.
  async stop () {
    const { code, signal } = await this.#process.end('SIGTERM', stopSeconds)
    rmSync(this.dataDir, { recursive: true, force: true })
    if (code !== 0) {
      throw new Error(`ended with ${code ?? signal} after SIGTERM: ${lastWords(this.#process.log)}`)
    }
  }
}

async function isReady (admin) {
  try {
    const response = await fetch(`${admin}/readyz`, { signal: AbortSignal.timeout(2000) })
    await response.body?.cancel()
    return response.ok
  } catch {
    return false
  }
}
