// Helia's server, as a router for Fingerpost to ask.

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Background, lastWords } from '../processes.js'

const startSeconds = 20

export class HeliaServer {
  #process

  // `known` is what its router knows.
  static async start (context, known) {
    const server = new HeliaServer()
    const path = join(context.scratch, `${context.group}-helia.json`)
    writeFileSync(path, JSON.stringify(known))
    const log = join(context.logs, `${context.group}-helia.log`)
    server.#process = new Background(process.execPath, [join(import.meta.dirname, 'program.js'), path], { log })
    context.atEnd(() => server.kill())
    await server.#untilListening(log)
    return server
  }

  async #untilListening (log) {
    const deadline = Date.now() + startSeconds * 1000
    for (;;) {
      this.url = /^listening on (http:\S+)/m.exec(readFileSync(log, 'utf8'))?.[1]
      if (this.url != null) {
        return
      }
      if (this.#process.ended || Date.now() > deadline) {
        throw new Error(`Helia's server did not start: ${lastWords(log)}`)
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
    await this.#process.end('SIGKILL', 1)
  }
}
