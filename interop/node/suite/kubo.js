// A real Kubo node, with a repository of its own, whose only way to find anything is the routing that
// it is given: no bootstrap peers, no mDNS, no servers of its makers, loopback addresses only.

import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { peerIdFromString } from '@libp2p/peer-id'
import { Background, lastWords, output } from './processes.js'

const daemonSeconds = 60
const commandSeconds = 30

async function freePort () {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}

// Everything by one HTTP router, as a `custom` routing says it.
export function customRouting (url) {
  const methods = ['provide', 'find-providers', 'find-peers', 'get-ipns', 'put-ipns']
  return {
    // Nothing but what a case announces: no rounds, and no new blocks but pinned ones.
    Provide: { Enabled: true, Strategy: 'pinned', DHT: { Interval: '0' } },
    Routing: {
      Type: 'custom',
      Routers: { fingerpost: { Type: 'http', Parameters: { Endpoint: url } } },
      Methods: Object.fromEntries(methods.map(method => [method, { RouterName: 'fingerpost' }]))
    }
  }
}

// This way Kubo reads, and publishes names; it refuses to start if it were to announce providers.
export function delegatedRouting (url) {
  return {
    Provide: { Enabled: false },
    Routing: { Type: 'delegated', DelegatedRouters: [url] },
    Ipns: { DelegatedPublishers: [url] }
  }
}

// A DHT of the nodes that are connected with each other, which each of them offers on its gateway as
// a routing API.
export function dhtRouting () {
  return {
    Provide: { Enabled: true, Strategy: 'pinned', DHT: { Interval: '0' } },
    Routing: { Type: 'dhtserver', LoopbackAddressesOnLanDHT: true },
    Gateway: { ExposeRoutingAPI: true }
  }
}

export class Kubo {
  #context
  #name
  #process
  #environment

  constructor (context, name) {
    this.#context = context
    this.#name = name
    const home = mkdtempSync(join(context.scratch, `kubo-${name}-`))
    this.path = join(home, 'repository')
    mkdirSync(this.path)
    this.#environment = {
      PATH: process.env.PATH, HOME: home, IPFS_PATH: this.path, IPFS_TELEMETRY: 'off',
      NO_PROXY: '*', GOLOG_LOG_LEVEL: 'error'
    }
    context.atEnd(() => this.stop())
  }

  // A running node. `announce` is what it says of its addresses, instead of where it listens.
  static async start (context, name, { routing, announce }) {
    const kubo = new Kubo(context, name)
    await kubo.ipfs(['init', '--profile=test'])
    await kubo.#configure(routing, announce)
    await kubo.#startDaemon()
    kubo.id = (await kubo.ipfs(['id', '--format=<id>'])).trim()
    kubo.ipnsName = peerIdFromString(kubo.id).toCID().toString()
    return kubo
  }

  async #configure (routing, announce) {
    const path = join(this.path, 'config')
    const config = JSON.parse(readFileSync(path, 'utf8'))
    this.swarm = `/ip4/127.0.0.1/tcp/${await freePort()}`
    config.Addresses.Swarm = [this.swarm]
    config.Addresses.Announce = announce ?? [this.swarm]
    config.Bootstrap = []
    config.Discovery.MDNS.Enabled = false
    config.AutoConf = { Enabled: false }
    config.AutoTLS = { Enabled: false }
    config.Provide = { ...config.Provide, ...routing.Provide }
    config.Swarm.DisableNatPortMap = true
    config.Swarm.RelayClient = { Enabled: false }
    config.Ipns = { ...config.Ipns, ...routing.Ipns }
    config.Routing = { ...config.Routing, ...routing.Routing }
    config.Gateway = { ...config.Gateway, ...routing.Gateway }
    writeFileSync(path, JSON.stringify(config, null, 2))
  }

  async #startDaemon () {
    const log = join(this.#context.logs, `${this.#context.group}-${this.#name}.log`)
    this.#process = new Background(this.#context.tools.kubo, ['daemon', '--migrate=false'],
      { log, env: this.#environment })
    const deadline = Date.now() + daemonSeconds * 1000
    while (!readFileSync(log, 'utf8').includes('Daemon is ready')) {
      if (this.#process.ended) {
        throw new Error(`Kubo did not start: ${lastWords(log)}`)
      }
      if (Date.now() > deadline) {
        throw new Error(`Kubo was not ready within ${daemonSeconds} s: ${lastWords(log)}`)
      }
      await sleep(50)
    }
    this.gateway = readFileSync(join(this.path, 'gateway'), 'utf8').trim()
  }

  // Runs `ipfs` beside the daemon; its standard output.
  async ipfs (args, { input, seconds = commandSeconds } = {}) {
    return output(this.#context.tools.kubo, args, { env: this.#environment, input, seconds })
  }

  // Adds a file without announcing it; its CID.
  async add (text) {
    const args = ['add', '--quieter', '--cid-version=1', '--pin=false', '--fast-provide-root=false']
    return (await this.ipfs(args, { input: text })).trim()
  }

  async lines (args, options) {
    return (await this.ipfs(args, options)).split('\n').map(line => line.trim()).filter(line => line !== '')
  }

  // Without a word to anyone.
  async kill () {
    await this.#process?.end('SIGKILL', 1)
  }

  async stop () {
    await this.#process?.end('SIGTERM', 10)
  }
}
