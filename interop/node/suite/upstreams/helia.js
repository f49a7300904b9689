// Helia's server, as a router for Fingerpost to ask.

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Background, lastWords } from '../processes.js'

const startSeconds = 20

export class HeliaServer {
  #known
  #log
  #process

  constructor (context) {
    this.#known = join(context.scratch, `${context.group}-helia.json`)
    this.#log = join(context.logs, `${context.group}-helia.log`)
    context.atEnd(() => this.kill())
  }

  // `known` is what its router knows.
  static async start (context, known) {
    const server = new HeliaServer(context)
    writeFileSync(server.#known, JSON.stringify(known))
    await server.start()
    return server
  }

  // Starts, for the first time or again: then on the same port, without the names that were put.
  async start () {
    const port = this.url == null ? '0' : new URL(this.url).port
    this.#process = new Background(
      process.execPath, [join(import.meta.dirname, 'program.js'), this.#known, port], { log: this.#log })
    await this.#untilListening()
  }

  async #untilListening () {
    const deadline = Date.now() + startSeconds * 1000
    for (;;) {
      const url = /^listening on (http:\S+)/m.exec(readFileSync(this.#log, 'utf8'))?.[1]
      if (url != null) {
        this.url = url
        return
      }
      if (this.#process.ended || Date.now() > deadline) {
        throw new Error(`Helia's server did not start: ${lastWords(this.#log)}`)
      }
      await sleep(25)
    }
  }

  // Stops answering, with its port still open; what is asked is answered after `resume`.
  pause () {
    this.#process.child.kill('SIGSTOP')
  }

  resume () {
    this.#process.child.kill('SIGCONT')
  }

  async kill () {
    await this.#process?.end('SIGKILL', 1)
  }
}
