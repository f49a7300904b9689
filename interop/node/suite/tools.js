// The tools that groups need. Each is installed into target/interop when it is first asked for, and
// found there by later runs; what a tool is made from is part of its path, so that a change makes
// it anew.

import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { output } from './processes.js'

function digestOf (...paths) {
  const hash = createHash('sha256')
  for (const path of paths) {
    hash.update(readFileSync(path))
  }
  return hash.digest('hex').slice(0, 12)
}

export class Tools {
  #context
  #ready = new Map()

  constructor (context) {
    this.#context = context
  }

  // The path of the tool `name`.
  async get (name) {
    if (!this.#ready.has(name)) {
      const install = {
        boxo: () => this.#boxo(),
        kubo: () => this.#kubo(),
        chromium: () => this.#chromium(),
        schemathesis: () => this.#schemathesis()
      }[name]
      this.#ready.set(name, install())
    }
    return this.#ready.get(name)
  }

  #note (text) {
    this.#context.report.note(text)
  }

  // Go's modules and cache, so that nothing is written outside target/interop.
  get #goEnvironment () {
    const go = join(this.#context.folder, 'go')
    return {
      ...process.env,
      GOFLAGS: `-p=${process.env.INTEROP_GO_JOBS ?? '1'} -modcacherw -buildvcs=false -mod=readonly`,
      GOMODCACHE: join(go, 'modules'),
      GOCACHE: join(go, 'build'),
      GOTOOLCHAIN: 'local',
      GOWORK: 'off'
    }
  }

  #binary (name, digest) {
    return join(this.#context.folder, 'bin', digest, name)
  }

  // Builds with low priority: a build of minutes should not hold up whatever else runs here.
  async #goBuild (path, target, seconds) {
    const made = `${target}.${process.pid}`
    mkdirSync(dirname(target), { recursive: true })
    await output('nice', ['go', 'build', '-trimpath', '-ldflags=-s -w', '-o', made, path], {
      cwd: join(this.#context.repository, 'interop', 'go'), env: this.#goEnvironment, seconds
    })
    renameSync(made, target)
  }

  async #boxo () {
    const source = name => join(this.#context.repository, 'interop', 'go', name)
    const files = readdirSync(source('boxo')).sort().map(name => source(`boxo/${name}`))
    const digest = digestOf(source('go.mod'), source('go.sum'), ...files)
    const target = this.#binary('boxo', digest)
    if (!existsSync(target)) {
      this.#note('building the program that uses boxo; minutes the first time')
      await this.#goBuild('./boxo', target, 600)
    }
    return target
  }

  async #kubo () {
    const source = name => join(this.#context.repository, 'interop', 'go', name)
    const target = this.#binary('ipfs', digestOf(source('go.mod'), source('go.sum')))
    if (!existsSync(target)) {
      this.#note('building Kubo; minutes the first time')
      await this.#goBuild('github.com/ipfs/kubo/cmd/ipfs', target, 1200)
    }
    return target
  }

  async #chromium () {
    const path = '/usr/bin/chromium'
    if (existsSync(path)) {
      return path
    }
    const install = 'apt-get install --yes --no-install-recommends chromium'
    if (process.getuid() !== 0) {
      throw new Error(`chromium is missing, and only root can install it: ${install}`)
    }
    this.#note(`chromium is missing: ${install}`)
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
    await output('apt-get', ['update'], { env, seconds: 120 })
    await output('apt-get', install.split(' ').slice(1), { env, seconds: 300 })
    return path
  }

  async #schemathesis () {
    const requirements = join(this.#context.repository, 'interop', 'requirements.txt')
    const environment = join(this.#context.folder, `python-${digestOf(requirements)}`)
    // The mark is set last, so that a broken download is tried again.
    const mark = join(environment, 'complete')
    if (!existsSync(mark)) {
      this.#note('installing schemathesis')
      rmSync(environment, { recursive: true, force: true })
      await output('python3', ['-m', 'venv', environment], { seconds: 60 })
      await output(join(environment, 'bin', 'python'), ['-m', 'pip', 'install', '--quiet',
        '--disable-pip-version-check', '--requirement', requirements], { seconds: 240 })
      writeFileSync(mark, '')
    }
    return join(environment, 'bin', 'schemathesis')
  }
}

export function prepareFolder (folder) {
  for (const name of ['bin', 'logs', 'scratch']) {
    mkdirSync(join(folder, name), { recursive: true })
  }
}
