// The processes that the suite starts. None of them outlives it, however it ends.

import { spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { once } from 'node:events'

const running = new Set()

process.on('exit', () => {
  for (const child of running) {
    child.kill('SIGKILL')
  }
})
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => { process.exit(130) })
}

// The last lines of a log, as part of a reason.
export function lastWords (path, lines = 4) {
  try {
    return readFileSync(path, 'utf8').trim().split('\n').slice(-lines).join(' | ')
  } catch {
    return 'it wrote nothing'
  }
}

// A process that goes on while the suite does something else. Both its streams go to the file
// `log`; `stdio` adds pipes beyond those.
export class Background {
  #ended = false

  constructor (command, args, { log, env, cwd, stdio = [] }) {
    this.log = log
    const file = openSync(log, 'w')
    this.child = spawn(command, args, { env, cwd, stdio: ['ignore', file, file, ...stdio] })
    closeSync(file)
    running.add(this.child)
    this.exit = new Promise(resolve => {
      this.child.once('error', error => { this.#end(); resolve({ error }) })
      this.child.once('exit', (code, signal) => { this.#end(); resolve({ code, signal }) })
    })
  }

  #end () {
    this.#ended = true
    running.delete(this.child)
  }

  get ended () {
    return this.#ended
  }

  // Asks the process to end, and kills it if it has not within `seconds`.
  async end (signal, seconds) {
    this.child.kill(signal)
    const killer = setTimeout(() => { this.child.kill('SIGKILL') }, seconds * 1000)
    const exit = await this.exit
    clearTimeout(killer)
    return exit
  }
}

// Runs a command to its end. `onLine` sees its standard output line by line as it comes.
export async function run (command, args, { env, cwd, input, seconds, onLine } = {}) {
  const child = spawn(command, args, { env, cwd, stdio: ['pipe', 'pipe', 'pipe'] })
  running.add(child)
  let late = false
  const timer = setTimeout(() => { late = true; child.kill('SIGKILL') }, seconds * 1000)
  const stdout = []
  const stderr = []
  let rest = ''
  child.stdout.on('data', chunk => {
    stdout.push(chunk)
    if (onLine != null) {
      const lines = (rest + chunk.toString()).split('\n')
      rest = lines.pop()
      lines.forEach(onLine)
    }
  })
  child.stderr.on('data', chunk => stderr.push(chunk))
  child.stdin.on('error', () => {})
  child.stdin.end(input)
  try {
    const [code, signal] = await once(child, 'close')
    return {
      code: late ? 'out of time' : code ?? signal,
      stdout: Buffer.concat(stdout).toString(),
      stderr: Buffer.concat(stderr).toString()
    }
  } finally {
    clearTimeout(timer)
    running.delete(child)
  }
}

// The same for a command that has to succeed: its standard output.
export async function output (command, args, options) {
  const { code, stdout, stderr } = await run(command, args, options)
  if (code !== 0) {
    const said = (stderr.trim() === '' ? stdout : stderr).trim().split('\n').slice(-4).join(' | ')
    const asked = [command.split('/').pop(), ...args.slice(0, 2)].join(' ')
    throw new Error(`${asked} ended with ${code}: ${said}`)
  }
  return stdout
}
