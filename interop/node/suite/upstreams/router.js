// What Helia's server asks: a router that knows what it was given, and the names that are put.
//
// Of peer IDs, addresses and CIDs it needs what can be written and compared, so texts do.

class NotFoundError extends Error {
  name = 'NotFoundError'
}

function keyOf (bytes) {
  return Buffer.from(bytes).toString('base64')
}

export class Router {
  name = 'known'
  #providers
  #peers
  #values = new Map()

  // `providers`: for each CID, the IDs of its providers; `peers`: for each ID, its addresses.
  constructor ({ providers, peers }) {
    this.#providers = new Map(Object.entries(providers))
    this.#peers = new Map(Object.entries(peers))
  }

  async * findProviders (cid, { signal } = {}) {
    for (const id of this.#providers.get(cid.toString()) ?? []) {
      signal?.throwIfAborted()
      yield { ...this.#peer(id), routing: this.name }
    }
  }

  async findPeer (peerId) {
    return this.#peer(peerId.toString())
  }

  async get (key) {
    const value = this.#values.get(keyOf(key))
    if (value == null) {
      throw new NotFoundError('nobody has put this')
    }
    return value
  }

  async put (key, value) {
    this.#values.set(keyOf(key), value)
  }

  #peer (id) {
    const multiaddrs = this.#peers.get(id)
    if (multiaddrs == null) {
      throw new NotFoundError(`nobody knows ${id}`)
    }
    return { id, multiaddrs }
  }
}
